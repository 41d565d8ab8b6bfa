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
from typing import Annotated, TextIO, cast

import typer

import transferkit
from transferkit.cli.verbs import AllVerbs, add_verbs, list_verbs, usage_hint, verbs_of
from transferkit.errors import Interrupted, OutOfMemory, TransferkitError
from transferkit.plugins.registry import installed
from transferkit.system.memory import is_out_of_memory
from transferkit.system.signals import Stopped, watching
from transferkit.system.standard_streams import ESCAPES, Guarded, answer_lost, open_standard_streams, speaks
from transferkit.words.doors import coming_from
from transferkit.words.text import printable

app = typer.Typer(
    name="transferkit",
    cls=AllVerbs,
    help=transferkit.__doc__.splitlines()[0] if transferkit.__doc__ else None,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # drawing help with rich takes as long as all else that is imported for it
    context_settings={"help_option_names": ["-h", "--help"]},
)
list_verbs(app)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"transferkit {transferkit.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Options before a verb."""


BUILT_IN = verbs_of(app)


@functools.cache
def complete() -> typer.Typer:
    """The command line with the verbs of the installed plugins."""
    add_verbs(app, installed(), BUILT_IN)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit. Errors we can name are sentences; TRANSFERKIT_DEBUG=1 adds tracebacks."""
    open_standard_streams()
    for stream in (sys.stdout, sys.stderr):  # a terminal may know fewer characters than a name has
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ESCAPES)
    kept = sys.stdout, sys.stderr
    guarded = Guarded(sys.stdout, answer_lost), Guarded(sys.stderr)
    sys.stdout, sys.stderr = cast("tuple[TextIO, TextIO]", guarded)
    try:
        code = _run(arguments)
    finally:
        sys.stdout, sys.stderr = kept
    if arguments is None and _one_of_several():
        # threads of a process group may still hold tensors: taking the interpreter down would now and then end in
        # SIGABRT (pytorch/pytorch#179291), and the launcher would call a run that is done failed
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _one_of_several() -> bool:
    """Whether this process has been a member of a process group."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "torch.distributed" in sys.modules


def _run(arguments: Sequence[str] | None) -> int:
    try:
        with coming_from("command line"), watching(to_the_end=arguments is None):
            code = complete()(args=arguments, prog_name="transferkit", standalone_mode=False)
            sys.stdout.flush()
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
            if hint := usage_hint(str(error), verbs_of(complete())):
                sys.stderr.write(f"{hint}\n")
            if "No such command" in str(error) and installed().failures:  # it may be one of a plugin that failed
                failed = "".join(f"  {failure}\n" for failure in installed().failures)
                sys.stderr.write(printable(f"These installed plugins failed to load:\n{failed}"))
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


def _explain(error: TransferkitError) -> None:
    if not (speaks() or getattr(error, "speaks", False)):
        return
    print(printable("\n".join([str(error), *getattr(error, "__notes__", ())])), file=sys.stderr)
    if os.environ.get("TRANSFERKIT_DEBUG"):
        sys.stderr.write(printable(traceback.format_exc()))


__all__ = ["app", "complete", "main"]
