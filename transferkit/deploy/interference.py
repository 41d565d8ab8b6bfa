"""`interference.json`: what a model's detector watches, from which score on it flags, and what that promises.

The file names every other file of the detector with its SHA-256, and carries its own; nothing is used that differs
from it. No torch is needed to read it.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from transferkit.errors import InputError
from transferkit.report import finite, write_json
from transferkit.surface import __version__
from transferkit.system.atomic import fsync, read_json, sha256
from transferkit.system.records import check_sha256, parse, read_sealed, seal
from transferkit.system.safetensors_header import read_header

if TYPE_CHECKING:
    from torch import Tensor, nn

    from transferkit.model.wrapper import SourceHead

FILE = "interference.json"
SOURCE_MODEL = "source_model"
OWN = ("model.safetensors", "config.json")
FLOATS = ("F64", "F32", "F16", "BF16")

SCHEMA_VERSION = 2
PLAIN = 1  # of a file without a plugin's detector, which earlier versions read too
AGAIN = "make it anew with the interference analyzer"
KEPT = 2000
QUANTILES = (0.5, 0.9, 0.95, 0.99)
ScoreModel = Literal["swapped", "refitted", "separate", "detector"]
Reduction = Literal["sum", "max"]
Count = Annotated[int, Field(strict=True, ge=0)]
Share = Annotated[float, Field(strict=True, ge=0, le=1)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Level = Annotated[float, Field(strict=True, gt=0, lt=1)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
DETECTOR = "detector.safetensors"
HEADS = {"swapped": "source_head.safetensors", "refitted": "interference_head.safetensors"}


@dataclass(frozen=True)
class LingeringClass:
    """A source class the detector watches: its place among all source classes, and how it was chosen."""

    index: Count
    name: str
    prevalence: Count | None = None
    mean_probability: Share | None = None


@dataclass(frozen=True)
class Score:
    """Which head gives the probabilities, and how those of the lingering classes become one number.

    `detector`: a plugin's module gives the score, and nothing is reduced.
    """

    model: ScoreModel
    reduction: Reduction | Literal["none"]


@dataclass(frozen=True)
class DetectorRecord:
    """The plugin that a detector's tensors are of: what rebuilds its module where the plugin is installed."""

    plugin: str
    distribution: str
    version: str
    options: Mapping[str, Any] = field(default_factory=dict)
    layers: Mapping[str, Count] = field(default_factory=dict)
    """The inner layers that it looks at, with their numbers of channels."""
    tensors: Count = 0
    """How many there are in its file; without any there is none."""
    probe: Sequence[Number] = ()
    """Its scores of made-up features, which tell whether an installed version still computes the same."""


@dataclass(frozen=True)
class Guarantee:
    """At most a share `alpha` of clean inputs is flagged; `alpha` is None where the threshold was given."""

    alpha: Level | None
    confidence: Level | None
    calibration_size: Count
    text: str


@dataclass(frozen=True)
class Calibration:
    """Scores of clean inputs, sorted, and how often each source class (by index) was the strongest among them."""

    scores: tuple[Number, ...]
    quantiles: Mapping[str, float] = field(default_factory=dict)
    named: Mapping[int, Count] | None = None

    @classmethod
    def of(
        cls, scores: Iterable[float], named: Iterable[int] | None = None, *, probabilities: bool = True
    ) -> Calibration:
        """From the scores of n images, and the strongest lingering class of each if `named` is given.

        Of more than 2000 scores it keeps those order statistics with which a p-value never gets smaller. Where they
        are probabilities, what rounding put outside 0 to 1 is put back. Raises ValueError for NaN.
        """
        values = [float(score) for score in scores]
        if any(map(math.isnan, values)):
            raise ValueError("a calibration score is NaN; the model or an image is broken")
        ordered = sorted(min(1.0, max(0.0, value)) if probabilities else value for value in values)
        n = len(ordered)
        quantiles = {f"{q:g}": ordered[max(0, math.ceil(q * n) - 1)] for q in QUANTILES} if n else {}
        kept = ordered if n <= KEPT else [ordered[rank_of(j, KEPT, n) - 1] for j in range(1, KEPT + 1)]
        counts = None if named is None else dict(Counter(int(index) for index in named))
        return cls(tuple(kept), quantiles, counts)

    def p_value(self, score: float) -> float:
        """(1 + how many clean scores are at least as large) / (n + 1); NaN without clean scores or for NaN."""
        if not self.scores or math.isnan(score):
            return math.nan
        n = len(self.scores)
        return (1 + n - bisect_left(self.scores, score)) / (n + 1)

    def rank(self, threshold: float, size: int) -> int:
        """How many of the `size` clean scores are at most the threshold; estimated where not all were kept."""
        below = bisect_right(self.scores, threshold)
        return below if size <= len(self.scores) else rank_of(below, len(self.scores), size)


