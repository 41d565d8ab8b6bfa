"""The parts of the analyzer `data`: planted defects of three seeds, and every formula against another way to it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image
from transferkit_data_audit.copies import grouped, laid_over, near_copies
from transferkit_data_audit.labels import confident_errors, out_of_fold
from transferkit_data_audit.measure import evenly
from transferkit_data_audit.outliers import far_off, neighbours, unit
from transferkit_data_audit.shortcuts import _smoother, aucs, parts, predictable, where
from transferkit_data_audit.unusual import RULES, pixel_statistics, size_statistics, unusual

from transferkit.errors import InputError

from .data_audit_world import drawn, features, flipped, marked, near_copies_of, small

SEEDS = (0, 1, 2)


# -- labels -------------------------------------------------------------------------------------------------------


def test_planted_wrong_labels_are_found():
    """Of three seeds together at least 95 % are named, of right labels at most 5 %; few of them confidently wrong."""
    pictures, labels = drawn("target", 120)
    known, found, named, clean, sure = features(pictures), 0, 0, 0, 0
    total = 0
    for seed in SEEDS:
        given, wrong = flipped(labels, seed)
        told = confident_errors(given, out_of_fold(known, given, np.arange(len(given)), 5, seed))
        flags = told.errors | told.doubts
        total, found, sure = total + wrong.sum(), found + flags[wrong].sum(), sure + told.errors[wrong].sum()
        named, clean = named + flags[~wrong].sum(), clean + (~wrong).sum()
        assert told.errors[~wrong].mean() <= 0.01
        assert (told.other[flags & wrong] == labels[flags & wrong]).all()
        assert np.argsort(-told.score)[: wrong.sum() // 2].tolist() == [
            one for one in np.argsort(-told.score)[: wrong.sum() // 2] if wrong[one]
        ]
    assert found / total >= 0.95 and named / clean <= 0.05
    assert 0.5 <= sure / total < 0.95  # those under their class's mean probability are only doubted


def by_hand(labels, p):
    """Confident learning, image by image, as the paper writes it."""
    classes = p.shape[1]
    t = [np.mean([p[i, j] for i in range(len(p)) if labels[i] == j]) for j in range(classes)]
    errors = []
    for i in range(len(p)):
        candidates = [j for j in range(classes) if p[i, j] >= t[j]]
        if candidates:
            j = max(candidates, key=lambda j: p[i, j])
            errors.append(j != labels[i] and max(p[i]) != p[i, labels[i]])
        else:
            errors.append(False)
    return np.array(errors)


def made_up_probabilities(seed, n=200, classes=4):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(classes, 0.4), n)
    labels = np.where(rng.random(n) < 0.7, p.argmax(axis=1), rng.integers(0, classes, n))
    return labels, p


@pytest.mark.parametrize("seed", SEEDS)
def test_confident_learning_is_what_it_is_by_hand(seed):
    labels, p = made_up_probabilities(seed)
    told = confident_errors(labels, p)
    assert told.errors.tolist() == by_hand(labels, p).tolist()
    assert told.errors.any() and told.doubts.any()
    assert ((told.errors | told.doubts) == (p.argmax(axis=1) != labels)).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_confident_learning_is_that_of_cleanlab(seed):
    filtering = pytest.importorskip("cleanlab.filter")
    labels, p = made_up_probabilities(seed)
    found = filtering.find_label_issues(labels, p, filter_by="confident_learning", n_jobs=1)
    told = confident_errors(labels, p)
    assert told.errors.tolist() == found.tolist()
    from cleanlab.rank import get_label_quality_scores

    quality = get_label_quality_scores(labels, p, method="normalized_margin")
    assert told.score == pytest.approx(1 - quality)


def test_a_copy_does_not_vouch_for_a_label():
    """Two images of one group are in one fold, so neither probe has seen the other."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 40)
    x = rng.normal(size=(80, 30)) + 1.5 * labels[:, None]
    x[1], given = x[0] + 1e-3, labels.copy()
    given[:2] = 1
    alone = out_of_fold(x, given, np.arange(80), 5, 0)
    together = out_of_fold(x, given, np.r_[0, 0, np.arange(2, 80)], 5, 0)
    assert together[:2, 1].max() < alone[:2, 1].max()


def test_labels_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match="do not go with"):
        confident_errors([0, 2], [[0.5, 0.5], [0.5, 0.5]])
    with pytest.raises(InputError, match="3 different images, and 5 folds"):
        out_of_fold(np.zeros((13, 2)), [0] * 10 + [1] * 3, np.arange(13), 5, 0)


# -- copies -------------------------------------------------------------------------------------------------------


