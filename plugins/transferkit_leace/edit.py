"""Named source classes out of what the heads see: LEACE on the pooled features, folded into both heads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from transferkit.analysis import Concept
from transferkit.errors import InputError
from transferkit.report import listing, percent

if TYPE_CHECKING:
    from torch import Tensor

    from transferkit import EditSession
    from transferkit.analysis import Eraser
    from transferkit.model import TransferModel


def folded(erase: Eraser, model: TransferModel, session: EditSession) -> dict[str, Tensor]:
    """Target head and source head as they answer on erased features. InputError for a head without a bias."""
    names = {name.rpartition(".")[2]: name for name, _ in model.named_head_parameters()}
    if "bias" not in names:
        raise InputError("the classifier has no bias, into which the mean of what is erased would go")
    weight, bias = erase.fold(model.head.weight.cpu(), model.head.bias.cpu())
    values = {names["weight"]: weight, names["bias"]: bias}
    head = session.source_head
    if head is not None and len(head.weight):
        parts = erase.fold(head.weight.cpu(), None if head.bias is None else head.bias.cpu())
        values |= dict(zip(("source_head.weight", "source_head.bias"), parts, strict=True))
    return values


@dataclass
class Leace(Concept):
    """Erase source classes from what the heads see; the backbone stays as it is."""

    def edit(self, model: TransferModel, session: EditSession) -> dict[str, Tensor]:
        """Both heads on erased features, at no cost in use; the note says what a probe finds on unseen images."""
        from transferkit.analysis import leace, linear_probe

        wanted, found = self.wanted(session), self.images(session)
        concepts = found.concepts(wanted)
        erase = leace(found.features[found.seen], concepts[found.seen], self.ridge)
        unseen, flags = found.features[~found.seen], concepts[~found.seen].any(dim=1)
        plain, erased = (linear_probe(x, flags, session.rng("probe")) for x in (unseen, erase(unseen)))
        if not erased.known:
            session.note(f"There are too few unseen images of {listing(self.classes)} to ask a probe.")
            return folded(erase, model, session)
        shown = [f"{percent(one.value)}{one.between(percent)}" for one in (erased, plain)]
        carry = "still carry it" if plain.low > 0.5 else "do not show it to such a probe either"
        session.note(
            f"On {len(unseen)} images that the eraser has not seen, a fresh linear probe finds {listing(self.classes)} "
            f"with a balanced accuracy of {shown[0]} on erased features, which are what both heads see; the backbone's "
            f"own features {carry}: {shown[1]}. Guessing has 50 %.",
            **plain.columns("plain", "plain_low", "plain_high"),
            **erased.columns("erased", "erased_low", "erased_high"),
            unseen=len(unseen),
        )
        return folded(erase, model, session)
