"""What a recipe may say: one pydantic model per section, unknown keys forbidden.

Plugin options are not here: a plugin's own dataclass fields are its options (see `transferkit.plugins.registry`).
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import (
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    model_validator,
)

from transferkit.recipe.base import (
    AboveZero,
    Count,
    Flag,
    Name,
    Number,
    PartShare,
    Positive,
    Section,
    Share,
    SomeShare,
    Weight,
    Whole,
)
from transferkit.recipe.uses import AnalyzerUse, CorruptionUse, PluginUse, RegularizerUse, Split

RECIPE_VERSION: Final = 1
SPLITS = ("train", "val", "test")
DATASET_SOURCES = (
    "folder", "table", "lists", "torchvision", "hf", "npz", "tar", "webdataset", "world", "synthetic", "reader",
    "from_",
)  # fmt: skip


class Preprocessing(Section):
    """Where the model's input differs from what timm's own configuration says."""

    input_size: Positive | tuple[Positive, Positive] | None = Field(None, description="pixels, or [height, width]")
    mean: list[Number] | None = None
    std: list[Number] | None = None
    crop_pct: SomeShare | None = None
    crop_mode: Literal["center", "squash", "border"] | None = None
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] | None = None


class Model(Section):
    """The backbone: any timm name, `hf-hub:owner/name` or `local-dir:folder`, and optionally a weights file."""

    name: str
    weights: str | None = Field(
        None, description="a .safetensors file, or the index of several; without it timm's own pretrained weights"
    )
    options: dict[str, Any] = Field({}, description="passed to timm.create_model")
    preprocessing: Preprocessing = Preprocessing()


class World(Section):
    """The procedurally drawn data set that needs no download."""

    kind: Literal["source", "target", "digits"]
    train: Positive = Field(100, description="images per class")
    val: Positive = Field(30, description="images per class")
    size: Annotated[Whole, Field(ge=16, le=512)] = Field(48, description="pixels")


class Synthetic(Section):
    """A table drawn from a formula: the regression of paper 004, one output from normally distributed columns."""

    task: Literal["source", "target"]
    features: Annotated[Whole, Field(ge=5, le=1000)] = Field(50, description="columns")
    train: Positive = Field(8000, description="rows")
    val: Positive = Field(2000, description="rows")
    seed: Count = Field(0, description="of the columns' means and variances")
    permuted: Count = Field(0, description="leading columns that are permuted over the rows")


class Columns(Section):
    """The columns of a table of images, by their names, where those are not the usual ones."""

    path: str | None = Field(None, description="default: path, file, filename, file_name, filepath, image, image_path")
    label: str | None = Field(None, description="default: label, class, target, category")
    split: str | None = Field(None, description="default: split, set, subset, partition; without one all is train")
    weight: str | None = Field(None, description="how often an image is drawn in training; default: all alike")


class Dataset(Section):
    """Where images come from. Exactly one of the sources must be given."""

    folder: str | None = Field(None, description="one sub-folder per class, inside train/, val/, test/ or directly")
    table: str | None = Field(None, description="a CSV, TSV or parquet file with a row per image: path, label, split")
    lists: Annotated[dict[Split, str], Field(min_length=1)] | None = Field(
        None, description="a text file per split with a line per image: path and label"
    )
    torchvision: str | None = Field(None, description="a torchvision data set by name, e.g. CIFAR10")
    hf: str | None = Field(None, description="a Hugging Face data set, e.g. cifar10")
    npz: str | None = Field(None, description="a file with x_train, y_train, x_test, y_test, classes")
    tar: str | None = Field(None, description="a tar file, or a folder of tar files")
    webdataset: dict[Split, str] | str | None = Field(
        None, description="tar shards of samples: a pattern such as shards/{000..003}.tar or a folder, or one per split"
    )
    world: World | None = None
    synthetic: Synthetic | None = None
    reader: PluginUse | None = Field(None, description="a plugin that reads the data set")
    from_: str | None = Field(None, alias="from", description="another data set, to be corrupted")

    splits: dict[Split, str] = Field({}, description="the source's own names of the splits")
    labels: str | None = Field(None, description="a CSV with the class list: columns index, name and folder or wnid")
    columns: Columns | None = Field(None, description="table: the names of its columns")
    root: str | None = Field(
        None, description="where downloads are kept; table and lists: the folder that paths start from, else the file's"
    )
    download: Flag = False
    image_key: str | None = Field(None, description="hf: the column of images; webdataset: their ending, e.g. jpg")
    label_key: str | None = Field(
        None, description="hf: the column of labels; webdataset: an ending, or a field of .json; else cls, or label"
    )
    group: str | None = Field(
        None,
        description="what belongs together, and is never on both sides of a split that is made: a column of table or "
        "hf, or a regular expression with one group for the paths of images",
    )
    on_bad_image: Literal["error", "skip"] = "error"
    classes: Annotated[list[str], Field(min_length=1)] | Positive | None = Field(
        None, description="keep these classes only, or so many drawn at random, the same ones every time"
    )
    corruptions: list[CorruptionUse] = Field([])

    @model_validator(mode="after")
    def _one_source(self) -> Dataset:
        if sum(getattr(self, key) is not None for key in DATASET_SOURCES) != 1:
            names = ", ".join(key.rstrip("_") for key in DATASET_SOURCES)
            raise ValueError(f"give exactly one of {names}")
        if self.columns is not None and self.table is None and self.from_ is None:
            raise ValueError("columns are those of a table: give table, or leave them out")
        if self.group is not None and self.source in ("torchvision", "npz", "world", "synthetic"):
            raise ValueError(f"group needs paths or a column, and {self.source} has none: leave it out")
        return self

    @property
    def source(self) -> str:
        """Which of the sources is given: its key."""
        return next(key for key in DATASET_SOURCES if getattr(self, key) is not None)


class Optimizer(Section):
    """Any timm optimizer by name, or one of bitsandbytes: `adamw8bit`, `paged_adamw8bit`."""

    name: str = "sgd"
    lr: AboveZero = 1e-3
    weight_decay: Weight = 0.0
    momentum: PartShare = 0.9
    head_lr_multiplier: AboveZero = 1.0
    layer_decay: SomeShare | None = None
    options: dict[str, Any] = Field({}, description="further arguments of the optimizer, e.g. betas")


class Schedule(Section):
    """Any timm learning-rate schedule by name; times are epochs unless `unit: steps`."""

    name: str = "constant"
    unit: Literal["epochs", "steps"] = "epochs"
    every: AboveZero | None = Field(None, description="step: how often to decay")
    milestones: list[AboveZero] = Field([], description="multistep: when to decay")
    gamma: SomeShare = Field(0.1, description="step, multistep: the decay factor")
    warmup: Weight = 0.0
    warmup_lr: Weight = Field(0.0, description="where the warm-up starts")
    min_lr: Weight = 0.0
    options: dict[str, Any] = Field({}, description="further arguments of timm's create_scheduler_v2")


class Clip(Section):
    """Gradient clipping, by exactly one rule."""

    norm: AboveZero | None = None
    value: AboveZero | None = None
    agc: AboveZero | None = Field(None, description="adaptive gradient clipping")

    @model_validator(mode="after")
    def _one_rule(self) -> Clip:
        if sum(rule is not None for rule in (self.norm, self.value, self.agc)) != 1:
            raise ValueError("give exactly one of norm, value, agc")
        return self


class Augmentation(Section):
    """Training transforms, passed to timm's create_transform."""

    none: Flag = Field(False, description="train on the evaluation transform")
    scale: tuple[Share, Share] | None = Field(None, description="share of the area that a random crop keeps")
    ratio: tuple[Number, Number] | None = None
    hflip: Share = 0.5
    vflip: Share = 0.0
    color_jitter: Weight = 0.0
    auto_augment: str | None = Field(None, description="e.g. rand-m9-mstd0.5")
    random_erasing: Share = 0.0