def copies_found(kind, each, seed):
    """(share of planted pairs that are found, share of the other images that are named)."""
    pictures, _ = drawn(kind, each)
    picked = np.random.default_rng(seed).choice(len(pictures), len(pictures) // 10, replace=False)
    every = np.concatenate([pictures, near_copies_of(pictures[picked])])
    found = near_copies(features(every), small(every))
    pairs = {tuple(pair) for pair in found.pairs.tolist()}
    right = [(int(one), len(pictures) + i) in pairs for i, one in enumerate(picked)]
    others = set(range(len(pictures))) - set(picked.tolist())
    return np.mean(right), len(others & set(found.pairs.ravel().tolist())) / len(others)


def test_planted_copies_are_found():
    """Recompressed, cropped by two of 64 pixels, brighter, darker: all are found, and nothing else is named."""
    rates = np.mean([copies_found("source", 20, seed) for seed in SEEDS], axis=0)
    assert rates[0] >= 0.95 and rates[1] <= 0.05


def test_pictures_without_detail_are_hard():
    """Wheels and signs of few lines on a smooth ground: some are as alike as a picture and its copy. All planted ones
    are found, too, but of the others more than 5 % are named: that aim is missed here."""
    rates = np.mean([copies_found("target", 120, seed) for seed in SEEDS], axis=0)
    assert rates[0] >= 0.95 and rates[1] <= 0.10


def test_groups_are_connected_parts():
    assert len(set(grouped(5, np.array([[0, 1], [1, 3]])).tolist())) == 3
    assert len(set(grouped(3, np.empty((0, 2), np.int64)).tolist())) == 3


def test_one_picture_and_blank_ones_are_no_copies():
    blank = np.full((3, 32, 32, 3), 128, np.uint8)
    assert not len(near_copies(np.zeros((3, 2)), blank).pairs)
    assert not len(near_copies(np.zeros((1, 2)), blank[:1]).pairs)


def test_laid_over_undoes_shift_and_brightness():
    picture = small(drawn("source", 20)[0][:4])
    moved = np.roll(picture, 1, axis=2)
    assert laid_over(picture, picture) == pytest.approx(1, abs=1e-5)
    assert laid_over(picture, (0.5 * picture).astype(np.uint8)).min() > 0.99
    assert (laid_over(picture, moved) > 0.9).all()


# -- outliers -----------------------------------------------------------------------------------------------------


def test_neighbours_are_those_of_brute_force():
    rows = unit(np.random.default_rng(0).normal(size=(50, 6)))
    places, cosines = neighbours(rows, 3, chunk=7)
    near = rows @ rows.T - 9 * np.eye(50)
    assert (places == np.argsort(-near, axis=1)[:, :3]).all()
    assert cosines == pytest.approx(np.sort(near, axis=1)[:, ::-1][:, :3])


def test_outliers_are_found_and_wrong_labels_are_none():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 100)
    centres = rng.normal(size=(2, 20)) * 3
    x = centres[labels] + rng.normal(size=(200, 20))
    strange = rng.normal(size=(4, 20)) * 12
    given = np.r_[labels, 0, 0, 1, 1]
    given[:5] = 1
    far, z = far_off(np.concatenate([x, strange]), given, np.arange(204), 0.01)
    assert far[200:].all() and far[:200].mean() <= 0.02 and not far[:5].any()
    assert z[200:].min() > z[:200].max()


def test_copies_do_not_hide_an_outlier():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 100)
    x = (rng.normal(size=(2, 20)) * 3)[labels] + rng.normal(size=(200, 20))
    strange = np.repeat(rng.normal(size=(1, 20)) * 12, 7, axis=0) + 1e-3 * rng.normal(size=(7, 20))
    every, given = np.concatenate([x, strange]), np.r_[labels, [0] * 7]
    assert far_off(every, given, np.r_[np.arange(200), [200] * 7], 0.01)[0][200:].all()
    assert not far_off(every, given, np.arange(207), 0.01)[0][200:].any()


# -- pixels -------------------------------------------------------------------------------------------------------


def test_statistics_of_pixels_are_those_by_hand():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    found = pixel_statistics(Image.fromarray(pixels))
    grey = 0.299 * pixels[..., 0] + 0.587 * pixels[..., 1] + 0.114 * pixels[..., 2]
    from scipy.ndimage import laplace

    assert found["brightness"] == pytest.approx(grey.mean())
    assert found["sharpness"] == pytest.approx(math.log(laplace(grey, mode="nearest").var() + 0.01))
    shares = np.histogram(grey, bins=64, range=(0, 256))[0] / grey.size
    assert found["information"] == pytest.approx(-sum(s * math.log2(s) for s in shares if s))


