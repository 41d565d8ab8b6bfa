"""The pictures of the analyzer `data`: the worst images of each issue, and where a class can be told."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transferkit.analysis import AnalysisSession, TileRow, heat, short_name, tile_rows
from transferkit_data_audit.issues import KINDS, Issue
from transferkit_data_audit.measure import Findings
from transferkit_data_audit.options import Options
from transferkit_data_audit.pool import Pool

TILE = 150
IN_A_ROW = 6


def draw(session: AnalysisSession, options: Options, found: Findings) -> dict[str, str]:
    """{file: caption}."""
    captions = {}
    if found.map is not None:
        captions["where.svg"] = _where(session, found)
    for kind, meaning in KINDS.items():
        issues = [one for one in found.of(kind) if one.place >= 0][: options.pictures]
        if issues:
            file = f"gallery-{kind.replace(' ', '-')}.jpg"
            tile_rows(session.out / file, _rows(found.pool, issues), size=TILE)
            captions[file] = f"{kind.capitalize()}, the worst {len(issues)} of {len(found.of(kind))}. {meaning.means}"
    return captions


def _rows(pool: Pool, issues: list[Issue]) -> list[TileRow]:
    """Rows of images with their label and what is said of them; a copy stands beside its original."""
    tiles: list[tuple[NDArray[np.uint8], tuple[str, str]]] = []
    for one in issues:
        said = one.suggestion.partition(":")[0] if one.kind.endswith("label") else f"score {one.score:.2f}"
        tiles.append((_tile(pool, one.place), (f"{one.label} · {one.split}", said)))
        if one.other >= 0:
            title = f"{pool.class_of(one.other)} · {pool.splits[one.other]}"
            tiles.append((_tile(pool, one.other), (title, "the other one")))
    cut = [tiles[start : start + IN_A_ROW] for start in range(0, len(tiles), IN_A_ROW)]
    return [TileRow([tile for tile, _ in row], [title for _, title in row]) for row in cut]


def _tile(pool: Pool, place: int) -> NDArray[np.uint8]:
    """The whole picture in the middle of a square."""
    picture = pool.picture(place)
    side = max(picture.size)
    square = Image.new("RGB", (side, side), (238, 238, 238))
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    if side > 2 * TILE:
        square = square.resize((2 * TILE, 2 * TILE), Image.Resampling.BOX)
    return np.asarray(square)


def _where(session: AnalysisSession, found: Findings) -> str:
    assert found.map is not None
    with session.picture("where", 4.6, 3.8) as (_, axes):
        heat(axes, found.map, label=f"tells {short_name(found.map_class, 16)} (AUC)", low=0.5, high=1.0)
        axes.set_aspect("equal")
        axes.set_xticks([])
        axes.set_yticks([])
    return (
        f'How well each place of the picture alone tells "{found.map_class}" from the rest: 0.5 is chance. A bright '
        "spot where the object is not is a shortcut."
    )
