"""The command line: one file per verb. Nothing here imports torch before a verb needs it."""

from __future__ import annotations

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
from transferkit.cli.resume import resume
from transferkit.cli.run import run
from transferkit.cli.schema import schema
from transferkit.cli.serve import serve
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


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit. Errors we can name are sentences; TRANSFERKIT_DEBUG=1 adds tracebacks."""
    for stream in (sys.stdout, sys.stderr):  # a terminal may know fewer characters than a name has
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ESCAPES)
    installed().manager.hook.transferkit_commands(cli=app)
    try:
        code = app(args=arguments, prog_name="transferkit", standalone_mode=False)
    except TransferkitError as error:
        _explain(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:
        sys.exit(0)
    except Exception as error:
        if hasattr(error, "exit_code") and hasattr(error, "format_message"):  # a usage error of the command line
            shown = io.StringIO()
            error.show(shown)  # type: ignore[attr-defined]
            sys.stderr.write(printable(shown.getvalue()))
            sys.exit(error.exit_code)
        if type(error).__name__ == "Abort":
            sys.exit(128 + signal.SIGINT)
        sys.stderr.write(printable(traceback.format_exc()))
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)


def _explain(error: TransferkitError) -> None:
    if not speaks():
        return
    for line in (error, *getattr(error, "__notes__", ())):
        print(printable(str(line)), file=sys.stderr)
    if os.environ.get("TRANSFERKIT_DEBUG"):
        sys.stderr.write(printable(traceback.format_exc()))


__all__ = ["app", "main"]