class Mixup(Section):
    """Mixup and CutMix, by timm."""

    mixup: Weight = Field(0.0, description="alpha of mixup; 0 turns it off")
    cutmix: Weight = Field(0.0, description="alpha of CutMix; 0 turns it off")
    probability: Share = 1.0
    switch_probability: Share = 0.5
    mode: Literal["batch", "pair", "elem"] = "batch"


class Loss(Section):
    """The task loss."""

    name: Literal["cross_entropy", "bce", "mse"] = "cross_entropy"
    label_smoothing: PartShare = 0.0


def _loss_form(value: object) -> str:
    """Whether a loss is a plugin's, so that a mistake is judged by that form alone."""
    named = isinstance(value, PluginUse) or (isinstance(value, dict) and "use" in value)
    return "plugin" if named else "own"


class Unfreeze(Section):
    """Gradual unfreezing: start with the head, then open one more layer group from the top at a time."""

    every: AboveZero = Field(1, description="epochs between two groups")
    groups: Positive = Field(1, description="layer groups opened at a time")


class Ema(Section):
    """An exponential moving average of the weights, which is what gets evaluated and saved."""

    decay: Annotated[Number, Field(gt=0, lt=1)] = 0.9998
    warmup: Flag = True


class EarlyStopping(Section):
    """Stop when the validation split has not improved for so many evaluations."""

    patience: Positive
    metric: str | None = Field(None, description="default: what select says; they cannot differ")


