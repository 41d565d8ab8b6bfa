"""The promises of `read` and `augment`: what is read fits together, and an augmentation draws from `rng` only."""

from __future__ import annotations

import pickle

import numpy as np
from PIL import Image

from transferkit.data.contents import Contents
from transferkit.data.images import BadImage
from transferkit.data.randomness import numpy_rng
from transferkit.data.readers import checked
from transferkit.errors import InputError
from transferkit.plugins.contained import told
from transferkit.testing.subject import Hook
from transferkit.words.kinds import reason, type_of


def check_augment(hook: Hook) -> None:
    """An RGB image of the same size, the same for the same key; the given one stays unless `in_place = True`."""
    source = hook.subject.session.train_samples.source

    def augmented(index: int, draw: int) -> bytes:
        image, label = source.image(index).copy(), int(source.labels[index])
        before, size = image.tobytes(), image.size
        value = hook(image=image, label=label, classes=list(source.classes), rng=numpy_rng("check", index, draw))
        if image.tobytes() != before and not hook.subject.plugin.component.declared.in_place:
            raise hook.broken("changes the image it is given; work on image.copy(), or say in_place = True")
        if not isinstance(value, Image.Image):
            raise hook.broken(f"must return a PIL image, not {type_of(value)}")
        if value.size != size:
            raise hook.broken(f"turns an image of {size} into one of {value.size}; the size must stay")
        return value.tobytes()

    first, _, again = augmented(0, 0), augmented(1, 1), augmented(0, 0)
    if first != again:
        raise hook.broken("gives another result for the same image and key; draw from `rng` only")


def check_read(hook: Hook) -> None:
    """Contents that fit together, travel to other processes and give their images, or None; the same when asked again.

    Options must let it find a train split.
    """
    found = {split: _contents(hook, split) for split in ("train", "val", "test")}
    train = found["train"]
    if train is None:
        raise hook.broken('returns None for "train"; give options with which it finds a training split')
    if (again := _contents(hook, "train")) is None or again.ids != train.ids or (again.labels != train.labels).any():
        raise hook.broken("finds something else when it is asked again; order must not depend on the file system")
    try:
        travelled = pickle.loads(pickle.dumps(train))
    except Exception as error:
        raise hook.broken(
            f"returns what cannot be pickled ({reason(error)}): give functions of a module, functools.partial of them, "
            "or objects with __call__, instead of closures and lambdas"
        ) from error
    for contents in filter(None, found.values()):
        for index in {0, len(contents.labels) - 1} if len(contents.labels) else ():
            _image(hook, contents, index)
    if np.asarray(travelled.read(0)).tobytes() != np.asarray(train.read(0)).tobytes():
        raise hook.broken("gives another image in another process")


def _contents(hook: Hook, split: str) -> Contents | None:
    value = hook(split=split)
    if value is None:
        return None
    try:
        return checked(value, hook.where)
    except InputError as error:
        raise AssertionError(str(error)) from error


def _image(hook: Hook, contents: Contents, index: int) -> None:
    try:
        image = contents.read(index)
    except BadImage:
        return
    except Exception as error:
        raise hook.broken(
            f"gives contents whose image {index} raises {told(error)}; raise BadImage for one that "
            "is damaged, as transferkit.data.open_image does"
        ) from error
    if not isinstance(image, Image.Image):
        raise hook.broken(f"gives contents whose image {index} is {type_of(image)}, not a PIL image")
