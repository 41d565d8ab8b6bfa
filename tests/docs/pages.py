"""The pages as text: sections and code blocks."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


def sections(text: str) -> dict[str, str]:
    """{heading: what stands below it, up to the next heading of any level}; code blocks have no headings."""
    found: dict[str, list[str]] = {"": []}
    current, fenced = "", False
    for line in text.splitlines():
        fenced ^= line.startswith("```")
        if not fenced and re.match(r"#{1,6} ", line):
            current = line.lstrip("# ").strip()
            found[current] = []
        else:
            found[current].append(line)
    return {heading: "\n".join(lines) for heading, lines in found.items()}


def blocks(text: str, language: str) -> list[str]:
    """The fenced code blocks of that language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def code(text: str) -> set[str]:
    """What stands in backticks."""
    plain = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return set(re.findall(r"`([^`\n]+)`", plain))


def defined(block: str) -> dict[str, Any]:
    """The names that a Python block defines, run as a module of its own."""
    found: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(block, "example", "exec", dont_inherit=True), found)
    return found


def classes(block: str) -> list[type]:
    """The classes that a Python block defines."""
    values = defined(block).values()
    return [value for value in values if inspect.isclass(value) and value.__module__ == "__main__"]
