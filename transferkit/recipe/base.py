"""What every section of a recipe is, and the numbers and names that stand in them."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


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
Count = Annotated[Whole, Field(ge=0)]
Share = Annotated[Number, Field(ge=0, le=1)]
SomeShare = Annotated[Number, Field(gt=0, le=1)]
PartShare = Annotated[Number, Field(ge=0, lt=1)]
AboveZero = Annotated[Number, Field(gt=0)]
Weight = Annotated[Number, Field(ge=0)]


class Section(BaseModel):
    """Common rules of every section: no unknown keys, defaults are validated, field names are the keys."""

    model_config = ConfigDict(extra="forbid", validate_default=True, populate_by_name=True, frozen=True)
