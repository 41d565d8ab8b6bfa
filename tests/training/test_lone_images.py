"""A pass of one image under batch norm: refused before training where it would fail, and only there."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from transferkit.data.batches import TrainLoader
from transferkit.errors import InputError

SEPARATE = {"stream_batchnorm": "separate", "epochs": 3}
DATA = {"world": {"kind": "source", "train": 4, "val": 2, "size": 32}}


def curriculum(lams):
    return {"curriculum": {"use": "task_interpolation", "source": "other", "lams": lams}}


def both(tiny_npz):
    return {"datasets": {"tiny": {"npz": str(tiny_npz)}, "other": DATA}}


def resnet(size):
    return {"model": {"name": "resnet10t", "preprocessing": {"input_size": size}}}


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ({"batch_size": 1}, r"batch_size: 1 makes passes of a single image, .*layer4.*; use batch_size: 2 or more"),
        ({"batch_size": 1, "accumulate": 4}, "batch_size: 1 makes passes"),
        (
            SEPARATE | curriculum([0.0, 0.1, 1.0]),
            r'step 4 takes a single image of the stream "target", .*use stream_batchnorm: joint',
        ),
    ],
)
def test_it_is_refused_before_training_with_what_to_do(run, tiny_npz, tmp_path, stage, message) -> None:
    with pytest.raises(InputError, match=f'stage "target": {message}'):
        run(top=resnet(32) | both(tiny_npz), **stage)
    assert not list((tmp_path / "runs").rglob("step-*"))


def test_one_image_in_all_is_refused(run, tmp_path) -> None:
    images, labels = np.zeros((3, 32, 32, 3), np.uint8), np.zeros(3, np.int64)
    np.savez(tmp_path / "one.npz", x_train=images, y_train=labels, classes=np.array(["a"]))
    with pytest.raises(InputError, match="all training images are of one class"):
        run(top=resnet(32) | {"datasets": {"tiny": {"npz": str(tmp_path / "one.npz")}}}, validation=0, fraction=0.34)


@pytest.mark.parametrize(
    ("size", "stage"),
    [
        (64, {}),  # maps of 2 x 2: one image has four values per channel
        (32, {"batchnorm": "eval"}),
        (32, {"freeze": ["layer4.*"]}),  # the batch norms with one value are frozen, and so in evaluation mode
    ],
)
def test_what_works_with_one_image_is_not_refused(run, size, stage) -> None:
    result = run(top=resnet(size), batch_size=1, epochs=None, steps=2, **stage)
    assert result.status == "done"


class Images(SimpleNamespace):
    def __len__(self):
        return self.size


@pytest.mark.parametrize("number", range(60))
def test_the_look_ahead_finds_the_first_pass_of_one_image(number) -> None:
    """Against the requests themselves, of every process."""
    rng = np.random.default_rng(number)
    world, epochs, apart = int(rng.integers(1, 4)), int(rng.integers(1, 4)), bool(rng.integers(2))
    batch = int(rng.integers(world, 9))
    sizes = {"target": int(rng.integers(world, 20)), "source": int(rng.integers(1, 20)), "third": 5}
    names = list(sizes)[: int(rng.integers(1, 4))]
    shares = rng.dirichlet([0.7] * 3, 50)

    def mix(step, epoch, progress):
        return {name: shares[step % 50, place] for place, name in enumerate(names[1:])}

    def loader(rank):
        streams = {name: Images(size=sizes[name]) for name in names}
        options = {"batch_size": batch, "seed": 0, "mix": mix if len(names) > 1 else None, "total_epochs": epochs}
        return TrainLoader(streams, **options, rank=rank, world=world)

    loaders = [loader(rank) for rank in range(world)]
    expected = None
    for step in range(epochs * loaders[0].steps_per_epoch):
        for one in loaders:
            request = next(one._requests(*divmod(step, one.steps_per_epoch)))
            counts = {name: len(indices) for name, (indices, _) in request.picks.items()}
            alone = [name for name, count in counts.items() if count == 1]
            joint = sum(counts.values()) == 1
            if expected is None and (alone if apart and len(names) > 1 else joint):
                expected = step
    first = loader(0)
    found = first.alone(epochs * first.steps_per_epoch, apart=apart)
    assert (found[0] if found else None) == expected
    assert found is None or first.may_be_alone(apart=apart)
