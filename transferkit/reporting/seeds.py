"""The report's sections about a run of several seeds or folds: means over them, and the values of each.

An interval here is over seeds, on the same images, or over folds. Those over images are in the reports of the seeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from transferkit.report import Metric
from transferkit.reporting import page
from transferkit.reporting.tables import cell, shown_metric
from transferkit.runs import seed_or_fold
from transferkit.runs.record import RunRecord, declared_in, ends_of, of, read_report
from transferkit.words.formats import epoch_of, interval, mean_of, number, percent, plus_minus

OVER_FOLDS = (
    "The 95 % intervals are those of the mean over folds (Student's t). The models of two folds share most of their "
    "training images, which the formula does not know: the intervals are a little too narrow."
)
WHAT_INTERVALS_ARE = (
    "The 95 % intervals are those of the mean over seeds (Student's t): where the mean of many more seeds of this "
    "recipe would lie, on these same images. They say nothing about other images; the intervals over images are in "
    "each seed's report. With few seeds they are wide; those of shares end at 0 and 100 %."
)
MEASURES = (("top-1", "top1"), ("top-5", "top5"), ("loss", "loss"), ("variance explained", "r2"))


def seeds_of(run: RunRecord) -> list[str]:
    """The seeds or folds of a repeated run as texts; none of a single run."""
    return [seed_or_fold.number(repeat, place) for place, repeat in enumerate(run.repeats)]


def stages_over_seeds(run: RunRecord) -> Iterator[str]:
    """The stages' values of each seed, with links to their reports, and the saved models on every data set."""
    if not run.repeats:
        return
    rows = [
        [_link(run, seed, f"{_word(run)} {seed}"), name, *_values(stage)]
        for seed, repeat in zip(seeds_of(run), run.repeats, strict=True)
        for name, stage in (repeat.get("stages") or {}).items()
        if stage is not None
    ]
    columns = [_word(run), "stage", "best top-1", "epoch", "last top-1", "best loss", "last loss"]
    yield page.paragraph(f"Means and standard deviations on this page are over {_seeds(run)}; these are their values.")
    yield page.table(columns, rows, right=range(2, len(columns)))
    for name, one in (run.result.get("out_of_fold") or {}).items():
        over = one.get("over_folds") or {}
        ends = interval(over.get("low"), over.get("high"), over.get("sd"), "share")
        mean = plus_minus(over.get("mean"), over.get("sd"), "share")
        yield page.paragraph(
            f"Stage {name}: each image by the model that was not trained on it, {percent(one.get('top1'))} of "
            f"{one.get('images')} images are right; mean over folds {mean}, 95 % interval of it {ends}. Every answer "
            f"is in {one.get('file')}."
        )
    if run.result.get("metrics") or run.result.get("out_of_fold"):
        yield page.paragraph(WHAT_INTERVALS_ARE if _word(run) == "seed" else OVER_FOLDS, "small")
    yield from _evaluations(run)


def _values(stage: Mapping[str, Any]) -> list[str]:
    best, last = stage.get("best") or {}, stage.get("last") or {}
    top1, loss = percent(best.get("top1")), number(best.get("loss"))
    return [top1, epoch_of(best), percent(last.get("top1")), loss, number(last.get("loss"))]


def _evaluations(run: RunRecord) -> Iterator[str]:
    found = [
        (name, split, one)
        for name, stage in run.stages.items()
        for split, one in (stage.get("evaluations") or {}).items()
        if one is not None and isinstance(one.get("sd"), Mapping)
    ]
    if not found:
        return
    measures = [(title, key) for title, key in MEASURES if any(one.get(key) is not None for _, _, one in found)]
    columns = ["stage", "split or data set", *(title for title, _ in measures), "images", f"{_word(run)}s"]
    rows = [
        [name, split, *(mean_of(one, key) for _, key in measures), cell(one.get("images")), _count(one, run)]
        for name, split, one in found
    ]
    yield page.heading(3, "The saved models")
    yield page.table(columns, rows, right=range(2, len(columns)))


def analyses_over_seeds(run: RunRecord) -> dict[str, tuple[str, str]]:
    """{analysis: (title, anchor) of its section}, of those with numbers over seeds."""
    found = {name for name, metrics in _metrics(run).items() if metrics}
    return {name: (f"Analysis {name}, over {_seeds(run)}", _anchor(name)) for name in _metrics(run) if name in found}


