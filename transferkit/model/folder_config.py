"""What a model folder's config.json may say, ours, plain timm's or the hub's: checked here, once, before any use."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

import transferkit.model.nets  # noqa: F401, timm knows these architectures from here on
from transferkit.errors import InputError, Problem
from transferkit.model.options import RESERVED, SOURCES, permitted
from transferkit.model.registered import is_known, unknown
from transferkit.system.atomic import read_json
from transferkit.system.records import check_seal, check_sha256, check_version, parse, require_file

CONFIG = "config.json"
KEY = "transferkit"
FORMAT = 1
LARGEST_IMAGE = 2**26  # numbers in one image: 4096 x 4096 pixels with four channels
ADVICE = "restore it, or save the model again"
EDITED = f'{ADVICE}; to keep an edit of your own, take "sha256" out of its "{KEY}"'


def _fits(size: list[int]) -> list[int]:
    if prod(size) > LARGEST_IMAGE:
        raise ValueError(f"an image of {' x '.join(map(str, size))} is larger than any model takes")
    return size


Positive = Annotated[int, Field(gt=0)]
Images = Annotated[list[Positive], Field(min_length=3, max_length=3), AfterValidator(_fits)]
Sides = Annotated[list[Positive], Field(min_length=2, max_length=2), AfterValidator(_fits)]
Share = Annotated[float, Field(gt=0, le=4, allow_inf_nan=False)]  # timm has models with a crop of 1.15
Means = Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=1, max_length=1000)]
Deviations = Annotated[list[Annotated[float, Field(gt=0, allow_inf_nan=False)]], Field(min_length=1, max_length=1000)]
Classes = Annotated[int, Field(ge=0, le=2**24)]
Channels = Annotated[int, Field(gt=0, le=1000)]
Layers = str | list[str] | None
Interpolation = Literal["nearest", "bilinear", "bicubic", "box", "hamming", "lanczos"]
CropMode = Literal["center", "squash", "border"]
Sum = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", protected_namespaces=())


class PretrainedFields(_Part):
    """timm's description of images, classes and layers. Where weights would come from is no part of it."""

    architecture: str | None = None
    tag: str | None = None
    custom_load: bool = False
    input_size: Images | None = None
    test_input_size: Images | None = None
    min_input_size: Images | None = None
    fixed_input_size: bool | None = None
    interpolation: Interpolation | None = None
    crop_pct: Share | None = None
    test_crop_pct: Share | None = None
    crop_mode: CropMode | None = None
    mean: Means | None = None
    std: Deviations | None = None
    num_classes: Classes | None = None
    label_names: list[str] | None = None
    pool_size: list[int] | None = None
    test_pool_size: list[int] | None = None
    first_conv: Layers = None
    classifier: Layers = None
    license: str | None = None
    description: str | None = None
    origin_url: str | None = None
    paper_name: str | None = None
    paper_ids: str | list[str] | None = None
    notes: str | list[str] | None = None


class PreprocessingFields(_Part):
    """What `Preprocessing.to_json` gave."""

    input_size: Sides
    mean: Means
    std: Deviations
    crop_pct: Share
    crop_mode: CropMode
    interpolation: Interpolation
    in_chans: Channels

    @model_validator(mode="after")
    def _one_per_channel(self) -> PreprocessingFields:
        if {len(self.mean), len(self.std)} != {self.in_chans}:
            raise ValueError(f"mean and std need one number for each of {self.in_chans} channels")
        return self


class AdapterFields(_Part):
    """An adapter whose layers are in the model as they are: a plugin by name, with options that it validates itself."""

    plugin: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=200)]
    distribution: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=200)]
    version: Annotated[str, Field(pattern=r"^[^\s\"]+$", max_length=200)]
    options: dict[str, Any] = {}
    layers: Annotated[list[str], Field(min_length=1)]


class ArchitectureFields(_Part):
    """What must be installed where timm does not have the architecture: for a sentence, and for nothing else."""

    distribution: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=200)]
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9.+!_?-]*$", max_length=100)] = ""


