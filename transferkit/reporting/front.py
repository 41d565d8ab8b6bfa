"""The first screen of a report: one sentence with what came out, and a tile for each number that carries it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from transferkit.plugins.files import known
from transferkit.reporting.analyses import Analysis
from transferkit.reporting.answers import Answer, answer_of, measured_in, measured_over_seeds
from transferkit.reporting.glossary import Glossary
from transferkit.runs import seed_or_fold
from transferkit.runs.record import RunRecord, class_names, declaration, validation_images, written_by
from transferkit.statistics import Estimate, measured_share
from transferkit.words.formats import interval, listing, mean_of, percent

QUALITY = "How good is it?"


def chance(stage: Mapping[str, Any]) -> float | None:
    """The accuracy of guessing, 1/K, if the classes are on record."""
    classes = class_names(stage)
    return 1 / len(classes) if classes else None


def main_stage(run: RunRecord, analyses: Sequence[Analysis]) -> str:
    """The stage whose model this is about: the one that the analyses look at, else the last that was evaluated."""
    looked_at = [str((one.report.get("parameters") or {}).get("stage")) for one in analyses]
    evaluated = [name for name, stage in run.stages.items() if stage.get("best") or stage.get("last")]
    candidates = [name for name in looked_at if name in run.stages] or evaluated[-1:] or list(run.stages)[-1:]
    return candidates[-1] if candidates else ""


def kept(stage: Mapping[str, Any]) -> Mapping[str, Any]:
    """The record of the epoch whose weights became the model."""
    best, last = stage.get("best") or {}, stage.get("last") or {}
    found: Mapping[str, Any] = last if stage.get("kept") == "last" else best
    return found


def answers(run: RunRecord, analyses: Sequence[Analysis]) -> dict[str, Answer | None]:
    """{analysis: what it answers}, in their order; None where its analyzer declares a headline that was not measured.

    Of a run over seeds they are made from the means.
    """
    found: dict[str, Answer | None] = {}
    over_seeds = run.result.get("metrics") or {} if run.repeats else {}
    for name, metrics in over_seeds.items():
        declared = declaration(plugin_over_seeds(run, name))
        if declared.headlines:
            found[name] = answer_of(
                declared, measured_over_seeds(metrics or {}, declared), _words(run, name, places(run), {})
            )
    for one in analyses:
        declared = declaration(one.report.get("plugin", one.name))
        if declared.headlines:
            words = _words(run, one.name, places(run, analyses), one.report.get("parameters") or {})
            found[one.name] = answer_of(declared, measured_in(one.report.get("metrics") or {}, declared), words)
    return found


def plugin_over_seeds(run: RunRecord, analysis: str) -> str:
    """The analyzer of that analysis, by the report of the first seed that has one."""
    folders = (run.path / "repeats" / seed_or_fold.folder_name(repeat) for repeat in run.repeats)
    return written_by(folder / "analyses" / analysis / "report.json" for folder in folders)


def places(run: RunRecord, analyses: Sequence[Analysis] = ()) -> dict[str, str]:
    """Where the run and its model are, as commands name them."""
    folder = str(run.result.get("run_dir") or run.path.name)
    if run.kind == "audit":
        target = (run.audit.get("models") or {}).get("target")
        given = target.get("given") if isinstance(target, Mapping) else target
        return {"run": folder, "model": str(given or "MODEL")}
    model = (run.stages.get(main_stage(run, analyses)) or {}).get("model")
    return {"run": folder, "model": f"{folder}/{model}" if model else "MODEL"}


def _words(run: RunRecord, analysis: str, where: Mapping[str, str], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What the texts of a headline may name."""
    return {**parameters, **where, "analysis": analysis, "detector": _detector(run, where["model"], parameters)}


def _detector(run: RunRecord, model: str, parameters: Mapping[str, Any]) -> str:
    """Who warns of memories: the detector in the model's folder, or how to have one."""
    stage = parameters.get("stage") or next(reversed(list(run.stages)), "")  # as a recipe has it: the last one
    folder = run.path / str((run.stages.get(stage) or {}).get("model") or "nothing")
    if (folder / "interference.json").is_file():
        return f"Its detector warns of it: `transferkit detect {model} PHOTO.jpg`."
    if run.kind == "audit":
        return (
            "A detector warns of it (“Can I tell when?”): this audit once more with `--analyses interference "
            "--set interference.install=true`."
        )
    data = parameters.get("dataset", "DATASET")
    return f"A detector warns of it (“Can I tell when?”): `{{use: interference, dataset: {data}}}` in `analyses`."


