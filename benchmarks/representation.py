"""CKA of 11 x 11 layers: ours against both Gram matrices made anew for every pair, as PyTorch-Model-Compare has it.

The time counted is that beyond the forward passes: both get the same outputs of two ResNet-18s with random weights.
Run: python benchmarks/representation.py [rounds] [--size 64] [--batch 64] [--check]
"""

from __future__ import annotations

import sys

import timm
import torch
from interleaved import measure, options, ratio, table, verdict
from transferkit_representation import MinibatchCKA

LEAST_RATIO, LARGEST_ERROR = 5.0, 1e-5
LAYERS = ["conv1", "act1", "maxpool", *(f"layer{i}.{j}" for i in (1, 2, 3, 4) for j in (0, 1))]


def outputs(seed, images):
    """What the 11 layers of a network return."""
    torch.manual_seed(seed)
    net, found = timm.create_model("resnet18", num_classes=10).eval(), {}
    for name in LAYERS:
        net.get_submodule(name).register_forward_hook(lambda _, __, out, name=name: found.update({name: out.clone()}))
    with torch.no_grad():
        net(images)
    return [found[name] for name in LAYERS]


def gram(x):
    product = x.flatten(1) @ x.flatten(1).T
    return product.fill_diagonal_(0)


def hsic(k, m):
    """Unbiased, as written: traces and sums of products of matrices that are not centred."""
    n = len(k)
    one = torch.ones(n, 1, dtype=k.dtype)
    middle = (one.T @ k @ one) * (one.T @ m @ one) / ((n - 1) * (n - 2))
    return float((torch.trace(k @ m) + middle - 2 / (n - 2) * (one.T @ k @ m @ one)) / (n * (n - 3)))


def all_pairs(xs, ys):
    """(layers, layers), both Gram matrices anew for every pair."""
    result = torch.empty(len(xs), len(ys), dtype=torch.float64)
    for i, x in enumerate(xs):
        own = hsic(gram(x), gram(x))
        for j, y in enumerate(ys):
            k, m = gram(x), gram(y)
            result[i, j] = hsic(k, m) / (own * hsic(m, m)) ** 0.5
    return result


def ours(xs, ys):
    similar = MinibatchCKA()
    similar.update(xs, ys)
    return similar.compute()


def main():
    parser = options(__doc__, 10)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    given = parser.parse_args()
    torch.manual_seed(0)
    images = torch.randn(given.batch, 3, given.size, given.size)
    xs, ys = outputs(1, images), outputs(2, images)
    exact = all_pairs([x.double() for x in xs], [y.double() for y in ys])
    errors = {name: float((of(xs, ys) - exact).abs().max()) for name, of in (("ours", ours), ("pairs", all_pairs))}
    print(f"{len(xs)} x {len(ys)} layers, {given.batch} images of {given.size} px, float32, against float64:")
    print(f"  largest error: ours {errors['ours']:.1e}, all pairs {errors['pairs']:.1e}")
    net = timm.create_model("resnet18", num_classes=10).eval()

    @torch.no_grad()
    def forwards():
        return net(images), net(images)

    variants = {"ours": lambda: ours(xs, ys), "all pairs": lambda: all_pairs(xs, ys), "two forward passes": forwards}
    times = measure(variants, given.rounds, warmup=1)
    table(times, "ours")
    saved, error = ratio(times, "all pairs", "ours"), errors["ours"]
    targets = {
        f"{saved:.1f} >= {LEAST_RATIO:g} times cheaper": saved >= LEAST_RATIO,
        f"an error of {error:.1e} <= {LARGEST_ERROR:g}": error <= LARGEST_ERROR,
    }
    return verdict(targets, given.check)


if __name__ == "__main__":
    sys.exit(main())
