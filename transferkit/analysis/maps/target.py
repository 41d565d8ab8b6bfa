"""The layer a map is taken from, found by looking at the model: no list of architectures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from transferkit.analysis.maps.cut import WHOLE, Cut, gradients, probe_directions
from transferkit.errors import InputError
from transferkit.model.compatibility import probe_batch
from transferkit.model.layout import Grid, Layout, reading_of, readings
from transferkit.model.wrapper import TransferModel

Verdict = Literal["confirmed", "contradicted", "undecided"]
CLEAR = 0.1  # a cell stands out when its share of the response exceeds the mean share by this much
NO_MAP = "its output is no map"
NO_GRADIENT = "no class depends on its positions (the gradient there is zero)"
SCRAMBLED = "its positions do not lie as those of the image do"


def choose(model: TransferModel, layer: str | None) -> tuple[Cut, Layout]:
    """The cut and the layout of the map: at `layer`, or at the last place that classes depend on.

    That is the backbone's output, or, where only its class token reaches the head, the last layer whose
    positions do. Raises InputError, by name and reason, where there is no such place or the named one is none.
    """
    cut = Cut(model, layer or WHOLE)
    features, leaf = cut.leaf(probe_batch(model, 2))
    shape = tuple(leaf.shape)
    width = _width(model, cut, shape)
    layouts = _readings(model, shape, cut.layer, width)
    useful = _depended_on(cut, layouts, features, leaf)
    if not useful and layer is None:
        return _last_inner(model)
    if not useful:
        raise cut.refused(NO_GRADIENT if layouts else NO_MAP)
    layout = useful[0] if len(useful) == 1 and _is_map(shape, width) else _in_order(model, cut, useful)
    if layout is None:
        raise cut.refused(SCRAMBLED)
    return cut, layout


def _depended_on(cut: Cut, layouts: list[Layout], features: Tensor, leaf: Tensor) -> list[Layout]:
    """The layouts at whose positions the features have a gradient other than zero."""
    found = [gradients(features, direction, leaf) for direction in probe_directions(features)]
    if not all(bool(gradient.isfinite().all()) for gradient in found):
        raise cut.refused("gradients there are not finite numbers")
    return [layout for layout in layouts if any(bool(layout.spatial(each).any()) for each in found)]


def _is_map(shape: tuple[int, ...], width: int | None) -> bool:
    """Whether rows and columns are axes of their own beside channels of a known number: their order is sure then."""
    return len(shape) == 4 and width in (shape[1], shape[3])


def _width(model: TransferModel, cut: Cut, shape: tuple[int, ...]) -> int | None:
    """The layer's number of channels where it is known: the backbone's, or that of the stage the layer is in."""
    if cut.layer == WHOLE:
        return _backbone_width(model)
    return model.reading(cut.layer).channels if len(shape) == 4 else None


def _backbone_width(model: TransferModel) -> int | None:
    width = getattr(model.net, "num_features", None)
    return width if isinstance(width, int) else None


def _readings(model: TransferModel, shape: tuple[int, ...], layer: str, width: int | None) -> list[Layout]:
    known = reading_of(model.net, model.preprocessing.input_size, width)
    prefixes = known.prefixes[:1] if layer == WHOLE and hasattr(model.net, "num_prefix_tokens") else known.prefixes
    return readings(shape, known.size, channels=width, prefixes=prefixes, grids=known.grids)


def _in_order(model: TransferModel, cut: Cut, layouts: list[Layout]) -> Layout | None:
    """The layout whose positions are seen to answer to the image's, else the likeliest that may; None if all differ."""

    def maps_of(layout: Layout, images: Tensor) -> Tensor:
        return layout.spatial(cut.output(images))

    image = probe_batch(model, 1)
    found: dict[Verdict, Layout] = {}
    for layout in layouts:
        found.setdefault(judge(partial(maps_of, layout), image, layout.grid), layout)
    return found.get("confirmed", found.get("undecided"))


def _last_inner(model: TransferModel) -> tuple[Cut, Layout]:
    """The last layer, in the order of execution, that all of the classes' dependence on its positions goes through."""
    for name, layouts in reversed(_reaching(model)):
        cut = Cut(model, name)
        carrying = [layout for layout in layouts if _carries_all(model, cut, layout)]
        layout = _in_order(model, cut, carrying)
        if layout is not None:
            return cut, layout
    raise InputError(
        f"no class-activation maps of {model.architecture}: no layer as wide as the backbone gives one value per "
        "position that classes depend on; name a layer (layer=…)"
    )


