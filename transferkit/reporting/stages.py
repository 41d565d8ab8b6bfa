"""The report's section about one stage: training curves, worst classes, confusion matrix, planted corruptions."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from transferkit.report import Metric
from transferkit.reporting import page
from transferkit.reporting.charts import Series, as_percent, confusion_matrix, is_spread, line_chart, short
from transferkit.reporting.edits import edits
from transferkit.reporting.examples import cells, galleries, pair, read_examples, training_batch
from transferkit.reporting.front import chance
from transferkit.reporting.glossary import Glossary
from transferkit.reporting.page import Pictures
from transferkit.runs.record import RunRecord, class_names, declared_by, of
from transferkit.statistics import measured_share
from transferkit.words.formats import count, interval, named, number, percent, some
from transferkit.words.names import plain_name

WORST = 10
PLANTED = ("dataset", "split", "corruption")  # columns of corruptions.csv


def stage_section(
    run: RunRecord, name: str, stage: Mapping[str, Any], pictures: Pictures, glossary: Glossary
) -> Iterator[str]:
    """Everything about one stage: its pictures, how training went, where it is wrong; without a heading of its own."""
    folder = run.path / "stages" / name
    rows = read_examples(folder)
    lines = run.lines(name)
    known = _known_metrics(run.stage_recipe(name))
    charts = [chart for chart in (*_charts(lines, stage), *_metric_charts(lines, known)) if chart]
    evaluations = _evaluations(stage, known)
    recalls = _saved_recalls(stage) or _last_recalls(lines)
    yield galleries(folder, rows, pictures, glossary)
    parts = [part for part in (_worst(recalls), _confusion(stage, name, cells(rows))) if part]
    if parts:
        yield f'<div class="pair">{"".join(parts)}</div>'
    yield training_batch(folder, pictures, glossary)
    if charts:
        if any(line.get("terms") for line in lines):
            about = glossary.explained("The loss is the task's, without regularizers.")
            yield f'<p class="small">{about}</p>'
        yield f'<div class="charts">{"".join(charts[:2])}</div>'
        if charts[2:]:
            more = f'<div class="charts">{"".join(charts[2:])}</div>'
            yield page.closed(f"{count(len(charts) - 2, 'more curve')}", more, "rows")
    yield _adapters(stage)
    yield edits(stage)
    yield evaluations
    yield _corruptions(folder, pictures, glossary)


def _adapters(stage: Mapping[str, Any]) -> str:
    """Which plugins put layers into the model, with what options, and how much of it trained."""
    found = stage.get("adapters") or []
    if not found:
        return ""
    rows = [
        [
            str(one.get("plugin", "")),
            ", ".join(f"{key}: {value}" for key, value in (one.get("options") or {}).items() if value is not None),
            _listed(one.get("layers") or []),
        ]
        for one in found
    ]
    counts = stage.get("parameters") or {}
    trained = (
        page.paragraph(
            f"{counts['trained']:,} of {counts['all']:,} parameters trained; {counts['added']:,} were added.", "small"
        )
        if {"trained", "all", "added"} <= set(counts)
        else ""
    )
    return page.heading(3, "Adapters") + page.table(["adapter", "options", "layers"], rows) + trained


def _listed(layers: Sequence[str]) -> str:
    """How many layers, and the first of them."""
    return f"{len(layers)}: {some([str(one) for one in layers])}"


def _charts(lines: Sequence[Mapping[str, Any]], stage: Mapping[str, Any]) -> Iterator[str]:
    yield _chart("Loss", _by_split(lines, "loss"), zero=True)
    top1 = _by_split(lines, "top1")
    guess = chance(stage)
    if top1 and guess is not None:
        xs = sorted({x for one in top1 for x, _ in one.points})
        top1.append(Series("chance", [(xs[0], guess), (xs[-1], guess)] if len(xs) > 1 else [], 7, dashed=True))
    best = stage.get("best") or {}
    if top1 and best.get("epoch") is not None and best.get("top1") is not None and not best.get("sd"):
        top1.append(Series("best", [(_epoch(best), float(best["top1"]))], 3))
    yield _chart("Top-1", top1, percents=True)
    yield _chart("Learning rate", _learning_rates(lines), zero=True, widen=True)
    yield _chart("Weighted regularizers", _terms(lines), widen=True)


def _known_metrics(recipe: Mapping[str, Any]) -> dict[str, Metric]:
    """{name of a number in `metrics`: what its plugin declares of it}."""
    found: dict[str, Metric] = {}
    for use in recipe.get("metrics") or []:
        instance = str(use.get("name") or plain_name(str(use.get("use"))))
        declared = declared_by(use.get("use"), "metric")
        found |= {instance if len(declared) == 1 else f"{instance}.{key}": one for key, one in declared.items()}
    return found


def _metric_charts(lines: Sequence[Mapping[str, Any]], known: Mapping[str, Metric]) -> Iterator[str]:
    """One chart for each number of the metrics."""
    flat = [{**line, **named(line["metrics"])} for line in lines if line.get("metrics")]
    for name in dict.fromkeys(name for line in lines for name in named(line.get("metrics") or {})):
        metric = of(known, name)
        yield _chart(_title(name, known), _by_split(flat, name), percents=metric.unit == "share")


def _title(name: str, known: Mapping[str, Metric]) -> str:
    return f"{known[name].name} ({name})" if name in known and known[name].name != name else name


def _chart(
    title: str, series: Sequence[Series], *, percents: bool = False, zero: bool = False, widen: bool = False
) -> str:
    """A captioned chart with a legend; `widen` allows a log axis where the values are spread."""
    log = widen and is_spread([y for one in series for _, y in one.values()])
    y_format = as_percent if percents else short
    picture = line_chart(series, label=f"{title} over epochs", y_format=y_format, log=log, zero=zero)
    keys = [page.key(one.name, one.colour, one.dashed) for one in series if one.name and one.values()]
    return page.figure(f"{title} (log scale)" if log else title, keys, picture)


def _by_split(lines: Sequence[Mapping[str, Any]], metric: str) -> list[Series]:
    """One series per split (or further data set), train and val first."""
    found: dict[str, list[tuple[float, float | None]]] = {}
    for line in lines:
        if isinstance(line.get(metric), int | float):
            found.setdefault(str(line.get("split", "train")), []).append((_epoch(line), float(line[metric])))
    names = sorted(found, key=lambda name: (name != "train", name != "val", name))
    fixed = {"train": 1, "val": 0}
    free = iter(range(2, 10_000))
    return [Series(name, found[name], fixed[name] if name in fixed else next(free) % 7) for name in names]


def _epoch(line: Mapping[str, Any]) -> float:
    """The epoch as people count, from 1; the files count from 0."""
    value = line.get("epoch", 0)
    return float(value) + 1 if isinstance(value, int | float) else 1.0


def _learning_rates(lines: Sequence[Mapping[str, Any]]) -> list[Series]:
    """The learning rate of the backbone and, where it differs, of the head."""
    train = [line for line in lines if line.get("split") == "train" and isinstance(line.get("lr"), int | float)]
    body = [(_epoch(line), float(line["lr"])) for line in train]
    head = [(_epoch(line), float(line["lr_head"])) for line in train if line.get("lr_head") is not None]
    if not head or head == body:
        return [Series("", body)]
    return [Series("backbone", body), Series("head", head, 1)]


def _terms(lines: Sequence[Mapping[str, Any]]) -> list[Series]:
    """The weighted value of each regularizer over epochs."""
    found: dict[str, list[tuple[float, float | None]]] = {}
    for line in lines:
        for term, value in (line.get("terms") or {}).items():
            weighted = value.get("weighted") if isinstance(value, Mapping) else None
            if isinstance(weighted, int | float):
                found.setdefault(str(term), []).append((_epoch(line), float(weighted)))
    return [Series(term, points, i) for i, (term, points) in enumerate(found.items())]


def _evaluations(stage: Mapping[str, Any], metrics: Mapping[str, Metric]) -> str:
    """The saved model on each data set it was evaluated on."""
    known = stage.get("evaluations") or {}
    found = {name: one for name, one in known.items() if one.get("top1") is not None}
    if not found:
        return _regressions({name: one for name, one in known.items() if one.get("r2") is not None})
    columns = ["split or data set", "top-1", "95 % interval", "top-5", "loss", "images"]
    rows = [[name, *_evaluation(one)] for name, one in found.items()]
    if all(one.get("top5") is None for one in found.values()):
        columns, rows = [*columns[:3], *columns[4:]], [[*row[:3], *row[4:]] for row in rows]
    of_plugins = {name: named(one.get("metrics") or {}) for name, one in found.items()}
    for name in dict.fromkeys(name for values in of_plugins.values() for name in values):
        columns.append(name)
        show = percent if of(metrics, name).unit == "share" else number
        for row, values in zip(rows, of_plugins.values(), strict=True):
            row.append(show(values.get(name)))
    return page.heading(3, "The saved model") + page.table(columns, rows, right=range(1, len(columns)))


def _regressions(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The saved model of numbers on each table it was evaluated on."""
    if not found:
        return ""
    columns = ["split or data set", "mean squared error", "variance explained", "rows"]
    rows = [[name, number(one.get("loss")), percent(one["r2"]), str(one["images"])] for name, one in found.items()]
    return page.heading(3, "The saved model") + page.table(columns, rows, right=range(1, len(columns)))


