import subprocess
import sys

import torch

from transferkit.testing import tiny_images, tiny_model, tiny_session


def test_images_are_deterministic_and_nested():
    images = tiny_images(4)
    assert images.shape == (4, 3, 32, 32) and images.dtype == torch.float32
    assert torch.equal(tiny_images(6)[:4], images)
    assert not torch.equal(tiny_images(4, seed=1), images)


def test_a_model_is_a_function_of_its_arguments():
    state = torch.random.get_rng_state()
    one, two = tiny_model(), tiny_model()
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))
    assert one.eval()(tiny_images(2)).logits.shape == (2, 3)


def test_a_session_has_moved_from_its_reference(tmp_path):
    session = tiny_session(tmp_path, taps=lambda model: ["layer2"])
    weights = dict(session.reference.named_backbone_parameters())
    assert all(not torch.equal(p, weights[name]) for name, p in session.model.named_backbone_parameters())
    assert "layer2" in session.model(tiny_images(2)).taps and "layer2" in session.reference(tiny_images(2)).taps
    image, label, index = session.train_samples.get(1, 0)
    assert image.shape == (3, 32, 32) and (label, index) == (1, 1)


def test_importing_does_not_import_torch():
    code = "import sys, transferkit.testing; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
