"""The files of the project and what each imports, read from their text."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Import:
    """One imported name; `name` is empty for `import module`."""

    module: str
    name: str
    typing: bool
    line: int


def files() -> dict[str, Path]:
    """{module: file} of the core and of the plugins that ship."""
    found = {}
    for top, base in (("transferkit", ROOT), ("plugins", ROOT / "plugins")):
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(base).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path) -> list[Import]:
    """Every import of a file, those inside functions too."""
    return list(_imports(ast.parse(path.read_text(encoding="utf-8")), typing=False))


def _imports(node: ast.AST, typing: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, "", typing, child.lineno) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            module = "." * child.level + (child.module or "")
            yield from (Import(module, alias.name, typing, child.lineno) for alias in child.names)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for inner in child.body:
                yield from _imports(ast.Module([inner], []), True)
            for inner in child.orelse:
                yield from _imports(ast.Module([inner], []), typing)
        else:
            yield from _imports(child, typing)


def graph(*, typing: bool) -> dict[str, set[str]]:
    """{module: the modules it imports}, of ours; with or without imports for annotations only."""
    known = files()
    found: dict[str, set[str]] = {}
    for module, path in known.items():
        edges = set()
        for one in imports(path):
            inner = f"{one.module}.{one.name}"
            if typing or not one.typing:
                edges.add(inner if inner in known else one.module)
        found[module] = (edges & set(known)) - {module}
    return found


def circles(edges: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of modules each of which imports every other one, by whatever way."""
    reached = {module: _reached(edges, module) for module in edges}
    groups = {
        tuple(sorted(other for other in reached[module] if module in reached[other]))
        for module in edges
        if module in reached[module]
    }
    return [list(group) for group in sorted(groups)]


def _reached(edges: Mapping[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        for other in edges[waiting.pop()] - found:
            found.add(other)
            waiting.append(other)
    return found