class Checkpoints(Section):
    """What is kept on disk while training."""

    every: Positive = Field(1, description="epochs")
    every_minutes: AboveZero | None = Field(
        10, description="also within an epoch, after so many minutes without one; null: not"
    )
    keep: Positive = Field(2, description="newest ones kept besides the best")


class Stage(Section):
    """One training run; with `edits` and neither epochs nor steps, a change of a finished model without training."""

    name: Name
    start: str = Field("pretrained", description="pretrained, scratch, a stage's name, or a model folder")
    dataset: str
    model: Model | None = Field(None, description="where this stage differs from the recipe's model")
    evaluate: list[str] = Field([], description="further data sets to evaluate on")
    evaluate_every: Positive = Field(1, description="epochs")
    evaluate_at: list[Count] = Field([], description="also after these optimizer steps; 0 is the start")
    evaluate_images: Positive | None = Field(
        None, description="evaluate_at: so many images of each data set, the same ones every time; default: all"
    )
    keep: Literal["best", "last"] = Field("best", description="which weights become the stage's model")
    carry_on: list[Literal["optimizer", "schedule"]] = Field(
        [], description="what goes on from the stage it starts from instead of starting anew"
    )
    fraction: SomeShare = Field(1.0, description="share of the training images, per class")
    validation: PartShare = Field(
        0.1, description="share carved from train, per class, where the data set has no val split"
    )
    epochs: Positive | None = None
    steps: Positive | None = Field(None, description="optimizer steps; instead of epochs")
    batch_size: Positive = Field(32, description="images per forward pass, all processes together")
    accumulate: Positive = Field(1, description="forward passes per optimizer step")
    auto_batch: Flag = Field(
        False, description="where memory is short: half of batch_size, twice accumulate, until a step fits"
    )
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    precision: Literal["no", "bf16", "fp16"] = "no"
    clip: Clip | None = None
    loss: Annotated[Annotated[Loss, Tag("own")] | Annotated[PluginUse, Tag("plugin")], Discriminator(_loss_form)] = (
        Loss()
    )
    balance: Literal["none", "sampling", "groups", "loss", "logit_adjustment"] = Field(
        "none", description="what to do about classes, or groups of a class and what is planted, of unequal size"
    )
    augmentation: Augmentation = Augmentation()
    augment: list[PluginUse] = Field([], description="plugins that change training images further, in this order")
    mixup: Mixup | None = None
    head_init: Literal["default", "ridge", "zero", "source"] = Field(
        "default", description="source keeps the rows of the source head for these classes"
    )
    freeze: Annotated[
        Annotated[list[str], Tag("patterns")] | Annotated[Literal["bitfit"], Tag("preset")],
        Discriminator(lambda value: "preset" if isinstance(value, str) else "patterns"),
    ] = Field([], description="glob patterns of parameter names that stay as they are; bitfit: all but biases and head")
    fixed_features: Flag = Field(False, description="train the head only, with the backbone in eval mode")
    unfreeze: Unfreeze | None = None
    batchnorm: Literal["train", "eval"] = Field("train", description="eval keeps the source's running statistics")
    stream_batchnorm: Literal["joint", "separate"] = Field(
        "joint", description="whether streams of a curriculum are normalised together"
    )
    ema: Ema | None = None
    gradient_checkpointing: Flag = Field(
        False, description="keep less for the backward pass and compute it again there: less memory, more time"
    )
    channels_last: Flag = False
    compile: Flag = False
    early_stopping: EarlyStopping | None = None
    checkpoints: Checkpoints = Checkpoints()
    workers: Count | None = Field(None, description="data workers; default: by core count")
    adapters: list[PluginUse] = Field([], description="plugins whose layers take the place of the model's own")
    keep_adapted: Flag = Field(False, description="save the layers of adapters as they are where they cannot be merged")
    regularizers: list[RegularizerUse] = Field([])
    curriculum: PluginUse | None = None
    metrics: list[PluginUse] = Field([], description="plugins that add numbers to every evaluation")
    select: str = Field("top1", description="what the best epoch has most of: top1, loss (least), or a metric's name")
    observers: list[PluginUse] = Field([])
    edits: list[PluginUse] = Field([], description="plugins that change the finished model's weights, in this order")
    accept: list[Literal["weight_decay"]] = Field([], description="contradictions that are meant")

    @property
    def own_loss(self) -> Loss:
        """The loss of `loss`; where a plugin gives it, the usual one, which streams beside the target's have."""
        return self.loss if isinstance(self.loss, Loss) else Loss()

    @model_validator(mode="before")
    @classmethod
    def _one_rule(cls, data: Any) -> Any:
        """What early stopping watches is what the best epoch is chosen by, so that either key says both."""
        stopping = data.get("early_stopping") if isinstance(data, dict) else None
        metric = stopping.get("metric") if isinstance(stopping, dict) else getattr(stopping, "metric", None)
        return {**data, "select": metric} if metric is not None and "select" not in data else data

    @property
    def trains(self) -> bool:
        """Whether it has epochs or steps; without, its edits are all that happens to the model it starts from."""
        return self.epochs is not None or self.steps is not None

    @model_validator(mode="after")
    def _one_length(self, info: ValidationInfo) -> Stage:
        apart = (info.context or {}).get("apart", ())  # keys that are given, and read elsewhere
        if not self.trains and ("edits" in self.model_fields_set or "edits" in apart):
            return self
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give epochs or steps" + (", not both" if self.steps is not None else ""))
        return self