def _reaching(model: TransferModel) -> list[tuple[str, list[Layout]]]:
    """The layers with a map that the features depend on, and its readings, in the order of execution."""
    outputs: list[tuple[str, Tensor]] = []
    calls: Counter[str] = Counter()

    def keep(name: str, output: Any) -> None:
        calls[name] += 1
        if isinstance(output, Tensor):
            outputs.append((name, output))

    features = _recorded(model, keep)
    once = [(name, output) for name, output in outputs if calls[name] == 1 and output.requires_grad]
    if not once or not features.requires_grad:
        return []
    score = (features * probe_directions(features, 1)[0]).sum()
    found = torch.autograd.grad(score, [output for _, output in once], allow_unused=True)
    width = _backbone_width(model)
    result = []
    for (name, output), gradient in zip(once, found, strict=True):
        shape = tuple(output.shape)
        if gradient is not None and (_is_map(shape, width) or len(shape) == 3):
            layouts = _readings(model, shape, name, width)
            reached = [layout for layout in layouts if bool(layout.spatial(gradient).any())]
            result += [(name, reached)] if reached else []
    return result


def _recorded(model: TransferModel, keep: Callable[[str, Any], None]) -> Tensor:
    """Features of a probe image with the whole pass recorded; `keep` is told what every layer gives."""
    handles = [
        part.register_forward_hook(lambda module, inputs, output, name=name: keep(name, output))
        for name, part in model.net.named_modules()
        if name
    ]
    try:
        with torch.enable_grad():
            return Cut(model).features(probe_batch(model, 1).requires_grad_(), lambda output: output)
    finally:
        for handle in handles:
            handle.remove()


def _carries_all(model: TransferModel, cut: Cut, layout: Layout) -> bool:
    """Whether positions of the layer's input reach the features only through its output.

    The keys of an attention fail this test, for its values go past them; the norm before both passes.
    """
    entered: list[Tensor] = []

    def enter(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        entered.extend(value for value in inputs[:1] if isinstance(value, Tensor))

    handle = model.net.get_submodule(cut.layer).register_forward_pre_hook(enter)
    try:
        with torch.enable_grad():
            features = cut.features(probe_batch(model, 1).requires_grad_(), Tensor.detach)
    finally:
        handle.remove()
    if not entered or entered[0].dim() != 3 or layout.kind != "tokens":
        return True
    past = gradients(features, probe_directions(features, 1)[0], entered[0])
    return not bool(past[:, layout.prefix :].any())


# --- whether positions lie as those of the image do ------------------------------------------------------------


def judge(maps_of: Callable[[Tensor], Tensor], image: Tensor, grid: Grid) -> Verdict:
    """Disturb single cells of one image (1, C, H, W) and see where the map (b, C', h, w) answers.

    How strongly a cell answers is measured against its answers to all disturbances: some cells (registers,
    outlier tokens) answer to everything. A disturbance that no cell stands out for says nothing: attention
    with random weights may forget positions altogether.
    """
    cells = _cells(grid)
    if len(cells) < 2:
        return "undecided"
    maps = maps_of(torch.cat([image, *(_disturbed(image, cell, grid) for cell in cells)])).detach().float()
    response = (maps[1:] - maps[:1]).square().sum(dim=1).sqrt()
    share = (response / response.sum(dim=0, keepdim=True)).nan_to_num(0.0)
    right = wrong = 0
    for own, cell in zip(share, cells, strict=True):
        mean, most = float(own.mean()), float(own.max())
        if most - mean > CLEAR:
            stands_out = float(own[cell]) - mean > (most - mean) / 2
            right, wrong = right + stands_out, wrong + (not stands_out)
    if wrong >= 2:
        return "contradicted"
    return "confirmed" if right > max(1, wrong) else "undecided"


def _cells(grid: Grid) -> list[Grid]:
    """The four corners and one cell inside, so that turned, mirrored, shifted and unrolled maps all show."""
    rows, columns = grid
    corners = [(0, 0), (0, columns - 1), (rows - 1, 0), (rows - 1, columns - 1)]
    return list(dict.fromkeys([*corners, (rows // 3, 2 * columns // 3)]))


def _disturbed(image: Tensor, cell: Grid, grid: Grid) -> Tensor:
    """The image with the pixels of one cell turned to their negative, plus a pattern."""
    rows, columns = (
        slice(side * index // cells, side * (index + 1) // cells)
        for index, cells, side in zip(cell, grid, image.shape[-2:], strict=True)
    )
    result = image.clone()
    part = result[..., rows, columns]
    pattern = torch.cos(1.7 * torch.arange(part.numel(), device=image.device, dtype=torch.float64))
    result[..., rows, columns] = pattern.reshape(part.shape).to(image.dtype) - part
    return result
