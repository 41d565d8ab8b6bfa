"""A model's card, as the Hub reads it: what it is, how good, what its detector promises, how to load it.

All of it is read from the model's folder and from the runs that made and audited it. Text that a person adds stays.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from transferkit.deploy.card_file import part, read_card, with_part, write_card
from transferkit.deploy.interference import read_interference
from transferkit.deploy.temperature import FILE, read_temperature
from transferkit.errors import InputError
from transferkit.model.folder_config import FolderConfig, read_config
from transferkit.statistics import measured_share
from transferkit.system.atomic import read_json
from transferkit.words.formats import count, number, percent, some
from transferkit.words.text import one_line

HEAD = """\
---
library_name: timm
pipeline_tag: image-classification
tags: [image-classification, timm, transferkit]
metrics: [accuracy]
---

"""
STARTS = {"pretrained": "its pretrained weights", "scratch": "random weights"}
MODEL, AUDIT = "model", "audit"


def refresh(folder: Path, run: Path | None = None, stage: str | None = None, *, audit: Path | None = None) -> bool:
    """Write README.md of a model folder anew, with what the run of its stage and an audit found; was it changed?

    A README.md that is not ours stays, and so do parts that somebody edited. Raises InputError for a damaged folder,
    StorageError.
    """
    return write_card(folder, model_card(folder, run, stage, audit=audit))


def model_card(
    folder: Path,
    run: Path | None = None,
    stage: str | None = None,
    *,
    audit: Path | None = None,
    repository: str | None = None,
) -> str:
    """The text of README.md, which says how it is loaded from a `repository`, else from where it lies.

    `run` and `stage` made the model, `audit` is the folder of one that looked at it. Raises InputError for a damaged
    model folder.
    """
    there, text = read_card(folder), "\n\n".join(_parts(folder, run, stage, repository))
    card = HEAD + part(MODEL, text) if there is None else with_part(there, MODEL, text)
    found = [] if audit is None else [*_findings(audit, _digest(folder))]
    return with_part(card, AUDIT, "\n\n".join(["## Audit", *found]), after=MODEL) if found else card


def _parts(folder: Path, run: Path | None, stage: str | None, repository: str | None) -> Iterator[str]:
    config = read_config(folder)
    classes = [one_line(str(name)) for name in config.own.classes or ()]
    made = [one_line(str(config.info[key])) for key in ("recipe", "stage") if config.info.get(key)]
    yield f"# {repository.rpartition('/')[2] if repository else ', '.join(made) or config.architecture}"
    of = " of timm" if _of_timm(config) else ""
    yield f"A {config.architecture}{of} that tells {count(len(classes), 'class')}: {some(classes, 12)}."
    yield from _made(config)
    if run is not None and stage is not None:
        yield from _measured(run, stage)
        yield from _findings(run, _digest(folder))
    found = read_interference(folder)
    if found is None:
        yield "It has no detector of source memories: shown something else, it answers all the same."
    else:
        promise = found.guarantee.text or "Its threshold was given, and promises nothing."
        watched = count(len(found.lingering), "source class")
        yield (
            f"**Detector.** It watches {watched} that the fine-tuned model may still remember, and flags images that "
            f"wake one. {one_line(promise)} It does not notice every source image, and an unflagged answer may be "
            "wrong."
        )
    yield from _calibrated(folder)
    name = json.dumps(f"hf-hub:{repository}" if repository else ".")
    where = "" if repository else "  # this folder"
    yield f'```python\nimport transferkit\n\nprint(transferkit.load({name}).predict("photo.jpg")){where}\n```'
    if config.own.adapters or not _of_timm(config):
        yield "Plain timm does not open it: some of its layers are not timm's."
    else:
        plain = json.dumps(f"hf-hub:{repository}" if repository else "local-dir:.")
        yield f"In plain timm, without the detector: `timm.create_model({plain}, pretrained=True)`."


def _of_timm(config: FolderConfig) -> bool:
    return config.own.architecture_of is None and not config.architecture.startswith("transferkit_")


def _made(config: FolderConfig) -> Iterator[str]:
    source = config.info.get("source")
    start = source.get("start") if isinstance(source, dict) else None
    if start is not None:
        known = isinstance(start, str) and not any(mark in start for mark in "/\\")  # no path of somebody's machine
        named = STARTS.get(start, f"the model of the stage {one_line(start)}") if known else "another model"
        yield f"Its training started from {named}."


def _measured(run: Path, stage: str) -> Iterator[str]:
    """What the model's run measured, where the run is there."""
    entry = (_content(run / "result.json").get("stages") or {}).get(stage) or {}
    images, best = entry.get("images") or {}, entry.get("best") or {}
    if images:
        yield (
            "**Data.** "
            + ", ".join(f"{number} images of `{split}`" for split, number in images.items() if number)
            + "."
        )
    measured = {name: (one.get("top1"), one.get("images")) for name, one in (entry.get("evaluations") or {}).items()}
    if "val" not in measured:
        measured = {"val": (best.get("top1"), images.get("val")), **measured}
    for name, (top1, size) in measured.items():
        if top1 is None or not size:
            continue
        told = measured_share(float(top1), int(size)).told(percent, words="95 % interval over images ")
        chose = " These images chose the epoch." if name == "val" and entry.get("kept") == "best" else ""
        yield f"**Accuracy.** On {size} images of `{one_line(name)}`: {told}.{chose}"
    for one in entry.get("edits") or ():
        yield f"**Edit.** After its training `{one_line(str(one.get('use')))}` changed its weights."


def _findings(run: Path, digest: str | None) -> Iterator[str]:
    """The verdicts of a run's or an audit's analyses that looked at just this model."""
    for name, path in (_content(run / "result.json").get("analyses") or {}).items():
        report = _content(run / str(path))
        verdict, inputs = report.get("verdict"), report.get("inputs")
        if verdict and isinstance(inputs, dict) and digest is not None and inputs.get("target") == digest:
            yield f"**{one_line(str(name))}.** {one_line(str(verdict))}"


def _calibrated(folder: Path) -> Iterator[str]:
    if not (folder / FILE).is_file():
        return
    found = read_temperature(folder)
    before, after = (found.measured.get(f"error_{when}") for when in ("before", "after"))
    told = ""
    if before is not None and after is not None and not math.isnan(before + after):
        told = f": the calibration error is then {percent(after)} in place of {percent(before)}"
    images = count(found.images, "validation image")
    yield (
        f"**Probabilities.** With `calibrated=True` logits are divided by {number(found.temperature, 3)}, fitted on "
        f"{images}{told}."
    )


def _digest(folder: Path) -> str | None:
    """The content hash of the model, by which reports name what they looked at; None where it cannot be opened."""
    from transferkit.model.digest import model_digest
    from transferkit.model.folder import open_model

    try:
        return model_digest(open_model(folder, verify=False)[0])
    except InputError:
        return None


def _content(path: Path) -> Mapping[str, Any]:
    try:
        found: dict[str, Any] = read_json(path)
    except InputError:
        return {}
    return found
