"""What a recipe may say: one pydantic model per section, unknown keys forbidden.

Plugin options are not here: a plugin's own dataclass fields are its options (see `transferkit.registry`).
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from transferkit.names import plain_name

RECIPE_VERSION: Final = 1
SPLITS = ("train", "val", "test")
Split = Literal["train", "val", "test"]
DATASET_SOURCES = ("folder", "torchvision", "hf", "npz", "tar", "world", "synthetic", "from_")


def _whole(value: object) -> object:
    """Refuse true/false where a number is meant: pydantic would read them as 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("a number is needed, not true/false")
    return value


Flag = Annotated[bool, Field(strict=True)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]
Whole = Annotated[int, BeforeValidator(_whole)]
Number = Annotated[float, BeforeValidator(_whole), Field(allow_inf_nan=False)]
Positive = Annotated[Whole, Field(ge=1)]
Share = Annotated[Number, Field(ge=0, le=1)]


class Section(BaseModel):
    """Common rules of every section: no unknown keys, defaults are validated, field names are the keys."""

    model_config = ConfigDict(extra="forbid", validate_default=True, populate_by_name=True, frozen=True)


class Preprocessing(Section):
    """Where the model's input differs from what timm's own configuration says."""

    input_size: Positive | tuple[Positive, Positive] | None = Field(None, description="pixels, or [height, width]")
    mean: list[Number] | None = None
    std: list[Number] | None = None
    crop_pct: Annotated[Number, Field(gt=0, le=1)] | None = None
    crop_mode: Literal["center", "squash", "border"] | None = None
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] | None = None


class Model(Section):
    """The backbone: any timm name, `hf-hub:owner/name` or `local-dir:folder`, and optionally a weights file."""

    name: str
    weights: str | None = Field(None, description="a .safetensors file; without it timm's own pretrained weights")
    options: dict[str, Any] = Field({}, description="passed to timm.create_model")
    preprocessing: Preprocessing = Preprocessing()


class PluginUse(Section):
    """A plugin named in a recipe. All other keys are the plugin's own options."""

    model_config = ConfigDict(extra="allow", validate_default=True, populate_by_name=True, frozen=True)

    use: str = Field(description="the plugin's registered name, or distribution:name where several offer it")
    name: Name | None = Field(None, description="the name in logs and state; needed for a second instance")

    @property
    def instance_name(self) -> str:
        """The name under which logs, state and overrides know this instance."""
        return self.name or plain_name(self.use)

    @property
    def options(self) -> dict[str, Any]:
        """The plugin's own options as the recipe gives them."""
        return dict(self.model_extra or {})


class WeightSchedule(Section):
    """A weight that moves from one value to another over the first epochs."""

    from_: Annotated[Number, Field(ge=0)] = Field(alias="from")
    to: Annotated[Number, Field(ge=0)]
    over: Annotated[Number, Field(gt=0)] = Field(description="epochs")
    shape: Literal["linear", "cosine"] = "linear"


Weight = Annotated[Number, Field(ge=0)]


def _weight_form(value: object) -> str:
    """Which of the three forms a weight has, so that a mistake is judged by that form alone."""
    if isinstance(value, WeightSchedule):
        return "schedule"
    if isinstance(value, dict):
        return "schedule" if {"from", "from_", "to", "over"} & set(value) else "terms"
    return "number"


class RegularizerUse(PluginUse):
    """A penalty or an anchor, with its weight in the loss; or a change of the features, which has none."""

    weight: (
        Annotated[
            Annotated[Weight, Tag("number")]
            | Annotated[WeightSchedule, Tag("schedule")]
            | Annotated[dict[str, Weight], Tag("terms")],
            Discriminator(_weight_form),
        ]
        | None
    ) = Field(None, description="a number, {term: number}, or {from, to, over}")
    on: str = Field("target", description="the stream it sees: target, another stream's name, or all")


class CorruptionUse(PluginUse):
    """A change planted in a data set, in recipe order."""

    splits: list[Split] = Field(["train", "val", "test"], min_length=1)


class AnalyzerUse(PluginUse):
    """An analyzer, run on finished models or on schedule."""

    stage: str | None = Field(None, description="the stage whose model is the target; default: the last one")
    dataset: str | None = Field(None, description="the data set it looks at, usually source images")
    source: str | None = Field(
        None, description="the stage whose model is the source; default: what the stage starts from"
    )
    baseline: str | None = Field(None, description="the stage whose model is the baseline")
    every: Positive | None = Field(None, description="also run every so many epochs of the stage")


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
    seed: Annotated[Whole, Field(ge=0)] = Field(0, description="of the columns' means and variances")
    permuted: Annotated[Whole, Field(ge=0)] = Field(0, description="leading columns that are permuted over the rows")


