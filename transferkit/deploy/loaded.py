"""A model folder opened for use: images in, predictions out, with what the detector says where there is one.

Runs with torch and timm; the trainer and recipes are never imported, plugins only where the folder's detector is one's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from transferkit.deploy.answers import Answer, Answers, OnBadImage, Photograph, answer_photographs
from transferkit.deploy.guarded import Guarded, GuardedByPlugin
from transferkit.deploy.interference import SOURCE_MODEL, Interference, read_interference
from transferkit.deploy.place import model_folder
from transferkit.deploy.temperature import read_temperature
from transferkit.errors import InputError
from transferkit.model.detector import DetectorModule
from transferkit.model.folder import open_model, read_info, read_source_head
from transferkit.model.preprocessing import Preprocess
from transferkit.model.wrapper import SourceHead, TransferModel
from transferkit.words.doors import coming_from
from transferkit.words.formats import count, number

CLASSES = 6  # that a model's own line names


@dataclass(frozen=True, repr=False)
class Prediction:
    """The answer to a batch of n images: logits (n, K_t) float32.

    From a guarded model also, each (n,): score float32; flag bool; source_class int64, the lingering class with the
    largest probability as an index into `LoadedModel.source_classes` (−1 where the detector names none); p_value
    float64, how rarely a clean image has such a score. They are None without a detector. An image whose score is no
    number is flagged.
    """

    logits: Tensor
    score: Tensor | None = None
    flag: Tensor | None = None
    source_class: Tensor | None = None
    p_value: Tensor | None = None
    temperature: float | None = None
    """Of calibrated answers: by what logits are divided before the softmax."""

    @property
    def probabilities(self) -> Tensor:
        """(n, K): the softmax of the logits, divided by the temperature where there is one."""
        return (self.logits if self.temperature is None else self.logits / self.temperature).softmax(dim=1)

    def __repr__(self) -> str:
        images, classes = self.logits.shape
        flagged = "" if self.flag is None else f", {int(self.flag.sum())} flagged"
        return f"<prediction: {count(images, 'image')}, {count(classes, 'class')}{flagged}>"


class LoadedModel:
    """A model folder ready for use: `predict` takes photographs; a call takes a preprocessed batch (n, C, H, W).

    `guarded` says whether it has a detector; then `interference` is what its file says and `module` is the graph of
    both, else they are None.
    """

    def __init__(
        self,
        model: TransferModel,
        source_head: SourceHead | None,
        info: Mapping[str, Any],
        interference: Interference | None = None,
        module: Guarded | GuardedByPlugin | None = None,
        temperature: float | None = None,
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.source_head = source_head
        self.info = dict(info)
        self.interference = interference
        self.module = module
        self.temperature = temperature
        self.classes = list(model.classes)
        self.source_classes = [] if interference is None else list(interference.source_classes)
        self.preprocess = Preprocess(model.preprocessing)
        self._clean = torch.tensor([] if interference is None else interference.calibration.scores, dtype=torch.float64)

    @property
    def guarded(self) -> bool:
        """Whether predictions come with a score and a flag."""
        return self.module is not None

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.head.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """What the model computes in."""
        return self.model.head.weight.dtype

    def to(self, *args: Any, **kwargs: Any) -> LoadedModel:
        """Move the model to a device, a dtype or both, as torch's `Module.to`; images follow when it is called."""
        whole: nn.Module = self.model if self.module is None else self.module
        whole.to(*args, **kwargs)
        return self

    @coming_from("Python")
    def predict(
        self,
        images: Photograph | Iterable[Photograph],
        *,
        batch_size: int = 16,
        on_bad_image: OnBadImage = "error",
    ) -> Answer | Answers:
        """What the model says of a photograph: its path, a PIL image, or an array (height, width, 3) of uint8.

        Of a folder, or a list of these, a list of answers. Raises InputError for what cannot be read; with
        `on_bad_image="skip"` a list leaves it out, with a warning.
        """
        return answer_photographs(self, images, batch_size, on_bad_image)

    def __repr__(self) -> str:
        shown = ", ".join(self.classes[:CLASSES]) + (", …" if len(self.classes) > CLASSES else "")
        parts = [f"{self.model.architecture} for {count(len(self.classes), 'class')}: {shown}"]
        if self.interference is not None:
            watched = count(len(self.interference.lingering), "source class")
            parts.append(f"watches {watched}, flags a score above {number(self.interference.detect_p, 2)}")
        return f"<{'; '.join([*parts, str(self.device)])}>"

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Prediction:
        """(n, C, H, W) -> Prediction, on the model's device. Raises InputError for another shape."""
        channels = self.model.preprocessing.in_chans
        if not isinstance(images, Tensor):
            raise InputError(
                f"the model itself takes a tensor (n, {channels}, height, width), not {type(images).__name__}; "
                "for photographs call .predict(…)"
            )
        if images.dim() != 4 or images.shape[1] != channels:
            raise InputError(
                f"the model takes a batch of images (n, {channels}, height, width), not {list(images.shape)}; "
                "stack what `preprocess` returns, or give photographs to `predict`"
            )
        images = images.to(self.device, self.dtype)
        if self.module is None:
            return Prediction(self.model(images).logits.float(), temperature=self.temperature)
        logits, score, source_class = self.module(images)
        judged = self._judge(score, source_class)
        return Prediction(logits.float(), score.float(), *judged, temperature=self.temperature)

    def _judge(self, score: Tensor, source_class: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(flag, source_class, p_value). Compared on the CPU in double precision, which not every device has."""
        assert self.interference is not None
        exact = score.detach().cpu().double()
        flag = ~(exact <= self.interference.detect_p)
        n = len(self._clean)
        at_least = n - torch.searchsorted(self._clean, exact)
        p_value = (1 + at_least).double() / (n + 1)
        p_value = torch.where(exact.isnan() | (n == 0), torch.nan, p_value)
        return flag.to(score.device), source_class, p_value


@coming_from("Python")
def load(model: Path | str, stage: str | None = None, *, calibrated: bool = False) -> LoadedModel:
    """Open a model for use: `load("runs/flowers/…").predict("photo.jpg")`.

    A model folder, a pushed one as `hf-hub:org/name`, or a run: then the model of its `stage`, or of the last one
    that has one. With `interference.json` the model is guarded. `calibrated` takes the temperature of
    `calibration.json` into the probabilities; logits stay. Raises InputError for anything missing, damaged or changed.
    """
    folder = model_folder(model, stage)
    interference = read_interference(folder)
    net, source_head = open_model(folder, verify=interference is None)  # a detector's files were all compared
    module = None if interference is None else _guard(folder, net, interference)
    temperature = read_temperature(folder).temperature if calibrated else None
    return LoadedModel(net, source_head, read_info(folder), interference, module, temperature)


def _guard(folder: Path, model: TransferModel, interference: Interference) -> Guarded | GuardedByPlugin:
    if interference.detector is not None:
        from transferkit.deploy.plugin_detector import open_detector

        inner = open_detector(folder, interference.detector, model)
        return GuardedByPlugin(model, DetectorModule(inner, interference.indices), [*interference.detector.layers])
    names, reduction = list(interference.source_classes), interference.score.reduction
    if interference.head_file is not None:
        head = read_source_head(folder / interference.head_file, names)
        return Guarded(model, head, interference.indices, reduction)
    source, _ = open_model(folder / SOURCE_MODEL, verify=False)
    if len(source.classes) != len(names):
        raise InputError(
            f"{folder / SOURCE_MODEL}: a model of {len(source.classes)} classes, where interference.json names "
            f"{len(names)}"
        )
    return Guarded(model, None, interference.indices, reduction, source)
