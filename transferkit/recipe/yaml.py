"""YAML with 1.2 scalars, positions for everything, and errors in plain sentences.

PyYAML follows YAML 1.1, where `1e-3` is text, `no` is false, `010` is 8 and a duplicate key wins silently.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path, PurePath
from typing import Any

import yaml

from transferkit.errors import InputError, Problem
from transferkit.recipe.tree import Mark, Node, shown
from transferkit.words.kinds import type_of

MAX_NODES = 20_000
MAX_BYTES = 1_000_000
MAX_DEPTH = 100
MAX_DIGITS = 100
_NEVER_TEXT = re.compile(r"[\x00\ud800-\udfff]")  # no file name, and nothing that can be written as UTF-8, has these
_BRACKET = "a bracket or brace is not closed, or a comma is missing"
_SYNTAX_HINTS = {
    "mapping values are not": 'text that contains ": " needs quotes, and keys of one mapping must be indented alike',
    "expected <block end>": "the lines of one mapping or list must begin in the same column",
    "expected ',' or": _BRACKET,
}
_TAG = "tag:yaml.org,2002:"
INIT = "`transferkit init FOLDER` writes one for a folder of images"
_LEADING_ZERO = "!leading-zero"
_SCALARS = [
    (_LEADING_ZERO, r"[-+]?0[0-9]+", "-+0"),
    (f"{_TAG}null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    (f"{_TAG}bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    (f"{_TAG}int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (f"{_TAG}float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    (f"{_TAG}float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+."),
]


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  PyYAML's own name


class _Dumper(yaml.SafeDumper):
    """Quotes what either version of YAML would read as something else than text."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


_Dumper.add_multi_representer(PurePath, lambda dumper, path: dumper.represent_str(os.fspath(path)))
for _tag, _pattern, _first in _SCALARS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_tag, re.compile(f"^(?:{_pattern})$"), list(_first))


def dump(data: Any) -> str:
    """Plain data as YAML that `parse` reads back unchanged."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def flow(data: Any) -> str:
    """A value on one line, as it could stand in a recipe."""
    text = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10**6, default_flow_style=True)
    return str(text).removesuffix("\n").removesuffix("\n...")


def read(path: Path) -> Node:
    """The tree of a recipe file. Raises InputError with every problem that was found."""
    where = shown(path)
    content = _content(path, where)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(Problem(f"{where}:{line}:1", "is not UTF-8 text")) from None
    root = parse(text, Mark(where, 1, 1, path.absolute().parent))
    if root.value is None:
        raise InputError(Problem(where, "the file is empty; a recipe needs name, model, datasets and stages"))
    if not isinstance(root.value, dict):
        raise InputError(Problem(str(root.mark), "a recipe is a mapping of keys and values (name: …)"))
    return root


def _content(path: Path, where: str) -> bytes:
    """The bytes of a file, of a terminal or of a pipe that the shell opened; nothing waits, and nothing is endless."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise InputError(Problem(where, "is a folder; a recipe is a YAML file", INIT))
        if not stat.S_ISREG(mode) and not str(path).startswith(("/dev/", "/proc/")):
            raise InputError(Problem(where, "is no file that could be read; a recipe is a YAML file"))
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise InputError(Problem(where, "there is no such file")) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(Problem(where, f"cannot be read: {reason}")) from None
    if len(content) > MAX_BYTES:
        size = max(os.path.getsize(path), len(content))
        raise InputError(Problem(where, f"is {size:,} bytes long, which is too much for a recipe"))
    return content


def tree(value: Any, start: Mark) -> Node:
    """Plain data as a tree, by the rules of files; all of it stands at `start`. Raises InputError."""
    try:
        return parse(dump(value), start)
    except yaml.representer.RepresenterError as error:
        given = error.args[-1]
        message = f"{given!r} ({type_of(given)}) cannot stand in a recipe"
        raise InputError(Problem(str(start), message, "a recipe is numbers, texts, lists and mappings")) from None


def parse(text: str, start: Mark) -> Node:
    """The tree of a YAML text whose place is `start`. Raises InputError with every problem that was found."""
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        raise InputError(_syntax_problem(error, text, start)) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        place = str(start) if start.on_command_line else f"{start.source}:{line}:1"
        character = f"U+{int(error.character):04X}"
        raise InputError(Problem(place, f"the character {character} is not allowed")) from None
    except RecursionError:
        raise InputError(Problem(str(start), "the values are nested too deeply")) from None
    if node is None:
        return Node(None, start)
    builder = _Builder(start)
    root = builder.build(node)
    if builder.problems:
        raise InputError(builder.problems)
    return root


def _syntax_problem(error: yaml.MarkedYAMLError, text: str, start: Mark) -> Problem:
    mark = error.problem_mark or error.context_mark
    if start.on_command_line or mark is None:
        return Problem(str(start), f"the value is not valid YAML: {error.problem}")
    problem, context = str(error.problem), str(error.context or "")
    place, opened = _place(start, mark), error.context_mark
    lines = text.splitlines()
    line = lines[mark.line] if mark.line < len(lines) else ""
    if "'\\t'" in problem or "\t" in line[: mark.column + 1]:
        hint = "replace the tabs in this file by spaces"
        return Problem(place, "a tab stands here, where YAML allows only spaces", hint)
    if "quoted scalar" in context and "end of stream" in problem and opened is not None:
        hint = "close it with the same quote, in the same line"
        return Problem(_place(start, opened), "the quote that begins here is never closed", hint)
    bracket = _open_bracket(text) if "<stream end>" in problem or "expected ',' or" in problem else None
    if bracket is not None and ("<stream end>" in problem or bracket.start_mark.line < mark.line):
        sign, end = ("[", "]") if isinstance(bracket, yaml.FlowSequenceStartToken) else ("{", "}")
        until = "is never closed" if "<stream end>" in problem else f"is not closed where line {mark.line + 1} begins"
        hint = f"{_BRACKET}: write {end} behind the last item"
        return Problem(_place(start, bracket.start_mark), f"the {sign} that begins here {until}", hint)
    if "single document" in context:
        return Problem(place, "a second document starts here (---); a recipe is one document")
    if "anchor" in problem or "alias" in problem:
        return Problem(place, f"not valid YAML: {problem}", "text that begins with * or & needs quotes")
    since = ""
    if context and opened is not None:
        since = f" ({context} that begins at line {opened.line + 1}, column {opened.column + 1})"
    hints = (hint for part, hint in _SYNTAX_HINTS.items() if part in problem)
    return Problem(place, f"not valid YAML: {problem}{since}", next(hints, None))


