"""The command line: one file per verb. Nothing here imports torch before a verb needs it."""

from __future__ import annotations

import errno
import functools
import io
import os
import signal
import sys
import traceback
from collections.abc import Sequence

import typer

import transferkit
from transferkit.cli.audit import audit
from transferkit.cli.compare import compare
from transferkit.cli.detect import detect
from transferkit.cli.doctor import doctor
from transferkit.cli.evaluate import evaluate
from transferkit.cli.export import export
from transferkit.cli.output import ESCAPES, speaks
from transferkit.cli.plan import plan
from transferkit.cli.plugins import plugins_app
from transferkit.cli.predict import predict
from transferkit.cli.replay import replay
from transferkit.cli.resume import resume
from transferkit.cli.run import run
from transferkit.cli.schema import schema
from transferkit.cli.serve import serve
from transferkit.cli.verbs import add_verbs, verbs_of
from transferkit.errors import Interrupted, OutOfMemory, TransferkitError
from transferkit.memory import is_out_of_memory
from transferkit.registry import installed
from transferkit.text import printable
from transferkit.training.signals import Stopped, watching

app = typer.Typer(
    name="transferkit",
    help=transferkit.__doc__.splitlines()[0] if transferkit.__doc__ else None,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in (run, plan, resume, replay, evaluate, predict, detect, audit, export, serve, compare, schema, doctor):
    app.command()(verb)
app.add_typer(plugins_app, name="plugins")
BUILT_IN = verbs_of(app)


@functools.cache
def complete() -> typer.Typer:
    """The command line with the verbs of the installed plugins."""
    add_verbs(app, installed(), BUILT_IN)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit. Errors we can name are sentences; TRANSFERKIT_DEBUG=1 adds tracebacks."""
    for stream in (sys.stdout, sys.stderr):  # a terminal may know fewer characters than a name has
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ESCAPES)
    sys.exit(_run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    try:
        with watching(to_the_end=arguments is None):
            code = complete()(args=arguments, prog_name="transferkit", standalone_mode=False)
    except TransferkitError as error:
        _explain(error)
        return error.exit_code
    except Stopped as stopped:
        words = "transferkit was stopped before it was done; what was not finished is not written"
        _explain(Interrupted(words, stopped.number))
        return 128 + stopped.number
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        return 0
    except Exception as error:
        if hasattr(error, "exit_code") and hasattr(error, "format_message"):  # a usage error of the command line
            shown = io.StringIO()
            error.show(shown)  # type: ignore[attr-defined]
            sys.stderr.write(printable(shown.getvalue()))
            _say_what_failed(str(error))
            return int(error.exit_code)
        if type(error).__name__ == "Abort":
            return 128 + signal.SIGINT
        if is_out_of_memory(error):
            _explain(OutOfMemory("out of memory: give the machine more, or this command smaller batches or images"))
            return OutOfMemory.exit_code
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            _explain(TransferkitError("too many open files: raise the limit (ulimit -n), or use fewer workers"))
            return TransferkitError.exit_code
        sys.stderr.write(printable(traceback.format_exc()))
        return 1
    return code if isinstance(code, int) else 0


def _say_what_failed(error: str) -> None:
    """A verb that is missing may be one of a plugin that failed."""
    if "No such command" in error and installed().failures:
        lines = ["These installed plugins failed to load:", *(f"  {failure}" for failure in installed().failures)]
        sys.stderr.write(printable("\n".join(lines)) + "\n")


def _explain(error: TransferkitError) -> None:
    if not (speaks() or getattr(error, "speaks", False)):
        return
    print(printable("\n".join([str(error), *getattr(error, "__notes__", ())])), file=sys.stderr)
    if os.environ.get("TRANSFERKIT_DEBUG"):
        sys.stderr.write(printable(traceback.format_exc()))


__all__ = ["app", "complete", "main"]