def test_planted_pixels_are_named_and_others_are_not():
    pictures, _ = drawn("target", 60)
    planted = {
        "dark": (pictures[:3] * 0.05).astype(np.uint8),
        "bright": (255 - (255 - pictures[3:6]) * 0.05).astype(np.uint8),
        "plain": np.full((3, 64, 64, 3), 130, np.uint8),
    }
    soft = [Image.fromarray(one).resize((6, 6), Image.Resampling.BOX).resize((64, 64)) for one in pictures[6:9]]
    planted["blurred"] = np.stack([np.asarray(one) for one in soft])
    every = [pixel_statistics(Image.fromarray(one)) for part in (pictures, *planted.values()) for one in part]
    for number, kind in enumerate(planted):
        flags, _ = unusual(np.array([one[RULES[kind].statistic] for one in every]), RULES[kind])
        first = len(pictures) + 3 * number
        assert flags[first : first + 3].all(), kind
        assert flags[: len(pictures)].mean() <= 0.05, kind


def test_sizes_and_shapes_that_are_odd():
    widths, heights = np.array([640] * 50 + [64, 640]), np.array([480] * 50 + [48, 90])
    found = size_statistics(widths, heights)
    assert np.flatnonzero(unusual(found["size"], RULES["odd size"])[0]).tolist() == [50, 51]
    assert np.flatnonzero(unusual(found["shape"], RULES["odd shape"])[0]).tolist() == [51]


def test_nothing_is_odd_where_all_are_alike_or_there_are_none():
    for rule in RULES.values():
        assert not unusual(np.full(9, 40.0), rule)[0].any()
        assert not len(unusual(np.empty(0), rule)[0])


# -- shortcuts ----------------------------------------------------------------------------------------------------


def told(pictures, labels, rng_seed=1):
    rng = np.random.default_rng(rng_seed)
    given = parts(small(pictures), np.zeros((len(labels), 2)))
    return predictable(given, labels, np.arange(len(labels)), folds=5, permutations=39, rng=rng)


@pytest.mark.parametrize(("kind", "each"), [("target", 60), ("source", 15)])
def test_a_planted_corner_mark_is_found_and_none_where_there_is_none(kind, each):
    pictures, labels = drawn(kind, each)
    clean = told(pictures, labels)
    assert all(clean[name].auc.max() < 0.9 for name in ("corners", "border"))
    for seed in SEEDS:
        one = seed % (labels.max() + 1)
        found = told(marked(pictures, labels == one), labels)["corners"]
        assert found.auc[one] >= 0.95 and found.p[one] <= 0.05


def test_the_map_shows_the_corner():
    pictures, labels = drawn("source", 15)
    found = where(
        small(marked(pictures, labels == 2)), labels == 2, np.arange(len(labels)), folds=5, rng=np.random.default_rng(0)
    )
    assert np.unravel_index(found.argmax(), found.shape) == (0, 0) and found[0, 0] > 0.95
    assert np.median(found) < 0.7


def test_what_chance_tells_is_seldom_called():
    """Labels that have nothing to do with the pictures: p is at most 0.1 of ten trials about once."""
    pictures, _ = drawn("source", 5)
    rng = np.random.default_rng(3)
    smallest = [np.nanmin([one.p.min() for one in told(pictures, rng.integers(0, 3, 60), seed).values()])
                for seed in range(10)]  # fmt: skip
    assert sum(p <= 0.1 for p in smallest) <= 3


def test_the_smoother_is_scikit_learns_kernel_ridge():
    ridge = pytest.importorskip("sklearn.kernel_ridge")
    rng = np.random.default_rng(0)
    x, y, fold = rng.normal(size=(40, 3)), rng.normal(size=40), np.arange(40) % 4
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    width = np.median([np.square(z[i] - z[j]).sum() for i in range(40) for j in range(i)])
    for one in range(4):
        model = ridge.KernelRidge(alpha=0.3, kernel="rbf", gamma=1 / width).fit(z[fold != one], y[fold != one])
        assert (_smoother(x, fold) @ y)[fold == one] == pytest.approx(model.predict(z[fold == one]))


def test_auc_is_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(50, 3)).round(1), rng.integers(0, 3, 50)
    assert aucs(scores, labels) == pytest.approx([metrics.roc_auc_score(labels == k, scores[:, k]) for k in range(3)])


def test_images_are_drawn_evenly_from_the_classes():
    labels = np.repeat([0, 1, 2], [100, 50, 4])
    chosen = evenly(labels, 40, np.random.default_rng(0))
    assert np.bincount(labels[chosen]).tolist() == [18, 18, 4]
    assert evenly(labels, 200, np.random.default_rng(0)).tolist() == list(range(154))
