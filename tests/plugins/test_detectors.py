"""The detectors that ship against NumPy and SciPy by other routes, and the promises of their kind."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.special
import torch
import transferkit_detectors
from scipy.spatial.distance import cdist
from transferkit_detectors.activations import ASH, SCALE, ReAct
from transferkit_detectors.boundaries import FDBD, NCI
from transferkit_detectors.confidence import GEN, MSP, Energy, Entropy, MaxLogit
from transferkit_detectors.distances import KNN, Mahalanobis, MahalanobisPP, RelativeMahalanobis
from transferkit_detectors.guidance import NNGuide
from transferkit_detectors.kernel import KernelMap
from transferkit_detectors.subspace import ViM

from transferkit.analysis import DetectorSession, NamedDetector, Observed, standard_detectors
from transferkit.model import SourceHead
from transferkit.testing import check_plugin, tiny_model


def made_up(n=60, d=5, classes=3, source=6, seed=0):
    """A session of drawn features, and seven new images."""
    generator = torch.Generator().manual_seed(seed)
    centres = 2 * torch.randn(classes, d, generator=generator)
    weight, bias = torch.randn(classes, d, generator=generator), torch.randn(classes, generator=generator)
    head = SourceHead(weight, bias, [f"t{i}" for i in range(classes)])
    turn = torch.randn(d, 4, generator=generator)

    def seen(features, labels):
        logits = head.logits(features.double())
        return Observed(features, logits, {}, labels, (features @ turn).tanh())

    labels = torch.arange(n) % classes
    train = seen(centres[labels] + torch.randn(n, d, generator=generator), labels)
    images = seen(3 * torch.randn(n, d, generator=generator), torch.arange(n) % source)
    names = [f"s{i}" for i in range(source)]
    source_head = SourceHead(
        torch.randn(source, 4, generator=generator), torch.randn(source, generator=generator), names
    )
    session = DetectorSession(tiny_model(), head, source_head, train, images, torch.tensor([1, 4]), 0)
    return session, seen(3 * torch.randn(7, d, generator=generator), torch.arange(7) % classes)


def scored(detector, session, new):
    """Scores and source classes in double precision."""
    module = detector.fit(session).double()
    score, named = module(new.features.double(), new.logits.double(), {})
    return score.numpy(), named.numpy()


def arrays(session, new):
    return session.train.features.double().numpy(), session.train.labels.numpy(), new.features.double().numpy()


def test_scores_of_logits():
    session, new = made_up()
    logits = new.logits.numpy()
    p = scipy.special.softmax(logits, axis=1)
    top = np.sort(p, axis=1)[:, ::-1][:, :2]
    for detector, expected in (
        (MSP(), 1 - p.max(1)),
        (MaxLogit(), -logits.max(1)),
        (Energy(), -scipy.special.logsumexp(logits, axis=1)),
        (Entropy(), scipy.special.entr(p).sum(1)),
        (GEN(), (p * (1 - p)).__pow__(0.1).sum(1)),
        (GEN(gamma=0.5, top=2), np.sqrt(top * (1 - top)).sum(1)),
    ):
        score, named = scored(detector, session, new)
        np.testing.assert_allclose(score, expected, atol=1e-9)
        assert named.tolist() == [-1] * 7


def test_gen_of_a_certain_answer_is_zero_and_of_an_even_one_the_largest():
    even, sure = torch.zeros(1, 4), torch.tensor([[900.0, 0, 0, 0]])
    assert transferkit_detectors.gen(sure).item() == 0
    assert transferkit_detectors.gen(even).item() == pytest.approx(4 * (0.25 * 0.75) ** 0.1)


@pytest.mark.parametrize(("n", "d"), [(60, 5), (6, 9)])
def test_mahalanobis_with_an_inverse_or_a_pseudo_inverse(n, d):
    session, new = made_up(n, d)
    x, y, z = arrays(session, new)

    def distances(x, z):
        means = np.stack([x[y == c].mean(0) for c in range(3)])
        shared = np.linalg.pinv((x - means[y]).T @ (x - means[y]) / n, rcond=1e-10, hermitian=True)
        return np.array([min((v - m) @ shared @ (v - m) for m in means) for v in z])

    whole = np.linalg.pinv((x - x.mean(0)).T @ (x - x.mean(0)) / n, rcond=1e-10, hermitian=True)
    overall = np.array([(v - x.mean(0)) @ whole @ (v - x.mean(0)) for v in z])
    np.testing.assert_allclose(scored(Mahalanobis(), session, new)[0], distances(x, z), rtol=1e-7)
    relative = scored(RelativeMahalanobis(), session, new)[0]
    np.testing.assert_allclose(relative, distances(x, z) - overall, rtol=1e-6, atol=1e-7)
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, z)]
    np.testing.assert_allclose(scored(MahalanobisPP(), session, new)[0], distances(*unit), rtol=1e-6)


def test_scaled_features_have_the_same_mahalanobis_pp_and_not_the_same_mahalanobis():
    session, new = made_up()
    longer = Observed(2 * new.features, new.logits, {}, new.labels, new.source_features)
    same, other = (scored(MahalanobisPP(), session, one)[0] for one in (new, longer))
    np.testing.assert_allclose(same, other, rtol=1e-6)
    assert not np.allclose(*(scored(Mahalanobis(), session, one)[0] for one in (new, longer)))


@pytest.mark.parametrize(
    ("options", "place"), [({"k": 1}, 1), ({"k": 4, "share": 1}, 4), ({"k": 500, "share": 1}, 60), ({}, 1)]
)
def test_nearest_neighbours(options, place):
    session, new = made_up()
    x, _, z = arrays(session, new)
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (z, x)]
    expected = np.sort(cdist(*unit), axis=1)[:, place - 1]
    np.testing.assert_allclose(scored(KNN(**options), session, new)[0], expected, atol=1e-7)
    assert KNN(**options).fit(session).title == f"kNN (k = {place})"


def test_vim_and_react():
    session, new = made_up(d=6)
    x, _, z = arrays(session, new)
    w, b = session.head.weight.double().numpy(), session.head.bias.double().numpy()
    u = -np.linalg.pinv(w) @ b
    vectors = np.linalg.eigh((x - u).T @ (x - u)).eigenvectors
    rest = vectors[:, :3]  # the three smallest of six
    scale = (x @ w.T + b).max(1).sum() / np.linalg.norm((x - u) @ rest, axis=1).sum()
    plain = -scipy.special.logsumexp(z @ w.T + b, axis=1)
    expected = scale * np.linalg.norm((z - u) @ rest, axis=1) + plain
    np.testing.assert_allclose(scored(ViM(), session, new)[0], expected, atol=1e-8)
    clipped = np.minimum(z, np.percentile(x, 90))
    expected = -scipy.special.logsumexp(clipped @ w.T + b, axis=1)
    np.testing.assert_allclose(scored(ReAct(), session, new)[0], expected, atol=1e-9)
    unclipped = scored(ReAct(quantile=1.0), session, session.train)[0]
    np.testing.assert_allclose(unclipped, -scipy.special.logsumexp(x @ w.T + b, axis=1), atol=1e-9)


@pytest.mark.parametrize(("cut", "kept"), [(0.9, 1), (0.4, 3), (0.0, 5)])
def test_ash_and_scale(cut, kept):
    """On activations that are not negative, as after a ReLU."""
    session, new = made_up()
    new = Observed(new.features.abs(), new.logits, {}, new.labels, new.source_features)
    z = new.features.double().numpy()
    w, b = session.head.weight.double().numpy(), session.head.bias.double().numpy()
    top = np.sort(z, axis=1)[:, ::-1][:, :kept]
    factor = np.exp(z.sum(1) / top.sum(1))[:, None]
    cuts = np.where(z >= top[:, -1:], z, 0)
    for detector, shaped in ((ASH(cut=cut), cuts * factor), (SCALE(cut=cut), z * factor)):
        expected = -scipy.special.logsumexp(shaped @ w.T + b, axis=1)
        np.testing.assert_allclose(scored(detector, session, new)[0], expected, rtol=1e-9)
    nothing = Observed(-new.features, new.logits, {}, new.labels, new.source_features)
    plain = -scipy.special.logsumexp(-z @ w.T + b, axis=1)
    np.testing.assert_allclose(scored(SCALE(cut=cut), session, nothing)[0], plain, rtol=1e-9)


def test_the_distance_to_boundaries_and_the_angle_to_the_weights():
    session, new = made_up()
    x, _, z = arrays(session, new)
    w, logits, centre = session.head.weight.double().numpy(), new.logits.numpy(), x.mean(0)
    best, far = logits.argmax(1), np.linalg.norm(z - centre, axis=1)
    expected = []
    for i, c in enumerate(best):
        gaps = [(logits[i, c] - logits[i, k]) / np.linalg.norm(w[c] - w[k]) for k in range(3) if k != c]
        expected.append(-np.mean(gaps) / far[i])
    np.testing.assert_allclose(scored(FDBD(), session, new)[0], expected, rtol=1e-9)
    along = ((z - centre) * w[best]).sum(1) / far
    np.testing.assert_allclose(scored(NCI(alpha=0.3), session, new)[0], -along - 0.3 * np.abs(z).sum(1), rtol=1e-9)


@pytest.mark.parametrize("k", [1, 4, 500])
def test_guidance_by_neighbours(k):
    session, new = made_up()
    x, _, z = arrays(session, new)
    sure = scipy.special.logsumexp(session.train.logits.numpy(), axis=1)
    like = (z / np.linalg.norm(z, axis=1, keepdims=True)) @ (x / np.linalg.norm(x, axis=1, keepdims=True)).T * sure
    mean = np.sort(like, axis=1)[:, ::-1][:, : min(k, 60)].mean(1)
    expected = -scipy.special.logsumexp(new.logits.numpy(), axis=1) * mean
    np.testing.assert_allclose(scored(NNGuide(k=k), session, new)[0], expected, rtol=1e-9)


def test_no_direction_is_left_out_of_vim_with_few_images():
    session, new = made_up(n=6, d=800)
    assert np.isfinite(scored(ViM(), session, new)[0]).all()


def test_a_class_without_images_is_no_class():
    session, new = made_up()
    holes = Observed(
        session.train.features, session.train.logits, {}, 2 * session.train.labels, session.train.source_features
    )
    other = DetectorSession(
        session.model, session.head, session.source_head, holes, session.source, session.lingering, 0
    )
    np.testing.assert_allclose(*(scored(Mahalanobis(), one, new)[0] for one in (session, other)))


def test_the_kernel_map_is_kernel_ridge_regression_behind_the_source_head():
    session, new = made_up(n=20)
    score, named = scored(KernelMap(), session, new)
    both = [
        torch.cat([getattr(s, k) for s in (session.source, session.train)]) for k in ("features", "source_features")
    ]
    x, y = (one.double().numpy() for one in both)
    centre, spread = x.mean(0), x.std(0)
    support, z = (x - centre) / spread, (new.features.double().numpy() - centre) / spread
    apart = cdist(support, support, "sqeuclidean")
    width = float(torch.from_numpy(apart).median())
    gram, centred = np.exp(-apart / width), y - y.mean(0)

    def left_out(lam):
        total = 0.0
        for i in range(len(x)):
            rest = np.arange(len(x)) != i
            weights = np.linalg.solve(gram[np.ix_(rest, rest)] + lam * np.eye(len(x) - 1), centred[rest])
            total += ((centred[i] - gram[i, rest] @ weights) ** 2).sum()
        return total

    lam = min((0.03, 0.1, 0.3, 1.0, 3.0), key=left_out)
    mapped = np.exp(-cdist(z, support, "sqeuclidean") / width) @ np.linalg.solve(gram + lam * np.eye(len(x)), centred)
    logits = (mapped + y.mean(0)) @ session.source_head.weight.double().numpy().T
    logits += session.source_head.bias.double().numpy()
    np.testing.assert_allclose(score, scipy.special.softmax(logits, axis=1)[:, [1, 4]].sum(1), rtol=1e-6)
    np.testing.assert_allclose(named, logits[:, [1, 4]], rtol=1e-5, atol=1e-8)


def test_the_kernel_map_keeps_a_keyed_choice_and_names_a_watched_class():
    session, new = made_up()
    kept = KernelMap(images=7).fit(session)
    assert kept.support.shape == (14, 5) and torch.equal(kept.support, KernelMap(images=7).fit(session).support)
    fitted = NamedDetector.of({"use": "kernel_map", "images": 7}).fit(session)
    assert fitted.watched == [1, 4] and set(fitted(new)[1].tolist()) <= {1, 4}


def test_those_with_a_place_stand_in_the_table_in_its_order():
    own = [one.name for one in standard_detectors() if one.plugin.component.cls.__module__.startswith("transferkit_d")]
    assert own == [
        "msp", "max_logit", "energy", "entropy", "mahalanobis", "relative_mahalanobis", "knn", "vim", "react",
        "kernel_map",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "detector",
    [
        MSP(),
        GEN(),
        Mahalanobis(),
        RelativeMahalanobis(),
        MahalanobisPP(),
        KNN(),
        ViM(),
        ReAct(),
        KernelMap(),
        ASH(),
        SCALE(),
        FDBD(),
        NCI(),
        NNGuide(),
    ],
)
def test_single_precision_is_close(detector):
    session, new = made_up()
    exact = scored(detector, session, new)[0]
    score, _ = detector.fit(session).float()(new.features, new.logits.float(), {})
    np.testing.assert_allclose(score.numpy(), exact, rtol=1e-4, atol=1e-5 * max(1, np.abs(exact).max()))


@pytest.mark.parametrize(
    ("cls", "options"),
    [(GEN, {}), (RelativeMahalanobis, {}), (MahalanobisPP, {}), (KNN, {"k": 3, "share": 0.5}), (ViM, {}), (ReAct, {}),
     (KernelMap, {"images": 20, "inner": True}), (SCALE, {"cut": 0.5}), (FDBD, {}), (NCI, {}), (NNGuide, {"k": 3})],
)  # fmt: skip
def test_as_a_plugin(cls, options):
    check_plugin(cls, **options)
