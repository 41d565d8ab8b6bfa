"""The loss of a step: the task's, plus every penalty that the recipe names, in recipe order, each with its weight."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn

from transferkit.data.streams import Stream
from transferkit.errors import InputError
from transferkit.plugins.hooks import Call, RunPlugins
from transferkit.recipe import schema
from transferkit.recipe.uses import RegularizerUse, WeightSchedule
from transferkit.training.anchors import WeightedAnchor
from transferkit.words.kinds import type_of
from transferkit.words.suggest import did_you_mean

if TYPE_CHECKING:
    from transferkit.model.wrapper import Output, TransferModel
    from transferkit.training.offers import PenaltyOffers

TaskLoss = Callable[[Tensor, Tensor], Tensor]
TermKey = tuple[str, str]  # instance, term
WeightFunction = Callable[[float], float]


def weight_of(use: RegularizerUse, term: str) -> WeightFunction:
    """The weight of one term as a function of the epoch (a float). An unnamed term is called ""."""
    weight = use.weight
    if isinstance(weight, dict):
        if term not in weight:
            hint = did_you_mean(term, weight) or "it has no terms"
            raise InputError(f'the weight of {use.instance_name} has no entry for its term "{term}"; {hint}')
        weight = weight[term]
    if weight is None:
        raise InputError(f"{use.instance_name} needs a weight")  # recipes are checked before; plugins can be called so
    known = weight  # for the type of it

    def at(epoch: float) -> float:
        if not isinstance(known, WeightSchedule):
            return float(known)
        done = min(max(epoch / known.over, 0.0), 1.0)
        if known.shape == "cosine":
            done = (1 - math.cos(math.pi * done)) / 2
        return known.from_ + (known.to - known.from_) * done

    return at


def check_terms(use: RegularizerUse, terms: set[str]) -> None:
    """Refuse weights for terms that the plugin does not have."""
    unknown = sorted(set(use.weight) - terms) if isinstance(use.weight, dict) else []
    if unknown:
        known = sorted(terms - {""})
        hint = did_you_mean(unknown[0], known) or "this plugin has a single, unnamed term: give one number"
        raise InputError(f'{use.instance_name} has no term "{unknown[0]}"; {hint}')


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
class Penalty:
    """A penalty of the recipe: its compiled call, its weight, and the stream it sees."""

    use: RegularizerUse
    call: Call
    weights: dict[str, WeightFunction] = field(default_factory=dict)
    own: nn.Module | None = None

    def terms(self, offers: PenaltyOffers) -> dict[str, Tensor]:
        """{term: raw value}; a plugin with a single value has the one term ""."""
        offers.own = self.own
        value = self.call(offers)
        terms = dict(value) if isinstance(value, Mapping) else {"": value}
        for term, raw in terms.items():
            if not isinstance(raw, Tensor) or raw.ndim:
                is_tensor = isinstance(raw, Tensor)
                what = f"a tensor of shape {tuple(raw.shape)}" if is_tensor else f"{type_of(raw)}"
                raise InputError(f"{self.call.plugin} returned {what} from penalty; a scalar tensor is needed")
            if term not in self.weights:
                check_terms(self.use, set(terms))
                self.weights[term] = weight_of(self.use, term)
        return terms

    def sees(self, stream: str) -> bool:
        """Whether it looks at this stream."""
        return self.use.on in (stream, "all")


@dataclass
class PluginLoss:
    """A plugin's loss of the target's images, in place of the task's own."""

    call: Call
    own: nn.Module | None = None
    class_counts: Tensor | None = None

    def __call__(self, offers: PenaltyOffers) -> Tensor:
        """The losses (n,). Raises InputError for anything else that the plugin returns."""
        offers.own, offers.class_counts = self.own, self.class_counts
        value = self.call(offers)
        wanted = (len(offers.labels),)
        if not isinstance(value, Tensor) or tuple(value.shape) != wanted or not value.is_floating_point():
            is_tensor = isinstance(value, Tensor)
            what = f"a {value.dtype} tensor of shape {tuple(value.shape)}" if is_tensor else f"{type_of(value)}"
            raise InputError(
                f"{self.call.plugin} returned {what} from loss; one number for each image is needed: {wanted}"
            )
        return value


def add_to(values: dict[Any, Tensor], key: Any, value: Tensor) -> None:
    """Add to the value of that key, out of place; the first is kept as it is."""
    values[key] = values[key] + value if key in values else value


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


