"""Named source classes out of the backbone's own features: LEACE before the last non-linearity, means matched after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from transferkit.analysis import Concept
from transferkit.report import listing, percent

if TYPE_CHECKING:
    from torch import Tensor

    from transferkit import EditSession
    from transferkit.model import TransferModel


@dataclass
class Unlearn(Concept):
    """Change the last layer of the backbone so that no line through its features finds the classes."""

    refit: Annotated[bool, Field(description="let the heads answer on target images as they did")] = True

    def edit(self, model: TransferModel, session: EditSession) -> dict[str, Tensor]:
        """The last linear layer and the target's head; the note says what a probe finds on unseen images."""
        from transferkit.analysis import linear_probe
        from transferkit_unlearn.layer import block_inputs, unlearnt
        from transferkit_unlearn.match import same_answers

        wanted, before = self.wanted(session), self.images(session)
        concepts = before.concepts(wanted)
        tail, given = block_inputs(model, session, self.dataset)
        seen = before.seen[: len(given)]
        values = unlearnt(tail, given[seen], concepts[: len(given)][seen], self.ridge)
        after = self.images(session, values)
        if self.refit:
            target = session.stage.dataset
            old, new = (session.features(target, "train", given)[0] for given in (None, values))
            parts: Mapping[str, Tensor] = {n.rpartition(".")[2]: p.cpu() for n, p in model.named_head_parameters()}
            names = [name for name, _ in model.named_head_parameters()]
            if len(names) == 2:
                fitted = same_answers(parts["weight"], parts["bias"], old, new)
                values |= dict(zip(sorted(names, reverse=True), fitted, strict=True))
        flags = concepts[~before.seen].any(dim=1)
        plain, erased = (linear_probe(one.features[~one.seen], flags, session.rng("probe")) for one in (before, after))
        if not erased.known:
            session.note(f"There are too few unseen images of {listing(self.classes)} to ask a probe.")
            return values
        shown = [f"{percent(one.value)}{one.between(percent)}" for one in (plain, erased)]
        session.note(
            f"On {len(flags)} images that it has not seen, a fresh linear probe on the backbone's own features finds "
            f"{listing(self.classes)} with a balanced accuracy of {shown[0]} before and {shown[1]} after. "
            "Guessing has 50 %.",
            **plain.columns("plain", "plain_low", "plain_high"),
            **erased.columns("erased", "erased_low", "erased_high"),
            unseen=len(flags),
        )
        return values
