"""A first recipe for a folder of images: sizes and rates that suit so many of them, and why, as comments."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from transferkit.errors import InputError
from transferkit.recipe.counting import class_counts
from transferkit.recipe.schema import Dataset
from transferkit.words.formats import count, some

STEPS = 1500  # after which fine-tuning of a few thousand images has mostly settled
EPOCHS = (8, 40)
BATCH = (8, 32)
UNEQUAL = 3.0  # the largest class by the smallest
SCARCE = 10  # images of a class, below which a user should know
FEW_TO_VALIDATE = 50  # images, below which an accuracy moves in steps that are seen
FEW = 1000  # images, below which a tenth is too few to validate on


@dataclass(frozen=True)
class Found:
    """What a folder holds: images of each class in train, and whether val/ and test/ are there."""

    train: dict[str, int]
    val: int
    test: int

    @property
    def images(self) -> int:
        """For training, before a part is carved for validation."""
        return sum(self.train.values())


def look(folder: Path) -> Found:
    """Count what is there, without opening an image. Raises InputError with what such a folder has to look like."""
    counts = class_counts("data", {"data": Dataset(folder=str(folder))}) or {}
    train = {name: images for name, images in counts.get("train", {}).items() if images}
    if len(train) < 2:
        raise InputError(
            f"{folder}: {count(len(train), 'class')} with images; a task needs two or more, each in a sub-folder"
            + (f"; perhaps you mean {inner}" if (inner := _deeper(folder)) is not None else "")
        )
    return Found(train, *(sum(counts.get(split, {}).values()) for split in ("val", "test")))


def _deeper(folder: Path) -> Path | None:
    """A folder further down whose sub-folders look like classes, where there is a single way to it."""
    below = [one for one in folder.iterdir() if one.is_dir() and not one.name.startswith(".")]
    if len(below) != 1:
        return folder if len(below) > 1 else None
    return _deeper(below[0])


def starter(folder: Path, found: Found, model: str) -> str:
    """The text of a recipe that trains on that folder, each choice with its reason.

    A batch has at most a tenth of the images, so that an epoch has ten steps; epochs are what makes about STEPS steps.
    """
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).strip("-._") or "images"
    share = 0.0 if found.val else 0.2 if found.images < FEW else 0.1
    images = round(found.images * (1 - share))
    batch = _power_of_two(images // 10, *BATCH)
    steps = -(-images // batch)
    epochs = min(max(round(STEPS / steps), EPOCHS[0]), EPOCHS[1])
    smallest, largest = (pick(found.train, key=lambda one: found.train[one]) for pick in (min, max))
    ratio = found.train[largest] / found.train[smallest]
    lines = [
        f"# {count(found.images, 'image')} of {count(len(found.train), 'class')} in {folder}.",
        "# Written by `transferkit init`: change what you like, and `transferkit plan` shows what a change does.",
        f"name: {name}",
        f"model: {{name: {model}}}  # any timm name; without a network also weights: FILE.safetensors",
        "datasets:",
        f"  images: {{folder: {_quoted(os.path.abspath(folder))}}}",
        "stages:",
        "  - name: target",
        "    dataset: images",
    ]
    if share:
        held = found.images - images
        why = f"of {count(found.images, 'image')} a tenth is few" if found.images < FEW else "there is no val/ folder"
        why += f"; one of these {held} is {100 / held:.0f} points of accuracy" if 0 < held < FEW_TO_VALIDATE else ""
        lines.append(f"    validation: {share}  # carved from train, per class: {why}")
    lines += [
        f"    epochs: {epochs}  # {count(steps, 'step')} each, {epochs * steps} in all",
        f"    batch_size: {batch}{_why_so_small(batch, steps)}",
        "    # The head starts as the best linear one on the pretrained features, so the result can hardly be worse",
        "    # than that; the backbone then needs small steps, with a warm-up.",
        "    head_init: ridge",
        "    optimizer: {name: sgd, lr: 1e-3, momentum: 0.9}",
        "    schedule: {name: cosine, warmup: 1}",
        "    augmentation: {scale: [0.5, 1.0]}  # crops of at least half of the picture",
    ]
    scarce = [name for name, number in found.train.items() if number < SCARCE]
    if scarce:
        lines.insert(1, f"# Fewer than {SCARCE} images are of {some(scarce)}: more help more than any value here.")
    if ratio > UNEQUAL:
        lines.append(f'    balance: loss  # "{largest}" has {ratio:.0f} times as many images as "{smallest}"')
    lines += [
        "    regularizers:",
        "      - {use: l2_sp, weight: {backbone: 0.01, head: 0.01}}  # stay near the pretrained weights",
        "# With images of what the backbone was trained on (some thousands of ImageNet), ask what it still remembers",
        "# and add the detector: `source: {folder: PATH}` under datasets, and",
        "# analyses:",
        "#   - {use: retention, dataset: source}",
        "#   - {use: lingering, dataset: source}",
        "#   - {use: interference, dataset: source}",
    ]
    return "\n".join(lines) + "\n"


def _why_so_small(batch: int, steps: int) -> str:
    if batch == BATCH[1]:
        return ""
    return "  # small, so that an epoch has ten steps" if steps >= 10 else "  # small, as there are few images"


def _power_of_two(number: int, least: int, most: int) -> int:
    return min(max(1 << max(number.bit_length() - 1, 0), least), most)


def _quoted(path: str) -> str:
    return path if re.fullmatch(r"[\w/.-]+", path) else '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'
