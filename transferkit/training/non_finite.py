"""When a number is none: it reaches neither weights nor disk, the step is kept, and what is to blame is named."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from accelerate.utils import gather_object
from torch import Tensor

from transferkit.errors import NonFiniteError, TransferkitError
from transferkit.model.weights import not_finite
from transferkit.training.checkpoint import step_of
from transferkit.training.examine import TASK, Examination, broken_anchors, examine, gradients, term_name
from transferkit.training.optimization import learning_rates
from transferkit.words.doors import shell
from transferkit.words.formats import some

if TYPE_CHECKING:
    from transferkit.data.batches import Batch
    from transferkit.training.objective import Losses
    from transferkit.training.session import TrainingSession

# hooks that run before a step is checked
STATEFUL = ("penalty", "loss", "gradients", "transform_batch", "combine", "transform_features")
IDS = 8  # of images, in a sentence


@dataclass(frozen=True)
class Diagnosis:
    """What of a step is not finite, and where that comes from; both empty where every number is one."""

    what: list[str]
    why: list[str]

    def sentence(self, where: str = "") -> str:
        """Both in one; `where` comes between them."""
        verb = "are" if len(self.what) > 1 else "is"
        return f"{' and '.join(self.what)} {verb} not finite{where}" + "".join(f"; {reason}" for reason in self.why)


def diagnose(session: TrainingSession, losses: Sequence[Losses], found: Examination | None) -> Diagnosis:
    """Name what is not finite, from the loss towards the gradient, on whatever process it is."""
    what = [TASK] if any(not math.isfinite(item.task.item()) for item in losses) else []
    values = [pair for item in losses for pair in (*item.raw.items(), *item.weighted.items())]
    what += dict.fromkeys(term_name(key) for key, value in values if not math.isfinite(float(value)))
    what += [f"the pull of {name}" for name in broken_anchors(session)]
    of_parts = [p for p in found.parts if p.broken] if found is not None else []
    what = _everywhere(what) or _everywhere([f"the gradient of {p.name} (in {some(p.broken)})" for p in of_parts])
    broken = not_finite(gradients(session))
    givers = {str(session.replaced[name]) for name in broken if name in session.replaced}
    by = f", which {' and '.join(sorted(givers))} put there" if givers else ""
    what = what or _everywhere([f"the gradient of {some(broken)}{by}"] if broken else [])
    why = []
    if found is not None and found.images:
        why.append(f"not finite in what was read: {some(found.images, IDS)}")
    elif found is not None and found.module:
        why.append(f"first in the output of {found.module}")
    return Diagnosis(what, _everywhere(why) if what else [])


def refuse_step(session: TrainingSession, losses: Sequence[Losses], batches: Sequence[Batch]) -> None:
    """Raise NonFiniteError for a step with a loss or a gradient that is not finite; the weights are as before it.

    The state before the step is written to disk. Returns where every number is finite and only the gradients' squares
    overflow, unless clipping has scaled the gradients by their sum. To be called by every process.
    """
    clip, largest = session.stage.clip, _largest(session)
    finite = math.isfinite(largest[0]) and all(math.isfinite(item.total.item()) for item in losses)
    overflow = _everywhere([finite]) == [True]
    if overflow and (clip is None or clip.norm is None):
        return
    session.buffers.give_back()
    ruined = not_finite(session.model.state_dict())
    place = _checkpoint(session) if ruined else _keep(session)
    try:
        found = examine(session, batches)
    except Exception:  # memory, a plugin that cannot be asked twice: the step is refused all the same
        found = None
    diagnosis = diagnose(session, losses, found)
    if overflow:
        why = f"every gradient is finite, the largest {largest[0]:.3g} in {largest[1]}, but their squares overflow"
        diagnosis = Diagnosis(["the norm of the gradients"], [why])
    weights = "The weights are as they were before this step."
    if ruined:
        since = "an update before this step ruined them" if session.state.step else "they were not when the stage began"
        weights = f"The weights are not finite in {some(ruined)}: {since}."
    known = session.train_samples.ids
    ids = [known[int(i)] for batch in batches for i in batch.indices.get("target", ())]
    raise _error(
        session,
        diagnosis.sentence(f" at step {session.state.step} of stage {session.stage.name} {_rate(session)}"),
        f"Images of this step: {some(_everywhere(ids), IDS) or 'none of the target'}. {weights} {place}",
        session.state.step,
    )


def refuse_state(session: TrainingSession) -> None:
    """Raise NonFiniteError where the model, its average or the optimizer holds a number that is none.

    Loss and gradient can be finite and the update not: a rate, a division by zero, running statistics that overflow.
    To be called by every process, before any of these is saved.
    """
    broken = _everywhere(broken_state(session))
    if broken:
        raise _error(
            session,
            f"after {session.state.step} steps of {session.stage.name} {_rate(session)} not finite: {some(broken)}",
            f"The losses and gradients were finite. Nothing of this was saved. {_checkpoint(session)}",
        )


def broken_state(session: TrainingSession) -> list[str]:
    """What a checkpoint would hold that is not finite, by name."""
    broken = [f"the model's {name}" for name in not_finite(session.model.state_dict())]
    if session.ema is not None:
        broken += [f"the average's {name}" for name in not_finite(session.ema.module.state_dict())]
    names = {id(parameter): name for name, parameter in session.model.named_parameters()}
    for parameter, state in session.optimizer.state.items():
        tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
        broken += [f"the optimizer's {key} of {names.get(id(parameter), '?')}" for key in not_finite(tensors)]
    return broken


def _error(session: TrainingSession, found: str, state: str, step: int | None = None) -> NonFiniteError:
    session.totals.settle()
    recent = session.totals.recent or session.state.last_losses
    history = ", ".join(f"{value:.4g}" for value in recent) or "none"
    error = NonFiniteError(
        f"{found}. Last losses: {history}. {state} Try a smaller learning rate, warm-up or `clip: {{norm: 1}}`."
    )
    run = session.out.parent.parent
    replay = shell(
        f"transferkit replay {run} --stage {session.stage.name}" + (f" --step {step}" if step is not None else "")
    )
    error.add_note(f"look into it with: {replay}")
    return error


def _rate(session: TrainingSession) -> str:
    return f"(learning rate {learning_rates(session.optimizer)[0]:.3g})"


def _keep(session: TrainingSession) -> str:
    """Write the state before this step, unless it is there or a plugin's part of it has changed; say what there is."""
    touched = any(
        hasattr(plugin.instance, "state_dict") and any(hasattr(plugin.instance, hook) for hook in STATEFUL)
        for plugin in session.plugins
    )
    if session.state.step and not touched:
        try:
            session.save(always=True)
        except TransferkitError as error:
            return f"The state before this step could not be written ({error}). {_checkpoint(session)}"
    return _checkpoint(session)


def _checkpoint(session: TrainingSession) -> str:
    try:
        newest = session.checkpoints.newest()
    except TransferkitError as error:
        return f"{error}."
    if newest is None:
        return "There is no checkpoint yet."
    here = step_of(newest) == session.state.step
    return f"The state before this step is in {newest}." if here else f"The newest checkpoint is {newest}."


def _largest(session: TrainingSession) -> tuple[float, str]:
    """The largest magnitude of a gradient and where it is; NaN counts as the largest."""
    sizes = [(float(g.abs().max()), name) for name, g in gradients(session).items() if g.numel()]
    return max(sizes, key=lambda pair: (math.isnan(pair[0]), pair[0]), default=(0.0, ""))


def _everywhere(items: list[Any]) -> list[Any]:
    """The items of all processes, each once."""
    return list(dict.fromkeys(gather_object(items)))
