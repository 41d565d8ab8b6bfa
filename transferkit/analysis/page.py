"""The pieces of a report page: escaped HTML fragments. The style sheet is report.css."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any


def page(title: str, body: Iterable[str]) -> str:
    """The whole document; `title` is plain text, `body` escaped fragments."""
    style = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in body if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def paragraph(text: str, style: str = "") -> str:
    """A paragraph of plain text."""
    return f'<p class="{style}">{escape(text)}</p>' if style else f"<p>{escape(text)}</p>"


def heading(level: int, text: str, anchor: str = "") -> str:
    """A heading of plain text."""
    mark = f' id="{escape(anchor)}"' if anchor else ""
    return f"<h{level}{mark}>{escape(text)}</h{level}>"


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], right: Iterable[int] = ()) -> str:
    """A table of plain text; the columns whose numbers are in `right` are aligned right."""
    numeric = set(right)

    def one(cell: Any, tag: str, index: int) -> str:
        style = ' class="n"' if index in numeric else ""
        return f"<{tag}{style}>{cell if isinstance(cell, Markup) else escape(str(cell))}</{tag}>"

    def row(cells: Sequence[Any], tag: str) -> str:
        return f"<tr>{''.join(one(cell, tag, i) for i, cell in enumerate(cells))}</tr>"

    body = "\n".join(row(cells, "td") for cells in rows)
    return f'<div class="scroll"><table><thead>{row(columns, "th")}</thead>\n<tbody>{body}</tbody></table></div>'


class Markup(str):
    """A fragment that is escaped already."""


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


def warning(title: str, items: Sequence[str]) -> str:
    """A box that lists warnings; nothing when there are none."""
    if not items:
        return ""
    listed = "".join(f"<li>{escape(item)}</li>" for item in items)
    return f'<div class="warn"><strong>{escape(title)}</strong><ul>{listed}</ul></div>'


def folded(summary: str, text: str) -> str:
    """Preformatted plain text that opens on a click."""
    return f"<details><summary>{escape(summary)}</summary><pre>{escape(text)}</pre></details>"