def analysis_over_seeds(run: RunRecord, name: str) -> Iterator[str]:
    """Mean, spread and interval over seeds of every metric of an analysis, and each seed's value."""
    metrics = _metrics(run)[name]
    known = declared_in(_report(run, name, seed) for seed in seeds_of(run))
    ends = {metric: metrics[metric] for metric in metrics if metric in ends_of(known)}
    yield _table(run, name, {of(known, metric): one for metric, one in metrics.items() if metric not in ends})
    if ends:
        title = f"ends of the intervals over images: {len(ends)} rows"
        yield page.closed(title, _table_of_ends(run, name, ends), "rows")
    verdicts = "".join(_verdict(run, name, seed) for seed in seeds_of(run))
    if verdicts:
        yield page.closed(f"what the report of each {_word(run)} says", verdicts)


def _table(run: RunRecord, name: str, metrics: Mapping[Metric, Any]) -> str:
    columns = ["metric", "mean ± sd", f"95 % interval over {_word(run)}s", f"{_word(run)}s", *_seed_columns(run, name)]
    rows = [
        [
            metric.name,
            plus_minus(one.get("mean"), one.get("sd"), metric.unit) if one.get("n") else "not measured",
            interval(one.get("low"), one.get("high"), one.get("sd"), metric.unit),
            _count(one, run),
            *_of_seeds(run, one, metric),
        ]
        for metric, one in metrics.items()
    ]
    return page.table(columns, rows, right=range(1, len(columns)))


def _table_of_ends(run: RunRecord, name: str, ends: Mapping[str, Any]) -> str:
    """Without means: the mean of interval ends is the end of no interval."""
    columns = ["metric", *_seed_columns(run, name)]
    rows = [[metric, *_of_seeds(run, one, Metric(metric, metric))] for metric, one in ends.items()]
    return page.table(columns, rows, range(1, len(columns)))


def _of_seeds(run: RunRecord, one: Mapping[str, Any], metric: Metric) -> list[str]:
    values = one.get("values") or {}
    return [shown_metric(values.get(seed), metric) for seed in seeds_of(run)]


def _seed_columns(run: RunRecord, analysis: str) -> list[str]:
    return [_link(run, seed, f"{_word(run)} {seed}", _anchor(analysis)) for seed in seeds_of(run)]


def _count(one: Mapping[str, Any], run: RunRecord) -> str:
    n, total = one.get("n"), len(run.repeats)
    return str(n) if n == total else f"{n} of {total}"


def _link(run: RunRecord, seed: str, text: str, anchor: str = "") -> page.Markup:
    """A link to a seed's own report, where there is one."""
    path = f"repeats/{_word(run)}-{seed}/report.html"
    if not (run.path / path).is_file():
        return page.Markup(escape(text))
    place = f"{path}#{quote(anchor)}" if anchor else path
    return page.Markup(f'<a href="{quote(place, safe="/#%")}">{escape(text)}</a>')


def _verdict(run: RunRecord, name: str, seed: str) -> str:
    """What the report.json of a seed says, or why it says nothing."""
    report = read_report(_report(run, name, seed), [])
    texts: Sequence[Any] = [report.get("verdict")] if report.get("verdict") else report.get("gaps") or []
    text = " ".join(map(str, texts))
    return f"<p><strong>{_word(run)} {escape(seed)}.</strong> {escape(text)}</p>" if text else ""


def _report(run: RunRecord, name: str, seed: str) -> Path:
    return run.path / "repeats" / f"{_word(run)}-{seed}" / "analyses" / name / "report.json"


def _metrics(run: RunRecord) -> Mapping[str, Mapping[str, Any]]:
    found = (run.result.get("metrics") or {}) if run.repeats else {}
    return {name: {key: one or {} for key, one in (metrics or {}).items()} for name, metrics in found.items()}


def _seeds(run: RunRecord) -> str:
    return seed_or_fold.of(run.repeats)


def _word(run: RunRecord) -> str:
    return seed_or_fold.word(run.repeats)


def _anchor(analysis: str) -> str:
    return f"analysis-{analysis}"
