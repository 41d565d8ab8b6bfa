"""What the analyses of a repeated run came to, for the terminal: a few lines each, and where the rest is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from transferkit.atomic import read_json
from transferkit.errors import InputError
from transferkit.formats import interval, plus_minus
from transferkit.over_seeds import is_end

LINES = 8
Metrics = Mapping[str, Mapping[str, Any]]


def over_seeds_lines(result: Mapping[str, Any]) -> Iterator[str]:
    """A block per analysis of a repeated run's result.json: the first metrics that its analyzer declares.

    Those that no seed measured and the ends of the analyzer's intervals, which are over images, are left out.
    """
    repeats = result.get("repeats") or []
    for name, metrics in (result.get("metrics") or {}).items():
        declared = _declared(name, metrics, repeats)
        shown = [metric for metric in declared if metrics[metric]["n"] and not is_end(metric, metrics)][:LINES]
        yield f"{name} over {len(repeats)} seeds: mean ± sd (95 % interval of the mean over seeds)"
        if not shown:
            yield "  nothing could be measured; the reports of the seeds say why"
            continue
        width = max(map(len, shown))
        yield from (f"  {metric:{width}}  {_value(metrics[metric], len(repeats))}" for metric in shown)
        if len(shown) < len(metrics):
            yield f"  {len(metrics) - len(shown)} more in report.html"


def _value(one: Mapping[str, Any], seeds: int) -> str:
    measured = plus_minus(one["mean"], one["sd"])
    if one["low"] is not None:
        measured += f" ({interval(one['low'], one['high'], one['sd'])})"
    return measured if one["n"] == seeds else f"{measured}, {one['n']} of {seeds} seeds"


def _declared(name: str, metrics: Metrics, repeats: Sequence[Mapping[str, Any]]) -> list[str]:
    """The metrics that the analyzer declares, in its order; all of them where it declares none or is not installed."""
    from transferkit.registry import installed

    for repeat in repeats:
        try:
            report: dict[str, Any] = read_json(Path(repeat["run_dir"]) / "analyses" / name / "report.json")
            declared = getattr(installed().get("analyzer", report["plugin"]).cls, "metrics", ())
        except (KeyError, InputError):
            continue
        return [metric for metric in declared if metric in metrics] or list(metrics)
    return list(metrics)
