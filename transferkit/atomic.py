"""Files that are whole or absent, and small ones that may be damaged."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from transferkit.errors import InputError

Content = TypeVar("Content")


def read_json(path: Path, kind: Callable[..., Content] = dict, *, what: str | None = None) -> Content:
    """The content of a small JSON file, which must be of that kind: `dict`, `list`.

    Raises InputError for a file that is missing, unreadable, cut short or something else; `what` says what to do.
    """
    hint = f"; {what}" if what else ""
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} is missing{hint}") from None
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"{path} cannot be read: {reason}{hint}") from None
    if not isinstance(content, kind):  # type: ignore[arg-type]
        raise InputError(f"{path} is damaged: it holds a {type(content).__name__}, not a {kind.__name__}{hint}")
    return content


def sha256(path: Path) -> str:
    """The SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fsync(path: Path) -> None:
    """Force a file or a folder's entries to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Replace a small file in one move: readers see the old text or the new, never half."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes) -> None:
    """As `write_text`, for what is no text or must keep its line ends everywhere."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    fsync(temporary)
    os.replace(temporary, path)
