"""The comparison itself: images that are the same everywhere, near ties that are counted, and tolerances."""

from __future__ import annotations

import numpy as np
import pytest

from transferkit.deploy import parity
from transferkit.deploy.parity import Expected, ParityError, compare, keyed_images
from transferkit.model.preprocessing import Preprocessing


def preprocessing(size=(16, 24), channels=3):
    return Preprocessing(size, (0.5,) * channels, (0.25,) * channels, 1.0, "center", "bilinear", channels)


def expected(logits, tie=None, score=None, source=None, source_tie=None):
    logits = np.array(logits, dtype=np.float32)
    no = np.zeros(len(logits), dtype=bool)
    outputs = {"logits": logits}
    if score is not None:
        outputs |= {"score": np.array(score, dtype=np.float32), "source_class": np.array(source, dtype=np.int64)}
    return Expected(outputs, no if tie is None else np.array(tie), no if source_tie is None else np.array(source_tie))


def test_images_are_normalised_pixels_and_all_different():
    images = keyed_images(preprocessing(), 12)
    assert images.shape == (12, 3, 16, 24) and images.dtype == np.float32
    pixels = (images * 0.25 + 0.5) * 255
    np.testing.assert_allclose(pixels, pixels.round(), atol=1e-3)
    assert pixels.min() >= -1e-3 and pixels.max() <= 255 + 1e-3
    assert len({image.tobytes() for image in images}) == 12


def test_an_image_depends_on_its_number_alone():
    whole = keyed_images(preprocessing(), 8)
    np.testing.assert_array_equal(keyed_images(preprocessing(), 3, 5), whole[5:])


def test_images_never_change():
    """Records name them by this hash."""
    assert parity.digest(keyed_images(preprocessing(), 6)) == (
        "93f48b20ed3c382c221b50e83834d36d863ecba87cd1d64375274f818435db78"
    )


def test_other_channel_counts():
    assert keyed_images(preprocessing((8, 8), 1), 6).shape == (6, 1, 8, 8)


@pytest.mark.parametrize(("largest", "sizes"), [(2, [1, 2]), (5, [1, 2, 3, 5]), (64, [1, 2, 3, 8, 64])])
def test_batch_sizes(largest, sizes):
    assert parity.batches(largest) == sizes
    assert parity.batches(1000) == [1, 2, 3, 8, 64]


def test_tolerance_grows_with_large_logits_only():
    assert parity.tolerance(np.array([[3.0, -10.0]])) == pytest.approx(1e-4)
    assert parity.tolerance(np.array([[3.0, -50.0]])) == pytest.approx(5e-4)


def test_a_near_tie_may_fall_either_way_and_is_counted():
    near = [[1.0, 1.0 - 5e-5], [2.0, 0.0]]
    other = {"logits": np.array([[1.0 - 5e-5, 1.0], [2.0, 0.0]], dtype=np.float32)}
    found = compare(expected(near, [True, False]), other, "here")
    assert (found.batch, found.class_ties, found.score) == (2, 1, None)
    assert found.logits == pytest.approx(5e-5, rel=0.01)
    with pytest.raises(ParityError, match="here: another class on 1 of 2 rows"):
        compare(expected(near, [False, False]), other, "here")


def test_near_ties_are_found_among_the_lingering_classes():
    logits = np.array([[9.0, 1.0, 1.00005, 0.0], [9.0, 9.0, 1.0, 0.0]])
    assert parity._near_tie(logits).tolist() == [False, True]
    assert parity._near_tie(logits, np.array([1, 2])).tolist() == [True, False]
    assert parity._near_tie(logits, np.array([3])).tolist() == [False, False]


def test_a_near_tie_of_source_classes():
    ours = expected([[1.0, 0.0]], score=[0.4], source=[3], source_tie=[True])
    found = {
        "logits": np.array([[1, 0]], np.float32),
        "score": np.array([0.4], np.float32),
        "source_class": np.array([1]),
    }
    assert compare(ours, found, "here").source_class_ties == 1
    with pytest.raises(ParityError, match="another source class"):
        compare(expected([[1.0, 0.0]], score=[0.4], source=[3]), found, "here")


def test_the_reference_survives_json():
    import json

    values = np.array([[0.1, 1 / 3], [1e-9, 123456.789]], dtype=np.float32)
    back = np.array(json.loads(json.dumps(parity._exact(values))), dtype=np.float32)
    np.testing.assert_array_equal(back, values)
