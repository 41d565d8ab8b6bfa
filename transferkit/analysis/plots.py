"""Pictures of analyses: charts by matplotlib as small SVG files, and rows of image tiles with heat maps as JPEG.

Nothing here touches pyplot: analyses may draw in threads and leave no figure open. The same data, the same bytes.
"""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from transferkit.analysis.svg import palette, slim
from transferkit.system.atomic import make_folder, write_bytes
from transferkit.words.text import one_line, printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Pixels = NDArray[np.uint8]
    Box = tuple[int, int, int, int]

LIGHT = palette("light")  # the page's colours by name; in dark mode a picture's are exchanged for the dark ones
COLOURS = tuple(LIGHT[f"c{i}"] for i in range(8))  # the page's --c0 to --c7
# what is written, what is said in passing, axes, and the lines of a grid
TEXT, SOFT, RULE, GRID = LIGHT["fg"], LIGHT["soft"], LIGHT["rule"], LIGHT["grid"]
SIZE = 12.5  # points; a picture 6.4 inches wide is shown at about half its size on a phone
CROWD = 3000  # more points than these are drawn as a bitmap inside the SVG
TILE, GAP, QUALITY = 160, 4, 76
LINE, FINE = 18, 90  # pixels of a line of text beside tiles, and the quality that such a JPEG needs

_SAVING = threading.RLock()  # matplotlib reads a few settings of SVG files from one place for the whole process
_SETTINGS = {
    "svg.fonttype": "none",
    "svg.hashsalt": "transferkit",
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "text.parse_math": False,
    "text.usetex": False,
}


@dataclass(frozen=True)
class TileRow:
    """A row of `tile_rows`: its tiles, (what it shows, what is said of it) for each, and `tile_row`'s boxes."""

    tiles: Sequence[Pixels]
    titles: Sequence[tuple[str, str]]
    boxes: Sequence[Box | None] | None = None


@contextmanager
def picture(
    path: Path, width: float = 6.4, height: float = 4.0, board: Any = None, tag: str = "", step: int | None = None
) -> Iterator[tuple[Figure, Axes]]:
    """A matplotlib figure and its axes in the report's style, saved as the SVG file `path` at the end of the block.

    Sizes are in inches. Colours go round `COLOURS`. Texts are plain: `$` starts no formula, so class names are safe.
    With a TensorBoard SummaryWriter as `board` the picture is also logged there, as the image `tag` (or the file's
    name). When the block raises, nothing is written. Raises ValueError for another ending than .svg.
    """
    if path.suffix != ".svg":
        raise ValueError(f"pictures are SVG files, not {path.name!r}")
    figure, axes = _figure(width, height)
    yield figure, axes
    for each in figure.axes:
        if each is not axes:
            _quiet(each)
    _tidy(figure)
    with _SAVING:
        data, pixels = _render(figure, bitmap=board is not None)
    make_folder(path.parent)
    write_bytes(path, slim(data).encode("utf-8"))
    if board is not None:
        board.add_image(tag or path.stem, pixels, step, dataformats="HWC")


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor=LIGHT["bg"], edgecolor="none")
    axes = figure.add_subplot()
    axes.set_prop_cycle(color=COLOURS)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    _quiet(axes)
    return figure, axes


def _quiet(axes: Axes) -> None:
    """Thin grey lines on two sides, grey numbers, and text large enough for a phone."""
    axes.set_facecolor(LIGHT["bg"])
    axes.spines[["top", "right"]].set_visible(False)
    for spine in axes.spines.values():
        spine.set(color=RULE, linewidth=0.8)
    axes.tick_params(which="both", color=RULE, labelcolor=SOFT, labelsize=SIZE - 1, width=0.8)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=SOFT, size=SIZE)
    axes.title.set(color=TEXT, size=SIZE + 0.5, weight="semibold")


