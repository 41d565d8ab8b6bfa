"""A model's card, as the Hub reads it: what it is, how good, what its detector promises, how to load it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transferkit.deploy.interference import read_interference
from transferkit.deploy.temperature import FILE, read_temperature
from transferkit.errors import InputError
from transferkit.model.folder_config import read_config
from transferkit.runs.model_place import model_place
from transferkit.system.atomic import read_json
from transferkit.words.formats import count, percent, some
from transferkit.words.text import one_line

HEAD = """\
---
library_name: timm
pipeline_tag: image-classification
tags: [image-classification, timm, transferkit]
metrics: [accuracy]
---
"""


def model_card(folder: Path, repository: str) -> str:
    """The text of README.md for a model folder. Raises InputError for a damaged one."""
    return HEAD + "\n" + "\n\n".join(_parts(folder, repository)) + "\n"


def _parts(folder: Path, repository: str) -> Iterator[str]:
    config = read_config(folder)
    classes = [one_line(str(name)) for name in config.own.classes or ()]
    yield f"# {repository.rpartition('/')[2]}"
    yield f"A {config.architecture} of timm that tells {count(len(classes), 'class')}: {some(classes, 12)}."
    yield from _measured(folder)
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
    if (folder / FILE).is_file():
        temperature = read_temperature(folder).temperature
        yield f"**Probabilities.** With `calibrated=True` logits are divided by {temperature:.3f}."
    name = json.dumps(f"hf-hub:{repository}")
    yield f'```python\nimport transferkit\n\nprint(transferkit.load({name}).predict("photo.jpg"))\n```'
    yield f"In plain timm, without the detector: `timm.create_model({name}, pretrained=True)`."


def _measured(folder: Path) -> Iterator[str]:
    """What the model's run measured and its analyses said, where the run is there."""
    place = model_place(str(folder))
    if place.run is None:
        return
    try:
        result: dict[str, Any] = read_json(place.run / "result.json")
    except InputError:
        return
    entry = (result.get("stages") or {}).get(place.stage) or {}
    images, best = entry.get("images") or {}, entry.get("best") or {}
    if images:
        yield (
            "**Data.** "
            + ", ".join(f"{number} images of `{split}`" for split, number in images.items() if number)
            + "."
        )
    top1 = best.get("top1")
    if top1 is not None and images.get("val"):
        from transferkit.statistics import measured_share

        told = measured_share(float(top1), int(images["val"])).told(percent, words="95 % interval over images ")
        yield f"**Accuracy.** On {images['val']} validation images: {told}. These images chose the best epoch."
    for name, path in (result.get("analyses") or {}).items():
        try:
            verdict = read_json(place.run / str(path)).get("verdict")
        except InputError:
            continue
        if verdict:
            yield f"**{name}.** {one_line(str(verdict))}"
