"""`--fail-on "lingering > 20 or top1_head_swap < 0.3"`: read, checked before the work, evaluated after it.

A small grammar of its own: comparisons of a metric with a number, `and`, `or`, parentheses. Nothing is executed.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from transferkit.errors import InputError
from transferkit.words.doors import option
from transferkit.words.suggest import closest

Values = Mapping[str, Mapping[str, float]]
"""{analysis: {metric: value}}"""

_TOKEN = re.compile(
    r"\s*(?:(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.]))|(?P<operator>>=|<=|==|!=|>|<)"
    r"|(?P<bracket>[()])|(?P<name>[A-Za-z_][\w-]*(?:\.[A-Za-z_][\w-]*)?))"
)
_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge, "<=": operator.le, "==": operator.eq, "!=": operator.ne, ">": operator.gt, "<": operator.lt,
}  # fmt: skip
FORM = 'write NAME OP NUMBER, e.g. "lingering > 20", joined by and / or'
MAX_DEPTH = 50
Metric = tuple[str, str]


@dataclass(frozen=True)
class Finding:
    """What became of one condition: its text, the metrics it names with their values, and whether it holds."""

    expression: str
    values: dict[str, float]
    holds: bool
    unchecked: bool = False
    """Whether it could not be decided, because a metric it needs was not measured. That fails as well."""

    def __str__(self) -> str:
        if self.unchecked:
            missing = ", ".join(name for name, value in self.values.items() if math.isnan(value))
            return f"FAILED: {self.expression} cannot be checked (not measured: {missing})"
        shown = ", ".join(f"{name} = {value:.6g}" for name, value in self.values.items())
        outcome, holds = ("FAILED", "holds") if self.holds else ("passed", "does not hold")
        return f"{outcome}: {self.expression} {holds} ({shown})"


@dataclass(frozen=True)
class Comparison:
    """A metric compared with a number."""

    name: str
    operator: str
    number: float


@dataclass(frozen=True)
class Junction:
    """Parts joined by one word, "and" or "or"."""

    word: str
    parts: tuple[Node, ...]


Node = Comparison | Junction


@dataclass
class Condition:
    """One `--fail-on` as a tree of comparisons."""

    expression: str
    root: Node
    _resolved: dict[str, Metric] = field(default_factory=dict, repr=False)

    @property
    def names(self) -> list[str]:
        """The metrics it asks for, as written, each once."""
        return list(dict.fromkeys(_names(self.root)))

    def check_names(self, known: Mapping[str, Sequence[str] | None]) -> None:
        """Look every name up in {analysis: its metrics, or None where it does not declare them}.

        Raises InputError for a metric that no analysis has, or that several have.
        """
        undeclared = [analysis for analysis, metrics in known.items() if metrics is None]
        pairs = [(analysis, metric) for analysis, metrics in known.items() for metric in metrics or ()]
        for name in self.names:
            matches = _matches(name, pairs)
            if len(matches) > 1 or (not matches and not undeclared):
                raise self._refusal(name, matches, pairs)
            if matches:
                self._resolved[name] = matches[0]

    def evaluate(self, values: Values) -> Finding:
        """Decide it. A metric that is missing or NaN decides nothing, and an undecided condition is a finding."""
        pairs = [(analysis, metric) for analysis, metrics in values.items() for metric in metrics]
        numbers, shown = {}, {}
        for name in self.names:
            analysis, metric = self._resolved.get(name) or next(iter(_matches(name, pairs)), ("", name))
            numbers[name] = float(values.get(analysis, {}).get(metric, math.nan))
            shown[f"{analysis}.{metric}" if analysis else metric] = numbers[name]
        truth = _decide(self.root, numbers)
        return Finding(self.expression, shown, holds=truth is not False, unchecked=truth is None)

    def _refusal(self, name: str, matches: Sequence[Metric], pairs: Sequence[Metric]) -> InputError:
        where = f'{option("fail-on")} "{self.expression}"'
        if matches:
            listed = " or ".join(f"{analysis}.{metric}" for analysis, metric in matches)
            return InputError(f'{where}: "{name}" could be {listed}; write which')
        known = [f"{analysis}.{metric}" for analysis, metric in pairs]
        match = closest(name, known if "." in name else [metric for _, metric in pairs])
        hint = f'did you mean "{match}"? ' if match else ""
        return InputError(
            f'{where}: no analysis here measures "{name}"; {hint}available: {", ".join(known) or "nothing"}'
        )


def _matches(name: str, pairs: Sequence[Metric]) -> list[Metric]:
    """The metrics called `metric`, `analysis.metric` or `analysis_metric`; one with a dot is never ambiguous."""
    exact = [pair for pair in pairs if name == f"{pair[0]}.{pair[1]}"]
    return exact or [pair for pair in pairs if name in (pair[1], f"{pair[0]}_{pair[1]}")]


def parse(text: str) -> Condition:
    """Read an expression; `and` binds tighter than `or`. Raises InputError with the place of the mistake."""
    return Condition(" ".join(text.split()), _Parser(text).whole())


def _names(node: Node) -> list[str]:
    return [node.name] if isinstance(node, Comparison) else [name for part in node.parts for name in _names(part)]


def _decide(node: Node, numbers: Mapping[str, float]) -> bool | None:
    """True, False, or None where a number that matters is missing: `x or true` is true whatever x is."""
    if isinstance(node, Comparison):
        value = numbers[node.name]
        return None if math.isnan(value) else _OPERATORS[node.operator](value, node.number)
    decided = [_decide(part, numbers) for part in node.parts]
    strong = node.word == "or"  # one true part makes an "or" true, one false part an "and" false
    if strong in decided:
        return strong
    return None if None in decided else not strong


class _Parser:
    """Recursive descent over the tokens of one expression."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(self._read())
        self.at = self.depth = 0

    def _read(self) -> Iterator[tuple[str, str, int]]:
        place = 0
        text = self.text.rstrip()
        while place < len(text):
            match = _TOKEN.match(text, place)
            if match is None or match.lastgroup is None:
                start = place + len(text[place:]) - len(text[place:].lstrip())
                raise self._error(f'"{text[start : start + 12]}" is not understood', start)
            value = match[match.lastgroup]
            is_word = match.lastgroup == "name" and value.lower() in ("and", "or")
            kind, value = ("word", value.lower()) if is_word else (match.lastgroup, value)
            yield kind, value, match.start(match.lastgroup)
            place = match.end()

    def _peek(self) -> tuple[str, str, int]:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("end", "", len(self.text))

    def _take(self, kind: str, what: str) -> str:
        found, value, place = self._peek()
        if found != kind:
            raise self._error(f"{what} is needed {'at the end' if found == 'end' else f'instead of {value!r}'}", place)
        self.at += 1
        return value

    def _error(self, message: str, place: int) -> InputError:
        return InputError(f'{option("fail-on")} "{self.text}": {message} (character {place + 1}); {FORM}')

    def whole(self) -> Node:
        """The tree of all tokens."""
        root = self._alternatives()
        kind, value, place = self._peek()
        if kind != "end":
            raise self._error(f"{value!r} is one too many", place)
        return root

    def _alternatives(self) -> Node:
        """`a and b or c`."""
        return self._joined("or", lambda: self._joined("and", self._term))

    def _joined(self, word: str, part: Callable[[], Node]) -> Node:
        parts = [part()]
        while self._peek()[:2] == ("word", word):
            self.at += 1
            parts.append(part())
        return parts[0] if len(parts) == 1 else Junction(word, tuple(parts))

    def _term(self) -> Node:
        """A comparison, or an expression in parentheses."""
        if self._peek()[:2] == ("bracket", "("):
            self.at += 1
            self.depth += 1
            if self.depth > MAX_DEPTH:
                raise self._error("the parentheses are nested too deeply", self._peek()[2])
            inner = self._alternatives()
            if self._peek()[:2] != ("bracket", ")"):
                raise self._error('a ")" is missing', self._peek()[2])
            self.at += 1
            self.depth -= 1
            return inner
        name = self._take("name", "the name of a metric")
        sign = self._take("operator", "one of > >= < <= == !=")
        return Comparison(name, sign, float(self._take("number", "a number")))
