"""Whether a file is the one whose SHA-256 was written down."""

from __future__ import annotations

from pathlib import Path

from transferkit.atomic import sha256
from transferkit.errors import InputError


def check_sha256(path: Path, expected: str, *, record: str, what: str, advice: str) -> None:
    """Raise InputError where the file is missing, cannot be read or has another SHA-256.

    `record` is the file that names it, `what` is what it must be ("the file that was exported").
    """
    try:
        actual = sha256(path)
    except FileNotFoundError as error:
        raise InputError(f"{path}: missing, though {record} names it; {advice}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    if actual != expected:
        raise InputError(f"{path}: not {what} (its SHA-256 differs from the one in {record}); {advice}")
