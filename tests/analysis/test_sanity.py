"""Models and images that do not fit together are refused or named before any number is believed."""

from __future__ import annotations

import pytest
import torch

from tests.analysis.test_session import bench
from transferkit.analysis.sanity import check, refuse_strangers, similarity
from transferkit.analysis.workbench import Given
from transferkit.data import world
from transferkit.errors import InputError
from transferkit.testing import tiny_model


def given(model) -> Given:
    return Given("given", lambda: (model, None))


def test_another_width_does_not_descend(tmp_path):
    models = {"source": given(tiny_model(world.SOURCE_CLASSES, name="test_convnext")), "target": given(tiny_model())}
    with pytest.raises(InputError, match="does not descend from given: its features have 96 values"):
        check(bench(tmp_path, models=models, source_data=None, target_data=None))


def test_another_architecture_of_the_same_width_does_not_descend():
    one, two = tiny_model(), tiny_model()
    two.net.add_module("extra", torch.nn.Linear(2, 2))
    with pytest.raises(InputError, match=r"2 layers are in only one of them \(extra\.bias, extra\.weight\)"):
        refuse_strangers(one, two, ("source", "target"))


def test_similarity_is_the_cosine_of_the_weights():
    one, two = tiny_model(seed=0), tiny_model(seed=0)
    assert similarity(one, two) == pytest.approx(1)
    with torch.no_grad():
        for parameter in two.parameters():
            parameter.neg_()
    assert similarity(one, two) == pytest.approx(-1)
    assert abs(similarity(one, tiny_model(seed=5))) < 0.1


def test_strangers_of_one_architecture_and_chance_are_said_aloud(tmp_path):
    found = check(bench(tmp_path))
    assert any("do not look fine-tuned" in text for text in found)
    assert any("source model is right on only" in text for text in found)


def test_a_source_that_knows_its_classes_is_not_doubted(tmp_path):
    """A head fitted to the very images: nothing to say about the source."""
    from transferkit.analysis.session import AnalysisSession
    from transferkit.model import SourceHead
    from transferkit.model.head_init import ridge_head

    workbench = bench(tmp_path)
    found = AnalysisSession(workbench, tmp_path).predictions("source")
    source = tiny_model(world.SOURCE_CLASSES, seed=0)
    weight, bias = ridge_head(found.features, found.labels, 12)
    source.set_head(SourceHead(weight * 100, bias * 100, list(world.SOURCE_CLASSES)))
    workbench = bench(tmp_path, models={"source": given(source), "target": workbench.models["target"]})
    assert not any("source model is right" in text for text in check(workbench))
