"""Batches are a function of (seed, epoch, step): whoever reads them, from wherever, on however many processes."""

from __future__ import annotations

import os
import random
import signal

import numpy as np
import pytest
import torch

from transferkit.data.batches import EvalLoader, TrainLoader, shard
from transferkit.data.images import BadImage
from transferkit.errors import InputError, TransferkitError


def train_loader(streams, batch_size=5, **options):
    streams = streams if isinstance(streams, dict) else {"target": streams}
    return TrainLoader(streams, **{"batch_size": batch_size, "seed": 3, "total_epochs": 4, "workers": 0} | options)


def flat(batches):
    """Everything in some batches, comparable with ==."""
    return [
        (
            name,
            batch.total,
            batch.indices[name].tolist(),
            batch.labels[name].tolist(),
            batch.images[name].numpy().tobytes(),
        )
        for batch in batches
        for name in batch.images
    ]


def indices(batches, stream="target"):
    return [i for batch in batches for i in batch.indices.get(stream, torch.empty(0)).tolist()]


def global_state():
    return torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())


def test_every_image_once_per_epoch_in_a_new_order(make_samples):
    loader = train_loader(make_samples(23))
    first, second = list(loader.epoch(0)), list(loader.epoch(1))
    assert sorted(indices(first)) == sorted(indices(second)) == list(range(23))
    assert indices(first) != indices(second)
    assert [batch.total for batch in first] == [5, 5, 5, 5, 3]
    assert loader.steps_per_epoch == 5
    assert indices(train_loader(make_samples(23)).epoch(1)) == indices(second)
    assert indices(train_loader(make_samples(23), seed=4).epoch(1)) != indices(second)


def test_labels_and_pixels_are_those_of_the_samples(make_samples):
    samples = make_samples()
    for batch in train_loader(samples).epoch(2):
        for image, label, index in zip(
            batch.images["target"], batch.labels["target"].tolist(), batch.indices["target"].tolist(), strict=True
        ):
            assert label == samples.labels[index]
            assert torch.equal(image, samples.get(index, 2)[0])


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("persistent", [True, False])
def test_workers_change_nothing(make_samples, workers, persistent):
    streams = {"target": make_samples(11), "other": make_samples(7, name="other")}
    options = {"batch_size": 4, "mix": lambda step, epoch, progress: {"other": 0.3}}
    alone = train_loader(streams, **options)
    helped = train_loader(streams, workers=workers, persistent=persistent, **options)
    for epoch in (0, 1, 0):
        assert flat(helped.epoch(epoch)) == flat(alone.epoch(epoch))
    interrupted = helped.epoch(1)
    next(interrupted)
    interrupted.close()
    assert flat(helped.epoch(1, start=1)) == flat(alone.epoch(1, start=1))
    helped.close()


def test_augmentation_does_not_depend_on_the_batch(make_samples):
    def by_index(loader):
        return {
            index: image.numpy().tobytes()
            for batch in loader.epoch(1)
            for index, image in zip(batch.indices["target"].tolist(), batch.images["target"], strict=True)
        }

    samples = make_samples()
    assert by_index(train_loader(samples, 2)) == by_index(train_loader(samples, 7))


@pytest.mark.parametrize("workers", [0, 2])
def test_the_global_generators_are_left_alone(make_samples, workers):
    loader = train_loader(make_samples(), workers=workers)
    evaluation = EvalLoader(make_samples(), batch_size=4, workers=workers)
    before = global_state()
    list(loader.epoch(0)), list(loader.epoch(1)), list(evaluation)
    assert global_state() == before
    loader.close()


@pytest.mark.parametrize("start", range(6))
@pytest.mark.parametrize("mixed", [False, True])
def test_a_resumed_epoch_goes_on_as_it_would_have(make_samples, start, mixed):
    streams = {"target": make_samples(13)}
    options = {}
    if mixed:
        streams["other"] = make_samples(5, name="other")
        options = {"mix": lambda step, epoch, progress: {"other": progress}}
    whole = [flat([batch]) for batch in train_loader(streams, 3, **options).epoch(2)]
    rest = [flat([batch]) for batch in train_loader(streams, 3, **options).epoch(2, start=start)]
    assert len(whole) == 5 - (not mixed)
    assert rest == whole[start:]


@pytest.mark.parametrize(("count", "expected"), [(10, [5, 5]), (11, [5, 6]), (12, [5, 5, 2]), (1, [1]), (4, [4])])
def test_a_tail_of_one_joins_the_batch_before(make_samples, count, expected):
    loader = train_loader(make_samples(count))
    assert [batch.total for batch in loader.epoch(0)] == expected
    assert loader.steps_per_epoch == len(expected)