class Dataset(Section):
    """Where images come from. Exactly one of the sources must be given."""

    folder: str | None = Field(None, description="one sub-folder per class, inside train/, val/, test/ or directly")
    torchvision: str | None = Field(None, description="a torchvision data set by name, e.g. CIFAR10")
    hf: str | None = Field(None, description="a Hugging Face data set, e.g. cifar10")
    npz: str | None = Field(None, description="a file with x_train, y_train, x_test, y_test, classes")
    tar: str | None = Field(None, description="a tar file, or a folder of tar files")
    world: World | None = None
    synthetic: Synthetic | None = None
    from_: str | None = Field(None, alias="from", description="another data set, to be corrupted")

    splits: dict[Split, str] = Field({}, description="the source's own names of the splits")
    labels: str | None = Field(None, description="a CSV with the class list: columns index, name and folder or wnid")
    root: str | None = Field(None, description="where downloads are kept")
    download: Flag = False
    image_key: str | None = None
    label_key: str | None = None
    on_bad_image: Literal["error", "skip"] = "error"
    classes: Annotated[list[str], Field(min_length=1)] | Positive | None = Field(
        None, description="keep these classes only, or so many drawn at random, the same ones every time"
    )
    corruptions: list[CorruptionUse] = []

    @model_validator(mode="after")
    def _one_source(self) -> Dataset:
        given = [key for key in DATASET_SOURCES if getattr(self, key) is not None]
        if len(given) != 1:
            names = ", ".join(key.rstrip("_") for key in DATASET_SOURCES)
            raise ValueError(f"give exactly one of {names}")
        return self

    @property
    def source(self) -> str:
        """Which of the sources is given: its key."""
        return next(key for key in DATASET_SOURCES if getattr(self, key) is not None)


class Optimizer(Section):
    """Any timm optimizer by name."""

    name: str = "sgd"
    lr: Annotated[Number, Field(gt=0)] = 1e-3
    weight_decay: Annotated[Number, Field(ge=0)] = 0.0
    momentum: Annotated[Number, Field(ge=0, lt=1)] = 0.9
    head_lr_multiplier: Annotated[Number, Field(gt=0)] = 1.0
    layer_decay: Annotated[Number, Field(gt=0, le=1)] | None = None
    options: dict[str, Any] = Field({}, description="further arguments of the optimizer, e.g. betas")


class Schedule(Section):
    """Any timm learning-rate schedule by name; times are epochs unless `unit: steps`."""

    name: str = "constant"
    unit: Literal["epochs", "steps"] = "epochs"
    every: Annotated[Number, Field(gt=0)] | None = Field(None, description="step: how often to decay")
    milestones: list[Annotated[Number, Field(gt=0)]] = Field([], description="multistep: when to decay")
    gamma: Annotated[Number, Field(gt=0, le=1)] = Field(0.1, description="step, multistep: the decay factor")
    warmup: Annotated[Number, Field(ge=0)] = 0.0
    warmup_lr: Annotated[Number, Field(ge=0)] = Field(0.0, description="where the warm-up starts")
    min_lr: Annotated[Number, Field(ge=0)] = 0.0
    options: dict[str, Any] = Field({}, description="further arguments of timm's create_scheduler_v2")


class Clip(Section):
    """Gradient clipping, by exactly one rule."""

    norm: Annotated[Number, Field(gt=0)] | None = None
    value: Annotated[Number, Field(gt=0)] | None = None
    agc: Annotated[Number, Field(gt=0)] | None = Field(None, description="adaptive gradient clipping")

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
    color_jitter: Annotated[Number, Field(ge=0)] = 0.0
    auto_augment: str | None = Field(None, description="e.g. rand-m9-mstd0.5")
    random_erasing: Share = 0.0


class Mixup(Section):
    """Mixup and CutMix, by timm."""

    mixup: Annotated[Number, Field(ge=0)] = Field(0.0, description="alpha of mixup; 0 turns it off")
    cutmix: Annotated[Number, Field(ge=0)] = Field(0.0, description="alpha of CutMix; 0 turns it off")
    probability: Share = 1.0
    switch_probability: Share = 0.5
    mode: Literal["batch", "pair", "elem"] = "batch"


class Loss(Section):
    """The task loss."""

    name: Literal["cross_entropy", "bce", "mse"] = "cross_entropy"
    label_smoothing: Annotated[Number, Field(ge=0, lt=1)] = 0.0


class Unfreeze(Section):
    """Gradual unfreezing: start with the head, then open one more layer group from the top at a time."""

    every: Annotated[Number, Field(gt=0)] = Field(1, description="epochs between two groups")
    groups: Positive = Field(1, description="layer groups opened at a time")


class Ema(Section):
    """An exponential moving average of the weights, which is what gets evaluated and saved."""

    decay: Annotated[Number, Field(gt=0, lt=1)] = 0.9998
    warmup: Flag = True


class EarlyStopping(Section):
    """Stop when the validation split has not improved for so many evaluations."""

    patience: Positive
    metric: Literal["top1", "loss"] = "top1"


