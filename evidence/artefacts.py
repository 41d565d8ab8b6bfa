"""The figures and tables of the papers, and the experiments they are measured by: what artefacts.yaml says, checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

HERE = Path(__file__).parent
ROOT = HERE.parent


class Strict(BaseModel):
    """No key that is not declared."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Experiment(Strict):
    """A recipe and what is overridden in it; `{data}` stands for the folder of the images and weights."""

    recipe: str | None = None
    overrides: tuple[str, ...] = ()
    minutes: float | None = None
    """On two cores; None for what was not run: it needs a GPU, or data that cannot be had freely."""
    command: str = ""
    """For what was not run: the command that would."""
    images: str
    """The data, in words."""

    @model_validator(mode="after")
    def _runs_or_says_how(self) -> Experiment:
        if (self.recipe is None) != (self.minutes is None):
            raise ValueError("an experiment that is run has a recipe and minutes; another one neither")
        return self

    def line(self) -> str:
        """The command, with DATA for the folder of images and weights."""
        if self.recipe is None:
            return self.command
        return " ".join(["transferkit run", self.recipe, *(text.format(data="DATA") for text in self.overrides)])


class Number(Strict):
    """One measured number, and what the paper's sentence says about it."""

    what: str
    key: str
    """As in the stored results: `ANALYSIS/METRIC` or `stages/NAME/SPLIT/top1`."""
    minus: str | None = None
    """Another key: the difference of the two, paired by seed."""
    unit: Literal["share", "points", "number", "correlation"] = "number"
    """points: of a key that is a difference of shares itself."""
    above: float | None = None
    below: float | None = None
    paper: str = "—"

    @model_validator(mode="after")
    def _one_claim(self) -> Number:
        if self.above is not None and self.below is not None and self.above > self.below:
            raise ValueError("`above` must not be larger than `below`")
        return self

    @property
    def claims(self) -> bool:
        """Whether the paper's sentence can be right or wrong about it."""
        return self.above is not None or self.below is not None


class Row(Strict):
    """One figure or table of a paper."""

    name: Annotated[str, Field(pattern=r"^00\d-[A-Z]+[0-9a-zA-Z]*$")]
    shows: str
    experiment: str
    numbers: tuple[Number, ...] = ()
    partly: str = ""
    """What of the artefact is smaller or missing here."""
    whole: bool = True
    """False where only some of its panels were run: then it is reproduced in part at most."""


class Artefacts(Strict):
    """Everything in artefacts.yaml."""

    papers: dict[str, str]
    experiments: dict[str, Experiment]
    rows: tuple[Row, ...]

    @model_validator(mode="after")
    def _experiments_exist(self) -> Artefacts:
        for row in self.rows:
            if row.experiment not in self.experiments:
                raise ValueError(f"{row.name}: there is no experiment called {row.experiment}")
        if len({row.name for row in self.rows}) != len(self.rows):
            raise ValueError("two rows have one name")
        return self


def artefacts(path: Path = HERE / "artefacts.yaml") -> Artefacts:
    """Read and check the file."""
    return Artefacts.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
