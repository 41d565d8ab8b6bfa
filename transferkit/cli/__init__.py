"""The command line: one file per verb. Nothing here imports torch before a verb needs it."""

from __future__ import annotations

import functools
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
from transferkit.cli.output import speaks
from transferkit.cli.plan import plan
from transferkit.cli.plugins import plugins_app
from transferkit.cli.predict import predict
from transferkit.cli.resume import resume
from transferkit.cli.run import run
from transferkit.cli.schema import schema
from transferkit.cli.serve import serve
from transferkit.cli.verbs import add_verbs, verbs_of
from transferkit.errors import TransferkitError
from transferkit.registry import installed
from transferkit.text import printable

app = typer.Typer(
    name="transferkit",
    help=transferkit.__doc__.splitlines()[0] if transferkit.__doc__ else None,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in (run, plan, resume, evaluate, predict, detect, audit, export, serve, compare, schema, doctor):
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
    try:
        code = complete()(args=arguments, prog_name="transferkit", standalone_mode=False)
    except TransferkitError as error:
        _explain(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:
        sys.exit(0)
    except Exception as error:
        if hasattr(error, "exit_code") and hasattr(error, "format_message"):  # a usage error of the command line
            error.show()  # type: ignore[attr-defined]
            _say_what_failed(str(error))
            sys.exit(error.exit_code)
        if type(error).__name__ == "Abort":
            sys.exit(128 + signal.SIGINT)
        traceback.print_exc()
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)


def _say_what_failed(error: str) -> None:
    """A verb that is missing may be one of a plugin that failed."""
    if "No such command" in error and installed().failures:
        print("These installed plugins failed to load:", *installed().failures, sep="\n  ", file=sys.stderr)


def _explain(error: TransferkitError) -> None:
    if not speaks():
        return
    print(printable("\n".join([str(error), *getattr(error, "__notes__", ())])), file=sys.stderr)
    if os.environ.get("TRANSFERKIT_DEBUG"):
        traceback.print_exc()


__all__ = ["app", "complete", "main"]
