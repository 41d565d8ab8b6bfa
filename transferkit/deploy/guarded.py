"""The model and its detector as one graph: one pass gives the answer and says how far a source memory was woken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from transferkit.errors import InputError
from transferkit.model.detector import DetectorModule, Verdict
from transferkit.model.wrapper import SourceHead, TransferModel

REDUCTIONS = ("sum", "max")


class GuardedOutput(NamedTuple):
    """logits (n, K_t), score (n,), source_class (n,) int64: what the graph gives, in this order."""

    logits: Tensor
    score: Tensor
    source_class: Tensor


class Guarded(nn.Module):
    """Target logits, interference score and the source class behind it (Eq. 5 of paper 000), in one graph.

    The score is the sum, or the largest, of the lingering classes' probabilities; the softmax runs over all K_s
    source classes. The head reads the model's own features, or where a separate `source` model is given, that model
    has its own. `indices` are the lingering classes among all source classes. Raises InputError for what does not fit.
    """

    indices: Tensor

    def __init__(
        self,
        model: TransferModel,
        head: SourceHead | None,
        indices: Sequence[int],
        reduction: str = "sum",
        source: TransferModel | None = None,
    ) -> None:
        super().__init__()
        if reduction not in REDUCTIONS:
            raise InputError(f'the reduction of a score is "sum" or "max", not "{reduction}"')
        self.model = model
        self.reduction = reduction
        self.source = source
        self.head: nn.Linear | None = None
        self.rescale: _Rescale | None = None
        if source is None:
            self.head = _linear(model, head)
            classes = self.head.out_features
        else:
            self.rescale = _between(model, source)
            classes = len(source.classes)
        if not indices or min(indices) < 0 or max(indices) >= classes or len(set(indices)) < len(indices):
            raise InputError(f"the lingering classes must be different indices below {classes}, at least one of them")
        self.register_buffer("indices", torch.tensor(list(indices), device=model.head.weight.device))
        self.requires_grad_(False)
        self.eval()

    def forward(self, images: Tensor) -> GuardedOutput:
        """Preprocessed images (n, C, H, W)."""
        output = self.model(images)
        source_logits = self.source_logits(images, output.features)
        chosen = source_logits.softmax(dim=1).index_select(1, self.indices)
        score = chosen.sum(dim=1).clamp(max=1) if self.reduction == "sum" else chosen.amax(dim=1)
        # by logits: probabilities can round to the same number
        strongest = source_logits.index_select(1, self.indices).argmax(dim=1)
        return GuardedOutput(output.logits, score, self.indices.index_select(0, strongest))

    def candidates(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """What the source class is the largest of: (n, K_s) logits, and which of them are looked at."""
        return self.source_logits(images, self.model(images).features), self.indices

    def source_logits(self, images: Tensor, features: Tensor) -> Tensor:
        """(n, K_s), in single precision where the model computes in half."""
        if self.head is not None:
            logits: Tensor = self.head(features)
        else:
            assert self.source is not None
            logits = self.source(images if self.rescale is None else self.rescale(images)).logits
        return logits if logits.dtype in (torch.float32, torch.float64) else logits.float()


class GuardedByPlugin(nn.Module):
    """Target logits, and the score and source class of a plugin's detector, in one graph.

    The detector sees the features, the logits and, averaged over positions, the inner layers that it asked for.
    Raises InputError for a layer that the model lacks.
    """

    def __init__(self, model: TransferModel, detector: DetectorModule, layers: Sequence[str] = ()) -> None:
        super().__init__()
        model.tap(layers)
        self.model = model
        self.detector = detector.to(model.head.weight.device)
        self.readings = {name: model.reading(name) for name in layers}
        self.requires_grad_(False)
        self.eval()

    def forward(self, images: Tensor) -> GuardedOutput:
        """Preprocessed images (n, C, H, W)."""
        logits, found = self.answer(images)
        return GuardedOutput(logits, found.score, found.source_class)

    def candidates(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """What the source class is the largest of: scores of the watched classes (n, m), and that all are looked at."""
        per_class = self.answer(images)[1].per_class
        return per_class, torch.arange(per_class.shape[1], device=per_class.device)

    def answer(self, images: Tensor) -> tuple[Tensor, Verdict]:
        """The logits (n, K_t), and all that the detector says."""
        output = self.model(images)
        taps = {name: reading.pooled(output.taps[name]).float() for name, reading in self.readings.items()}
        return output.logits, self.detector(output.features.float(), output.logits.float(), taps)


class _Rescale(nn.Module):
    """From one normalisation of the pixels to another."""

    factor: Tensor
    shift: Tensor

    def __init__(self, factor: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.register_buffer("factor", factor)
        self.register_buffer("shift", shift)

    def forward(self, images: Tensor) -> Tensor:
        return images * self.factor + self.shift


def _linear(model: TransferModel, head: SourceHead | None) -> nn.Linear:
    if head is None:
        raise InputError("a detector without a separate source model needs a head")
    classes, width = head.weight.shape
    if width != model.num_features:
        raise InputError(f"a head for {width} features does not fit a model with {model.num_features}")
    like = model.head.weight
    linear = nn.Linear(width, classes, bias=head.bias is not None, device="meta")  # draws nothing
    linear.weight = nn.Parameter(head.weight.detach().clone().to(like))
    if head.bias is not None:
        linear.bias = nn.Parameter(head.bias.detach().clone().to(like))
    return linear


def _between(model: TransferModel, source: TransferModel) -> _Rescale | None:
    """How images made for the model become images for the source model; None where they are the same."""
    ours, theirs = model.preprocessing, source.preprocessing
    for key in ("input_size", "crop_pct", "crop_mode", "interpolation", "in_chans"):
        if getattr(ours, key) != getattr(theirs, key):
            raise InputError(
                f"a separate source model sees the same pixels, but its {key} is {getattr(theirs, key)} and the "
                f"model's is {getattr(ours, key)}; use a head on the model's own features"
            )
    if (ours.mean, ours.std) == (theirs.mean, theirs.std):
        return None
    like = model.head.weight
    mean, std, other_mean, other_std = (
        torch.tensor(values, dtype=torch.float64).view(1, -1, 1, 1)
        for values in (ours.mean, ours.std, theirs.mean, theirs.std)
    )
    return _Rescale((std / other_std).to(like), ((mean - other_mean) / other_std).to(like))