def _tidy(figure: Figure) -> None:
    """What can only be set once the caller has drawn: plain texts, plain ticks of log scales, quiet legends, crowds."""
    from matplotlib.collections import PathCollection
    from matplotlib.legend import Legend
    from matplotlib.lines import Line2D
    from matplotlib.text import Text

    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            _plain_ticks(axis)
    for text in figure.findobj(Text):
        text.set(parse_math=False, usetex=False, text=printable(text.get_text()))
        if text.get_color() in ("black", "k"):
            text.set_color(TEXT)
    for legend in figure.findobj(Legend):
        legend.set_frame_on(False)
        for text in legend.get_texts():
            text.set(color=SOFT, size=SIZE - 1)
    for points in figure.findobj(PathCollection):
        points.set_rasterized(points.get_rasterized() or np.shape(points.get_offsets())[0] > CROWD)
    for line in figure.findobj(Line2D):
        line.set_rasterized(line.get_rasterized() or np.size(line.get_xdata()) > CROWD)


def _plain_ticks(axis: Any) -> None:
    """Numbers instead of powers of ten set as formulas."""
    from matplotlib.ticker import FuncFormatter, LogFormatter, LogitFormatter, NullFormatter

    if isinstance(axis.get_major_formatter(), LogFormatter | LogitFormatter):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())


def _render(figure: Figure, *, bitmap: bool) -> tuple[str, Pixels | None]:
    """The figure as SVG text and, if wanted, as (H, W, 3) pixels."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    file, pixels = io.BytesIO(), None
    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # the reader's fonts draw the text
        figure.savefig(file, format="svg", dpi=120, metadata={"Date": None, "Creator": None})
        if bitmap:
            canvas = FigureCanvasAgg(figure)
            canvas.draw()
            pixels = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    return file.getvalue().decode("utf-8"), pixels


def short_name(name: str, length: int = 24) -> str:
    """A class's name for an axis: printable, on one line, cut to that many characters."""
    text = one_line(" ".join(name.split()))
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def overlay_heat(pixels: Pixels, heat: NDArray[np.floating[Any]], strength: float = 0.65) -> Pixels:
    """A picture with a heat map over it: (H, W, 3) uint8 and (h, w) in 0..1 give (H, W, 3) uint8.

    Colours grow evenly from violet to yellow (matplotlib's plasma) and cover the picture by strength x heat, so that
    cold regions show the picture itself. The map is resized to the picture; NaN counts as 0, other values are clipped.
    """
    from matplotlib import colormaps
    from PIL import Image

    _check_pixels(pixels)
    if heat.ndim != 2:
        raise ValueError(f"a heat map has two axes, not the shape {heat.shape}")
    warm = np.clip(np.nan_to_num(np.asarray(heat, np.float32)), 0, 1)
    height, width = pixels.shape[:2]
    if warm.shape != (height, width):
        warm = np.asarray(Image.fromarray(warm).resize((width, height), Image.Resampling.BILINEAR))
    colours = 255 * colormaps["plasma"](warm)[..., :3]
    cover = strength * warm[..., None]
    mixed: Pixels = np.rint((1 - cover) * pixels + cover * colours).astype(np.uint8)
    return mixed


def tile_row(path: Path, tiles: Sequence[Pixels], boxes: Sequence[Box | None] | None = None, size: int = TILE) -> None:
    """One row of a gallery as a JPEG: (H, W, 3) uint8 pictures side by side, each `size` pixels wide.

    `boxes` are outlines (top, left, bottom, right) in pixels of their picture, half-open; None for a picture without
    one. Name the file gallery-*.jpg for the report to show it as a row of a gallery.
    """
    _save(path, _row(tiles, boxes, size), QUALITY)


