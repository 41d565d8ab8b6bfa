"""SVG files as a page wants them: the page's colours in light and dark, its fonts, and as few bytes as possible."""

from __future__ import annotations

import re
from functools import cache
from itertools import groupby
from pathlib import Path

from transferkit.words.text import printable

FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def style_sheet() -> str:
    """The one of report pages, whose colours pictures have, too."""
    return Path(__file__).with_name("report.css").read_text(encoding="utf-8")


@cache
def palette(mode: str) -> dict[str, str]:
    """The colours of report.css as {name: #rrggbb}; mode is "light" or "dark"."""
    style = style_sheet()
    light, dark = (style.split(":root {")[i].split("}")[0] for i in (1, 2))
    found = re.findall(r"--(\w+): #([0-9a-f]{3}|[0-9a-f]{6})\b", dark if mode == "dark" else light)
    return {name: "#" + (value if len(value) == 6 else "".join(2 * digit for digit in value)) for name, value in found}


def slim(svg: str) -> str:
    """A matplotlib SVG without its preamble, with short numbers, shared styles, the page's fonts and dark colours."""
    svg = re.sub(r"^.*?(?=<svg )|<metadata>.*?</metadata>", "", printable(svg), flags=re.S)
    svg = re.sub(r"<[^<>]+>", _slim_tag, svg)
    lines = [line.strip() for line in svg.splitlines()]
    return _styled("\n".join(_shared([line for line in lines if line]))) + "\n"


def _slim_tag(tag: re.Match[str]) -> str:
    """Coordinates to a hundredth of a point and on one line; the page's fonts. Texts between tags stay as they are."""
    text = tag[0].replace("font-family: 'DejaVu Sans', sans-serif; ", "").replace("'DejaVu Sans', sans-serif", FONTS)
    text = re.sub(r' transform="rotate\(-0 [^"]*"', "", text)
    return re.sub(r' (d|x|y)="([^"]*)"', lambda found: f' {found[1]}="{_short(found[2])}"', text)


def _short(numbers: str) -> str:
    cut = re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), numbers)
    return " ".join(cut.split())


def _shared(lines: list[str]) -> list[str]:
    """Neighbouring marks of one style as a group: a scatter of 1000 points names its colour once."""
    out: list[str] = []
    for style, run in groupby(lines, _style_of_mark):
        marks = list(run)
        if style is None or len(marks) < 2:
            out += marks
        else:
            out += [f'<g style="{style}">', *(mark.replace(f' style="{style}"', "") for mark in marks), "</g>"]
    return out


def _style_of_mark(line: str) -> str | None:
    found = re.fullmatch(r'<use [^>]*? style="([^"]*)"/>', line)
    return found[1] if found else None


def _styled(svg: str) -> str:
    """With a style sheet that names the fonts and swaps the page's light colours for its dark ones."""
    light, dark = palette("light"), palette("dark")
    rules = [
        f'[style*="{part}: {light[name]}"]{{{part}:{dark[name]}!important}}'
        for name in light
        if name in dark
        for part in ("fill", "stroke")
        if f"{part}: {light[name]}" in svg
    ]
    sheet = f"<style>text{{font-family:{FONTS}}}@media (prefers-color-scheme:dark){{{''.join(rules)}}}</style>"
    return svg.replace("<defs>", f"{sheet}\n<defs>", 1)
