"""The loss of a step: the task's, plus every penalty that the recipe names, in recipe order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transferkit.errors import InputError
from transferkit.hooks import Call
from transferkit.recipe import schema
from transferkit.training.term_weights import WeightFunction, check_terms, weight_of

if TYPE_CHECKING:
    from transferkit.model import Output, TransferModel

TaskLoss = Callable[[Tensor, Tensor], Tensor]


def task_loss(options: schema.Loss, class_weights: Tensor | None = None, log_prior: Tensor | None = None) -> TaskLoss:
    """A function (logits (n, K), labels (n,) or (n, K)) -> losses (n,).

    `mse`: labels are numbers, (n,) for one output or (n, K); the mean over outputs of the squared errors.
    `class_weights` average 1 over the training images, so that the loss keeps its scale. `log_prior` is added
    to the logits while training (logit adjustment, Menon et al. 2021, Eq. 10).
    """

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        if options.name == "mse":
            wanted = labels.reshape(logits.shape).to(logits.dtype)
            return F.mse_loss(logits, wanted, reduction="none").mean(dim=1)
        if log_prior is not None:
            logits = logits + log_prior
        if options.name == "bce":
            targets = labels if labels.ndim == 2 else F.one_hot(labels, logits.shape[1]).to(logits.dtype)
            targets = targets * (1 - options.label_smoothing) + options.label_smoothing / logits.shape[1]
            losses = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
            return (losses if class_weights is None else losses * class_weights).mean(dim=1)
        return F.cross_entropy(
            logits, labels, weight=class_weights, label_smoothing=options.label_smoothing, reduction="none"
        )

    return loss


@dataclass
class Offers:
    """What a penalty may ask for in this micro-batch. Each is computed when first asked for, then shared."""

    images: Tensor
    labels: Tensor
    output: Output
    model: TransferModel
    head: nn.Module
    reference: TransferModel | None
    step: int
    epoch: int
    progress: float
    autocast: Callable[[], Any]

    @property
    def features(self) -> Tensor:
        """Pooled pre-logits, (n, d)."""
        return self.output.features

    @property
    def logits(self) -> Tensor:
        """(n, K)."""
        return self.output.logits

    @property
    def taps(self) -> Mapping[str, Tensor]:
        """{layer: output} of the layers that plugins tapped."""
        return self.output.taps

    @cached_property
    def _reference_output(self) -> Output:
        if self.reference is None:
            raise InputError("this stage starts from scratch: there is no reference model to compare with")
        with torch.no_grad(), self.autocast():
            output: Output = self.reference(self.images)
        taps = {name: tap.float() for name, tap in output.taps.items()}
        return output._replace(features=output.features.float(), logits=output.logits.float(), taps=taps)

    @property
    def reference_features(self) -> Tensor:
        """The features of the same images in the reference model, (n, d), without gradient."""
        return self._reference_output.features

    @property
    def reference_taps(self) -> Mapping[str, Tensor]:
        """The tapped outputs of the reference model for the same images, without gradient."""
        return self._reference_output.taps


@dataclass
class Penalty:
    """A penalty of the recipe: its compiled call, its weight, and the stream it sees."""

    use: schema.RegularizerUse
    call: Call
    weights: dict[str, WeightFunction] = field(default_factory=dict)

    def terms(self, offers: Offers) -> dict[str, Tensor]:
        """{term: raw value}; a plugin with a single value has the one term ""."""
        value = self.call(offers)
        terms = dict(value) if isinstance(value, Mapping) else {"": value}
        for term, raw in terms.items():
            if not isinstance(raw, Tensor) or raw.ndim:
                raise InputError(f"{self.call.plugin} returned {_shape(raw)} from penalty; a scalar tensor is needed")
            if term not in self.weights:
                check_terms(self.use, set(terms))
                self.weights[term] = weight_of(self.use, term)
        return terms

    def sees(self, stream: str) -> bool:
        """Whether it looks at this stream."""
        return self.use.on in (stream, "all")


def _add(values: dict[TermKey, Tensor], key: TermKey, value: Tensor) -> None:
    values[key] = values[key] + value if key in values else value


def _shape(value: object) -> str:
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"


TermKey = tuple[str, str]


@dataclass
class Losses:
    """What one micro-batch cost: the graph's scalar, and detached values for the logs."""

    total: Tensor
    task_graph: Tensor
    raw: dict[TermKey, Tensor] = field(default_factory=dict)
    weighted: dict[TermKey, Tensor] = field(default_factory=dict)
    graphs: dict[TermKey, Tensor] = field(default_factory=dict)  # the weighted terms with their graph

    @property
    def task(self) -> Tensor:
        """The task's part, detached."""
        return self.task_graph.detach()


class Objective:
    """Adds up the loss of a micro-batch so that averaging over micro-batches and processes is exact."""

    def __init__(
        self,
        task: TaskLoss,
        penalties: Sequence[Penalty],
        *,
        stream_losses: Mapping[str, TaskLoss] | None = None,
        world: int = 1,
    ) -> None:
        self.task = task
        self.penalties = list(penalties)
        self.stream_losses = dict(stream_losses or {})
        self.world = world

    def __call__(
        self,
        outputs: Mapping[str, Output],
        labels: Mapping[str, Tensor],
        offers: Callable[[str], Offers],
        *,
        step_total: int,
        batch_total: int,
        epoch: float,
        weights: Mapping[str, float] | None = None,
        stream_totals: Mapping[str, int] | None = None,
    ) -> Losses:
        """`step_total` and `batch_total` count images over all processes: of the whole step, of this micro-batch.

        `weights` multiply the streams' losses, 1 where a stream has none. The task loss is the sum over images,
        divided by `step_total`; a penalty counts with the micro-batch's share of the step, and each process's value
        with its share of the images that the penalty sees: `stream_totals` counts those over all processes. Gradients
        are averaged over processes, hence the factor `world`.
        """
        task = self._task(outputs, labels, step_total, weights or {})
        losses = Losses(task, task)
        share = batch_total / step_total
        counts = stream_totals or {name: self.world * len(label) for name, label in labels.items()}
        for penalty in self.penalties:
            for stream in outputs:
                size = len(labels[stream])
                if not size or not penalty.sees(stream):
                    continue
                part = share * self.world * size / sum(count for name, count in counts.items() if penalty.sees(name))
                for term, value in penalty.terms(offers(stream)).items():
                    key = (penalty.use.instance_name, term)
                    cost = value * (penalty.weights[term](epoch) * part)
                    losses.total = losses.total + cost
                    _add(losses.raw, key, value.detach() * part)
                    _add(losses.weighted, key, cost.detach())
                    _add(losses.graphs, key, cost)
        return losses

    def _task(
        self,
        outputs: Mapping[str, Output],
        labels: Mapping[str, Tensor],
        step_total: int,
        weights: Mapping[str, float],
    ) -> Tensor:
        parts = []
        for stream, output in outputs.items():
            loss = self.stream_losses.get(stream, self.task)
            # an empty stream still takes part in the graph: DDP expects a gradient for every parameter
            part = loss(output.logits, labels[stream]).sum() if len(labels[stream]) else output.logits.sum() * 0
            parts.append(part * weights[stream] if stream in weights else part)
        total = parts[0] if len(parts) == 1 else torch.stack(parts).sum()
        return total * (self.world / step_total)
