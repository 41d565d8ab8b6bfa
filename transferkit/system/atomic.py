"""Files that are whole or absent, and small ones that may be damaged."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from transferkit.errors import InputError, StorageError
from transferkit.words.kinds import kind_named, kind_of

ASIDE = ".tmp-"


def read_json(path: Path, kind: type = dict, *, what: str | None = None) -> Any:
    """The content of a small JSON file, which must be of that kind: `dict`, `list`.

    Raises InputError for a file that is missing, unreadable, cut short or something else; `what` says what to do.
    """
    hint = f"; {what}" if what else ""
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for ever
            raise InputError(f"{path} is not a file{hint}")
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} is missing{hint}") from None
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"{path} cannot be read: {reason}{hint}") from None
    if not isinstance(content, kind):
        raise InputError(f"{path} is damaged: it holds {kind_of(content)}, not {kind_named(kind)}{hint}")
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


@contextmanager
def storing(what: str) -> Iterator[None]:
    """Whatever a full, read-only or failing disk raises inside becomes StorageError: `what` could not be written."""
    try:
        yield
    except OSError as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StorageError(f"{what} could not be written: {reason}") from error


def make_folder(path: Path) -> None:
    """The folder, and those that it lies in. Raises StorageError."""
    with storing(str(path)):
        path.mkdir(parents=True, exist_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replace a small file in one move: readers see the old text or the new, never half. Raises StorageError.

    What is no UTF-8 (a lone surrogate, from a file name of other bytes) is written as JSON would escape it.
    """
    write_bytes(path, encoded(text))


def write_bytes(path: Path, data: bytes) -> None:
    """As `write_text`, for what is no text or must keep its line ends everywhere."""
    temporary = aside(path)
    try:
        with storing(str(path)):
            temporary.write_bytes(data)
            fsync(temporary)
            os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def encoded(text: str) -> bytes:
    """UTF-8, with lone surrogates as JSON escapes them."""
    return text.encode("utf-8", "backslashreplace")


def append_text(path: Path, text: str) -> None:
    """Add whole lines to a file, durably and all or none of them. Raises StorageError."""
    with storing(str(path)), path.open("ab") as file:
        end = file.tell()
        try:
            file.write(encoded(text))
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):
                file.truncate(end)
            raise


def aside(path: Path) -> Path:
    """Where this process writes what will be moved to `path`: hidden, and in the same folder."""
    return path.with_name(f"{ASIDE}{os.getpid()}-{path.name}")


def remove_leftovers(folder: Path, name: str = "") -> None:
    """Remove what processes that are no more left half-written, instead of files and folders of that name or any."""
    for path in folder.glob(f"{ASIDE}*-{glob.escape(name)}*"):
        owner = path.name.removeprefix(ASIDE).partition("-")[0]
        if owner.isdigit() and not _lives(int(owner)):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def cache_folder() -> Path:
    """Where results that any run may use again are kept: TRANSFERKIT_CACHE, or the user's cache folder."""
    given = os.environ.get("TRANSFERKIT_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(given).expanduser() if given else Path(base).expanduser() / "transferkit"
