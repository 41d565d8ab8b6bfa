"""What the analyzer `representation` can be asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from transferkit.data import DatasetName


@dataclass
class Options:
    """Which layers and images are looked at, and how."""

    layers: Annotated[
        list[str] | None,
        Field(min_length=1, description="layers by name, in order; default: up to four stages. Pooled features follow"),
    ] = None
    images: Annotated[int, Field(ge=4, description="how many images, drawn once by the seed")] = 2000
    batch_size: Annotated[
        int, Field(ge=4, description="images per batch; minibatch CKA is estimated within batches")
    ] = 64
    estimator: Annotated[
        Literal["unbiased-minibatch", "unbiased", "biased"],
        Field(description="of CKA: over minibatches, or of all images at once; papers print `biased`"),
    ] = "unbiased-minibatch"
    memory: Annotated[
        float, Field(gt=0, description="GiB for CKA of all images at once; what does not fit takes further passes")
    ] = 1.0
    tau: Annotated[
        float, Field(ge=1e-6, lt=1, description="a singular value counts when it exceeds tau times the largest")
    ] = 1e-3
    view: Annotated[
        Literal["gap", "flatten", "tokens"],
        Field(description="a layer's rows for rank and probes: mean over positions, all positions, or one row each"),
    ] = "gap"
    folds: Annotated[int, Field(ge=2, le=20, description="parts of the images that probes are tried on in turn")] = 5
    probe_data: Annotated[
        list[DatasetName] | None, Field(description="data sets whose labels probes learn; default: the one looked at")
    ] = None
    corrupted: Annotated[
        DatasetName | None, Field(description="a data set with a planted corruption, whose labels probes learn too")
    ] = None
    split: Annotated[
        Literal["train", "val", "test"] | None,
        Field(description="the split of every data set; default: what is not for training"),
    ] = None
