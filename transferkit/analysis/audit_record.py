"""audit.json: what was given to an audit, what it was understood as, and every parameter. Enough to go on with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferkit.atomic import read_json
from transferkit.errors import InputError
from transferkit.folder import RunFolder
from transferkit.recipe.paths import absolute
from transferkit.report import write_json

if TYPE_CHECKING:
    from transferkit.analysis.audit_inputs import Inputs
    from transferkit.analysis.workbench import Workbench

RECORD = "audit.json"


@dataclass(frozen=True)
class Arguments:
    """What an audit was asked, as it was given; relative paths are relative to `directory`."""

    target: str
    source: str | None
    baseline: str | None
    target_data: str | None
    source_data: str | None
    source_labels: str | None
    analyses: list[str] | None
    options: dict[str, dict[str, Any]]
    fail_on: list[str]
    seed: int
    device: str
    threads: int | None
    on_bad_image: str
    directory: str

    def place(self, name: str) -> str | None:
        """A model or data set, as it can be found from the present working directory."""
        text: str | None = getattr(self, name)
        if text is None or Path(self.directory) == Path.cwd():
            return text
        before, at, path = text.rpartition("@")
        there = absolute(path, Path(self.directory))
        return f"{before}{at}{there}" if Path(there).exists() else text


def is_audit(folder: Path) -> bool:
    """Whether the folder is an audit's rather than a run's."""
    return (folder / RECORD).is_file()


def read_arguments(folder: Path) -> Arguments:
    """What the audit of a folder was asked. Raises InputError when its audit.json cannot say."""
    try:
        return Arguments(**read_json(folder / RECORD, what="audit again")["arguments"])
    except (KeyError, TypeError) as error:
        raise InputError(f"{folder / RECORD} does not say what the audit was asked; audit again") from error


def write_record(
    folder: RunFolder, facts: Mapping[str, Any], inputs: Inputs | None = None, bench: Workbench | None = None
) -> None:
    """Write audit.json and env.json; `inputs` and `bench` are given once they are known and open."""
    content: dict[str, Any] = {**facts, "models": {}, "data": {}}
    for kind, texts in (inputs.given if inputs is not None else {}).items():
        for role, text in texts.items():
            content[kind][role] = {"given": text}
            if bench is not None:
                content[kind][role] |= _model(bench, role) if kind == "models" else _data(bench, role)
    if bench is not None:
        content["class_mapping"] = bench.class_list.how
    write_json(folder.path / RECORD, content)
    folder.write_environment(seed=facts["seed"], device=facts["device"])


def _model(bench: Workbench, role: str) -> dict[str, Any]:
    from transferkit.analysis.workbench import has_classifier

    model = bench.model(role)
    height, width = model.preprocessing.input_size
    outputs = f"{len(model.classes)} classes" if has_classifier(model) else "no classifier"
    return {
        "description": f"{model.architecture}, {outputs}, {height}x{width} pixels",
        "architecture": model.architecture,
        "options": model.options,
        "preprocessing": model.preprocessing.to_json(),
        "content": bench.given(role).digest,
    }


def _data(bench: Workbench, role: str) -> dict[str, Any]:
    splits = dict(_splits(bench, role))
    looked_at = bench.default_split(role)
    used = splits[looked_at]
    return {
        "description": f"{used['images']} images of {used['classes']} of {used['of']} classes ({looked_at} split)",
        "splits": splits,
        "left_out": sum(split["left_out"] for split in splits.values()),
    }


def _splits(bench: Workbench, role: str) -> Iterator[tuple[str, dict[str, int]]]:
    import numpy as np

    for split in ("train", "val", "test"):
        part = bench.part(role, split)
        if part is not None:
            yield (
                split,
                {
                    "images": len(part.readable),
                    "classes": len(np.unique(part.source.labels[part.readable])),
                    "of": len(part.source.classes),
                    "left_out": len(part.left_out),
                },
            )
