"""`transferkit explain`: where in this photograph does the model see a class?"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transferkit.cli.audit import MODEL
from transferkit.cli.outputs import refuse_file
from transferkit.cli.predict import Unreadable, nothing
from transferkit.cli.predictions import image_files
from transferkit.errors import InputError
from transferkit.system.memory import enough_memory
from transferkit.system.signals import stoppable
from transferkit.system.terminal import note, print_json, print_table, progress, say, working
from transferkit.words.formats import first_name, percent

if TYPE_CHECKING:
    from transferkit.analysis.explanations import Explainer, Explanation, Head, Shares
    from transferkit.analysis.workbench import Given

LONGEST = 150  # bytes of a photograph's name that its picture's has; file systems end at 255
OUT_OF_MEMORY = "out of memory: use a model with a smaller input size, or --device cpu"


class Role(StrEnum):
    """Whose classes."""

    target = "target"
    source = "source"
    both = "both"


def explain(
    model: Annotated[str, typer.Argument(help=MODEL, show_default=False)],
    photos: Annotated[list[Path], typer.Argument(help="Photographs, and folders of them.", show_default=False)],
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", help="Whose map to draw (repeatable). Default: the predicted one.", show_default=False),
    ] = None,
    role: Annotated[
        Role,
        typer.Option(
            help="The model's own classes, those of its source model (by its head on these features), or both."
        ),
    ] = Role.target,
    occlude: Annotated[
        str | None,
        typer.Option(metavar="BOX", help="Also grey this box: LEFT,TOP,WIDTH,HEIGHT in shares of the photograph."),
    ] = None,
    stage: Annotated[str | None, typer.Option(help="Which stage of a run; default: the last.")] = None,
    method: Annotated[str, typer.Option(help="gradcam, or a method of the package grad-cam.")] = "gradcam",
    layer: Annotated[str | None, typer.Option(help="Where the map is taken. Default: the last possible place.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; default: torch's own choice.")] = None,
    out: Annotated[Path, typer.Option(help="The folder for the pictures.")] = Path("explained"),
    json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
) -> None:
    """Draw where in photographs a model sees a class: a heat map for each class beside the photograph.

    Unreadable photographs are named and skipped.
    """
    box = None if occlude is None else read_box(occlude)
    files = list(image_files(photos))
    refuse_data(out, photos, files)
    names = picture_names(files)
    done: list[dict[str, Any]] = []
    bad, ready = Unreadable(), f"explaining; finished pictures are in {out}"
    with stoppable(ready), enough_memory(lambda: OUT_OF_MEMORY):
        with working("opening the model"):
            explainer = opened(
                model, stage, classes or [], role, method=method, layer=layer, device=device, threads=threads
            )
        with progress(len(files), "photographs") as advance:
            for path in files:
                found = _explained(explainer, path, box, bad)
                if found is not None:
                    picture = _drawn(out / names[path], found, path)
                    done.append({"path": str(path), "picture": str(picture), **as_json(found)})
                advance(1)
    if not done:
        raise nothing(photos, bad.paths)
    if json:
        print_json({"layer": explainer.layer, "method": method, "photos": done})
    else:
        show(done)
        say()
        say(f"pictures   {out}")
    if bad.paths:
        note(f"{len(done)} photographs explained, {len(bad.paths)} left out")


# --- what was asked for ---------------------------------------------------------------------------------------


def read_box(text: str) -> Shares:
    """`0.5,0.25,0.3,0.4` -> (left, top, width, height). Raises InputError for what is no box within 0..1."""
    try:
        left, top, width, height = (float(part) for part in text.split(","))
    except ValueError:
        raise _no_box(text, "four numbers with commas between them are needed") from None
    if not (0 <= left < 1 and 0 <= top < 1 and 0 < width <= 1 and 0 < height <= 1):
        raise _no_box(text, "every number is a share between 0 and 1, and width and height are above 0")
    if left + width > 1 + 1e-9 or top + height > 1 + 1e-9:
        raise _no_box(text, "the box goes past the photograph's edge")
    return left, top, width, height


def _no_box(text: str, why: str) -> InputError:
    return InputError(
        f'--occlude "{text}": {why}; write LEFT,TOP,WIDTH,HEIGHT in shares of the photograph, such as 0.5,0.25,0.3,0.4'
    )


def refuse_data(out: Path, given: Sequence[Path], files: Sequence[Path]) -> None:
    """Raise InputError for a folder in which pictures would later be taken for data.

    That is: inside a folder that was given, in one that a photograph lies in, or in a split beside its class folder.
    The working directory is none of these unless it is (in) a split.
    """
    from transferkit.data.folders import split_of

    refuse_file(out, "the pictures")
    place, here = out.resolve(), Path.cwd()
    homes = {file.resolve().parent for file in files}
    splits = {one for home in homes for one in (home, home.parent) if split_of(one.name) is not None}
    data = {path.resolve() for path in given if path.is_dir()} | splits | (homes - {here})
    inside = next((folder for folder in sorted(data) if place.is_relative_to(folder)), None)
    if inside is not None:
        raise InputError(
            f"--out {out} lies in {inside}, where photographs come from: pictures there would be taken for data; "
            "choose another folder with --out"
        )
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; choose a folder")


def picture_names(files: Sequence[Path]) -> dict[Path, str]:
    """A name for the picture of each photograph, unlike every other."""
    found: dict[Path, str] = {}
    taken: Counter[str] = Counter()
    for path in files:
        stem = path.stem
        while len(os.fsencode(stem)) > LONGEST:
            stem = stem[:-1]
        taken[stem.casefold()] += 1
        number = taken[stem.casefold()]
        found.setdefault(path, f"{stem}{'' if number == 1 else f'-{number}'}.explained.jpg")
    return found


def opened(
    text: str,
    stage: str | None,
    classes: Sequence[str],
    role: Role,
    *,
    method: str,
    layer: str | None,
    device: str,
    threads: int | None,
) -> Explainer:
    """The model, ready. Raises InputError for models, classes, layers and devices that cannot be."""
    import torch

    from transferkit.analysis.explanations import Explainer
    from transferkit.analysis.given_models import given_model
    from transferkit.deploy.place import local, model_folder
    from transferkit.training.devices import available_device

    place = torch.device(available_device(device))
    if threads is not None:
        torch.set_num_threads(threads)
    given = given_model(local(text) if stage is None else str(model_folder(text, stage)), say=note)
    heads = _heads(given, classes, role)
    try:
        return Explainer(given.opened[0], heads, place, method=method, layer=layer)
    except InputError as error:
        if "(layer=" in str(error):  # as a library says it
            error.add_note("    here: --layer NAME")
        raise


def _heads(given: Given, asked: Sequence[str], role: Role) -> list[Head]:
    """The heads that are asked, with their classes."""
    from transferkit.analysis.asked_classes import asked_classes, choose_classes
    from transferkit.analysis.explanations import Head
    from transferkit.analysis.workbench import has_classifier

    model, source = given.opened
    heads = {"target": model.source_head()} if has_classifier(model) else {}
    if source is not None and source.classes:
        heads["source"] = source
    wanted = ["target", "source"] if role is Role.both else [role.value]
    for name in wanted:
        if name not in heads:
            raise InputError(_headless(given.label, name))
    names = {name: asked_classes(head.classes) for name, head in heads.items()}
    chosen = choose_classes(
        asked, {name: names[name] for name in wanted}, {name: names[name] for name in heads if name not in wanted}
    )
    return [Head(name, heads[name], names[name], chosen[name]) for name in wanted]


def _headless(label: str, role: str) -> str:
    if role == "target":
        return f"{label} has no classifier, so there is no class whose map could be drawn"
    return (
        f"{label} has no source head kept beside it, so what it remembers of a source cannot be looked at; "
        "give a run or a model folder of transferkit that was fine-tuned, or leave out --role"
    )


# --- what was found -------------------------------------------------------------------------------------------


def _explained(explainer: Explainer, path: Path, box: Shares | None, bad: Unreadable) -> Explanation | None:
    from transferkit.data.images import BadImage, open_image

    try:
        return explainer(open_image(path, fits=explainer.refuse), box)
    except BadImage as error:
        bad(path, error.reason)
        return None
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _drawn(place: Path, found: Explanation, photo: Path) -> Path:
    from transferkit.analysis.explanation_picture import draw

    draw(place, found, photo.name)
    return place


def as_json(found: Explanation) -> dict[str, Any]:
    """The answers for machines: of every view, and over all places of the control."""
    control = found.control
    return {
        "covered": found.covered,
        "views": [
            {
                "view": view.kind,
                "answers": {role: {"class": name, "probability": p} for role, (name, p) in view.answers.items()},
                "classes": [
                    {
                        "role": sight.role,
                        "class": sight.name,
                        "index": sight.index,
                        "probability": sight.probability,
                        "map": sight.trouble or "drawn",
                    }
                    for sight in view.sights
                ],
            }
            for view in found.views
        ],
        "control": None
        if control is None
        else {
            "places": control.places,
            "answers": {role: dict(Counter(names)) for role, names in control.answers.items()},
            "classes": [
                {"role": role, "class": name, "mean": sum(p) / len(p), "low": min(p), "high": max(p)}
                for (role, name), p in control.probabilities.items()
            ],
        },
        "notes": found.notes,
    }


def show(photos: Sequence[dict[str, Any]]) -> None:
    """The answers for people: a table with a line per photograph, view and class, and what there is to be said."""
    greyed = any(photo["covered"] is not None for photo in photos)
    columns = ["photograph", *(["greyed"] if greyed else []), "head", "class", "p", "answer"]
    rows = []
    for photo in photos:
        for greyed_part, role, name, p, answer in _lines(photo):
            rows.append([photo["path"], *([greyed_part] if greyed else []), role, first_name(name), p, answer])
    print_table(columns, rows, right=["p"])
    for photo in photos:
        for text in photo["notes"]:
            note(f"{photo['path']}: {text}")


def _lines(photo: dict[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """(what is greyed, head, class, probability, answer) of each view; of the control its mean and range."""
    found = []
    parts = {"photo": "nothing", "greyed": f"the box, {percent(photo['covered'], 0)}"}
    for view in photo["views"]:
        for one in view["classes"] if view["view"] in parts else ():
            said = view["answers"][one["role"]]
            answer = f"{first_name(said['class'])} {percent(said['probability'])}"
            found.append((parts[view["view"]], one["role"], one["class"], percent(one["probability"]), answer))
    control = photo["control"]
    for one in control["classes"] if control is not None else ():
        answers = control["answers"][one["role"]]
        counted = ", ".join(f"{first_name(name)} {times}x" for name, times in sorted(answers.items(), key=_often)[:3])
        spread = f"{percent(one['mean'])} ({100 * one['low']:.1f} to {100 * one['high']:.1f})"
        found.append((f"as much elsewhere, {control['places']}x", one["role"], one["class"], spread, counted))
    return found


def _often(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]