# --- the sentence -----------------------------------------------------------------------------------------------


def sentence(run: RunRecord, analyses: Sequence[Analysis], found: Mapping[str, Answer | None]) -> str:
    """What was trained, how good it is, what it still carries and whether its detector is worth switching on."""
    name = main_stage(run, analyses)
    parts = [] if run.kind == "audit" or not name else [_quality(run, name)]
    carried = list(dict.fromkeys(_one_each(run, analyses, found)))
    if carried:
        parts.append(f"{'It' if parts else 'The model'} {listing(carried)}.")
    missing = [what for what, _ in not_asked(run, analyses, found)]
    if missing and (parts or run.kind == "audit"):
        parts.append(f"Not measured: {'; '.join(missing)}.")
    return " ".join(parts)


def _one_each(run: RunRecord, analyses: Sequence[Analysis], found: Mapping[str, Answer | None]) -> Iterator[str]:
    """The clause of the first analysis of each question that has one."""
    for names in by_question(run, analyses, found).values():
        briefs = [answer.brief for name in names if (answer := found[name]) is not None and answer.brief]
        yield from briefs[:1]


def question_of(run: RunRecord, name: str, analyses: Sequence[Analysis]) -> str:
    """What the analysis answers, as its analyzer declares it, or nothing."""
    plugin = next((one.report.get("plugin", name) for one in analyses if one.name == name), None)
    headlines = declaration(plugin or plugin_over_seeds(run, name) or name).headlines
    return headlines[0].question if headlines else ""


def not_asked(
    run: RunRecord, analyses: Sequence[Analysis], found: Mapping[str, Answer | None]
) -> Iterator[tuple[str, str]]:
    """(what nobody knows of this model, the analyzer that would answer), of those that audits run."""
    answered = {question_of(run, name, analyses) for name, answer in found.items() if answer is not None}
    registry = known()
    declared = {name: declaration(name) for name in registry.names("analyzer")}
    usual = [(one.standard_audit, name) for name, one in declared.items() if one.standard_audit is not None]
    for _, name in sorted(usual):
        for headline in declared[name].headlines[:1]:
            if headline.absent and headline.question not in answered:
                answered.add(headline.question)  # one analyzer for each
                yield headline.absent, name


def _quality(run: RunRecord, name: str) -> str:
    stage = run.stages[name]
    classes, one, images = class_names(stage), kept(stage), validation_images(run, name)
    task = f"tells {listing(classes)} apart" if 1 < len(classes) <= 3 else f"tells {len(classes)} classes apart"
    if one.get("top1") is None:
        r2 = ((stage.get("evaluations") or {}).get("val") or {}).get("r2")
        if r2 is not None:
            return f"The model explains {percent(r2)} of what the numbers that it predicts vary by."
        return "How good the model is was not measured."
    if one.get("split") == "train":
        return (
            f"The model names {mean_of(one, 'top1')} of its own training images right; how good it is on new ones "
            "nobody knows, because no images were kept out of training."
        )
    guess, shown = chance(stage), mean_of(one, "top1")
    over = f" (mean over {seed_or_fold.of(run.repeats)})" if one.get("sd") else ""
    of = f"{shown} of {images} images" if images else f"{shown} of the images"
    text = f"is right on {of} that it was not trained on{over}"
    beside = f", where guessing would give {percent(guess, 0)}" if guess else ""
    if guess and images and not one.get("sd") and not measured_share(one["top1"], images).above(guess):
        return f"The model has not learned its task so far as can be told: it {text}{beside}."
    return f"The model {task if len(classes) > 1 else 'was trained'}: it {text}{beside}."


# --- the tiles --------------------------------------------------------------------------------------------------


