"""The pieces of a report page: escaped HTML fragments. The style sheet is analysis/report.css."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from transferkit.analysis.svg import style_sheet

if TYPE_CHECKING:
    from transferkit.reporting.glossary import Glossary

ROOM = 3_300_000  # bytes of all pictures; embedded they take a third more, and a page has five million
TYPES = {".svg": "image/svg+xml", ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}


GALLERY = "gallery-"
SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")


class Markup(str):
    """A fragment that is escaped already."""


def page(title: str, top: Iterable[str], body: Iterable[str], links: Sequence[tuple[str, str]] = ()) -> str:
    """The whole document; `title` is plain text, `top` and `body` escaped fragments, `links` (anchor, plain text)."""
    listed = "".join(f'<a href="#{quote(anchor)}">{escape(text)}</a>' for anchor, text in links)
    nav = f'<nav aria-label="Sections">{listed}</nav>\n' if links else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style_sheet()}</style>\n</head>\n<body>\n<header>\n"
        + "\n".join(part for part in top if part)
        + f"\n</header>\n{nav}<main>\n"
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
        tag = tag if cell else "td"  # a column without a name has no heading
        return f"<{tag}{style}>{_escaped(cell)}</{tag}>"

    def row(cells: Sequence[Any], tag: str) -> str:
        return f"<tr>{''.join(one(cell, tag, i) for i, cell in enumerate(cells))}</tr>"

    body = "\n".join(row(cells, "td") for cells in rows)
    around = f"scroll {style}".strip()
    head = f"<thead>{row(columns, 'th')}</thead>\n" if any(columns) else ""
    body = f"<table>{head}<tbody>{body}</tbody></table>"
    return f'<div class="{around}" tabindex="0" role="group" aria-label="table">{body}</div>'  # the keyboard scrolls it


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


@dataclass
class Pictures:
    """Embeds pictures until `room` bytes are used; those that no longer fit are named instead."""

    room: int = ROOM

    def show(
        self,
        folder: Path,
        names: Sequence[Any],
        captions: Mapping[str, Any],
        glossary: Glossary,
        place: str | None = None,
    ) -> Iterator[str]:
        """The figures of one folder in their order; neighbours called gallery-* form one gallery.

        Below each stands the first sentence of its caption; the rest opens on a click. `place` is the folder as the
        page calls it: by default, that of an analysis.
        """
        place = f"analyses/{folder.name}" if place is None else place
        for gallery, group in groupby(map(str, names), lambda name: name.startswith(GALLERY)):
            parts = [self._picture(folder, name, str(captions.get(name) or ""), place, glossary) for name in group]
            if gallery:
                yield f'<div class="gallery">{"".join(parts)}</div>'
            else:
                yield from parts

    def thumbnail(self, folder: Path, name: str, alt: str) -> str:
        """A small picture without a caption, or a dash."""
        source = self._embedded(folder, name)
        return f'<img alt="{escape(alt)}" src="{source}">' if source else "–"

    def _picture(self, folder: Path, name: str, caption: str, place: str, glossary: Glossary) -> str:
        """The picture as an image: whatever an SVG contains cannot run or leak styles there."""
        path = folder / name
        if not self._is_there(folder, name):
            return paragraph(f"Figure {name} is missing.", "small")
        source = self._embedded(folder, name)
        if not source:
            text = f"The picture {place}/{name} is not shown: this page would become too large."
            return paragraph(f"{text} {caption}".strip(), "small")
        first, *rest = SENTENCE.split(caption, maxsplit=1)
        below = f"<figcaption>{glossary.explained(first)}</figcaption>" if first else ""
        more = closed("more about this picture", f"<p>{glossary.explained(rest[0])}</p>", "rows") if rest else ""
        linked = f'<a href="{quote(f"{place}/{name}")}"><img alt="{escape(caption or path.stem)}" src="{source}"></a>'
        return f'<figure class="picture">{linked}{below}{more}</figure>'

    def _is_there(self, folder: Path, name: str) -> bool:
        path = folder / name
        inside = path.resolve().is_relative_to(folder.resolve())
        return path.suffix.lower() in TYPES and inside and path.is_file()

    def _embedded(self, folder: Path, name: str) -> str:
        """The picture as a data: URI, or nothing where it is not there or no longer fits."""
        path = folder / name
        if not self._is_there(folder, name) or path.stat().st_size > self.room:
            return ""
        data = path.read_bytes()
        self.room -= len(data)
        return f"data:{TYPES[path.suffix.lower()]};base64,{base64.b64encode(data).decode()}"


def small_print(texts: Sequence[str], glossary: Glossary) -> str:
    """Short remarks in small print; nothing when there are none."""
    shown = "".join(f"<p>{glossary.explained(text)}</p>" for text in texts)
    return f'<div class="notes">{shown}</div>' if shown else ""


def link(place: str, text: str = "") -> Markup:
    """A link to a file of the run's folder, by its path there."""
    shown = escape(text or place).replace("/", "/<wbr>")
    return Markup(f'<a href="{quote(place)}">{shown}</a>')


def box(title: str, items: Sequence[str], style: str = "warn") -> str:
    """A titled list in a box, in the style "warn" or "note"; nothing when the list is empty."""
    if not items:
        return ""
    listed = "".join(f"<li>{_escaped(item)}</li>" for item in items)
    return f'<div class="{style}"><strong>{escape(title)}</strong><ul>{listed}</ul></div>'


def folded(summary: str, text: str) -> str:
    """Preformatted plain text that opens on a click."""
    return closed(summary, preformatted(text), "rows")


def preformatted(text: str) -> str:
    """Plain text with its lines as they are."""
    return f'<pre tabindex="0">{escape(text)}</pre>'


def closed(summary: str, content: str, style: str = "", anchor: str = "") -> str:
    """Escaped content that opens on a click."""
    mark = (f' class="{style}"' if style else "") + (f' id="{escape(anchor)}"' if anchor else "")
    return f"<details{mark}><summary>{escape(summary)}</summary>{content}</details>"


def _escaped(text: Any) -> str:
    return text if isinstance(text, Markup) else escape(str(text))
