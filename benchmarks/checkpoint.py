"""How long training stands still for a checkpoint, against a plain write of the same bytes.

Ours: `saving.save` of a session in training, from its call to its return: the state is copied, and written while
training goes on. Plain: `safetensors.torch.save_file` of the same tensors into one file, and fsync. They take turns;
wall time; ratios are medians of the ratios within a round. Between two rounds everything is on the disk.

Run: python benchmarks/checkpoint.py [rounds] [--model resnet18] [--check]
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import torch
from interleaved import interleaved, options, ratio, table, verdict
from safetensors.torch import save_file
from stage import noise, plan

from transferkit.system.atomic import fsync
from transferkit.training.loop import train
from transferkit.training.prepare import opened
from transferkit.training.saving import save

TARGET = 1.1


def tensors_of(tree, at=""):
    """{place: tensor} of a nested state."""
    if isinstance(tree, torch.Tensor):
        return {at: tree.detach()}
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list | tuple) else ()
    return {name: one for key, item in items for name, one in tensors_of(item, f"{at}.{key}").items()}


def main():
    parser = options(__doc__, 15)
    parser.add_argument("--model", default="resnet18")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        datasets = {"images": noise(place / "images.npz", 16, 64, 2)}
        # one step: what matters is the state after it
        stage = {"steps": 1, "batch_size": 8, "optimizer": {"name": "adamw", "lr": 1e-4}}
        with opened(plan(place / "run", given.model, 64, datasets, **stage)) as session:
            train(session)
            session.checkpoints.settle()
            state = tensors_of({"model": session.model.state_dict(), "optimizer": session.optimizer.state_dict()})

            def stall():
                began = time.perf_counter()
                save(session)
                took = time.perf_counter() - began
                session.checkpoints.settle()
                return 1e3 * took

            def plain():
                began = time.perf_counter()
                save_file(state, place / "plain.safetensors")
                fsync(place / "plain.safetensors")
                return 1e3 * (time.perf_counter() - began)

            times = interleaved({"training stands still": stall, "a plain write": plain}, given.rounds, warmup=0)
    size = sum(tensor.nbytes for tensor in state.values())
    print(f"{given.model}, {size / 2**20:.0f} MB of state, {given.rounds} rounds, wall time")
    table(times, "a plain write")
    found = ratio(times, *times)
    return verdict({f"against a plain write {found:.3f} <= {TARGET}": found <= TARGET}, given.check)


if __name__ == "__main__":
    sys.exit(main())
