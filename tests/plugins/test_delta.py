"""The DELTA plugin on a real wrapped model: its layers, its penalty, and the measured and cached attention."""

from __future__ import annotations

import json
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from scipy.optimize import minimize
from transferkit_delta import attention_weights, delta
from transferkit_delta.measure import facts_of, measured, train_head
from transferkit_delta.penalty import Delta

from transferkit.model import Reading, TransferModel, reference_of
from transferkit.model.preprocessing import Preprocessing
from transferkit.plugins.registry import installed
from transferkit.training.cache import Cache

CLASSES = ["ant", "bee"]
LAYER4 = Reading(96, (64, 64))


def wrapped(name="test_resnet", **options):
    import timm

    torch.manual_seed(0)
    net = timm.create_model(name, num_classes=3, **options)
    for parameter in net.parameters():
        if parameter.ndim == 1:  # timm starts residual branches at zero: nothing would flow through them
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    preprocessing = Preprocessing(
        input_size=(64, 64), mean=(0.5,) * 3, std=(0.5,) * 3, crop_pct=1.0, crop_mode="center", interpolation="bicubic"
    )
    model = TransferModel(net, classes=["x", "y", "z"], preprocessing=preprocessing, architecture=name)
    return model, model.swap_head(CLASSES)


class FakeSamples:
    """Twelve images of noise in two classes."""

    classes = CLASSES

    def __init__(self):
        self.images = torch.randn(12, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        self.labels = np.arange(12) % 2
        self.passes = 0

    def __len__(self):
        return 12

    def fingerprint(self):
        return "noise"

    def evaluation_batches(self, batch_size, device="cpu"):
        self.passes += 1
        for start in range(0, 12, batch_size):
            part = slice(start, start + batch_size)
            yield self.images[part].to(device), torch.tensor(self.labels[part]).to(device)


def session_of(model, head, cache, **changes):
    warnings, advanced = [], []

    @contextmanager
    def progress(total, description):
        bar = SimpleNamespace(done=0)
        bar.advance = lambda amount=1: setattr(bar, "done", bar.done + amount)
        yield bar
        advanced.append((total, bar.done))

    return SimpleNamespace(
        model=model,
        reference=reference_of(model, head),
        cached=lambda facts, compute: Cache(cache).get(facts, compute, warn=warnings.append),
        train_samples=FakeSamples(),
        device=torch.device("cpu"),
        seed=7,
        stage=SimpleNamespace(name="target"),
        rng=lambda *parts: np.random.default_rng(len(str(parts))),
        progress=progress,
        warn=warnings.append,
        warnings=warnings,
        advanced=advanced,
        **changes,
    )


def test_default_layers_and_penalty_on_a_wrapped_model():
    model, head = wrapped()
    plugin = Delta()
    layers = plugin.taps(model)
    assert layers == ["layer1", "layer2", "layer3", "layer4"]
    model.tap(layers)
    reference = reference_of(model, head)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    model.eval()
    assert plugin.penalty(model(images).taps, reference(images).taps).item() == 0.0
    with torch.no_grad():
        model.net.layer4[0].conv1.weight.mul_(1.5)
    ours, theirs = model(images).taps, reference(images).taps
    value = plugin.penalty(ours, theirs)
    by_hand = 0.5 * sum((ours[name] - theirs[name]).square().sum().item() for name in layers)
    assert value.item() == pytest.approx(by_hand, rel=1e-6)
    value.backward()
    assert model.net.layer1[0].conv1.weight.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in reference.parameters())


def test_other_plugins_taps_are_ignored_and_missing_ones_named():
    model, _ = wrapped()
    plugin = Delta(layers=["layer4"], normalise="paper")
    assert plugin.taps(model) == ["layer4"]
    ours, theirs = torch.ones(1, 96, 2, 2), torch.zeros(1, 96, 2, 2)
    extra = {"layer1": torch.ones(1, 32, 2, 2)}
    assert plugin.penalty({"layer4": ours, **extra}, {"layer4": theirs, **extra}).item() == 384.0
    with pytest.raises(KeyError, match="layer4"):
        plugin.penalty(extra, extra)


def test_token_maps_put_their_channels_second():
    model, _ = wrapped("test_vit", img_size=64)
    plugin = Delta(layers=["blocks.5.norm1"], attention=True, normalise="peer")
    plugin.taps(model)
    weights = attention_weights(torch.arange(64.0))
    plugin._weights = {"blocks.5.norm1": weights}
    ours, theirs = torch.randn(2, 17, 64), torch.randn(2, 17, 64)
    value = plugin.penalty({"blocks.5.norm1": ours}, {"blocks.5.norm1": theirs})
    by_hand = 0.5 * 64 / 17 * float(((ours - theirs).square().sum(dim=(0, 1)) * weights).sum())
    assert value.item() == pytest.approx(by_hand, rel=1e-5)
    turned = {"x": ours.movedim(2, 1)}, {"x": theirs.movedim(2, 1)}
    torch.testing.assert_close(value, delta(*turned, {"x": weights}, "peer"))


@pytest.fixture
def layers():
    return {"layer3": Reading(192, (64, 64)), "layer4": LAYER4}


