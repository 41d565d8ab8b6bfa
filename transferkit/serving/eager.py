"""The model itself in service, in torch, on any device; it can also be asked where it sees a class."""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from transferkit.deploy import parity
from transferkit.deploy.guarded import Guarded
from transferkit.deploy.loaded import LoadedModel, load
from transferkit.deploy.portable import Graph
from transferkit.errors import InputError
from transferkit.model.preprocessing import Preprocess
from transferkit.model.wrapper import SourceHead
from transferkit.serving.engine import AnswerCheck, Opened, Outputs, Pixels, Sighting
from transferkit.words.kinds import reason

if TYPE_CHECKING:
    from transferkit.analysis.explanations import Explainer, View


class TorchEngine:
    """The model itself, where it is."""

    name = "torch"
    largest: int | None = None

    def __init__(self, loaded: LoadedModel) -> None:
        self._loaded = loaded
        self.device = loaded.device.type

    def __call__(self, images: Pixels) -> Outputs:
        """One eager pass."""
        found = self._loaded(torch.from_numpy(images))
        return Outputs(
            found.logits.cpu().numpy(),
            None if found.score is None else found.score.float().cpu().numpy(),
            None if found.source_class is None else found.source_class.cpu().numpy(),
        )


class EagerPreprocess(Preprocess):
    """The transform of training, with arrays for tensors."""

    def __call__(self, image: Image.Image) -> Any:
        """(C, H, W)."""
        return super().__call__(image).numpy()


def open_eager(folder: Path, device: str) -> Opened:
    """The model on its device. One thread per pass: passes run side by side. Raises InputError."""
    torch.set_num_threads(1)
    place = available(device)
    loaded = load(folder)
    images = parity.keyed_images(loaded.model.preprocessing, parity.REFERENCE)
    check = AnswerCheck(images, parity.expect(Graph(loaded), images))
    loaded.to(place)
    engine = TorchEngine(loaded)
    problem = check.problem(engine(check.images), engine.device)
    if problem is not None:
        raise InputError(f"{folder}: not usable on {place}; {problem}")
    preprocess = EagerPreprocess(loaded.model.preprocessing)
    return Opened(loaded.classes, loaded.interference, preprocess, engine, check, Explain(loaded))


def available(asked: str) -> str:
    """The device that is meant. Raises InputError for one that is not there."""
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=asked)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f'--device "{asked}" cannot be used here: {reason(error)}') from None
    return asked


class Explain:
    """Where the model sees its answer, and the source class that the detector names, in one photograph after another.

    On a copy of the model, made when it is first asked: maps need hooks, which passes of other threads must not meet.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self._loaded = loaded
        self._explainer: Explainer | None = None

    def __call__(self, photo: Image.Image) -> list[Sighting]:
        """An upright RGB photograph. Raises InputError for a model without such maps."""
        from transferkit.analysis.explanations import REASONS

        explainer = self._explainer = self._explainer or self._open()
        explainer.heads = self._heads(photo, explainer)
        (view,) = explainer(photo).views
        return [
            Sighting(sight.role, sight.name, sight.probability, None, REASONS[sight.trouble])
            if sight.trouble is not None
            else Sighting(sight.role, sight.name, sight.probability, _jpeg(view, place), None)
            for place, sight in enumerate(view.sights)
        ]

    def _open(self) -> Explainer:
        from transferkit.analysis.explanations import Explainer

        model = copy.deepcopy(self._loaded.model)
        return Explainer(model, [], self._loaded.device, method="gradcam", layer=None)

    def _heads(self, photo: Image.Image, explainer: Explainer) -> list[Any]:
        from transferkit.analysis.asked_classes import asked_classes
        from transferkit.analysis.explanations import Head

        own = explainer.model.source_head()
        heads = [Head("target", own, asked_classes(own.classes), [])]
        memory = self._memory()
        if memory is not None:
            named = self._loaded(self._loaded.preprocess(photo)[None]).source_class
            assert named is not None
            heads.append(Head("source", memory, asked_classes(memory.classes), [int(named[0])]))
        return heads

    def _memory(self) -> SourceHead | None:
        """The detector's head on the model's own features; None where the detector is none, or of another kind."""
        module = self._loaded.module
        if not isinstance(module, Guarded) or module.head is None:
            return None
        return SourceHead(module.head.weight, module.head.bias, self._loaded.source_classes)


def _jpeg(view: View, place: int) -> bytes:
    from transferkit.analysis.explanation_picture import overlaid

    sight, file = view.sights[place], io.BytesIO()
    top = float(sight.map.max())
    Image.fromarray(overlaid(view, sight, top)).save(file, "JPEG", quality=88)
    return file.getvalue()
