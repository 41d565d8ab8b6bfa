"""What an analysis answers: its headline's number and what that means, read from the numbers that are there."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from string import Template
from typing import Any

from transferkit.hookspecs import Declared
from transferkit.report import Headline, Meaning, Metric
from transferkit.reporting.tables import cell, shown_metric
from transferkit.runs.record import of
from transferkit.statistics import Estimate
from transferkit.words.formats import interval

Measured = Callable[[str], Estimate]
MISSING = float("nan")


@dataclass(frozen=True)
class Answer:
    """A tile of the first screen, as texts; `brief` continues "The model …", and may be empty."""

    title: str
    value: str
    range: str = ""
    beside: str = ""
    meaning: str = ""
    todo: str = ""
    how: str = ""
    brief: str = ""

    @property
    def sides(self) -> str:
        """The interval, and what the number is compared with."""
        return " · ".join(filter(None, [self.range, self.beside]))


def measured_in(metrics: Mapping[str, Any], declared: Declared) -> Measured:
    """Reads numbers with their intervals from a report.json's metrics."""
    known = {metric.key: metric for metric in declared.metrics}

    def read(key: str) -> Estimate:
        ends = of(known, key).keys[1:] or ("", "")
        value, low, high = (_number(metrics.get(name)) for name in (key, *ends))
        return Estimate(value, low, high).within(*of(known, key).bounds)

    return read


def measured_over_seeds(metrics: Mapping[str, Any], declared: Declared) -> Measured:
    """Reads means over seeds, with the intervals of these."""
    known = {metric.key: metric for metric in declared.metrics}

    def read(key: str) -> Estimate:
        one = metrics.get(key) or {}
        value, low, high = (_number(one.get(name)) for name in ("mean", "low", "high"))
        return Estimate(value, low, high).within(*of(known, key).bounds)

    return read


def answer_of(declared: Declared, read: Measured, words: Mapping[str, Any]) -> Answer | None:
    """The first headline of which everything was measured; None where there is none. `words` fill its texts."""
    for headline in declared.headlines:
        if all(math.isfinite(read(key).value) for key in headline.keys):
            return _answer(headline, declared, read, words)
    return None


def _answer(headline: Headline, declared: Declared, read: Measured, words: Mapping[str, Any]) -> Answer:
    known = {metric.key: metric for metric in declared.metrics}
    metric, found = of(known, headline.metric), read(headline.metric)
    texts = {key: str(value) for key, value in words.items()}
    texts |= {key: _shown(read(key).value, known, key) for key in known}
    texts["value"] = texts[headline.metric]
    texts["against"] = texts.get(headline.against, "–")

    def fill(text: str) -> str:
        return Template(text).safe_substitute(texts)

    meaning = meaning_of(headline, known, read)
    return Answer(
        title=headline.title or metric.name,
        value=fill(headline.shown),
        range=interval(found.low, found.high, unit=metric.unit) if found.known else "",
        beside=f"{headline.rival}: {texts['against']}" if headline.against else "",
        meaning=fill(meaning.text),
        todo=fill(meaning.todo),
        how=fill(headline.how),
        brief=fill(meaning.brief),
    )


def meaning_of(headline: Headline, known: Mapping[str, Metric], read: Measured) -> Meaning:
    """`more`, `less` or `unsure`, by the interval of what decides, or by a number that is counted and has none."""
    if headline.bar is None and (not headline.against or headline.decides):
        return headline.more
    decides = read(headline.decides or headline.metric)
    bar = read(headline.against).value if headline.bar is None else headline.bar
    if decides.known:
        low, high = decides.low, decides.high
    elif of(known, headline.decides or headline.metric).interval:  # too few of them to say
        low, high = -math.inf, math.inf
    else:
        low = high = decides.value
    if low > bar:
        return headline.more
    if high < bar:
        return headline.less or headline.unsure or headline.more
    return headline.unsure or headline.more


def _shown(value: float, known: Mapping[str, Metric], key: str) -> str:
    if math.isnan(value):
        return cell(None)
    metric = of(known, key)
    signed = "+" if metric.unit == "points" and value > 0 else ""
    return signed + shown_metric(value, metric)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else MISSING