def _evaluation(one: Mapping[str, Any]) -> list[str]:
    images = one.get("images")
    top1 = measured_share(one["top1"], images or 0)
    spread = interval(top1.low, top1.high, unit="share") if top1.known else "–"
    return [percent(one["top1"]), spread, percent(one.get("top5")), number(one.get("loss")), str(images or "–")]


def _last_recalls(lines: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Recalls of the last evaluation, while no model has been saved."""
    found = (line["per_class"] for line in reversed(lines) if line.get("split") == "val" and line.get("per_class"))
    return _numbers(next(found, None))


def _numbers(recalls: Any) -> dict[str, float]:
    """Without the classes that have no images."""
    items = recalls.items() if isinstance(recalls, Mapping) else ()
    return {str(name): float(value) for name, value in items if isinstance(value, int | float)}


def _saved_recalls(stage: Mapping[str, Any]) -> dict[str, float]:
    """Recalls of the saved model on the validation images."""
    matrix, classes = stage.get("confusion") or [], class_names(stage)
    if matrix and len(matrix) == len(classes):
        rows = enumerate(zip(classes, matrix, strict=True))
        return {name: row[i] / sum(row) for i, (name, row) in rows if sum(row)}
    return _numbers(((stage.get("evaluations") or {}).get("val") or {}).get("per_class"))


def _worst(recalls: Mapping[str, float]) -> str:
    if not recalls:
        return ""
    ranked = sorted(recalls.items(), key=lambda item: (item[1], item[0]))
    rows = [[name, page.bar(recall), percent(recall)] for name, recall in ranked[:WORST]]
    title = "Recall per class" if len(ranked) <= WORST else f"The {WORST} worst of {len(ranked)} classes"
    return f"<div>{page.heading(3, title)}{page.table(['class', '', 'recall'], rows, right=(2,))}</div>"


def _confusion(stage: Mapping[str, Any], name: str, shown: Collection[tuple[str, str]]) -> str:
    """The matrix; its cells lead to their pictures, where there are some."""
    matrix, classes = stage.get("confusion") or [], class_names(stage)
    if not matrix:
        return ""
    if len(classes) != len(matrix):
        classes = [str(i) for i in range(len(matrix))]
    links = {(int(i), int(j)): pair(name, i, j) for i, j in shown if i.isdecimal() and j.isdecimal()}
    picture = confusion_matrix(matrix, classes, links)
    text = "Rows are true classes; shades grow with the share of the row."
    note = page.paragraph(f"{text} Underlined numbers lead to pictures." if links else text, "small")
    return f"<div>{page.heading(3, 'Confusion matrix')}{picture}{note}{_mistakes(matrix, classes)}</div>"


def _mistakes(matrix: Sequence[Sequence[float]], classes: Sequence[str]) -> str:
    """The most frequent confusions of many classes, where the picture cannot carry names."""
    if len(classes) <= 12:
        return ""
    wrong = [
        (-count, classes[i], classes[j])
        for i, row in enumerate(matrix)
        for j, count in enumerate(row)
        if i != j and count
    ]
    rows = [[true, predicted, f"{-count:g}"] for count, true, predicted in sorted(wrong)[:WORST]]
    return page.table(["true", "predicted", "images"], rows, right=(2,)) if rows else ""


def _corruptions(stage: Path, pictures: Pictures, glossary: Glossary) -> str:
    """From corruptions.csv and the pictures beside it in a stage's folder; nothing when there is no such file."""
    try:
        counts = _planted_counts(stage / "corruptions.csv")
    except (OSError, csv.Error) as error:
        return page.paragraph(f"stages/{stage.name}/corruptions.csv cannot be read: {error}", "small")
    if not counts:
        return ""
    rows = [[*key, str(images)] for key, images in counts.items()]
    found = sorted(stage.glob("corruptions-*.png"))
    captions = {
        path.name: f"{path.stem.removeprefix('corruptions-')}: without its corruptions above, with them below"
        for path in found
    }
    return (
        page.heading(3, "Planted corruptions")
        + page.table(["data set", "split", "corruption", "images"], rows, right=(3,))
        + "".join(pictures.show(stage, list(captions), captions, glossary, f"stages/{stage.name}"))
        + f'<p class="small">{page.link(f"stages/{stage.name}/corruptions.csv")}</p>'
    )


def _planted_counts(path: Path) -> Mapping[tuple[str, ...], int]:
    """{(data set, split, corruption): images} in the order of the file; none without one. Raises OSError, csv.Error."""
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        return Counter(tuple(str(row.get(name) or "") for name in PLANTED) for row in csv.DictReader(file))
