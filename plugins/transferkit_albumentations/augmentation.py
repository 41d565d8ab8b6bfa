"""Transforms of the library albumentations on training images, seeded by image, epoch and draw."""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from transferkit.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from transferkit import Session, Stage
INSTALL = 'albumentations is not installed: pip install "transferkit[albumentations]"'


def compose(transforms: Sequence[Mapping[str, Mapping[str, Any]]]) -> Any:
    """albumentations.Compose of {name: arguments}, in order. Raises InputError for what the library does not take."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask the network for newer versions
    if find_spec("albumentations") is None:
        raise InputError(INSTALL)
    import albumentations

    made = []
    for one in transforms:
        if len(one) != 1:
            raise InputError(f"each transform is one {{name: arguments}}, not {dict(one)}")
        ((name, arguments),) = one.items()
        cls = getattr(albumentations, name, None)
        if not (
            isinstance(cls, type) and issubclass(cls, albumentations.ImageOnlyTransform | albumentations.DualTransform)
        ):
            raise InputError(f'albumentations has no transform of images called "{name}"')
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)  # an unknown argument is a warning there
                made.append(cls(**arguments))
        except (TypeError, ValueError, UserWarning) as error:
            raise InputError(f"{name}: {' '.join(str(error).split())}") from None
    return albumentations.Compose(made)


@dataclass
class Albumentations:
    """Change training images by transforms of the library albumentations, anew in every epoch."""

    transforms: Annotated[
        list[dict[str, dict[str, Any]]], Field(min_length=1, description="[{GaussNoise: {p: 0.5}}, …], in order")
    ]
    _composed: Any = field(init=False, default=None, repr=False, compare=False)

    def check(self, stage: Stage) -> Iterable[str]:
        """Whether the library is there; its names and ranges are looked at when the stage is prepared."""
        return [] if find_spec("albumentations") is not None else [INSTALL]

    def setup(self, session: Session) -> None:
        """Make the transforms once. Raises InputError for names and arguments that the library does not take."""
        self._composed = compose(self.transforms)

    def augment(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """The image after all transforms, which draw from `rng` and a generator that is seeded by it."""
        import numpy as np
        from PIL import Image

        self._composed.set_random_state(rng, random.Random(int(rng.integers(2**32))))
        return Image.fromarray(np.ascontiguousarray(self._composed(image=np.asarray(image))["image"]))
