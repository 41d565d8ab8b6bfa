"""Other people's code, run so that what it does to the process, and what it raises, stays with its owner."""

from __future__ import annotations

import locale
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress

from transferkit.errors import InputError
from transferkit.system.signals import TO_STOP
from transferkit.words.text import printable

LENGTH = 500


@contextmanager
def contained(blame: str = "", *, but: type[Exception] | None = None) -> Iterator[None]:
    """A stranger's import, class or constructor runs inside.

    What it prints goes to standard error, where it spoils no JSON, also past `sys.stdout`. It does not see the
    arguments of this command. A changed working folder, locale or `sys.excepthook`, and warnings made into errors,
    are set back. With `blame`, whatever it raises becomes
    an InputError that begins so, also SystemExit; except what `but` names, and a signal to stop.
    """
    with ExitStack() as restored:
        _keep_process(restored)
        _keep_stdout(restored)
        try:
            yield
        except BaseException as error:
            if not blame or isinstance(error, TO_STOP if but is None else (*TO_STOP, but)):
                raise
            raise InputError(f"{blame}: {told(error)}") from error


def told(error: BaseException) -> str:
    """An exception for people: its kind and what it says; of an InputError only what it says."""
    kind, text = type(error).__name__, said(error)
    if isinstance(error, InputError):
        return text
    return f"{kind}: {text}" if text else kind


def said(error: BaseException) -> str:
    """The text of an exception, whatever its class makes of it."""
    try:
        text = str(error)
    except Exception as broken:
        return f"(its text cannot be read: {type(broken).__name__})"
    return printable(text if len(text) <= LENGTH else f"{text[:LENGTH]}…")


def _keep_process(restored: ExitStack) -> None:
    with suppress(OSError):  # the working folder may be gone
        restored.callback(os.chdir, os.getcwd())
    restored.callback(setattr, sys, "excepthook", sys.excepthook)
    restored.callback(setattr, sys, "argv", sys.argv)
    sys.argv = sys.argv[:1]
    restored.callback(_restore_locale, locale.setlocale(locale.LC_ALL))
    restored.callback(_forget_errors, list(warnings.filters))


def _restore_locale(before: str) -> None:
    if locale.setlocale(locale.LC_ALL) != before:
        locale.setlocale(locale.LC_ALL, before)


def _forget_errors(before: list[object]) -> None:
    """Filters that hide a library's warnings may stay; one that makes everybody's warnings fatal may not."""
    for added in [one for one in warnings.filters if one[0] == "error" and one not in before]:
        warnings.filters.remove(added)  # type: ignore[attr-defined]


def _keep_stdout(restored: ExitStack) -> None:
    restored.enter_context(redirect_stdout(sys.stderr))
    stream = sys.__stdout__
    with suppress(OSError, ValueError, AttributeError):  # there may be no such file descriptor, or no stream
        stream.flush()  # type: ignore[union-attr]
        kept = os.dup(1)
        restored.callback(os.close, kept)
        restored.callback(os.dup2, kept, 1)
        restored.callback(stream.flush)  # type: ignore[union-attr]
        os.dup2(2, 1)