def _place(start: Mark, at: yaml.Mark) -> str:
    return f"{start.source}:{at.line + 1}:{at.column + 1}"


def _open_bracket(text: str) -> yaml.Token | None:
    """The innermost bracket or brace that is still open where the text ends or stops making sense."""
    opened: list[yaml.Token] = []
    try:
        for token in yaml.scan(text, Loader=_Loader):
            if isinstance(token, yaml.FlowSequenceStartToken | yaml.FlowMappingStartToken):
                opened.append(token)
            elif isinstance(token, yaml.FlowSequenceEndToken | yaml.FlowMappingEndToken) and opened:
                opened.pop()
    except yaml.YAMLError:
        pass
    return opened[-1] if opened else None


class _Builder:
    """Turns PyYAML's nodes into ours; aliases are copied, within a limit."""

    def __init__(self, start: Mark) -> None:
        self.problems: list[Problem] = []
        self._start = start
        self._count = 0
        self._open: set[int] = set()

    def build(self, node: yaml.Node, key: Mark | None = None) -> Node:
        mark = self._mark(node)
        self._count += 1
        if len(self._open) > MAX_DEPTH:
            raise InputError(Problem(str(mark), "the values are nested too deeply"))
        if self._count > MAX_NODES:
            raise InputError(Problem(str(mark), f"the aliases (*name) unfold to more than {MAX_NODES:,} values"))
        if id(node) in self._open:
            raise InputError(Problem(str(mark), "an alias (*name) contains itself"))
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return Node(self._mapping(node), mark, key)
            if isinstance(node, yaml.SequenceNode):
                self._plain_tag(node, "seq", mark)
                return Node([self.build(item) for item in node.value], mark, key)
            assert isinstance(node, yaml.ScalarNode)
            return Node(self._scalar(node, mark), mark, key)
        finally:
            self._open.discard(id(node))

    def _mark(self, node: yaml.Node) -> Mark:
        if self._start.on_command_line:
            return self._start
        at = node.start_mark
        return Mark(self._start.source, at.line + 1, at.column + 1, self._start.folder)

    def _problem(self, mark: Mark, message: str, hint: str | None = None) -> None:
        self.problems.append(Problem(str(mark), message, hint))

    def _plain_tag(self, node: yaml.Node, expected: str, mark: Mark) -> None:
        if node.tag != f"{_TAG}{expected}":
            self._problem(mark, f'the tag "{node.tag.replace(_TAG, "!!")}" is not allowed', "a recipe is plain data")

    def _is_no_text(self, text: str, mark: Mark) -> bool:
        found = _NEVER_TEXT.search(text)
        if found:
            self._problem(mark, f"the character U+{ord(found[0]):04X} is not allowed")
        return found is not None

    def _mapping(self, node: yaml.MappingNode) -> dict[str, Node]:
        self._plain_tag(node, "map", self._mark(node))
        items: dict[str, Node] = {}
        for key_node, value_node in node.value:
            mark = self._mark(key_node)
            if not isinstance(key_node, yaml.ScalarNode):
                self._problem(mark, "a key must be a single word or text")
                continue
            name = str(key_node.value)
            if self._is_no_text(name, mark):
                continue
            if name == "<<" and key_node.style is None:
                self._problem(mark, '"<<" is not part of YAML 1.2', "use extends: to build on another recipe")
                continue
            value = self.build(value_node, mark)
            if name in items:
                first = items[name].label
                at = "" if first.on_command_line else f", first at line {first.line}"
                self._problem(mark, f'the key "{name}" is given twice{at}', "keep one of the two")
                continue
            items[name] = value
        return items

    def _scalar(self, node: yaml.ScalarNode, mark: Mark) -> Any:
        text, tag = str(node.value), str(node.tag)
        if self._is_no_text(text, mark):
            return None
        if tag in (_LEADING_ZERO, f"{_TAG}int", f"{_TAG}float") and len(text) > MAX_DIGITS:
            return self._problem(mark, f"{text[:40]}… is not a number that can be read")
        if tag == _LEADING_ZERO:
            number = str(int(text))
            hint = f'write {number} for the number, or "{text}" in quotes for text'
            return self._problem(mark, f"{text} begins with a zero: it could mean two things", hint)
        if tag == f"{_TAG}str":
            return text
        if tag == f"{_TAG}null":
            return None
        if tag == f"{_TAG}bool":
            return text.lower() == "true"
        try:
            if tag == f"{_TAG}int":
                return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
            if tag == f"{_TAG}float":
                return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        except ValueError:
            return self._problem(mark, f"{text[:40]} is not a number that can be read")
        return self._plain_tag(node, "str", mark)
