"""DELTA: a training step against a peer's plain implementation, and its channel attention against whole passes.

ResNet-18, 96 px, one thread. Run: python benchmarks/delta.py [rounds] [--check]
"""

from __future__ import annotations

import sys
from functools import partial

import torch
import torch.nn.functional as F
from interleaved import measure, milliseconds, options, ratio, table, verdict
from step import Step
from torch import Tensor
from transferkit_delta.attention import channel_attention_raw
from transferkit_delta.forward import Whole
from transferkit_delta.penalty import Delta

LAYERS = {"layer1": 64, "layer2": 128, "layer3": 256, "layer4": 512}
GAMMA = 0.01


class Plain:
    """What published code does: hooks put on and taken off at every call, norms squared, a loop over layers."""

    def __init__(self, net):
        self.net = net

    def __call__(self, images):
        maps: dict[str, Tensor] = {}
        handles = []
        for name in LAYERS:
            layer = self.net.get_submodule(name)
            handles.append(layer.register_forward_hook(lambda m, i, o, name=name: maps.__setitem__(name, o)))
        logits = self.net(images)
        for handle in handles:
            handle.remove()
        return logits, maps


def plain_penalty(maps, reference_maps, attention):
    total = 0.0
    for name, map_ in maps.items():
        difference = map_ - reference_maps[name]
        if attention is None:
            total = total + 0.5 * torch.norm(difference) ** 2
            continue
        b, c, h, w = difference.shape
        per_channel = c * torch.norm(difference.reshape(b, c, h * w), 2, 2) ** 2 / (h * w)
        total = total + 0.5 * (per_channel * attention[name]).sum()
    return total


def variants(attention):
    base, ours, theirs = Step(), Step(taps=LAYERS), Step()
    plugin = Delta(layers=list(LAYERS))
    plugin.taps(ours.model)
    plugin._weights = attention

    def our_penalty(output):
        with torch.no_grad():
            reference = ours.reference(ours.images)
        return GAMMA * plugin.penalty(output.taps, reference.taps)

    ours.reference.to(memory_format=torch.channels_last)  # as the core does on a CPU
    net, source = Plain(theirs.model.net), Plain(theirs.reference.net)

    def plain_loss():
        logits, maps = net(theirs.images)
        with torch.no_grad():
            _, reference_maps = source(theirs.images)
        return F.cross_entropy(logits, theirs.labels) + GAMMA * plain_penalty(maps, reference_maps, attention)

    def plain_step():
        loss = plain_loss()
        theirs.optimizer.zero_grad()
        loss.backward()
        theirs.optimizer.step()
        return loss.item()

    first, second = ours.backward(our_penalty), plain_loss().item()
    assert abs(first - second) <= 1e-5 * abs(second), (first, second)
    return {"no penalty": base, "DELTA (ours)": lambda: ours(our_penalty), "DELTA (plain)": plain_step}


def attention_speed(every=8):
    """How many times longer whole passes take: all filters our way, every eighth in whole passes, each as long."""
    step = Step()
    net, images, labels = step.reference.net, step.images, step.labels
    readings, ours, increases = {name: step.reference.reading(name) for name in LAYERS}, {}, {}

    @torch.no_grad()
    def whole_passes(name):
        whole = Whole(net, net.get_submodule(name))
        loss = F.cross_entropy(whole.fill(images), labels)
        picked = range(0, LAYERS[name], every)
        increases[name] = torch.stack([F.cross_entropy(whole.without(c, 1), labels) - loss for c in picked])

    fast = milliseconds(lambda: ours.update(channel_attention_raw(net, net, readings, [(images, labels)])))
    slow = every * sum(milliseconds(partial(whole_passes, name)) for name in LAYERS)
    assert all(torch.equal(increases[name], ours[name][::every]) for name in LAYERS), "values differ"
    print(f"channel attention of {sum(LAYERS.values())} filters, one batch of 16, CPU time, equal to the last bit")
    print(f"  ours {fast / 1e3:.1f} s, one whole forward pass per filter {slow / 1e3:.1f} s")
    return slow / fast


def main():
    given, targets = options(__doc__, 30).parse_args(), {}
    uniform = {name: torch.full((channels,), 1.0 / channels) for name, channels in LAYERS.items()}
    for title, attention in (("without attention", None), ("with attention", uniform)):
        print(f"a training step of ResNet-18, 96 px, batch 16, DELTA {title}")
        times = measure(variants(attention), given.rounds)
        table(times, "no penalty")
        found = ratio(times, "DELTA (ours)", "DELTA (plain)")
        targets[f"{title}, ours against plain {found:.3f} <= 1"] = found <= 1
    found = attention_speed()
    targets[f"channel attention, whole passes against ours {found:.1f} >= 5"] = found >= 5
    return verdict(targets, given.check)


if __name__ == "__main__":
    sys.exit(main())