class Checkpoints(Section):
    """What is kept on disk while training."""

    every: Positive = Field(1, description="epochs")
    every_minutes: Annotated[Number, Field(gt=0)] | None = Field(
        10, description="also within an epoch, after so many minutes without one; null: not"
    )
    keep: Positive = Field(2, description="newest ones kept besides the best")


class Prune(Section):
    """Magnitude pruning at the stage's start: the smallest weights of the backbone become zero and stay zero."""

    amount: Annotated[Number, Field(gt=0, lt=1)] = Field(description="share of the weights")
    scope: Literal["global", "layer"] = Field("global", description="smallest of all layers together, or of each")


class Stage(Section):
    """One training run."""

    name: Name
    start: str = Field("pretrained", description="pretrained, scratch, a stage's name, or a model folder")
    dataset: str
    model: Model | None = Field(None, description="where this stage differs from the recipe's model")
    evaluate: list[str] = Field([], description="further data sets to evaluate on")
    evaluate_every: Positive = Field(1, description="epochs")
    evaluate_at: list[Annotated[Whole, Field(ge=0)]] = Field(
        [], description="also after these optimizer steps; 0 is the start"
    )
    evaluate_images: Positive | None = Field(
        None, description="evaluate_at: so many images of each data set, the same ones every time; default: all"
    )
    keep: Literal["best", "last"] = Field("best", description="which weights become the stage's model")
    carry_on: list[Literal["optimizer", "schedule"]] = Field(
        [], description="what goes on from the stage it starts from instead of starting anew"
    )
    fraction: Annotated[Number, Field(gt=0, le=1)] = Field(1.0, description="share of the training images, per class")
    validation: Annotated[Number, Field(ge=0, lt=1)] = Field(
        0.1, description="share carved from train, per class, where the data set has no val split"
    )
    epochs: Positive | None = None
    steps: Positive | None = Field(None, description="optimizer steps; instead of epochs")
    batch_size: Positive = Field(32, description="images per forward pass, all processes together")
    accumulate: Positive = Field(1, description="forward passes per optimizer step")
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    precision: Literal["no", "bf16", "fp16"] = "no"
    clip: Clip | None = None
    loss: Loss = Loss()
    balance: Literal["none", "sampling", "loss", "logit_adjustment"] = Field(
        "none", description="what to do about classes of unequal size"
    )
    augmentation: Augmentation = Augmentation()
    mixup: Mixup | None = None
    head_init: Literal["default", "ridge", "zero", "source"] = Field(
        "default", description="source keeps the rows of the source head for these classes"
    )
    freeze: list[str] = Field([], description="glob patterns of parameter names that stay as they are")
    fixed_features: Flag = Field(False, description="train the head only, with the backbone in eval mode")
    unfreeze: Unfreeze | None = None
    batchnorm: Literal["train", "eval"] = Field("train", description="eval keeps the source's running statistics")
    stream_batchnorm: Literal["joint", "separate"] = Field(
        "joint", description="whether streams of a curriculum are normalised together"
    )
    ema: Ema | None = None
    channels_last: Flag = False
    compile: Flag = False
    prune: Prune | None = None
    early_stopping: EarlyStopping | None = None
    checkpoints: Checkpoints = Checkpoints()
    workers: Annotated[Whole, Field(ge=0)] | None = Field(None, description="data workers; default: by core count")
    regularizers: list[RegularizerUse] = []
    curriculum: PluginUse | None = None
    observers: list[PluginUse] = []
    accept: list[Literal["weight_decay"]] = Field([], description="contradictions that are meant")

    @model_validator(mode="after")
    def _one_length(self) -> Stage:
        if self.epochs is not None and self.steps is not None:
            raise ValueError("give epochs or steps, not both")
        if self.epochs is None and self.steps is None:
            raise ValueError("give epochs or steps")
        return self


class Recipe(Section):
    """A whole experiment."""

    recipe_version: Literal[1] = RECIPE_VERSION
    name: Name
    description: str = ""
    seed: Annotated[Whole, Field(ge=0, lt=2**32)] = 0
    repeat: Positive = Field(1, description="run with so many seeds: seed, seed + 1, …")
    deterministic: Flag = Field(True, description="on CUDA: deterministic kernels, slower")
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    threads: Positive | None = Field(None, description="CPU threads; default: torch's own choice. Small models: 1")
    preset: str | None = Field(None, description="which of the presets to lay over the recipe")
    presets: dict[Name, dict[str, Any]] = Field({}, description="named changes, such as a smaller size for a CPU")
    model: Model
    datasets: dict[Name, Dataset] = Field(min_length=1)
    stages: list[Stage] = Field(min_length=1)
    analyses: list[AnalyzerUse] = []

    def stage(self, name: str) -> Stage:
        """The stage of that name."""
        return next(stage for stage in self.stages if stage.name == name)
