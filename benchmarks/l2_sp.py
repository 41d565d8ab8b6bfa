"""What L2-SP costs per training step: our anchor, the same term through autograd, and no penalty at all.

ResNet-18, 96 px, batch 16, SGD with momentum, one thread. Run: python benchmarks/l2_sp.py [rounds] [--check]
"""

from __future__ import annotations

import sys

import torch
from interleaved import measure, options, ratio, table, verdict
from step import Step
from transferkit_l2_sp import l2_sp
from transferkit_l2_sp.penalty import L2SP

BETA = 0.01
TARGETS = {"L2-SP": 1.05, "L2-SP + BSS": 1.08}


def main():
    given = options(__doc__, 30).parse_args()
    plain, anchored, both, autograd = Step(), Step(), Step(bss=0.001), Step()
    anchors = L2SP().anchors(anchored.model, anchored.reference)
    anchors_both = L2SP().anchors(both.model, both.reference)
    pulled = list(autograd.model.named_backbone_parameters())
    start = dict(autograd.reference.named_backbone_parameters())
    head = [parameter for _, parameter in autograd.model.named_head_parameters()]

    def through_autograd(output):
        pull = l2_sp([w for _, w in pulled], [start[name] for name, _ in pulled])
        return BETA * (pull + 0.5 * sum(w.square().sum() for w in head))

    def pull(anchors):
        return lambda: [anchor.pull(BETA) for anchor in anchors]

    check_same_gradients(anchored, anchors, autograd, through_autograd)
    times = measure(
        {
            "no penalty": plain,
            "L2-SP (ours)": lambda: anchored(after_backward=pull(anchors)),
            "L2-SP + BSS (ours)": lambda: both(after_backward=pull(anchors_both)),
            "L2-SP through autograd": lambda: autograd(penalty=through_autograd),
        },
        given.rounds,
    )
    table(times, "no penalty")
    print(f"autograd against ours: {ratio(times, 'L2-SP through autograd', 'L2-SP (ours)'):.3f}")
    found = {name: (ratio(times, f"{name} (ours)", "no penalty"), most) for name, most in TARGETS.items()}
    targets = {f"{name} against none {one:.3f} <= {most}": one <= most for name, (one, most) in found.items()}
    return verdict(targets, given.check)


def check_same_gradients(anchored, anchors, autograd, through_autograd):
    """Both ways must add the same gradient before their times mean anything."""
    for step in (anchored, autograd):
        for parameter in step.model.net.parameters():
            parameter.data.mul_(1.1)
    anchored.backward()
    for anchor in anchors:
        anchor.pull(BETA)
    autograd.backward(through_autograd)
    ours = torch.cat([p.grad.flatten() for p in anchored.model.net.parameters()])
    theirs = torch.cat([p.grad.flatten() for p in autograd.model.net.parameters()])
    error = float((ours - theirs).norm() / theirs.norm())
    print(f"relative difference of the gradients: {error:.1e}")
    assert error < 1e-5


if __name__ == "__main__":
    sys.exit(main())
