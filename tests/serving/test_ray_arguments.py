"""What Ray's own command line may say, without Ray."""

from __future__ import annotations

import pytest

from transferkit.errors import InputError
from transferkit.serving.ray_app import told


def test_arguments_become_settings():
    found = told({"model": "m", "replicas": "2", "device": "cuda", "calibrated": "true", "queue": "7"})
    assert (found.device, found.calibrated, found.queue) == ("cuda", True, 7)
    assert not told({"model": "m"}).calibrated


def test_others_are_refused():
    with pytest.raises(InputError, match="calibrated is true or false"):
        told({"model": "m", "calibrated": "1.5"})
    with pytest.raises(InputError, match="at most replicas, device, calibrated, queue"):
        told({"model": "m", "colour": "red"})
    with pytest.raises(InputError, match="give model=FOLDER"):
        told({})
