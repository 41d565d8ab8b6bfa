"""What `--out` may be called, judged before any work begins."""

from __future__ import annotations

from pathlib import Path

from transferkit.cli.predictions import Form
from transferkit.errors import InputError

FORMS: dict[str, Form] = {".json": "json", ".csv": "csv", ".txt": "table", "": "table"}
FILES = (
    *(".csv", ".html", ".json", ".jsonl", ".pdf", ".txt", ".xlsx", ".yaml", ".yml", ".zip"),
    *(".jpeg", ".jpg", ".png", ".svg"),
    *(".onnx", ".pt", ".pt2", ".pth", ".safetensors"),
)


def choose_format(json: bool, csv: bool, out: Path | None) -> Form:
    """The format that was asked for, else that of the file's ending, else a table.

    Raises InputError for two that contradict each other, and for an ending that promises something else.
    """
    if json and csv:
        raise InputError("--json and --csv contradict each other; choose one")
    asked: Form | None = "json" if json else "csv" if csv else None
    if out is None:
        return asked or "table"
    named = FORMS.get(out.suffix.lower())
    if named is None:
        raise InputError(
            f"--out {out}: {out.suffix} files cannot be written; give one that ends in .json, .csv or .txt"
        )
    if asked is not None and out.suffix and named != asked:
        raise InputError(f"--{asked} and --out {out} contradict each other: leave out --{asked}, or end it in .{asked}")
    return asked or named


def require_ending(out: Path, *endings: str) -> None:
    """Raise InputError for a file to be written that ends in something else."""
    if out.suffix.lower() not in endings:
        raise InputError(f"--out {out}: what is written here ends in {' or '.join(endings)}")


def refuse_file(out: Path | None, what: str) -> None:
    """Raise InputError where a folder for `what` that is not there yet has a file's name."""
    if out is not None and out.suffix.lower() in FILES and not out.exists():
        raise InputError(f"--out {out}: this is the folder for {what}, not a file; leave out the {out.suffix}")
