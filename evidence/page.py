"""docs/reproduction.md from artefacts.yaml and the stored results. Nothing on it is written by hand."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from evidence.artefacts import HERE, ROOT, Artefacts, Experiment, Number, Row
from evidence.readings import read, row_reading
from evidence.results import estimate
from transferkit.statistics import Estimate

PAGE = ROOT / "docs" / "reproduction.md"
HEAD = """# What of the papers holds here

Every figure and table of the five papers, the command that makes it, and what came of it. This page is made by
`python -m evidence page` from `evidence/artefacts.yaml` and the stored results `evidence/*.json` (command, versions,
seeds, every number of every seed); a test fails where a number stands here, or at the top of a recipe, that no stored
file has.

```console
$ make reproduce ROW=000-F3a                 # one row; DATA=FOLDER where the images and weights lie
$ make reproduce                             # every row that fits two cores
```

How a row is read: each of its numbers is a mean over seeds with Student's 95 % interval (a single seed has the
interval of its analysis), and the paper's sentence is an inequality about it. *Reproduced*: every interval lies
wholly where the paper says. *In part*: some do, or those of the panels that were run. *Not*: none does, and some
reach both sides. *Opposite*: all lie wholly on the other side. *Shown*: the artefact is a picture or a list, it
was made, and its paper states nothing that a number could contradict. *Not run*: its command is here, and why it
was not run.

"Paper" is what the paper prints on its own data and networks. Runs here are small: another backbone, fewer images,
fewer epochs, as the column of the data says. They test the paper's sentence, not its decimals.
"""


def page(artefacts: Artefacts) -> str:
    """The whole page."""
    results = {name: result_of(name) for name in artefacts.experiments}
    parts = [HEAD, _summary(artefacts, results)]
    for paper, title in artefacts.papers.items():
        parts.append(f"## Paper {paper}: {title}\n")
        rows = [row for row in artefacts.rows if row.name.startswith(paper)]
        parts.append(_overview(rows, results))
        parts.extend(_row(row, artefacts.experiments[row.experiment], results[row.experiment]) for row in rows)
    parts.append(_experiments(artefacts, results))
    return "\n".join(parts)


def result_of(experiment: str) -> Mapping[str, Any] | None:
    """The stored result of an experiment; None for one that was not run."""
    path = HERE / f"{experiment}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def reading_of(row: Row, result: Mapping[str, Any] | None) -> str:
    """The word for one row."""
    if result is None:
        return "not run"
    claims = [number for number in row.numbers if number.claims]
    reading = row_reading([read(one, estimate(result["numbers"], one.key, one.minus, one.unit)) for one in claims])
    return "in part" if reading == "reproduced" and not row.whole else reading


def _summary(artefacts: Artefacts, results: Mapping[str, Any]) -> str:
    readings = [reading_of(row, results[row.experiment]) for row in artefacts.rows]
    counts = [f"{readings.count(word)} {word}" for word in dict.fromkeys(sorted(readings))]
    return f"{len(readings)} figures and tables: {', '.join(counts)}.\n"


def _overview(rows: Sequence[Row], results: Mapping[str, Any]) -> str:
    lines = ["| | the paper's sentence | here |", "|---|---|---|"]
    lines += [
        f"| [{row.name}](#{row.name.lower()}) | {row.shows} | {reading_of(row, results[row.experiment])} |"
        for row in rows
    ]
    return "\n".join([*lines, ""])


def _row(row: Row, experiment: Experiment, result: Mapping[str, Any] | None) -> str:
    lines = [f"### {row.name}", "", f"{row.shows} **{reading_of(row, result).capitalize()}.**"]
    if row.partly:
        lines += ["", row.partly]
    if row.numbers and result is not None:
        lines += ["", "| number | paper | here | reading |", "|---|---|---|---|"]
        for number in row.numbers:
            found = estimate(result["numbers"], number.key, number.minus, number.unit)
            said = read(number, found) if number.claims else "—"
            lines.append(f"| {number.what} | {number.paper} | {shown(number, found)} | {said} |")
    where = "not run" if result is None else f"seeds {', '.join(map(str, result['seeds']))}"
    lines += ["", f"{experiment.images} Experiment [`{row.experiment}`](#{row.experiment}); {where}.", ""]
    return "\n".join(lines)


def shown(number: Number, found: Estimate) -> str:
    """A number with its interval, as the page has it: an interval that is narrow has more digits."""
    scale, digits, sign = (100, 1, " %") if number.unit in ("share", "points") else (1, 3, "")
    if number.unit == "points" or (number.minus is not None and number.unit == "share"):
        sign = " points"
    width = scale * (found.high - found.low)
    if width > 0:  # two digits of the width, so that no end is lost in a zero
        digits = max(digits, 1 - math.floor(math.log10(width)))
    value, low, high = (f"{scale * one:.{digits}f}" for one in (found.value, found.low, found.high))
    ends = "" if math.isnan(found.low) else f" [{low}, {high}]"
    return f"{value}{sign}{ends}"


def _wrapped(command: str) -> list[str]:
    """A command in lines of at most 110 columns, which a shell reads as one."""
    lines = textwrap.wrap(command, 106, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False)
    return [("$ " if not at else "") + line + (" \\" if at < len(lines) - 1 else "") for at, line in enumerate(lines)]


def _experiments(artefacts: Artefacts, results: Mapping[str, Any]) -> str:
    lines = ["## The experiments\n"]
    for name, experiment in artefacts.experiments.items():
        result = results[name]
        lines += [f"### `{name}`\n", experiment.images, ""]
        if experiment.line():
            lines += ["```console", *_wrapped(experiment.line()), "```", ""]
        if result is None:
            lines += ["Not run.", ""]
        else:
            known = result["versions"]
            versions = ", ".join(f"{key} {known[key]}" for key in ("torch", "timm") if key in known)
            minutes, device = result["training_seconds"] / 60, result["machine"]["device"]
            lines += [f"{minutes:.0f} minutes of training on {device}; {versions}.", ""]
    return "\n".join(lines)
