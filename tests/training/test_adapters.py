"""Adapters in runs: what trains, what is saved, what a resume, a later stage and plain timm make of it."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest
import timm
import torch
from safetensors.torch import load_file

from tests.training.conftest import offer
from tests.training.test_loop import StopAt, records, same, weights, without_time
from tests.training.two_processes import in_two_processes
from transferkit.api import execute, resume
from transferkit.errors import InputError, Interrupted
from transferkit.model import recast
from transferkit.model.folder import open_model, read_info
from transferkit.recipe import load_recipe
from transferkit.testing import tiny_images

LORA = {"use": "lora", "rank": 2}
SOURCE = {"name": "source", "start": "scratch", "dataset": "tiny", "epochs": 1, "batch_size": 8, "workers": 0}


class Gain:
    """A factor per output beside a convolution's own weights, which no plain layer has."""

    def __init__(self, merges: bool) -> None:
        self.merges = merges

    def __call__(self, layer):
        from torch import nn

        class Scaled(nn.Conv2d):
            def forward(self, x):
                return super().forward(x) * self.gain[:, None, None]

            def merged(self):
                plain = recast(self, nn.Conv2d)
                del plain.gain
                plain.weight = nn.Parameter(self.weight * self.gain[:, None, None, None])
                return plain

        made = recast(layer, Scaled)
        made.gain = nn.Parameter(1 + torch.rand(layer.out_channels))
        return made


@dataclasses.dataclass
class Gained:
    """It starts with other outputs than the plain model has."""

    layer: str = "layer2.0.conv2"
    freezes: ClassVar[bool] = True

    def adapt(self, model):
        return {self.layer: Gain(True)(model.net.get_submodule(self.layer))}


@dataclasses.dataclass
class Kept(Gained):
    merges: ClassVar[bool] = False


def chain(run, **target):
    """A plain stage, and one that starts from it."""
    keys = {"start": "source", "keep": "last"} | target
    top = {"stages": [SOURCE, {**STAGE, **keys}]}
    return run(top)


STAGE = {
    "name": "target", "dataset": "tiny", "epochs": 2, "batch_size": 8, "workers": 0,
    "optimizer": {"name": "momentum", "lr": 0.01},
}  # fmt: skip


def state_of(run_dir: Path, stage: str = "target") -> dict[str, torch.Tensor]:
    """The model in the newest checkpoint, by timm's names."""
    folder = max((run_dir / "stages" / stage / "checkpoints").glob("step-*"))
    return {name.removeprefix("net."): one for name, one in load_file(folder / "model.safetensors").items()}


def test_what_is_saved_is_the_start_with_changes_of_low_rank_and_opens_in_plain_timm(run) -> None:
    result = chain(run, adapters=[LORA], optimizer={"name": "adamw", "lr": 0.02})
    before, after, trained = weights(result.run_dir, "source"), weights(result.run_dir), state_of(result.run_dir)
    changed = {name.removesuffix(".lora_a") for name in trained if name.endswith(".lora_a")}
    assert len(changed) == 14 and set(after) == set(before)
    for name, tensor in before.items():
        layer = name.removesuffix(".weight")
        if layer in changed:
            assert torch.equal(trained[name], tensor)  # the layer itself stays as it is
            change = (after[name] - tensor).flatten(1).double()
            values = torch.linalg.svdvals(change)
            assert values[0] > 1e-4 and values[2:].max() < 1e-4 * values[0] + 1e-7
            product = trained[f"{layer}.lora_b"] @ trained[f"{layer}.lora_a"].flatten(1) * 16 / 2
            torch.testing.assert_close(change.float(), product, atol=1e-6, rtol=1e-4)
        elif not name.startswith("fc."):
            assert torch.equal(after[name], tensor), name  # batch norm's statistics too
    folder = result.run_dir / "stages" / "target" / "model"
    assert "adapters" not in read_info(folder)
    images = tiny_images(4)
    plain = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    ours, _ = open_model(folder)
    assert torch.equal(plain(images), ours(images).logits)
    entry = json.loads((result.run_dir / "result.json").read_text())["stages"]["target"]
    assert [one["plugin"] for one in entry["adapters"]] == ["lora"] and len(entry["adapters"][0]["layers"]) == 14
    added = sum(trained[f"{layer}.{part}"].numel() for layer in changed for part in ("lora_a", "lora_b"))
    assert entry["parameters"]["added"] == added
    assert entry["parameters"]["trained"] == added + trained["fc.weight"].numel() + 3
    assert "lora" in (result.run_dir / "report.html").read_text()