class OwnFields(_Part):
    """The key `transferkit`; what else a run wrote there is for people."""

    format: Annotated[int, Field(ge=0)] = FORMAT
    created_by: str = "?"
    classes: list[str] | None = None
    source_classes: list[str] | None = None
    preprocessing: PreprocessingFields | None = None
    files: dict[str, Sum] = {}
    adapters: list[AdapterFields] = []
    architecture_of: ArchitectureFields | None = None


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="allow", protected_namespaces=())

    num_classes: Classes | None = None
    in_chans: Channels | None = None
    img_size: Annotated[int, Field(gt=0, le=8192)] | Sides | None = None


class _Content(_Part):
    architecture: str
    model_args: _Arguments | None = None
    pretrained_cfg: PretrainedFields
    num_classes: Classes | None = None
    label_names: list[str] | None = None
    transferkit: OwnFields | None = None


@dataclass(frozen=True)
class FolderConfig:
    """What a config.json says: how to create the model, what we wrote beside it, and the raw content of that."""

    architecture: str
    model_args: dict[str, Any]
    pretrained_cfg: dict[str, Any]
    own: OwnFields
    info: dict[str, Any]
    sealed: bool
    """Whether the file carries a checksum of itself, which agrees."""

    def verify(self, folder: Path) -> None:
        """Raise InputError for the first file of the folder that is not the one that was saved with config.json."""
        for name, expected in self.own.files.items():
            if Path(name).name == name:  # beside it, and nothing else
                check_sha256(folder / name, expected, record=CONFIG, what="the file that was saved", advice=ADVICE)


def read_config(folder: Path) -> FolderConfig:
    """The config.json of a model folder. Raises InputError when it is missing, damaged or not timm's."""
    return read_config_file(folder / CONFIG)


def read_config_file(path: Path) -> FolderConfig:
    """The same of a file, which the hub's cache may have given another place."""
    require_file(path, f"missing, so {path.parent} is not a model folder")
    raw: dict[str, Any] = read_json(path, what=ADVICE)
    info = raw.get(KEY)
    if isinstance(info, dict):
        check_version(info.get("format"), FORMAT, info.get("created_by", "?"), path)
    sealed = check_seal(raw, path, EDITED, KEY)
    if "pretrained_cfg" not in raw:  # timm's first form had one mapping for all
        raw = {**raw, "pretrained_cfg": raw, "label_names": raw.get("label_names", raw.get("labels"))}
    fields = raw["pretrained_cfg"] if isinstance(raw["pretrained_cfg"], dict) else {}
    where = f"{path}: pretrained_cfg"
    problems = [Problem(f"{where}.{key}", "not an option here", RESERVED[key]) for key in SOURCES if fields.get(key)]
    if problems:
        raise InputError(problems)
    content = parse(raw, _Content, path, ADVICE)
    if not is_known(content.architecture):
        told = content.transferkit.architecture_of if content.transferkit else None
        said = None if told is None else told.model_dump()
        raise InputError(f"{path}: {unknown(content.architecture, said)}")
    arguments = content.model_args.model_dump(exclude_none=True) if content.model_args else {}
    pretrained = _pretrained(content, arguments.pop("num_classes", None))
    options = permitted(arguments, f"{path}: model_args")
    own, known = content.transferkit or OwnFields(), info if isinstance(info, dict) else {}
    return FolderConfig(content.architecture, options, pretrained, own, known, sealed)


def timm_fields(config: dict[str, Any]) -> dict[str, Any]:
    """The part of a timm configuration that describes a model, without where its weights came from."""
    return {key: value for key, value in config.items() if key in PretrainedFields.model_fields}


def _pretrained(content: _Content, classes: int | None) -> dict[str, Any]:
    """As timm takes it: lists as tuples, the outer values before the inner ones, those of the arguments first."""
    fields = content.pretrained_cfg.model_dump(exclude_none=True)
    outer = {"num_classes": classes if classes is not None else content.num_classes, "label_names": content.label_names}
    fields |= {key: value for key, value in outer.items() if value is not None}
    fields |= {"architecture": content.architecture, "custom_load": False}  # weights are read here, never by a loader
    return {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
