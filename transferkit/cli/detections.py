"""Images in; answers with what the detector says out, batch by batch: what `transferkit detect` writes down."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from transferkit.cli.predictions import Answer, Form, Writer, cut, named, width_of
from transferkit.deploy.reading import read_batches
from transferkit.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from transferkit.deploy.loaded import LoadedModel

COLUMNS = ("answered_by", "flag", "score", "p_value", "source_class")


@dataclass(frozen=True)
class Detection(Answer):
    """An answer, who gave it (None: nobody, the image was flagged), and the detector's word."""

    answered_by: Literal["model", "fallback"] | None
    flag: bool
    score: float
    p_value: float
    source_class: str | None
    source_index: int


class Fallback:
    """Another model for the same classes, which answers where the first is flagged. Raises InputError if it is not."""

    def __init__(self, model: LoadedModel, classes: Sequence[str], label: str) -> None:
        if model.classes != list(classes):
            missing, other = set(classes) - set(model.classes), set(model.classes) - set(classes)
            if missing or other or len(set(classes)) < len(classes):
                raise InputError(
                    f"{label} cannot stand in: its classes are not those of the model "
                    f"({_difference(missing, 'it lacks')}{_difference(other, 'it also has')}classes must agree by name)"
                )
        self.model = model
        self._order = [model.classes.index(name) for name in classes]

    def probabilities(self, paths: Sequence[Path], images: Tensor, like: LoadedModel) -> Tensor:
        """(n, K) in the first model's order of classes. `images` are what `like` saw of these paths."""
        import torch

        from transferkit.data.images import open_image

        if self.model.preprocess.preprocessing != like.preprocess.preprocessing:
            mine = self.model.preprocess
            images = torch.stack([mine(open_image(path, fits=mine.refuse)) for path in paths])
        return self.model(images).probabilities[:, self._order]


def detections(
    model: LoadedModel,
    files: Iterable[Path],
    *,
    top: int,
    batch_size: int,
    bad: Callable[[Path, str], None],
    fallback: Fallback | None = None,
    abstain: bool = False,
) -> Iterator[list[Detection]]:
    """What is seen in each batch of files, by a guarded model; unreadable files go to `bad(path, reason)`.

    A flagged image is answered by the fallback if there is one, by nobody with `abstain`, else by the model.
    """
    other = None if fallback is None else fallback.model.preprocess
    for paths, images in read_batches(model.preprocess, files, batch_size=batch_size, bad=bad, also=other):
        found = model(images)
        assert found.flag is not None and found.score is not None
        assert found.p_value is not None and found.source_class is not None
        answers = named(found.probabilities, model.classes, top)
        by: list[Literal["model", "fallback"] | None] = ["model"] * len(paths)
        flagged = found.flag.nonzero().flatten().tolist()
        if abstain:
            for row in flagged:
                answers[row], by[row] = [], None
        elif fallback is not None and flagged:
            others = fallback.probabilities([paths[row] for row in flagged], images[flagged], model)
            for row, answer in zip(flagged, named(others, model.classes, top), strict=True):
                answers[row], by[row] = answer, "fallback"
        classes = found.source_class.tolist()
        names = [model.source_classes[index] if index >= 0 else None for index in classes]
        columns = (found.flag.tolist(), found.score.tolist(), found.p_value.tolist(), names, classes)
        yield [Detection(*row) for row in zip(paths, answers, by, *columns, strict=True)]


def _difference(names: set[str], verb: str) -> str:
    if not names:
        return ""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{verb} {', '.join(sorted(names)[:3])}{more}; "


class DetectionWriter(Writer[Detection]):
    """Answers with answered_by, flag (in CSV 0 or 1), score, p_value and source_class."""

    def __init__(
        self, form: Form, file: IO[str], top: int, classes: Sequence[str], source_classes: Sequence[str]
    ) -> None:
        self._source_width = width_of([*source_classes, "source class"])
        heads = [f"{'flag':8}", " score", "p-value", f"{'source class':{self._source_width}}"]
        super().__init__(form, file, top, classes, heads, COLUMNS)

    def cells(self, one: Detection) -> list[str]:
        """Flag, score, p-value and source class."""
        answer = {"model": "flag", "fallback": "fallback", None: "abstain"}[one.answered_by] if one.flag else ""
        name = f"{cut(one.source_class or '–', self._source_width):{self._source_width}}"
        return [f"{answer:8}", f"{one.score:6.4f}", f"{one.p_value:7.4f}", name]

    def values(self, one: Detection) -> list[Any]:
        """The same, and who answered."""
        return [one.answered_by or "", int(one.flag), f"{one.score:.8f}", f"{one.p_value:.6f}", one.source_class or ""]

    def content(self, one: Detection) -> dict[str, Any]:
        """The same by name."""
        return {name: getattr(one, name) for name in COLUMNS}