@pytest.mark.parametrize(
    "keys",
    [
        {"adapters": [LORA | {"dropout": 0.1}], "ema": {"decay": 0.9}, "accumulate": 2, "clip": {"norm": 1.0}},
        {"adapters": [LORA], "unfreeze": {"every": 1}, "optimizer": {"name": "adamw", "lr": 0.01, "layer_decay": 0.7}},
        {"adapters": [{"use": "stoch_norm"}], "precision": "bf16", "regularizers": [{"use": "l2", "weight": 0.01}]},
        {"adapters": [{"use": "stoch_norm"}], "freeze": ["layer1.*"], "clip": {"agc": 0.01}},
    ],
    ids=["average, accumulation", "layer decay, unfreezing", "bf16", "freezing, agc"],
)
def test_resumes_bit_for_bit(registry, tmp_path, recipe_file, monkeypatch, keys) -> None:
    offer(registry, "observer", "stopper", StopAt)
    monkeypatch.delenv("TRANSFERKIT_TEST_STOPPED", raising=False)
    monkeypatch.setattr("transferkit.recipe.load.installed", lambda: registry)
    loaded = load_recipe(recipe_file(**keys), registry=registry)
    whole = execute(loaded, out=tmp_path / "whole", quiet=True)
    stopped = load_recipe(recipe_file(**keys, observers=[{"use": "stopper"}]), registry=registry)
    with pytest.raises(Interrupted):
        execute(stopped, out=tmp_path / "stopped", quiet=True)
    (run_dir,) = (tmp_path / "stopped" / "tiny").iterdir()
    resumed = resume(run_dir, quiet=True)
    assert same(weights(whole.run_dir), weights(resumed.run_dir))
    assert same(state_of(whole.run_dir), state_of(resumed.run_dir))
    assert without_time(records(whole.run_dir)) == without_time(records(resumed.run_dir))


def test_two_processes_train_what_one_trains(recipe_file, run, tmp_path) -> None:
    """Batch norm is frozen with the rest, and nothing is augmented, so that only the sums' order differs."""
    common = {"adapters": [LORA], "augmentation": {"none": True}, "accumulate": 2, "batch_size": 6, "keep": "last"}
    one, two = run(**common), in_two_processes(recipe_file(**common), tmp_path / "two")
    for name, tensor in weights(one.run_dir).items():
        torch.testing.assert_close(weights(Path(two["run_dir"]))[name], tensor, rtol=1e-4, atol=1e-5)


def test_penalties_and_anchors_see_the_plain_model_they_start_from(run, registry) -> None:
    seen = {}

    @dataclasses.dataclass
    class Look:
        def taps(self, model):
            return ["layer2"]

        def penalty(self, taps, reference_taps, reference):
            seen.setdefault("taps", (taps["layer2"].detach(), reference_taps["layer2"]))
            seen["names"] = [name for name, _ in reference.net.named_parameters()]
            return taps["layer2"].square().mean()

    offer(registry, "regularizer", "look", Look)
    offer(registry, "adapter", "gained", Gained)
    spring = {"use": "l2_sp", "weight": 0.1}
    result = chain(run, adapters=[{"use": "gained"}], regularizers=[{"use": "look", "weight": 1.0}, spring])
    assert not any("gain" in name for name in seen["names"])
    ours, plain = seen["taps"]
    assert not torch.allclose(ours, plain, rtol=0.05)
    before, trained = weights(result.run_dir, "source"), state_of(result.run_dir)
    assert torch.equal(trained["layer2.0.conv2.weight"], before["layer2.0.conv2.weight"])
    gain = trained["layer2.0.conv2.gain"]
    product = before["layer2.0.conv2.weight"] * gain[:, None, None, None]
    assert torch.equal(weights(result.run_dir)["layer2.0.conv2.weight"], product)


