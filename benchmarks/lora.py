"""What a step with LoRA costs in time and memory: ours, the package peft on the same timm ViT, and full fine-tuning.

ViT-Ti/16, 96 px, batch 16, rank 8 on every linear layer of the backbone, AdamW, one thread; random weights. peft is
left out where it is not installed. Run: python benchmarks/lora.py [rounds] [--check]
"""

from __future__ import annotations

import copy
import sys

import torch
import torch.nn.functional as F
from interleaved import measure, options, ratio, table, verdict
from step import model_of
from torch.profiler import ProfilerActivity, profile
from transferkit_lora.adapter import LoRA

from transferkit.model.adapted import Adapted
from transferkit.model.adapting import put_in

RANK, ALPHA, BATCH, SIZE = 8, 16.0, 16, 96
LAYERS = ["qkv", "attn.proj", "fc1", "fc2"]


class Step:
    """A whole step of what trains."""

    def __init__(self, net):
        self.net = net.train()
        self.trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, lr=1e-4)
        torch.manual_seed(1)
        self.images, self.labels = torch.randn(BATCH, 3, SIZE, SIZE), torch.arange(BATCH) % 10

    def __call__(self):
        loss = F.cross_entropy(self.net(self.images), self.labels)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item()

    def megabytes(self):
        """AdamW's two moments, which stay, and the peak of what a step allocates: activations, gradients."""
        kept = 2 * sum(parameter.numel() * parameter.element_size() for parameter in self.trained)
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
            self()
        now = peak = 0
        for event in found.profiler.kineto_results.events():
            if event.name() == "[memory]":
                now += event.nbytes()
                peak = max(peak, now)
        return kept / 2**20, peak / 2**20


def ours(net):
    """Our layers in a copy of it."""
    model = copy.deepcopy(net)
    put_in(model, LoRA(RANK, ALPHA).adapt(model), Adapted("lora", "transferkit", "0", ()))
    trained = {name for one in (model.named_adapter_parameters(), model.named_head_parameters()) for name, _ in one}
    for name, parameter in model.net.named_parameters():
        parameter.requires_grad_(name in trained)
    return model.net


def theirs(net, like):
    """peft's layers in a copy of it, with the same factors."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=LAYERS, modules_to_save=["head"])
    made = get_peft_model(copy.deepcopy(net.net), config)
    factors = dict(like.named_parameters())
    for name, parameter in made.named_parameters():
        layer, _, part = name.removeprefix("base_model.model.").partition(".lora_")
        if part:
            parameter.data.copy_(factors[f"{layer}.lora_{part[0].lower()}"])
    return made


def main():
    given = options(__doc__, 30).parse_args()
    model = model_of("vit_tiny_patch16_224", size=SIZE, img_size=SIZE)
    low = ours(model)
    steps = {"full fine-tuning": Step(copy.deepcopy(model.net)), "LoRA (ours)": Step(low)}
    try:
        steps["LoRA (peft)"] = Step(theirs(model, low))
    except ImportError as error:
        print(f"peft is left out: {error}")
    losses = {name: [step() for _ in range(3)] for name, step in steps.items()}
    for name, step in steps.items():
        kept, peak = step.megabytes()
        count = sum(parameter.numel() for parameter in step.trained)
        memory = f"{kept:5.1f} MB of moments and {peak:5.1f} MB at a step's peak: {kept + peak:5.1f} MB"
        print(f"  {name:<20} {count:>9,} parameters train; {memory}")
    times = measure(steps, given.rounds)
    table(times, "full fine-tuning")
    targets = {"LoRA is faster than full fine-tuning": ratio(times, "LoRA (ours)", "full fine-tuning") < 1}
    if "LoRA (peft)" in steps:
        off = max(abs(a - b) for a, b in zip(losses["LoRA (ours)"], losses["LoRA (peft)"], strict=True))
        against = ratio(times, "LoRA (ours)", "LoRA (peft)")
        targets[f"peft trains to the same losses, but for {off:.1e} <= 1e-5"] = off <= 1e-5
        targets[f"ours against peft {against:.3f} <= 1.02"] = against <= 1.02
    return verdict(targets, given.check)


if __name__ == "__main__":
    sys.exit(main())
