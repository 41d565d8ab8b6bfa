"""A head for more classes than the source knew: its own rows stay, and every further class gets a new one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from transferkit.errors import InputError
from transferkit.model.head_init import no_rows, ridge_head
from transferkit.model.wrapper import SourceHead
from transferkit.words.formats import some

NewRows = Literal["default", "imprint", "ridge"]


def known_rows(source: SourceHead, classes: Sequence[str], known: Sequence[str]) -> list[int | None]:
    """The source head's row of each class, None for those that it does not know. The list grew from `known`.

    By name; where the source has none of the known classes by name, as when its classes are numbers, by place in
    `known`, if that is as long. Raises InputError where no class is known.
    """
    names = list(source.classes)
    if not set(names) & set(known) and len(names) == len(known):
        names = list(known)
    place = {name: row for row, name in reversed([*enumerate(names)])}
    rows = [place.get(name) for name in classes]
    if all(row is None for row in rows):
        raise no_rows(source.classes, classes)
    return rows


def grown_head(
    source: SourceHead,
    drawn: SourceHead,
    rows: Sequence[int | None],
    how: NewRows,
    features: Tensor | None = None,
    labels: Tensor | None = None,
) -> SourceHead:
    """The source's rows where `rows` names one, and new ones for the rest; `drawn` has the classes and first values.

    * `default`: as they were drawn;
    * `imprint`: w_c = m̄ · v_c / ‖v_c‖, with v_c the mean of x/‖x‖ over the class's training images (H. Qi, M. Brown,
      D. Lowe, *Low-shot learning with imprinted weights*, CVPR 2018) and m̄ the mean norm of the rows that stay; the
      bias is the mean of theirs;
    * `ridge`: the class's row of a `ridge_head` over all classes that the training images show, row and bias times
      m̄ / ‖w_c‖: the bias belongs to the row, as the regression is centred.

    `features` (n, d) and `labels` (n,) are of the training images, for the last two. A row of zeros stays so. Raises
    InputError for a new class that they do not show, and for a ridge where they show a single class.
    """
    new = [label for label, row in enumerate(rows) if row is None]
    kept = [(label, row) for label, row in enumerate(rows) if row is not None]
    old = torch.tensor([row for _, row in kept], dtype=torch.int64)
    places = torch.tensor([label for label, _ in kept], dtype=torch.int64)
    weight = drawn.weight.detach().cpu().clone().to(source.weight.dtype)
    weight[places] = source.weight[old].detach().cpu()
    bias = None
    if source.bias is not None:
        bias = torch.zeros(len(weight), dtype=weight.dtype) if drawn.bias is None else drawn.bias.detach().cpu().clone()
        bias[places] = source.bias[old].detach().cpu()
    if how != "default" and new:
        if features is None or labels is None:
            raise ValueError(f"new_rows: {how} needs the features and labels of the training images")
        made, offsets = _made(features, labels, new, how, [drawn.classes[label] for label in new])
        size = weight[places].double().norm(dim=1).mean()
        norms = made.norm(dim=1)
        factor = torch.where(norms > 0, size / norms, 1.0)
        weight[new] = (made * factor[:, None]).to(weight)
        if bias is not None:
            bias[new] = (bias[places].double().mean() if offsets is None else offsets * factor).to(bias)
    return SourceHead(weight, bias, list(drawn.classes))


def _made(
    features: Tensor, labels: Tensor, new: Sequence[int], how: NewRows, names: Sequence[str]
) -> tuple[Tensor, Tensor | None]:
    """(m, d) directions of the new classes, and (m,) biases where the way has its own; float64."""
    shown = torch.tensor(sorted(set(labels.tolist())))
    hidden = [name for label, name in zip(new, names, strict=True) if label not in shown.tolist()]
    if hidden:
        raise InputError(
            f"new_rows: {how} needs training images of every new class, and there are none of {some(hidden)}"
        )
    if how == "imprint":
        return imprinted(features, labels, new), None
    if len(shown) < 2:
        raise InputError("new_rows: ridge needs training images of two classes or more; use new_rows: imprint")
    weight, bias = ridge_head(features.double(), torch.searchsorted(shown, labels), len(shown))
    rows = torch.searchsorted(shown, torch.tensor(new))
    return weight[rows], bias[rows]


def imprinted(features: Tensor, labels: Tensor, classes: Sequence[int]) -> Tensor:
    """The mean of x/‖x‖ over the images of each of these classes: (n, d), (n,) -> (m, d), float64."""
    unit = normalize(features.double(), dim=1)
    return torch.stack([unit[labels == label].mean(dim=0) for label in classes])