@dataclass
class Objective:
    """Adds up the loss of a micro-batch so that averaging over micro-batches and processes is exact."""

    task: TaskLoss
    penalties: Sequence[Penalty]
    stream_losses: Mapping[str, TaskLoss] = field(default_factory=dict)
    world: int = 1
    of_plugin: PluginLoss | None = None
    own: Sequence[Tensor] = ()  # parameters of plugins that train

    def __call__(
        self,
        outputs: Mapping[str, Output],
        labels: Mapping[str, Tensor],
        offers: Callable[[str], PenaltyOffers],
        *,
        step_total: int,
        batch_total: int,
        epoch: float,
        weights: Mapping[str, float] | None = None,
        stream_totals: Mapping[str, int] | None = None,
    ) -> Losses:
        """The loss of one micro-batch, of the streams in `outputs`.

        `step_total` and `batch_total` count images over all processes: of the whole step, of this micro-batch.

        `weights` multiply the streams' losses, 1 where a stream has none. The task loss is the sum over images,
        divided by `step_total`; a penalty counts with the micro-batch's share of the step, and each process's value
        with its share of the images that the penalty sees: `stream_totals` counts those over all processes. Gradients
        are averaged over processes, hence the factor `world`.
        """
        parts = []
        for stream, output in outputs.items():
            if not len(labels[stream]):  # it still takes part in the graph: DDP expects a gradient for every parameter
                part = output.logits.sum() * 0
            elif self.of_plugin is not None and stream == "target":
                part = self.of_plugin(offers(stream)).sum()
            else:
                part = self.stream_losses.get(stream, self.task)(output.logits, labels[stream]).sum()
            parts.append(part * weights[stream] if weights and stream in weights else part)
        task = (parts[0] if len(parts) == 1 else torch.stack(parts).sum()) * (self.world / step_total)
        losses = Losses(task, task)
        if self.own:  # DDP waits for their gradients too, also where no image of this process needs them
            losses.total = losses.total + 0 * torch.stack([parameter.sum() for parameter in self.own]).sum()
        share = batch_total / step_total
        counts = stream_totals or {name: self.world * len(label) for name, label in labels.items()}
        for penalty in self.penalties:
            for stream in outputs:
                size = len(labels[stream])
                if not size or not penalty.sees(stream):
                    continue
                seen = share * self.world * size / sum(count for name, count in counts.items() if penalty.sees(name))
                for term, value in penalty.terms(offers(stream)).items():
                    key = (penalty.use.instance_name, term)
                    cost = value * (penalty.weights[term](epoch) * seen)
                    losses.total = losses.total + cost
                    add_to(losses.raw, key, value.detach() * seen)
                    add_to(losses.weighted, key, cost.detach())
                    add_to(losses.graphs, key, cost)
        return losses


def make_objective(
    stage: schema.Stage,
    plugins: RunPlugins,
    streams: Mapping[str, Stream],
    model: TransferModel,
    accelerator: Accelerator,
) -> Objective:
    """The task loss of every stream, and the penalties in recipe order. Raises InputError for balanced joint heads."""
    if stage.balance in ("loss", "logit_adjustment") and any(stream.head == "joint" for stream in streams.values()):
        raise InputError(
            f"balance: {stage.balance} counts the target's classes only, but the curriculum makes one softmax of all "
            "streams' classes; use balance: sampling, or leave it out"
        )
    penalties = [
        Penalty(_weighted(call, stage), call, own=model.own_of(call.plugin.name)) for call in plugins.calls("penalty")
    ]
    losses = {name: stream.loss for name, stream in streams.items() if stream.loss is not None}
    others = {name: task_loss(stage.own_loss) for name in streams if name != "target"}
    target = streams["target"]
    task = _target_loss(stage, target.samples.labels, len(target.classes), accelerator.device)
    of_plugin = _plugin_loss(plugins, streams, model)
    own = [parameter for parameter in model.own.parameters() if parameter.requires_grad]
    return Objective(task, penalties, others | losses, accelerator.num_processes, of_plugin, own)


def _plugin_loss(plugins: RunPlugins, streams: Mapping[str, Stream], model: TransferModel) -> PluginLoss | None:
    counts = None
    for call in plugins.calls("loss"):
        if call.plugin.kind != "loss":
            raise InputError(f"the {call.plugin} has a loss, which only a plugin named by the stage's key loss may")
        if "class_counts" in call.requests:
            if any(stream.head == "joint" for stream in streams.values()):
                raise InputError(f"the {call.plugin} asks for class_counts, which one softmax of all streams has not")
            target = streams["target"]
            if np.issubdtype(target.samples.labels.dtype, np.floating):
                raise InputError(f"the {call.plugin} asks for class_counts, but the data set is a table of numbers")
            counts = torch.bincount(torch.as_tensor(target.samples.labels), minlength=len(target.classes))
            counts = counts.to(model.head.weight.device)
        return PluginLoss(call, model.own_of(call.plugin.name), counts)
    return None


def _target_loss(stage: schema.Stage, labels: NDArray[np.int64], classes: int, device: torch.device) -> TaskLoss:
    if stage.own_loss.name == "mse" or not isinstance(stage.loss, schema.Loss):
        return task_loss(stage.own_loss)
    counts = torch.bincount(torch.as_tensor(labels), minlength=classes).double()
    weights = prior = None
    if stage.balance == "loss":
        weights = (counts.sum() / (len(counts) * counts.clamp(min=1))).float().to(device)
    elif stage.balance == "logit_adjustment":
        prior = (counts.clamp(min=1) / counts.sum()).log().float().to(device)
    return task_loss(stage.own_loss, class_weights=weights, log_prior=prior)


def make_anchors(
    plugins: RunPlugins, stage: schema.Stage, model: TransferModel, reference: TransferModel | None
) -> list[WeightedAnchor]:
    """Every anchor with its weight, in recipe order."""
    found = []
    for call in plugins.calls("anchors"):
        use = _weighted(call, stage)
        anchors = list(call(SimpleNamespace(model=model, head=model.head, reference=reference)))
        check_terms(use, {anchor.term for anchor in anchors})
        found += [WeightedAnchor(use.instance_name, anchor, weight_of(use, anchor.term)) for anchor in anchors]
    return found


def _weighted(call: Call, stage: schema.Stage) -> RegularizerUse:
    """The recipe's entry that gives a penalty or an anchor its weight: only regularizers have one."""
    if call.plugin.kind != "regularizer":
        raise InputError(f"the {call.plugin} has a {call.hook}, which only a regularizer may: it needs a weight")
    return next(use for use in stage.regularizers if use.instance_name == call.plugin.name)
