"""The detector that is shipped: the one that is judged, with a threshold that promises something.

Its files lie beside the model that it guards where that is wanted, otherwise as a copy in the analysis folder.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

import transferkit.model as models
from transferkit.errors import InputError
from transferkit.report import count
from transferkit_interference.detectors import ByPlugin, Eq5
from transferkit_interference.material import Material
from transferkit_interference.threshold import conformal_threshold, enough

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit_interference.options import Options

DETECTOR = "detector"
NEEDED = ("config.json", models.WEIGHTS, models.SOURCE_HEAD)
PIXELS = ("input_size", "crop_pct", "crop_mode", "interpolation", "in_chans")


@dataclass(frozen=True)
class Shipped:
    """The detector that is written, and judged."""

    score: Eq5 | ByPlugin
    file: models.Interference
    """The content of interference.json."""


def refuse(session: AnalysisSession, options: Options) -> None:
    """Raise InputError for a head that could not be used, and for a probability where there is none."""
    if options.deploy is not None and options.detect_p is not None:
        raise InputError("detect_p is a threshold of probabilities; that of a plugin's detector is calibrated by alpha")
    if options.deploy is not None:
        return
    if options.head != "separate":
        return
    if session.source_head_is_probe:
        raise InputError("a separate source model needs a classifier of its own, and this one has none; head: refitted")
    ours, theirs = (session.model(role).preprocessing for role in ("target", "source"))
    different = [name for name in PIXELS if getattr(ours, name) != getattr(theirs, name)]
    if different:
        raise InputError(
            f"a separate source model must see the same pixels, but its {different[0]} is "
            f"{getattr(theirs, different[0])} and the target's is {getattr(ours, different[0])}; head: refitted"
        )


def calibrate(session: AnalysisSession, options: Options, material: Material, score: Eq5 | ByPlugin) -> Shipped:
    """The detector with its threshold from the calibration images.

    Raises InputError, with the number of images that would do, where there are too few of these.
    """
    known, by_plugin = material.memories, isinstance(score, ByPlugin)
    clean = material.clean.at(material.calibrate)
    calibration = score(clean)
    fixed = options.detect_p is not None
    detect_p = options.detect_p if options.detect_p is not None else _threshold(options, material, calibration)
    file = models.Interference(
        source_model=_source_identity(session),
        lingering=[
            models.LingeringClass(c, known.names[c], int(known.prevalence[c]), float(known.mean_probability[c]))
            for c in score.lingering.tolist()
        ],
        source_classes=list(known.names),
        score=models.Score(score.model, score.reduction),
        detect_p=detect_p,
        guarantee=models.Guarantee(
            alpha=None if fixed else options.alpha,
            confidence=None if fixed else options.confidence,
            calibration_size=len(calibration),
            text=_promise(options, len(calibration), material.clean_split),
        ),
        calibration=models.Calibration.of(
            calibration.tolist(),
            score.named(clean).tolist() if len(score.lingering) else None,
            probabilities=not by_plugin,
        ),
        preprocessing=session.model("target").preprocessing.to_json(),
        detector=models.DetectorRecord(**score.fitted.facts(material.own)) if isinstance(score, ByPlugin) else None,
    )
    return Shipped(score, file)


def _threshold(options: Options, material: Material, scores: NDArray[np.float64]) -> float:
    found = conformal_threshold(torch.from_numpy(scores), options.alpha, options.confidence)
    if math.isfinite(found):
        return found
    needed = enough(options.alpha, options.confidence)
    total = math.ceil(needed / options.calibration)
    part = "All" if options.calibration == 1 else f"A share of {options.calibration:g}"
    surely = "" if options.confidence is None else f" with a confidence of {100 * options.confidence:g} %"
    raise InputError(
        f"{count(len(scores), 'clean image')} cannot promise at most {100 * options.alpha:g} % false alarms{surely}; "
        f"{needed} would do. {part} of the {material.clean_split} split calibrates, so give it "
        f"{count(total, 'image')}, or set `calibration` or `alpha` higher, or a fixed `detect_p`"
    )


def _promise(options: Options, size: int, split: str) -> str:
    """The guarantee in words."""
    if options.detect_p is not None:
        return "The threshold was given, so nothing is promised about false alarms."
    like = f"clean inputs drawn like the {size} {split} images of the calibration"
    limits = "Nothing is promised about what is missed, nor for inputs that are drawn otherwise (drift)."
    if options.confidence is None:
        return f"On average over calibrations at most {100 * options.alpha:g} % of {like} are flagged. {limits}"
    return (
        f"With a confidence of {100 * options.confidence:g} % this threshold flags at most {100 * options.alpha:g} % "
        f"of {like}. {limits}"
    )


def _source_identity(session: AnalysisSession) -> dict[str, Any]:
    """{"name", "sha256"} of M^s: of its weights file where it has a folder, otherwise of its tensors in order."""
    folder = session.model_folder("source")
    if folder is not None and (folder / models.WEIGHTS).is_file():
        return {"name": session.describe("source"), "sha256": models.sha256(folder / models.WEIGHTS)}
    return {"name": session.describe("source"), "sha256": models.weights_sha256(session.model("source"))}


def ship(session: AnalysisSession, options: Options, shipped: Shipped) -> str:
    """Write what `transferkit.load` needs; the sentence for the notes says where it is.

    Into the model's folder as the option says, by default when the model is a stage of the run that this analysis
    belongs to. Otherwise the detector's files alone, made beside a temporary copy of the model that they name by hash.
    """
    folder = session.model_folder("target")
    if folder is None:
        return (
            "The model was not opened from a model folder (it still trains, or is a weights file or a timm name), so "
            "no detector was written. A stage's finished model has a folder; so has what timm's save_for_hf writes."
        )
    run = models.model_place(str(folder)).run
    own = run is not None and session.out.resolve().is_relative_to(run.resolve())
    install = own if options.install is None else options.install
    with tempfile.TemporaryDirectory(prefix="detector-", dir=session.out) as work:
        if install:
            _write(session, shipped, folder, Path(work))
            return f"The detector is written into the model's folder, {folder}: transferkit.load gives a guarded model."
        model, place = Path(work) / "model", session.out / DETECTOR
        model.mkdir()
        for name in NEEDED:
            if (folder / name).is_file():
                shutil.copyfile(folder / name, model / name)
        before = set(model.iterdir())
        _write(session, shipped, model, Path(work))
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        for path in set(model.iterdir()) - before:
            path.rename(place / path.name)
    return (
        f"The model's folder was left as it is. To guard the model, copy the files of {DETECTOR}/ in this analysis's "
        f"folder into {folder}, or run the analysis with install: true."
    )


def _write(session: AnalysisSession, shipped: Shipped, folder: Path, work: Path) -> None:
    """Beside the model in `folder`; a separate source model is its own folder, or one made for it in `work`."""
    if isinstance(shipped.score, ByPlugin):
        models.write_interference(folder, shipped.file, detector=shipped.score.fitted.module)
        return
    if shipped.score.model != "separate":
        models.write_interference(folder, shipped.file, shipped.score.head, None)
        return
    known = session.model_folder("source")
    source = known if known is not None else models.save_model(work / "source", session.model("source"), None)
    models.write_interference(folder, shipped.file, None, source)
