"""`report.html`: one self-contained page about a run or audit, made from the files of its folder and nothing else."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferkit.plugins.contained import told
from transferkit.report import Report, json_text
from transferkit.reporting import front, page
from transferkit.reporting.analyses import Analysis, details, evidence, read_analyses
from transferkit.reporting.answers import Answer
from transferkit.reporting.audit import audit_title, facts
from transferkit.reporting.glossary import WORDS, Glossary
from transferkit.reporting.page import Pictures
from transferkit.reporting.resolved import recipe
from transferkit.reporting.seeds import analyses_over_seeds, analysis_over_seeds, seeds_of, stages_over_seeds
from transferkit.reporting.stages import stage_section
from transferkit.reporting.verdict import stage_sentences, status, warnings
from transferkit.runs.folder import RunFolder
from transferkit.runs.record import RunRecord, declaration, read_run, validation_images
from transferkit.surface import __version__
from transferkit.system.atomic import write_text
from transferkit.words.formats import duration, epoch_of, mean_of
from transferkit.words.text import printable

if TYPE_CHECKING:
    from transferkit.training.progress import Display

WORDY = ("stage", "model", "start", "data set")
"""The columns of the table of stages that hold no numbers."""


def write_report(run_dir: Path) -> Path:
    """Write `report.html` into the folder of a run or audit; return its path. InputError when it is neither."""
    path = run_dir / "report.html"
    write_text(path, printable(Page(read_run(run_dir)).text()))
    return path


def make_report(folder: RunFolder, display: Display) -> None:
    """Write report.html. The results are safe on disk: a picture of them that fails must not take them away."""
    try:
        write_report(folder.path)
    except Exception as error:
        display.warn(f"report.html could not be written: {told(error)}")
        display.record(traceback.format_exc())


def write_findings(folder: Path, name: str, found: Report, *, title: str, parameters: Mapping[str, Any]) -> None:
    """Write a folder like that of an audit for what the command line verb `name` found: the report, and the page on it.

    Pictures are in `folder/analyses/NAME` already.
    """
    inner = f"analyses/{name}"
    found.write(folder / inner, name=name, plugin=name, version=__version__, parameters=parameters)
    analyses = {name: f"{inner}/report.json"}
    RunFolder(folder).write_result(
        {"status": "done", "title": title, "run_dir": str(folder), "stages": {}, "analyses": analyses}
    )
    write_report(folder)


def title_of(run: RunRecord) -> str:
    """The title that result.json gives, the recipe's name, or the folder's; for an audit, what was audited."""
    if run.kind == "audit":
        return audit_title(run.audit)
    return str(run.result.get("title") or run.recipe.get("name") or run.path.resolve().parent.name)


@dataclass
class Section:
    """A section of the page, with a link at its top."""

    title: str
    anchor: str
    parts: list[str] = field(default_factory=list)


@dataclass
class Page:
    """The page about one folder: what came out, what to act on, a section per question, all the rest closed."""

    run: RunRecord
    pictures: Pictures = field(default_factory=Pictures)
    answers: dict[str, Answer | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.analyses = read_analyses(self.run)
        self.main = front.main_stage(self.run, self.analyses)
        names = [one.report.get("plugin", one.name) for one in self.analyses]
        names += [front.plugin_over_seeds(self.run, name) for name in self.run.result.get("metrics") or {}]
        words = [declaration(name).words or {} for name in names]
        self.glossary = Glossary(WORDS | {word: text for one in words for word, text in one.items()})

    def text(self) -> str:
        """The whole document."""
        title = title_of(self.run)
        top = [page.heading(1, title, "summary"), *_part("The line of facts", lambda: self._meta())]
        body = list(self._summary())
        sections = [one for one in self._sections() if any(one.parts)]
        for one in sections:
            body += [page.heading(2, one.title, one.anchor), *one.parts]
        body += _part("The list of words", lambda: self._words())
        links = [("summary", "Summary"), *((one.anchor, one.title) for one in sections)]
        return page.page(f"{title} – transferkit report", top, body, links if sections else [])

    # --- the first screen -----------------------------------------------------------------------------------------

    def _meta(self) -> Iterator[str]:
        yield page.paragraph(" · ".join(_facts(self.run)), "meta")
        if self.run.recipe.get("description"):
            yield page.paragraph(str(self.run.recipe["description"]))

    def _summary(self) -> Iterator[str]:
        run, analyses, say = self.run, self.analyses, self.glossary
        yield from _part("How it ended", lambda: status(run))
        yield from _part("What the analyses answer", self._find_answers)
        yield from _part("The summary", lambda: self._sentence())
        yield from _part("The tiles", lambda: front.tiles(run, analyses, self.answers, say))
        yield from _part("The warnings", lambda: warnings(run, analyses))
        yield from _part("What was not asked", lambda: self._ask())

    def _find_answers(self) -> str:
        self.answers = front.answers(self.run, self.analyses)
        return ""

    def _sentence(self) -> str:
        text = front.sentence(self.run, self.analyses, self.answers)
        if not text and self.run.kind == "run" and self.run.status != "done":
            return page.paragraph("No stage has been recorded yet.")
        return f'<p class="lead">{self.glossary.explained(text)}</p>' if text else ""

    def _ask(self) -> str:
        """How to find out what was not measured; only where something was."""
        missing = list(front.not_asked(self.run, self.analyses, self.answers))
        if not missing or self.run.kind == "audit" or self.run.status != "done" or not self.main:
            return ""
        dataset = next(
            (str((one.report.get("parameters") or {}).get("dataset")) for one in self.analyses), "SOURCE_DATA"
        )
        uses = ", ".join(f"`{{use: {name}, dataset: {dataset}}}`" for _, name in missing)
        text = (
            f"To find out what was not measured, add to the recipe's `analyses`: {uses}; or ask of the finished model"
        )
        text += f" `transferkit audit {front.places(self.run)['run']} --source-data FOLDER`."
        return f'<p class="small">{self.glossary.explained(text)}</p>'

    # --- the sections ---------------------------------------------------------------------------------------------

    def _sections(self) -> Iterator[Section]:
        run = self.run
        if run.kind == "audit":
            yield Section("What was audited", "audited", list(_part("What was audited", lambda: facts(run))))
        elif self.main and not run.repeats:
            yield self._quality()
        if run.repeats:
            yield Section("Seeds", "seeds", list(_part("The table of seeds", lambda: self._seeds())))
        for name, (title, anchor) in analyses_over_seeds(run).items():
            parts = _part("The analyses over seeds", partial(analysis_over_seeds, run, name))
            yield Section(title, anchor, list(parts))
        by_question: dict[str, list[Analysis]] = {}
        for one in self.analyses:
            if not one.problem:
                by_question.setdefault(front.question_of(run, one.name, self.analyses), []).append(one)
        others = by_question.pop("", [])
        for question, analyses in by_question.items():
            yield self._question(question, analyses)
        for one in others:
            yield self._question(f"Analysis {one.name}", [one])
        yield Section("Details", "details", list(self._details()))

    def _quality(self) -> Section:
        """The main stage, and a line about each of the others."""
        self.glossary.section()
        parts = list(_part(f"The summary of stage {self.main}", partial(self._sentences, self.main)))
        made = partial(stage_section, self.run, self.main, self.run.stages[self.main], self.pictures, self.glossary)
        parts += _part(f"Stage {self.main}", made)
        return Section(front.QUALITY, f"stage-{self.main}", parts)

    def _sentences(self, name: str) -> str:
        text = " ".join(stage_sentences(self.run, name, self.run.stages[name]))
        return f"<p><strong>{escape(name)}.</strong> {self.glossary.explained(text)}</p>"

    def _question(self, question: str, analyses: Sequence[Analysis]) -> Section:
        section = Section(question, f"question-{analyses[0].name}")
        self.glossary.section()
        for one in analyses:
            section.parts += _part(
                f"Analysis {one.name}", partial(evidence, one, self.answers.get(one.name), self.pictures, self.glossary)
            )
        return section

    def _seeds(self) -> Iterator[str]:
        yield from (self._sentences(name) for name in self.run.stages)
        yield _stage_table(self.run)
        yield from stages_over_seeds(self.run)

    def _details(self) -> Iterator[str]:
        """Closed: what only those read who want to know exactly."""
        run = self.run
        self.glossary.section()
        if run.kind != "audit" and not run.repeats and run.stages:
            yield from _part("The table of stages", lambda: page.closed("All stages", _stage_table(run), "rows"))
        for name, stage in run.stages.items() if not run.repeats else ():
            if name != self.main:
                yield from _part(f"Stage {name}", partial(self._other_stage, name, stage))
        for one in self.analyses:
            if not one.problem:
                yield from _part(f"Analysis {one.name}", partial(details, one, self.glossary))
        yield from _part("The recipe", lambda: recipe(run.path / "recipe.yaml"))
        yield from _part("The environment", lambda: _environment(run))

    def _other_stage(self, name: str, stage: Mapping[str, Any]) -> str:
        parts = [self._sentences(name), *stage_section(self.run, name, stage, self.pictures, self.glossary)]
        return page.closed(f"Stage {name}", "".join(parts), "rows", f"stage-{name}")

    def _words(self) -> str:
        if not self.glossary.used:
            return ""
        listed = "".join(f"<dt>{escape(word)}</dt><dd>{escape(text)}</dd>" for word, text in self.glossary.used.items())
        return page.closed("Words on this page", f"<dl>{listed}</dl>", "rows", "words")


def _part(name: str, make: Callable[[], str | Iterable[str]]) -> Iterator[str]:
    """A part of the page. Numbers that are none of their kind in a damaged file cost the part, not the page."""
    try:
        made = make()
        yield from [made] if isinstance(made, str) else list(made)
    except Exception as error:
        yield page.box(f"{name} could not be made from the files of this folder", [told(error)])


def _facts(run: RunRecord) -> Iterator[str]:
    yield run.path.resolve().name
    yield f"status {run.result.get('status', 'unknown')}"
    seed = {**run.audit, **run.result, **run.recipe}.get("seed")
    if run.repeats:
        yield f"seeds {', '.join(seeds_of(run))}"
    elif seed is not None:
        yield f"seed {seed}"
    seconds = run.seconds()
    if seconds is not None:
        yield f"{duration(seconds)} of training and evaluation"
    elif isinstance(run.result.get("seconds"), int | float):
        yield duration(run.result["seconds"])


def _stage_table(run: RunRecord) -> str:
    parts = [_stage_row(run, name, stage) for name, stage in run.stages.items()]
    left_out = ("epoch", "model") if run.repeats else ()  # means of seeds are wide, and of epochs not telling
    columns = [column for column in parts[0] if column not in left_out]
    rows = [[part[column] for column in columns] for part in parts]
    return page.table(columns, rows, right=[place for place, name in enumerate(columns) if name not in WORDY])


def _stage_row(run: RunRecord, name: str, stage: Mapping[str, Any]) -> dict[str, str]:
    recipe, best, last = run.stage_recipe(name), stage.get("best") or {}, stage.get("last") or {}
    return {
        "stage": name,
        "best top-1": mean_of(best, "top1"),
        "epoch": epoch_of(best),
        "last top-1": mean_of(last, "top1"),
        "best loss": mean_of(best, "loss"),
        "last loss": mean_of(last, "loss"),
        "images": str(validation_images(run, name) or "–"),
        "time": duration(run.seconds(name)),
        "model": run.model_name(name) or "–",
        "start": str(recipe.get("start", "–")),
        "data set": str(recipe.get("dataset", "–")),
    }


def _environment(run: RunRecord) -> str:
    rows = [[key, value] for key, value in _flat(run.env)]
    return page.closed("Environment", page.table(["", ""], rows, style="facts"), "rows") if rows else ""


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested mappings as dotted keys; lists of plain values on one line."""
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _flat(inner, f"{prefix}{key}.")
        elif isinstance(inner, list):
            texts = (item if isinstance(item, str) else json_text(item) for item in inner)
            yield f"{prefix}{key}", " ".join(texts)
        else:
            yield f"{prefix}{key}", "–" if inner is None else str(inner)
