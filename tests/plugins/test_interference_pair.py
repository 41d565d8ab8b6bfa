"""Two scores under one threshold, and the detector of source memories as a plugin's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from transferkit_interference import interference_score, refitted_head
from transferkit_interference.memory import SourceMemory
from transferkit_interference.pair import Pair
from transferkit_interference.threshold import conformal_threshold

from transferkit.analysis import NamedDetector
from transferkit.errors import InputError
from transferkit.testing import check_plugin

from .test_detectors import made_up


def test_the_source_memory_is_equation_5_of_the_refitted_head():
    session, new = made_up()
    both = (session.source, session.train)
    head = refitted_head(
        torch.cat([one.features for one in both]), torch.cat([one.source_features for one in both]), session.source_head
    )
    score, named = SourceMemory().fit(session)(new.features, new.logits, {})
    expected = interference_score(head.logits(new.features), session.lingering, "sum")
    torch.testing.assert_close(score, expected, atol=1e-6, rtol=1e-5)
    assert torch.equal(named.argmax(dim=1), head.logits(new.features)[:, session.lingering].argmax(dim=1))


def test_the_larger_of_two_scores_by_hand():
    session, new = made_up()
    clean = session.train
    module = Pair().fit(replace(session, clean=clean))
    assert module.title == "source memory and MSP" and module.watches == (1, 4)
    parts = [NamedDetector.of(name).fit(session) for name in ("source_memory", "msp")]
    on_clean, on_new = (np.stack([part(seen)[0] for part in parts], axis=1) for seen in (clean, new))
    middle, rare = np.quantile(on_clean, [0.5, 0.9], axis=0)
    apart = (on_new - middle) / (rare - middle)
    score, named = module.double()(new.features.double(), new.logits, {})
    np.testing.assert_allclose(score.numpy(), apart.max(1), rtol=1e-4)
    memory = apart[:, 0] >= apart[:, 1]
    assert np.array_equal(named.numpy() >= 0, memory) and set(named[memory].tolist()) <= {1, 4}


def test_other_parts_and_an_order_that_cannot_be():
    session, new = made_up()
    pair = NamedDetector.of({"use": "pair", "memory": {"use": "kernel_map", "images": 9}, "error": "energy"})
    fitted = pair.fit(replace(session, clean=new))
    assert fitted.watched == [1, 4] and fitted.module.parts[0].support.shape == (18, 5)
    with pytest.raises(InputError, match="names no source class"):
        NamedDetector.of({"use": "pair", "memory": "msp"}).fit(replace(session, clean=new))
    with pytest.raises(InputError, match="needs clean target images"):
        NamedDetector.of("pair").fit(session)
    assert pair.needs_clean and not NamedDetector.of("msp").needs_clean


def test_one_threshold_holds_for_both():
    """Clean images that neither fit nor scale: flagged at most at the promised rate, over many calibrations."""
    session, _ = made_up(n=900, d=4)
    whole = session.train
    tensors = ("features", "logits", "labels", "source_features")
    few = replace(whole, **{name: getattr(whole, name)[:60] for name in tensors})
    module = Pair().fit(replace(session, clean=few))
    scores = module(session.train.features, session.train.logits.float(), {})[0].numpy()[60:]
    rng, rates = np.random.default_rng(0), []
    for _ in range(400):
        order = rng.permutation(len(scores))
        threshold = conformal_threshold(torch.from_numpy(scores[order[:100]]), 0.1)
        rates.append((scores[order[100:]] > threshold).mean())
    assert np.mean(rates) == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize(("cls", "options"), [(SourceMemory, {}), (Pair, {"error": "entropy"})])
def test_as_a_plugin(cls, options):
    check_plugin(cls, **options)
