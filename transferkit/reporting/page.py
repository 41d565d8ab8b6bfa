"""The pieces of a report page: escaped HTML fragments. The style sheet is analysis/report.css."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

from transferkit.analysis.svg import style_sheet

ROOM = 3_300_000  # bytes of all pictures; embedded they take a third more, and a page has five million
TYPES = {".svg": "image/svg+xml", ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}


class Markup(str):
    """A fragment that is escaped already."""


def page(title: str, body: Iterable[str]) -> str:
    """The whole document; `title` is plain text, `body` escaped fragments."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style_sheet()}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in body if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def paragraph(text: str, style: str = "") -> str:
    """A paragraph of plain text."""
    return f'<p class="{style}">{escape(text)}</p>' if style else f"<p>{escape(text)}</p>"


def heading(level: int, text: str, anchor: str = "") -> str:
    """A heading of plain text."""
    mark = f' id="{escape(anchor)}"' if anchor else ""
    shown = escape(text).replace("/", "/<wbr>")  # a path breaks at its folders
    return f"<h{level}{mark}>{shown}</h{level}>"


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], right: Iterable[int] = (), style: str = "") -> str:
    """A table of plain text; the columns whose numbers are in `right` are aligned right.

    In the style "facts" it is as wide as the page, and long texts wrap.
    """
    numeric = set(right)

    def one(cell: Any, tag: str, index: int) -> str:
        style = ' class="n"' if index in numeric else ""
        return f"<{tag}{style}>{_escaped(cell)}</{tag}>"

    def row(cells: Sequence[Any], tag: str) -> str:
        return f"<tr>{''.join(one(cell, tag, i) for i, cell in enumerate(cells))}</tr>"

    body = "\n".join(row(cells, "td") for cells in rows)
    around = f"scroll {style}".strip()
    head = f"<thead>{row(columns, 'th')}</thead>\n" if any(columns) else ""
    return f'<div class="{around}"><table>{head}<tbody>{body}</tbody></table></div>'


def bar(share: float) -> Markup:
    """A small bar that is filled to that share."""
    return Markup(f'<span class="bar"><b style="width:{100 * min(max(share, 0), 1):.1f}%"></b></span>')


def key(name: str, colour: int, dashed: bool = False) -> str:
    """One entry of a chart's legend."""
    line = ' class="dashed"' if dashed else ""
    return f'<span class="key"><i{line} style="border-color:var(--c{colour})"></i>{escape(name)}</span>'


def figure(title: str, keys: Iterable[str], picture: str) -> str:
    """A picture with its title and legend above it; nothing when there is no picture."""
    if not picture:
        return ""
    return f"<figure><figcaption><b>{escape(title)}</b> {''.join(keys)}</figcaption>{picture}</figure>"


def picture(source: str, alt: str, caption: str = "") -> str:
    """An image with its caption below; `source` is a data: URI."""
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f'<figure class="picture"><img alt="{escape(alt)}" src="{escape(source)}">{below}</figure>'


@dataclass
class Pictures:
    """Embeds pictures until `room` bytes are used; those that no longer fit are named instead."""

    room: int = ROOM

    def show(
        self, folder: Path, names: Sequence[Any], captions: Mapping[str, Any], place: str | None = None
    ) -> Iterator[str]:
        """The figures of one folder in their order; neighbours called gallery-* form one gallery.

        `place` is the folder as the page calls it: by default, that of an analysis.
        """
        place = f"analyses/{folder.name}" if place is None else place
        for gallery, group in groupby(map(str, names), lambda name: name.startswith("gallery-")):
            parts = [self._picture(folder, name, str(captions.get(name) or ""), place) for name in group]
            if gallery:
                yield f'<div class="gallery">{"".join(parts)}</div>'
            else:
                yield from parts

    def _picture(self, folder: Path, name: str, caption: str, place: str) -> str:
        """The picture as an image: whatever an SVG contains cannot run or leak styles there."""
        path = folder / name
        kind = TYPES.get(path.suffix.lower())
        inside = path.resolve().is_relative_to(folder.resolve())
        if kind is None or not inside or not path.is_file():
            return paragraph(f"Figure {name} is missing.", "small")
        if path.stat().st_size > self.room:
            text = f"The picture {place}/{name} is not shown: this page would become too large."
            return paragraph(f"{text} {caption}".strip(), "small")
        data = path.read_bytes()
        self.room -= len(data)
        source = f"data:{kind};base64,{base64.b64encode(data).decode()}"
        return picture(source, caption or path.stem, caption)


def small_print(texts: Sequence[str]) -> str:
    """Short remarks in small print; nothing when there are none."""
    return f'<div class="notes">{"".join(paragraph(text) for text in texts)}</div>' if texts else ""


def beside(*parts: str) -> str:
    """Fragments side by side where there is room; the empty ones take none."""
    shown = [part for part in parts if part]
    return f'<div class="pair">{"".join(f"<div>{part}</div>" for part in shown)}</div>' if shown else ""


def box(title: str, items: Sequence[str], style: str = "warn") -> str:
    """A titled list in a box, in the style "warn" or "note"; nothing when the list is empty."""
    if not items:
        return ""
    listed = "".join(f"<li>{_escaped(item)}</li>" for item in items)
    return f'<div class="{style}"><strong>{escape(title)}</strong><ul>{listed}</ul></div>'


def folded(summary: str, text: str) -> str:
    """Preformatted plain text that opens on a click."""
    return closed(summary, f"<pre>{escape(text)}</pre>")


def closed(summary: str, content: str, style: str = "") -> str:
    """Escaped content that opens on a click, and in print unless its style is "rows"."""
    mark = f' class="{style}"' if style else ""
    return f"<details{mark}><summary>{escape(summary)}</summary>{content}</details>"


def _escaped(text: Any) -> str:
    return text if isinstance(text, Markup) else escape(str(text))
