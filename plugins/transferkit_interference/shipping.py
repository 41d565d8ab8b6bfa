"""The detector as files: beside the model it guards where that is wanted, otherwise a copy in the analysis folder."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferkit.atomic import sha256
from transferkit.model import SourceHead
from transferkit.model_folder import SOURCE_HEAD, WEIGHTS, save_model
from transferkit.model_place import model_place

if TYPE_CHECKING:
    from transferkit.analysis import AnalysisSession
    from transferkit.deploy.interference_file import Interference
    from transferkit_interference.analyzer import InterferenceDetector

DETECTOR = "detector"
NEEDED = ("config.json", WEIGHTS, SOURCE_HEAD)


def ship(
    session: AnalysisSession, options: InterferenceDetector, interference: Interference, head: SourceHead
) -> list[str]:
    """Write what `transferkit.load` needs; the sentences for the notes say where it is."""
    folder = session.model_folder("target")
    if folder is None:
        return [
            "The model was not opened from a model folder (it still trains, or is a weights file or a timm name), so "
            "no detector was written. A stage's finished model has a folder; so has what timm's save_for_hf writes."
        ]
    if _installs(session, options, folder):
        with tempfile.TemporaryDirectory(prefix="source-", dir=session.out) as work:
            _write(session, interference, head, folder, Path(work))
        return [f"The detector is written into the model's folder, {folder}: transferkit.load gives a guarded model."]
    _copy(session, interference, head, folder)
    return [
        f"The model's folder was left as it is. To guard the model, copy the files of {DETECTOR}/ in this analysis's "
        f"folder into {folder}, or run the analysis with install: true."
    ]


def _installs(session: AnalysisSession, options: InterferenceDetector, folder: Path) -> bool:
    """As the option says; by default when the model is a stage of the run that this analysis belongs to."""
    if options.install is not None:
        return options.install
    run = model_place(str(folder)).run
    return run is not None and session.out.resolve().is_relative_to(run.resolve())


def _write(session: AnalysisSession, interference: Interference, head: SourceHead, folder: Path, work: Path) -> None:
    from transferkit.deploy.interference_file import write_interference

    model = interference.score.model
    source = _source_folder(session, work) if model == "separate" else None
    write_interference(folder, interference, None if model == "separate" else head, source)


def _source_folder(session: AnalysisSession, work: Path) -> Path:
    """A model folder of M^s: its own, or one made for it."""
    known = session.model_folder("source")
    return known if known is not None else save_model(work / "source", session.model("source"), None)


def _copy(session: AnalysisSession, interference: Interference, head: SourceHead, folder: Path) -> None:
    """The detector's files alone, made beside a temporary copy of the model that they name by hash."""
    place = session.out / DETECTOR
    shutil.rmtree(place, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="detector-", dir=session.out) as work:
        model = Path(work) / "model"
        model.mkdir()
        for name in NEEDED:
            if (folder / name).is_file():
                shutil.copyfile(folder / name, model / name)
        before = {path.name for path in model.iterdir()}
        _write(session, interference, head, model, Path(work))
        place.mkdir()
        for path in model.iterdir():
            if path.name not in before:
                path.rename(place / path.name)


def source_identity(session: AnalysisSession) -> dict[str, Any]:
    """{"name", "sha256"} of M^s: of its weights file where it has a folder, otherwise of its tensors in order."""
    folder = session.model_folder("source")
    weights = folder / WEIGHTS if folder is not None else None
    if weights is not None and weights.is_file():
        return {"name": session.describe("source"), "sha256": sha256(weights)}
    digest = hashlib.sha256()
    for name, tensor in sorted(session.model("source").net.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return {"name": session.describe("source"), "sha256": digest.hexdigest()}
