"""What a stage without training may say: it opens a finished model, edits it, and has nothing to say of training."""

from __future__ import annotations

from collections.abc import Iterator

from transferkit.recipe import schema
from transferkit.recipe.draft import Draft
from transferkit.recipe.paths import STARTS
from transferkit.recipe.tree import Steps

Found = tuple[Steps, str, str | None]
"""Where below a stage or a plugin something is wrong, what, and what would help."""
KEYS = {
    "name", "start", "dataset", "model", "evaluate", "fraction", "validation", "batch_size", "precision", "loss",
    "channels_last", "workers", "metrics", "edits",
}  # fmt: skip
"""Keys that mean something without training."""
IMAGES = ("fraction", "validation")


def without_training(draft: Draft, stage: schema.Stage, index: int) -> Iterator[Found]:
    """What contradicts a stage that does not train; nothing of one that does."""
    if stage.trains:
        return
    why = "has no meaning in a stage without training (edits, and neither epochs nor steps)"
    default = schema.Stage(name="x", dataset="x", epochs=1)
    for key in schema.Stage.model_fields:
        if key not in KEYS | {"epochs", "steps"} and getattr(stage, key) != getattr(default, key):
            yield (key,), why, "give epochs or steps, or leave it out"
    if stage.start == "scratch":
        message = "a stage without training needs a finished model, but start is scratch"
        yield ("start",), message, "start: NAME of a stage"
    if stage.model is not None and stage.start != "pretrained":
        yield ("model",), "is that of the model it starts from, in a stage without training", "leave it out"
    earlier = next((one.stage for one in draft.stages[:index] if one.name == stage.start), None)
    if stage.start in STARTS or earlier is None or earlier.dataset != stage.dataset:
        return
    for key in IMAGES:
        here, there = getattr(stage, key), getattr(earlier, key)
        if here != there:
            message = f'is {here:g}, and {there:g} in "{stage.start}", whose model was trained on these images'
            yield (key,), message, f"{key}: {there:g}, so that its validation images stay unseen"