def rank_of(kept: int, of: int, n: int) -> int:
    """Which of n order statistics (from 1) stands at place `kept` of those that are kept; 0 for 0."""
    return -(-kept * (n + 1) // (of + 1))


@dataclass(frozen=True)
class Interference:
    """A model's detector. `source_class` everywhere is an index into `source_classes`, the K_s of the head."""

    source_model: Mapping[str, Any]
    lingering: Sequence[LingeringClass]
    source_classes: Annotated[Sequence[str], Field(min_length=1)]
    score: Score
    detect_p: Number
    guarantee: Guarantee
    calibration: Calibration
    preprocessing: Mapping[str, Any]
    files: Mapping[str, Sha256] = field(default_factory=dict)
    created_by: str = __version__
    schema_version: Count = PLAIN
    detector: DetectorRecord | None = None
    """The plugin whose module gives the score; None for the memory detector, whose score is a probability."""

    @property
    def indices(self) -> list[int]:
        """The lingering classes, as indices into all source classes."""
        return [one.index for one in self.lingering]

    @property
    def head_file(self) -> str | None:
        """The file with the head; None for a separate source model, which has its own, and for a plugin's detector."""
        return HEADS.get(self.score.model)

    @property
    def depends_on(self) -> list[str]:
        """The files whose content the detector depends on, as paths below the model folder."""
        if self.detector is not None:
            return [*OWN, DETECTOR] if self.detector.tensors else [*OWN]
        other = (f"{SOURCE_MODEL}/{name}" for name in OWN) if self.head_file is None else (self.head_file,)
        return [*OWN, *other]

    def to_json(self) -> dict[str, Any]:
        """The content of the file."""
        content = asdict(self)
        if self.detector is None:
            del content["detector"]
        else:
            content["detector"]["probe"] = list(self.detector.probe)
        named = content["calibration"].pop("named")
        if named is not None:
            content["calibration"]["named"] = {str(index): count for index, count in sorted(named.items())}
        content["calibration"]["scores"] = list(self.calibration.scores)
        content["lingering"], content["source_classes"] = list(content["lingering"]), list(self.source_classes)
        return {key: content.pop(key) for key in ("schema_version", "created_by")} | content


def parse_interference(content: dict[str, Any], path: Path) -> Interference:
    """What `Interference.to_json` gave. Raises InputError, in a sentence with the path, for what is wrong first."""
    stated = {"schema_version": None, "created_by": "?"} | content  # the defaults are those of a file made now
    found = parse(stated, Interference, path, AGAIN, strict=None)
    classes = len(found.source_classes)
    beyond = next((index for index in found.indices if index >= classes), None)
    shares = found.detector is not None or all(0 <= one <= 1 for one in (found.detect_p, *found.calibration.scores))
    checks = {
        '"lingering" names no class': bool(found.lingering) or found.detector is not None,
        '"detect_p" and "calibration.scores" must lie between 0 and 1': shares,
        '"score.model" and "detector" contradict each other': (found.score.model == "detector")
        == (found.detector is not None),
        f'"lingering" has the class {beyond}, and there are {classes} source classes': beyond is None,
        '"lingering" has a class twice': len({*found.indices}) == len(found.indices),
        '"calibration.scores" must be sorted': all(low <= high for low, high in pairwise(found.calibration.scores)),
        f'"calibration.named" has a class that is none of the {classes} source classes': all(
            0 <= index < classes for index in found.calibration.named or ()
        ),
    }
    for problem, holds in checks.items():  # what each value allows and all of them together do not
        if not holds:
            raise InputError(f"{path}: {problem}; {AGAIN}")
    return found


def read_interference(folder: Path | str) -> Interference | None:
    """What the folder's detector is, after every file it depends on was compared with its hash; None without one.

    Raises InputError, in one sentence, for a file that is damaged, changed, missing, of a newer schema or does not
    fit the model.
    """
    folder = Path(folder)
    path = folder / FILE
    if not os.path.lexists(path):
        _refuse_half(folder)
        return None
    found = parse_interference(read_sealed(path, SCHEMA_VERSION, AGAIN), path)
    if found.head_file is not None:
        _check_head(folder, found.head_file, len(found.source_classes))
    for name in found.depends_on:
        expected = found.files.get(name)
        if expected is None:
            raise InputError(f"{path}: has no SHA-256 of {name}; {AGAIN}")
        check_sha256(
            folder / name,
            expected,
            record=FILE,
            what="the file that the detector was made for",
            advice="restore it, or make the detector anew with the interference analyzer",
        )
    return found


def write_interference(
    folder: Path | str,
    interference: Interference,
    head: SourceHead | None = None,
    source_model: Path | None = None,
    detector: nn.Module | None = None,
) -> Path:
    """Make the folder's model a guarded one and return the path of `interference.json`, which is written last.

    `refitted` needs the head and writes it; `swapped` uses the folder's source head, or writes this one where there
    is none; `separate` needs the folder of the source model and copies its files; a plugin's `detector` is written as
    the tensors of that module. `files` and `schema_version` of `interference` are filled in here. Raises InputError
    where something is missing or does not fit.
    """
    folder = Path(folder)
    for name in OWN:
        if not (folder / name).is_file():
            raise InputError(f"{folder}: not a model folder: there is no {name} in it")
    if interference.detector is not None:
        _write_detector(folder, interference.detector, detector)
    elif interference.head_file is None:
        _copy_source(folder, source_model)
    else:
        _write_head(folder, interference, head)
    hashes = {name: sha256(folder / name) for name in interference.depends_on}
    version = PLAIN if interference.detector is None else SCHEMA_VERSION
    content = seal(finite(interference.to_json() | {"files": hashes, "schema_version": version}))
    checked = parse_interference(content, folder / FILE)
    if checked.head_file is not None:
        _check_head(folder, checked.head_file, len(checked.source_classes))
    write_json(folder / FILE, content)
    return folder / FILE


def _refuse_half(folder: Path) -> None:
    """A detector's own files without its description: the model would go unguarded without anybody knowing."""
    for name in (HEADS["refitted"], SOURCE_MODEL, DETECTOR):
        if (folder / name).exists():
            raise InputError(
                f"{folder}: has {name} of a detector and no {FILE}; copy that too, or remove {name} to use the model "
                "without a detector"
            )


def _write_head(folder: Path, interference: Interference, head: SourceHead | None) -> None:
    path = folder / str(interference.head_file)
    if interference.score.model == "swapped" and path.exists():
        import torch

        from transferkit.model.folder import read_source_head

        known = read_source_head(path).tensors()
        given = known if head is None else head.tensors()
        if known.keys() != given.keys() or not all(torch.equal(known[name], given[name].cpu()) for name in known):
            raise InputError(f"{path}: another head than the one to be used for the swapped score")
        return
    if head is None:
        raise InputError(f"{folder}: the score of the {interference.score.model} model needs a head, and there is none")
    _write_tensors(head.tensors(), path)


def _write_detector(folder: Path, record: DetectorRecord, detector: nn.Module | None) -> None:
    if detector is None:
        raise InputError(f"{folder}: the score of a plugin's detector needs its module, and there is none")
    tensors = detector.state_dict()
    if len(tensors) != record.tensors:
        raise InputError(f"{folder}: a detector of {record.tensors} tensors, where its module has {len(tensors)}")
    if tensors:
        _write_tensors(tensors, folder / DETECTOR)
    else:
        (folder / DETECTOR).unlink(missing_ok=True)


def _write_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    from transferkit.model.weights import plain, save_tensors

    temporary = path.with_name(f".{path.name}.part")
    try:
        save_tensors(plain(tensors), temporary)
        temporary.chmod(0o644)
        fsync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _copy_source(folder: Path, source_model: Path | None) -> None:
    place = folder / SOURCE_MODEL
    if source_model is None or not all((source_model / name).is_file() for name in OWN):
        raise InputError(
            f"{folder}: a separate source model needs the folder of that model, and {source_model} is none"
        )
    if place.exists() and place.samefile(source_model):
        return
    work = Path(tempfile.mkdtemp(prefix=f".{SOURCE_MODEL}-", dir=folder))
    try:
        work.chmod(0o755)
        for name in OWN:
            shutil.copyfile(source_model / name, work / name)
            fsync(work / name)
        if place.exists():
            shutil.rmtree(place)
        work.rename(place)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _check_head(folder: Path, name: str, classes: int) -> None:
    """Raise InputError unless the file holds `weight` (classes, features) and, if any, `bias` (classes,).

    The width is compared with the model's classifier where timm names it; `Guarded` compares it with the model.
    """
    path = folder / name
    tensors = read_header(path)
    weight, bias = tensors.get("weight"), tensors.get("bias")
    if weight is None or len(weight.shape) != 2 or set(tensors) - {"weight", "bias"}:
        raise InputError(f"{path}: a head has a tensor `weight` of shape (classes, features) and at most a `bias`")
    if weight.shape[0] != classes:
        raise InputError(f"{path}: a head for {weight.shape[0]} classes, where interference.json names {classes}")
    if bias is not None and bias.shape != (classes,):
        raise InputError(f"{path}: its bias has the shape {list(bias.shape)} instead of [{classes}]")
    if any(tensor.dtype not in FLOATS for tensor in tensors.values()):
        raise InputError(f"{path}: a head's tensors are floating-point numbers")
    try:
        content: dict[str, Any] = read_json(folder / "config.json")
        classifier = content["pretrained_cfg"]["classifier"]
    except (InputError, KeyError, TypeError):
        return  # the hashes and opening the model say what is wrong
    own = read_header(folder / "model.safetensors").get(f"{classifier}.weight")
    if own is not None and len(own.shape) >= 2 and own.shape[1] != weight.shape[1]:
        raise InputError(f"{path}: a head for {weight.shape[1]} features does not fit a model with {own.shape[1]}")