def test_what_an_adapter_draws_is_its_own(run, registry) -> None:
    """By seed and name; and the head that is drawn is the one of a run without."""
    heads, drawn = [], []

    @dataclasses.dataclass
    class Watch:
        def setup(self, session):
            heads.append(session.model.head.weight.detach().clone())
            drawn.append([p.detach().clone() for n, p in session.model.named_adapter_parameters() if "lora_a" in n])

    offer(registry, "observer", "watch", Watch)
    for seed, adapters in ((0, []), (0, [LORA]), (0, [LORA]), (1, [LORA]), (0, [LORA | {"name": "other"}])):
        run({"seed": seed}, adapters=adapters, steps=1, epochs=None, observers=[{"use": "watch"}])
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[1], heads[3])
    assert torch.equal(drawn[1][0], drawn[2][0])
    assert not torch.equal(drawn[1][0], drawn[3][0]) and not torch.equal(drawn[1][0], drawn[4][0])


def test_what_cannot_be_merged_is_refused_when_the_recipe_is_read(registry, recipe_file, monkeypatch) -> None:
    offer(registry, "adapter", "kept", Kept)
    with pytest.raises(InputError, match="cannot be merged into plain ones") as caught:
        load_recipe(recipe_file(adapters=[{"use": "kept"}]), registry=registry)
    assert "keep_adapted: true" in str(caught.value) and "transferkit-kept 1.0" in str(caught.value)
    assert load_recipe(recipe_file(adapters=[{"use": "kept"}], keep_adapted=True), registry=registry)


def test_what_is_kept_opens_with_its_plugin_alone_and_a_later_stage_goes_on(run, registry, monkeypatch) -> None:
    offer(registry, "adapter", "kept", Kept)
    monkeypatch.setattr("transferkit.plugins.remade.installed", lambda: registry)
    kept = {**STAGE, "name": "kept", "start": "source", "keep_adapted": True}
    later = {**STAGE, "start": "kept", "head_init": "source", "regularizers": [{"use": "l2_sp", "weight": 0.1}]}
    first = {**kept, "adapters": [{"use": "kept", "layer": "layer3.0.conv1"}]}
    result = run({"stages": [SOURCE, first, later]})
    folder = result.run_dir / "stages" / "kept" / "model"
    (said,) = read_info(folder)["adapters"]
    assert said == {
        "plugin": "kept", "distribution": "transferkit-kept", "version": "1.0",
        "options": {"layer": "layer3.0.conv1"}, "layers": ["layer3.0.conv1"],
    }  # fmt: skip
    model, _ = open_model(folder)
    assert [name for name, _ in model.named_adapter_parameters()] == ["layer3.0.conv1.gain"]
    assert "layer3.0.conv1.gain" in load_file(folder / "model.safetensors")
    with pytest.raises(RuntimeError, match=r"layer3\.0\.conv1\.gain"):
        timm.create_model(f"local-dir:{folder}", pretrained=True)
    stages = json.loads((result.run_dir / "result.json").read_text())["stages"]
    assert any("not in plain timm" in text for text in stages["kept"]["warnings"])
    assert "layer3.0.conv1.gain" in weights(result.run_dir)  # the later stage keeps it as well
    before, after = weights(result.run_dir, "kept"), weights(result.run_dir)
    assert not torch.equal(before["layer3.0.conv1.weight"], after["layer3.0.conv1.weight"])  # and trains all
    monkeypatch.undo()
    with pytest.raises(InputError, match=r'not installed here.*install "transferkit-kept==1\.0"'):
        open_model(folder)