def test_attention_is_the_loss_without_each_channel(tmp_path, layers):
    model, head = wrapped()
    model.tap(layers)
    session = session_of(model, head, tmp_path)
    raw = measured(session, layers, images=8, batch_size=4)

    samples, reference = session.train_samples, session.reference
    chosen = session.rng("delta", "images").permutation(12)[:8]
    with torch.no_grad():
        features = torch.cat([reference(images).features for images, _ in samples.evaluation_batches(4)])
    labels = torch.tensor(samples.labels)
    weight, bias = train_head(features, labels, 2, session.rng("delta", "head"))
    expected = []
    with torch.no_grad():
        for part in np.split(chosen, 2):
            images, targets = samples.images[part], labels[torch.tensor(part)]
            base = F.cross_entropy(F.linear(reference(images).features, weight, bias), targets)
            maps = reference.net.forward_features(images)  # test_resnet's last map is that of layer4
            for channel in range(96):
                without = maps.clone()
                without[:, channel] = 0
                pooled = reference.net.forward_head(without, pre_logits=True)
                expected.append(F.cross_entropy(F.linear(pooled, weight, bias), targets) - base)
    torch.testing.assert_close(raw["layer4"], torch.stack(expected).reshape(2, 96).mean(dim=0), rtol=0, atol=0)
    assert raw["layer3"].shape == (192,) and raw["layer3"].abs().max() > 0
    assert session.advanced == [(12, 12), (2 * 288, 2 * 288)] and session.warnings == []


def test_attention_is_measured_once_and_read_from_the_cache(tmp_path, layers):
    model, head = wrapped()
    model.tap(layers)
    first = session_of(model, head, tmp_path)
    raw = measured(first, layers, 8, 4)
    files = list(tmp_path.iterdir())
    assert [file.suffix for file in files] == [".safetensors"]
    second = session_of(model, head, tmp_path)
    again = measured(second, layers, 8, 4)
    assert second.train_samples.passes == 0
    assert all(torch.equal(raw[layer], again[layer]) for layer in layers)
    files[0].write_bytes(b"broken")
    third = session_of(model, head, tmp_path)
    assert torch.equal(measured(third, layers, 8, 4)["layer4"], raw["layer4"])
    assert "cannot be read" in third.warnings[0] and third.train_samples.passes == 1


def test_the_cache_knows_everything_that_matters(tmp_path, layers):
    model, head = wrapped()
    session = session_of(model, head, tmp_path)

    def facts(session, layers=layers, images=8):
        return json.dumps(facts_of(session, session.reference, layers, images, 4))

    base = facts(session)
    assert facts(session_of(model, head, tmp_path)) == base
    others = [facts(session, {"layer4": LAYER4}), facts(session, images=9)]
    session.seed = 8
    others.append(facts(session))
    session.seed = 7
    session.train_samples.fingerprint = lambda: "other"
    others.append(facts(session))
    with torch.no_grad():
        model.net.layer4[0].conv1.weight[0, 0, 0, 0] += 1e-6
    others.append(facts(session_of(model, head, tmp_path)))
    assert len({base, *others}) == 6


def test_setup_turns_it_into_weights(tmp_path):
    model, head = wrapped()
    plugin = Delta(layers=["layer4"], attention=True, form="literal", attention_images=8, attention_batch_size=4)
    model.tap(plugin.taps(model))
    session = session_of(model, head, tmp_path)
    plugin.setup(session)
    raw = measured(session, {"layer4": LAYER4}, 8, 4)["layer4"]
    torch.testing.assert_close(plugin._weights["layer4"], raw.softmax(dim=0))
    untouched = Delta()
    untouched.setup(SimpleNamespace())
    assert untouched._weights is None


def test_head_reaches_the_optimum_of_an_easy_problem_and_survives_long_features():
    draw = np.random.default_rng(0)
    labels = torch.tensor(np.arange(400) % 2)
    features = torch.tensor(draw.normal(size=(400, 3)), dtype=torch.float32) + labels[:, None]
    weight, bias = train_head(features, labels, 2, np.random.default_rng(1))

    def loss(flat):
        logits = features.double().numpy() @ flat[:6].reshape(2, 3).T + flat[6:]
        return F.cross_entropy(torch.tensor(logits), labels).item()

    best = minimize(loss, np.zeros(8)).fun
    ours = loss(np.concatenate([weight.flatten().numpy(), bias.numpy()]).astype(np.float64))
    assert best <= ours < best + 0.02
    weight, bias = train_head(100 * features, labels, 2, np.random.default_rng(1))
    assert F.cross_entropy(F.linear(100 * features, weight, bias), labels) < 0.69


def test_options_are_checked():
    component = installed().get("regularizer", "delta")
    assert component.create({"layers": ["layer4"], "normalise": "mean"}).layers == ["layer4"]
    for wrong in ({"layers": []}, {"normalise": "sum"}, {"attention_images": 0}, {"channels": 3}):
        with pytest.raises(ValidationError):
            component.create(wrong)


def test_a_stage_without_a_reference_is_refused(tmp_path, layers):
    with pytest.raises(ValueError, match="no reference whose channels could be measured"):
        measured(SimpleNamespace(reference=None), layers, 8, 4)