def tile_rows(path: Path, rows: Sequence[TileRow], notes: Sequence[str] = (), size: int = 256) -> None:
    """Rows as `tile_row` has them, one below the other as a JPEG, with two lines of text over every tile.

    `notes` are sentences below them, wrapped to the width. Texts are cut to what fits over their tile.
    """
    from PIL import Image, ImageDraw

    parts = [part for row in rows for part in (_captions(row.titles, size), _row(row.tiles, row.boxes, size))]
    width = max(part.width for part in parts)
    lines = [line for text in notes for line in _wrapped(text, width - 2 * GAP)]
    height = sum(part.height + GAP for part in parts) + LINE * len(lines) + GAP
    whole = Image.new("RGB", (width, height), "white")
    top = 0
    for part in parts:
        whole.paste(part, (0, top))
        top += part.height + GAP
    draw = ImageDraw.Draw(whole)
    for number, line in enumerate(lines):
        draw.text((GAP, top + LINE * number), line, fill=SOFT, font=_font())
    _save(path, whole, FINE)


def _row(tiles: Sequence[Pixels], boxes: Sequence[Box | None] | None, size: int) -> Any:
    from PIL import Image, ImageDraw

    marks = list(boxes) if boxes is not None else [None] * len(tiles)
    if not tiles or len(marks) != len(tiles):
        raise ValueError(
            f"{len(tiles)} tiles and {len(marks)} boxes: a row needs tiles, and one box (or None) for each"
        )
    heights = [max(1, round(size * _check_pixels(tile)[0] / tile.shape[1])) for tile in tiles]
    row = Image.new("RGB", (len(tiles) * (size + GAP) - GAP, max(heights)), "white")
    draw = ImageDraw.Draw(row)
    for i, (tile, height, box) in enumerate(zip(tiles, heights, marks, strict=True)):
        left, top = i * (size + GAP), (max(heights) - height) // 2
        row.paste(Image.fromarray(tile).resize((size, height), Image.Resampling.LANCZOS), (left, top))
        if box is not None:
            _outline(draw, box, size / tile.shape[1], left, top)
    return row


def _captions(titles: Sequence[tuple[str, str]], size: int) -> Any:
    """A strip with two lines over each tile: what it shows, and what is said of it."""
    from PIL import Image, ImageDraw

    strip = Image.new("RGB", (len(titles) * (size + GAP) - GAP, 2 * LINE + GAP), "white")
    draw = ImageDraw.Draw(strip)
    for i, lines in enumerate(titles):
        for number, (text, colour) in enumerate(zip(lines, (TEXT, SOFT), strict=True)):
            place = i * (size + GAP) + GAP, GAP + LINE * number
            draw.text(place, _fitting(text, size - 2 * GAP), fill=colour, font=_font())
    return strip


def _fitting(text: str, width: int) -> str:
    """As much of the text as is no wider, on one line."""
    text, length = one_line(text), len(text)
    while length > 1 and _font().getlength(short_name(text, length)) > width:
        length -= 1
    return short_name(text, length)


def _wrapped(text: str, width: int) -> list[str]:
    lines: list[str] = []
    for word in one_line(text).split():
        if lines and _font().getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


@cache
def _font() -> Any:
    """The one that matplotlib brings, found without a look at the machine's own, which takes seconds."""
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), 13)


def _save(path: Path, image: Any, quality: int) -> None:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, optimize=True)
    make_folder(path.parent)
    write_bytes(path, file.getvalue())


def _check_pixels(pixels: Pixels) -> tuple[int, int]:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise ValueError(f"a picture is (H, W, 3) of uint8, not {pixels.shape} of {pixels.dtype}")
    return pixels.shape[0], pixels.shape[1]


def _outline(draw: Any, box: Box, scale: float, left: int, top: int) -> None:
    """White inside black, to be seen on any picture."""
    y0, x0, y1, x1 = (round(edge * scale) for edge in box)
    x0, y0, x1, y1 = left + x0, top + y0, left + max(x1, x0 + 4) - 1, top + max(y1, y0 + 4) - 1
    draw.rectangle([x0, y0, x1, y1], outline="black", width=3)
    draw.rectangle([x0 + 1, y0 + 1, x1 - 1, y1 - 1], outline="white")