BROKEN = {
    "unknown": ({"layer2.0.conv9": "conv"}, r'no layer "layer2\.0\.conv9"; did you mean "layer2\.0\.conv'),
    "head": ({"fc": "conv"}, r'"fc" holds the classifier'),
    "nothing": ({}, "changes no layer of test_resnet"),
    "no merged": ({"layer2.0.conv2": "bare"}, r"has no merged\(\).*merges = False"),
    "other merged": (
        {"layer2.0.conv2": "wider"},
        r"merged\(\) of its layer .* is not like the plain Conv2d: bias, weight",
    ),
    "no module": ({"layer2.0.conv2": "text"}, r"must return \{layer: module\}"),
    "other shape": ({"layer2.0.conv2": "odd"}, "test_resnet does not run with the layers of"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_cannot_be_put_in_is_a_sentence(run, registry, case) -> None:
    layers, message = BROKEN[case]

    @dataclasses.dataclass
    class Broken:
        def adapt(self, model):
            conv = model.net.layer2[0].conv2
            made = {"conv": Gain(True)(conv), "bare": torch.nn.Identity(), "text": "text"}
            made["wider"] = Gain(True)(conv)
            made["wider"].merged = lambda: torch.nn.Conv2d(1, 2, 3)
            made["odd"] = Odd(conv)
            return {name: made[what] for name, what in layers.items()}

    offer(registry, "adapter", "broken", Broken)
    with pytest.raises(InputError, match=message) as caught:
        run(adapters=[{"use": "broken"}])
    assert 'the adapter "broken" of transferkit-broken 1.0' in str(caught.value)


class Odd(torch.nn.Module):
    def __init__(self, plain):
        super().__init__()
        self.plain = plain

    def forward(self, x):
        return self.plain(x)[:, :1]

    def merged(self):
        return self.plain


def test_a_layer_has_one_adapter(run) -> None:
    with pytest.raises(InputError, match=r'matches no Conv2d or Linear layer|is changed by the adapter "lora"'):
        run(adapters=[LORA | {"layers": ["layer1.0.conv1"]}, LORA | {"name": "second", "layers": ["layer1.0.conv1"]}])


def test_layers_whose_weights_are_read_by_another_are_no_place_for_an_adapter() -> None:
    from transferkit_lora.layers import with_low_rank

    from transferkit.model.adapted import Adapted
    from transferkit.model.adapting import layers_of, put_in
    from transferkit.testing import tiny_model

    model = tiny_model(name="beit_base_patch16_224", img_size=32, depth=1, embed_dim=16, num_heads=2)
    assert "blocks.0.attn.qkv" not in layers_of(model, torch.nn.Linear)
    assert "blocks.0.attn.proj" in layers_of(model, torch.nn.Linear)
    with pytest.raises(InputError, match=r"blocks\.0\.attn\.qkv, which the network does not call"):
        layers_of(model, torch.nn.Linear, ["*.qkv"])
    layer = with_low_rank(model.net.blocks[0].attn.qkv, 2, 4.0)
    with pytest.raises(InputError, match="reads the layer's weights itself"):
        put_in(model, {"blocks.0.attn.qkv": layer}, Adapted("lora", "transferkit", "1", ()))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"adapters": [LORA], "fixed_features": True}, "keeps the whole backbone as it is, the layers of lora too"),
        ({"adapters": [LORA], "freeze": "bitfit"}, "lora keeps all that is not its own as it is"),
        ({"fixed_features": True, "freeze": "bitfit"}, "which fixed_features keeps as they are"),
        ({"adapters": [{"use": "stoch_norm"}], "batchnorm": "eval"}, "stoch_norm does nothing with batchnorm: eval"),
        ({"adapters": [{"use": "stoch_norm"}], "freeze": "bitfit"}, "stoch_norm does nothing with freeze: bitfit"),
        ({"keep_adapted": True}, "does nothing without adapters"),
        ({"freeze": "bitfitt"}, 'must be bitfit, not "bitfitt"'),
    ],
)
def test_contradictions_are_told_without_torch(recipe_file, registry, keys, message) -> None:
    path = recipe_file(**keys)
    with pytest.raises(InputError, match=message):
        load_recipe(path, registry=registry)
    code = "import sys\nfrom transferkit.recipe import load_recipe\n"
    code += f"try: load_recipe({str(path)!r})\nexcept Exception: assert 'torch' not in sys.modules; sys.exit(7)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 7


def test_bitfit_trains_biases_and_the_head_and_holds_running_statistics(run) -> None:
    result = chain(run, freeze="bitfit")
    before, after = weights(result.run_dir, "source"), weights(result.run_dir)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if name.endswith(".bias")} | {"fc.weight"}