def test_batches_of_one_stay(make_samples):
    assert train_loader(make_samples(3), 1).steps_per_epoch == 3


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("count", [6, 7, 13, 17])
@pytest.mark.parametrize("batch_size", [3, 4, 6])
def test_processes_share_every_batch(make_samples, world, count, batch_size):
    samples = make_samples(count, augmentation=False)
    alone = list(train_loader(samples, batch_size).epoch(0))
    parts = [list(train_loader(samples, batch_size, rank=r, world=world).epoch(0)) for r in range(world)]
    assert len({len(part) for part in parts}) == 1
    assert [i for step in zip(*parts, strict=True) for i in indices(step)] == indices(alone)
    for step in zip(*parts, strict=True):
        sizes = [len(batch.indices["target"]) for batch in step]
        assert max(sizes) - min(sizes) <= 1 and sum(sizes) == step[0].total
        assert min(sizes) >= 1


@pytest.mark.parametrize("world", [2, 3, 4])
def test_shards_of_several_streams_are_balanced(world):
    for a in range(9):
        for b in range(9):
            picks = {"a": (np.arange(a), np.zeros(a)), "b": (np.arange(100, 100 + b), np.zeros(b))}
            parts = [shard(picks, rank, world) for rank in range(world)]
            for name in picks:
                joined = [i for part in parts if name in part for i in part[name][0].tolist()]
                assert joined == picks[name][0].tolist()
            sizes = [sum(len(pick[0]) for pick in part.values()) for part in parts]
            assert max(sizes) - min(sizes) <= 1


def test_more_processes_than_images(make_samples):
    with pytest.raises(InputError, match="4 processes need at least as many"):
        train_loader(make_samples(3), world=4)


@pytest.mark.parametrize("share", [0.0, 1 / 3, 0.25, 0.7, 0.999, 1.0])
@pytest.mark.parametrize("batch_size", [1, 4, 7])
def test_counts_of_a_stream_meet_its_share(make_samples, share, batch_size):
    streams = {"target": make_samples(30), "other": make_samples(8, name="other")}
    loader = train_loader(streams, batch_size, mix=lambda *_: {"other": share})
    sizes = []
    for epoch in range(4):
        for number in range(loader.steps_per_epoch):
            picks = next(loader._requests(epoch, number)).picks
            sizes.append({name: len(pick[0]) for name, pick in picks.items()})
    steps = len(sizes)
    assert all(sum(size.values()) == batch_size for size in sizes)
    for done in range(1, steps + 1):
        target = sum(size.get("target", 0) for size in sizes[:done])
        assert target == int(np.floor((1 - share) * batch_size * done + 1e-9))


def test_every_target_image_brings_its_partner(make_samples):
    streams = {"target": make_samples(12), "other": make_samples(6, name="other")}
    partner = lambda indices, keys: (indices * 2 + keys) % 6  # noqa: E731
    whole = train_loader(streams, 4, partners={"other": partner})
    halves = [train_loader(streams, 4, partners={"other": partner}, rank=rank, world=2) for rank in (0, 1)]
    for epoch in (0, 3):
        for batch, first, second in zip(whole.epoch(epoch), *(half.epoch(epoch) for half in halves), strict=True):
            target = batch.indices["target"].numpy()
            assert batch.total == len(target) == first.total == second.total
            assert batch.indices["other"].tolist() == ((target * 2 + epoch) % 6).tolist()
            for name in streams:
                together = [*first.indices[name].tolist(), *second.indices[name].tolist()]
                assert together == batch.indices[name].tolist()
    assert sorted(indices(list(whole.epoch(1)))) == list(range(12))


def test_three_streams_fill_every_batch_and_keep_their_shares(make_samples):
    streams = {name: make_samples(9, name=name) for name in ("target", "a", "b")}
    loader = train_loader(streams, 3, total_epochs=50, mix=lambda *_: {"a": 0.5, "b": 0.5})
    total = dict.fromkeys(streams, 0)
    steps = 50 * loader.steps_per_epoch
    for step in range(steps):
        picks = next(loader._requests(*divmod(step, loader.steps_per_epoch))).picks
        assert sum(len(pick[0]) for pick in picks.values()) == 3
        for name, pick in picks.items():
            total[name] += len(pick[0])
    assert abs(total["a"] - 1.5 * steps) <= 2 and abs(total["b"] - 1.5 * steps) <= 2


def test_streams_cycle_through_orders_of_their_own(make_samples):
    streams = {"target": make_samples(12), "other": make_samples(5, name="other")}
    loader = train_loader(streams, 4, mix=lambda step, epoch, progress: {"target": 0.5})
    batches = [batch for epoch in range(4) for batch in loader.epoch(epoch)]
    seen = indices(batches, "other")
    assert len(seen) == 24 == len(indices(batches))
    assert [sorted(seen[i : i + 5]) for i in (0, 5, 10, 15)] == [list(range(5))] * 4
    assert seen[:5] != seen[5:10]
    target = indices(batches)
    assert sorted(target[:12]) == sorted(target[12:]) == list(range(12))
    # another visit, another augmentation
    images = {}
    for batch in batches:
        for index, image in zip(batch.indices["other"].tolist(), batch.images["other"], strict=True):
            images.setdefault(index, set()).add(image.numpy().tobytes())
    assert min(len(variants) for variants in images.values()) >= 3