class Recipe(Section):
    """A whole experiment."""

    recipe_version: Literal[1] = RECIPE_VERSION
    name: Name
    description: str = ""
    seed: Annotated[Whole, Field(ge=0, lt=2**32)] = 0
    repeat: Positive = Field(1, description="run with so many seeds: seed, seed + 1, …")
    folds: Annotated[Whole, Field(ge=2)] | None = Field(
        None, description="cross-validation: run so many times, each validated on another part of train"
    )
    fold: Positive | None = Field(None, description="of the folds this one alone, from 1")
    deterministic: Flag = Field(True, description="on CUDA: deterministic kernels, slower")
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    threads: Positive | None = Field(None, description="CPU threads; default: torch's own choice. Small models: 1")
    preset: str | None = Field(None, description="which of the presets to lay over the recipe")
    presets: dict[Name, dict[str, Any]] = Field({}, description="named changes, such as a smaller size for a CPU")
    trackers: list[str] = Field(
        ["tensorboard"], description="where curves go besides the run folder: tensorboard, wandb, mlflow, trackio, …"
    )
    plugins: list[str] = Field([], description="Python files beside the recipe with plugins of their own")
    model: Model
    datasets: dict[Name, Dataset] = Field(min_length=1)
    stages: list[Stage] = Field(min_length=1)
    analyses: list[AnalyzerUse] = Field([])

    @property
    def times(self) -> int:
        """How many runs it is: seeds, or folds."""
        return self.repeat if self.folds is None else 1 if self.fold is not None else self.folds

    def stage(self, name: str) -> Stage:
        """The stage of that name."""
        return next(stage for stage in self.stages if stage.name == name)