def tiles(run: RunRecord, analyses: Sequence[Analysis], found: Mapping[str, Answer | None], glossary: Glossary) -> str:
    """The row of tiles: the model's accuracy, then the first answer to each question."""
    name = main_stage(run, analyses)
    quality = accuracy(run, name, places(run, analyses)) if name and run.kind != "audit" else None
    place = "seeds" if run.repeats else f"stage-{name}"
    shown = [] if quality is None else [_tile(QUALITY, place, quality, glossary)]
    for question, names in by_question(run, analyses, found).items():
        analysis = next((one for one in names if found[one] is not None), names[0])
        answer = found[analysis] or _unmeasured(analysis, analyses)
        shown.append(_tile(question, f"analysis-{analysis}", answer, glossary))
    return f'<div class="tiles">{"".join(shown)}</div>' if shown else ""


def by_question(
    run: RunRecord, analyses: Sequence[Analysis], found: Mapping[str, Answer | None]
) -> dict[str, list[str]]:
    """{question: the analyses that were to answer it}."""
    asked: dict[str, list[str]] = {}
    for name in found:
        asked.setdefault(question_of(run, name, analyses), []).append(name)
    return asked


def _unmeasured(name: str, analyses: Sequence[Analysis]) -> Answer:
    one = next((one for one in analyses if one.name == name), None)
    reasons = [] if one is None else [one.problem] if one.problem else one.texts("gaps")
    reason = reasons[0] if reasons else "Its report says no more."
    return Answer(title=name, value="not measured", meaning=reason)


def accuracy(run: RunRecord, name: str, where: Mapping[str, str]) -> Answer | None:
    """The tile of the stage's accuracy on validation images; None where there is none."""
    stage = run.stages[name]
    one, images, guess = kept(stage), validation_images(run, name), chance(stage)
    if one.get("top1") is None or one.get("split") == "train":
        return None
    known_images = images if images and not one.get("sd") else 0
    found = measured_share(one["top1"], known_images) if known_images else Estimate(float(one["top1"]))
    beside = "" if guess is None else f"guessing: {percent(guess, 0)}"
    meaning, todo = _use(run, name, one, found, guess, where)
    best = one.get("epoch") is not None and stage.get("kept") != "last" and not one.get("sd")
    how = f"The share of {images or 'the'} validation images, kept out of training, whose first answer is right."
    if found.known:
        how += " The range would hold the true share 19 times out of 20 if such images were drawn anew."
    if best:
        how += " The best epoch was chosen on these same images, which flatters it a little."
    shown = interval(found.low, found.high, unit="share") if found.known else ""
    return Answer("of new images named right", mean_of(one, "top1"), shown, beside, meaning, todo, how)


def _use(
    run: RunRecord, name: str, one: Mapping[str, Any], found: Estimate, guess: float | None, where: Mapping[str, str]
) -> tuple[str, str]:
    """What the accuracy means, and what to do."""
    epochs = run.stage_recipe(name).get("epochs")
    longer = "on more images"
    if isinstance(epochs, int):
        longer = f"longer: `transferkit run {where['run']}/recipe.yaml stages.{name}.epochs={2 * epochs}`"
    if guess is not None and found.known and not found.above(guess):
        return "Guessing may do as well: so far it has learned nothing that shows on new images.", f"Train {longer}."
    meaning = f"Of 100 new images like these expect about {100 * found.value:.0f} to be named right"
    meaning += f", or between {100 * found.low:.0f} and {100 * found.high:.0f}." if found.known else "."
    before = [line["top1"] for line in run.lines(name) if line.get("split") == "val" and line.get("top1") is not None]
    if len(before) > 1 and before[-1] > max(before[:-1]):
        return meaning, f"Its last epoch was its best, so it may become better. Train {longer}."
    return meaning, f"Use it: `transferkit predict {where['model']} PHOTO.jpg`."


def _tile(question: str, anchor: str, answer: Answer, glossary: Glossary) -> str:
    glossary.section()
    say = glossary.explained
    parts = [
        f'<h2><a href="#{quote(anchor)}">{escape(question)}</a></h2>',
        f'<p class="number"><strong>{say(answer.value)}</strong> {say(answer.title)}</p>',
        f'<p class="small">{say(answer.sides)}</p>' if answer.sides else "",
        f"<p>{say(answer.meaning)}</p>" if answer.meaning else "",
        f'<p class="todo">{say(answer.todo)}</p>' if answer.todo else "",
        f"<details><summary>how it is measured</summary><p>{say(answer.how)}</p></details>" if answer.how else "",
    ]
    return f'<section class="tile">{"".join(parts)}</section>'