def test_mix_sees_step_epoch_and_progress(make_samples):
    seen = []
    streams = {"target": make_samples(8), "other": make_samples(8, name="other")}
    loader = train_loader(streams, 4, total_epochs=2, mix=lambda *now: seen.append(now) or {"other": 0.5})
    list(loader.epoch(0)), list(loader.epoch(1))
    assert seen == [(0, 0, 0.0), (1, 0, 0.25), (2, 1, 0.5), (3, 1, 0.75)]


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"othr": 0.5}, 'did you mean "other"'),
        ({"other": 1.5}, "sum to 1"),
        ({"other": -0.1}, "sum to 1"),
        ({"other": float("nan")}, "sum to 1"),
        ({"other": 0.5, "target": 0.6}, "sum to 1"),
    ],
)
def test_shares_that_are_refused(make_samples, shares, message):
    streams = {"target": make_samples(8), "other": make_samples(8, name="other")}
    with pytest.raises(InputError, match=message):
        next(train_loader(streams, mix=lambda *_: shares).epoch(0))


def test_several_streams_need_a_mix(make_samples):
    with pytest.raises(InputError, match="need a curriculum"):
        train_loader({"target": make_samples(8), "other": make_samples(8, name="other")})


def test_sampling_weights(make_samples):
    samples = make_samples(40)
    weights = np.where(samples.labels == 0, 8.0, 1.0)
    weights[samples.labels == 2] = 0
    loader = train_loader(samples, 8, weights=weights)
    drawn = [i for epoch in range(60) for batch in range(5) for i in loader._single(epoch, batch)["target"][0]]
    counts = np.bincount(samples.labels[drawn], minlength=3)
    zeros, ones = (samples.labels == 0).sum() * 8, (samples.labels == 1).sum()
    assert counts[2] == 0 and len(drawn) == 60 * 40
    assert counts[0] / len(drawn) == pytest.approx(zeros / (zeros + ones), abs=0.02)
    # a sample drawn twice in an epoch is augmented in two ways
    chosen, keys = loader._order("target", 1)
    assert len(set(zip(chosen.tolist(), keys.tolist(), strict=True))) == 40
    assert len(set(chosen.tolist())) < 40
    with pytest.raises(InputError, match="sampling weights"):
        train_loader(samples, weights=np.zeros(40))


@pytest.mark.parametrize("count", range(1, 18))
@pytest.mark.parametrize("batch_size", [1, 2, 5])
@pytest.mark.parametrize("world", [1, 2])
def test_evaluation_counts_every_sample_once(make_samples, count, batch_size, world):
    samples = make_samples(count, augmentation=False)
    parts = [list(EvalLoader(samples, batch_size=batch_size, rank=r, world=world)) for r in range(world)]
    assert sorted(i for part in parts for i in indices(part)) == list(range(count))
    if count >= world:
        assert len({len(part) for part in parts}) == 1
        assert len(EvalLoader(samples, batch_size=batch_size, world=world)) == len(parts[0])
        assert sum(batch.total for batch in parts[0]) == count
    if world == 1:
        assert indices(parts[0]) == list(range(count))


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_is_the_same_with_workers_and_again(make_samples, workers):
    samples = make_samples(9, augmentation=False)
    loader = EvalLoader(samples, batch_size=4, workers=workers)
    assert flat(loader) == flat(loader) == flat(EvalLoader(samples, batch_size=4))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_image_is_reported_as_it_is(make_samples, workers):
    samples = make_samples(6, augmentation=False)

    def read(index):
        raise BadImage("x.jpg", "the file is empty")

    samples.source.contents.read = read
    with pytest.raises(BadImage, match=r"^cannot read the image x\.jpg \(class '\d'\): the file is empty\. Replace"):
        list(train_loader(samples, workers=workers).epoch(0))


def test_a_worker_that_dies_is_explained(make_samples):
    samples = make_samples(6, augmentation=False)
    samples.source.contents.read = lambda index: os.kill(os.getpid(), signal.SIGKILL)
    with pytest.raises(TransferkitError, match=r"a data worker process died .*workers=0") as caught:
        list(train_loader(samples, workers=1).epoch(0))
    assert caught.value.exit_code == 1


def test_workers_do_not_inherit_signal_handlers(make_samples):
    samples = make_samples(4, augmentation=False)
    read = samples.source.contents.read

    def checked(index):
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
        assert torch.get_num_threads() == 1
        return read(index)

    samples.source.contents.read = checked
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        assert len(list(train_loader(samples, workers=1).epoch(0))) == 1
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_process_that_leaves_workers_open_still_ends() -> None:
    import subprocess
    import sys

    code = (
        "import numpy as np\n"
        "from transferkit.data.feed import Feed, Request\n"
        "from transferkit.testing.tiny import tiny_session\n"
        "import tempfile, pathlib\n"
        "session = tiny_session(pathlib.Path(tempfile.mkdtemp()))\n"
        "feed = Feed({'target': session.train_samples}, workers=1)\n"
        "picks = {'target': (np.arange(2), np.zeros(2, dtype=np.int64))}\n"
        "batches = feed.read([Request(picks, 2)] * 3)\n"
        "print(len(next(batches).labels['target']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "2\n"), done.stderr
