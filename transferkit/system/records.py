"""Small JSON files that describe other files: checked before use, and carrying checksums of themselves and of those."""

from __future__ import annotations

import hashlib
import json
import stat
from pathlib import Path
from typing import Any, TypeVar

from transferkit.errors import InputError
from transferkit.system.atomic import read_json, sha256

Record = TypeVar("Record")
SEAL = "sha256"


def seal(content: dict[str, Any], key: str | None = None) -> dict[str, Any]:
    """The content as JSON reads it back, with the SHA-256 of all the rest of it as `sha256`, inside `key`."""
    plain: dict[str, Any] = json.loads(json.dumps(content))
    holder = plain if key is None else plain[key]
    holder.pop(SEAL, None)
    holder[SEAL] = _digest(plain, key)
    return plain


def check_seal(content: dict[str, Any], path: Path, advice: str, key: str | None = None) -> bool:
    """Whether the content carries a seal. Raises InputError for one that differs; blanks and order do not count."""
    holder = content if key is None else content.get(key)
    if not isinstance(holder, dict) or SEAL not in holder:
        return False
    try:
        actual = _digest(content, key)
    except RecursionError:
        actual = "nested too deeply"
    if holder[SEAL] != actual:
        raise InputError(
            f"{path}: damaged or edited after it was written (its content differs from its own sha256); {advice}"
        )
    return True


def read_sealed(path: Path, newest: int, advice: str) -> dict[str, Any]:
    """The content of a record of at most that schema version. Raises InputError where it is damaged, or no file."""
    require_file(path)
    content: dict[str, Any] = read_json(path, what=advice)
    check_version(content.get("schema_version"), newest, content.get("created_by", "?"), path)
    check_seal(content, path, advice)
    return content


def parse(content: Any, kind: type[Record], path: Path | str, advice: str, *, strict: bool | None = True) -> Record:
    """The content as a checked record: a pydantic model, or, with `strict=None`, a dataclass whose fields say it.

    Raises InputError, in one sentence, for the first value that cannot be.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(kind).validate_python(content, strict=strict)
    except (ValidationError, RecursionError) as error:
        if isinstance(error, RecursionError):
            raise InputError(f"{path}: nested too deeply; {advice}") from None
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        plain = {"missing": "is missing", "dataclass_type": "must be an object"}.get(first["type"])
        wrong = f'"{place}" {plain}' if plain else f'"{place}": {first["msg"]}'
        raise InputError(f"{path}: {wrong}; {advice}") from None


def check_version(found: Any, newest: int, created_by: Any, path: Path | str) -> None:
    """Raise InputError for a file of a later version than this one reads."""
    if isinstance(found, int) and found > newest:
        raise InputError(
            f"{path}: schema version {found}, written by transferkit {created_by}; this version reads up to {newest}: "
            "upgrade transferkit"
        )


def check_sha256(path: Path, expected: str, *, record: str, what: str, advice: str) -> None:
    """Raise InputError where the file is missing, cannot be read or has another SHA-256.

    `record` is the file that names it, `what` is what it must be ("the file that was exported").
    """
    require_file(path, f"missing, though {record} names it; {advice}")
    try:
        actual = sha256(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    if actual != expected:
        raise InputError(f"{path}: not {what} (its SHA-256 differs from the one in {record}); {advice}")


def require_file(path: Path, missing: str = "there is no such file") -> None:
    """Raise InputError unless it is a file: opening a pipe would wait for ever. A link to a file is one."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        what = "a link to a file that does not exist" if path.is_symlink() else missing
        raise InputError(f"{path}: {what}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not stat.S_ISREG(mode):
        raise InputError(f"{path}: {'a folder' if stat.S_ISDIR(mode) else 'a pipe, socket or device'}, not a file")


def _digest(content: dict[str, Any], key: str | None) -> str:
    """Of everything but the seal itself."""
    rest = {name: value for name, value in (content if key is None else content[key]).items() if name != SEAL}
    text = json.dumps(rest if key is None else content | {key: rest}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()
