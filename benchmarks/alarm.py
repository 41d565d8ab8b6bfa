"""The alarm over an unlimited stream: how often it is false, and how long it takes beside a CUSUM.

    python benchmarks/alarm.py [--streams 10000] [--length 20000]

Every stream draws its own calibration: n clean scores, the threshold at the rank of a 5 % promise, and so a true rate
of its own, Beta(n + 1 − k, k). False alarms are counted on clean streams of `length` images; delays from a change after
1000 images to 2, 3 and 5 times the stream's own rate. The CUSUM is for a rate that doubles from 5 %, in the usual way;
its limit is set so that on the same clean streams, with the same luck, it alarms as often as the alarm may (1 %) within
`length` images: on an endless stream it alarms for certain. Prints shares, and delays with their ratio.
"""

from __future__ import annotations

import argparse
import math

import numpy as np

from transferkit.deploy.evidence import Evidence, luck_bound

ALPHA, ERROR, CHANGE = 0.05, 0.01, 1000


class Cusum:
    """Page's cumulative sum of log likelihood ratios for a rate that goes from ALPHA to twice that."""

    def __init__(self, streams):
        self.sums = np.zeros(streams)
        self.hit, self.miss = math.log(2), math.log((1 - 2 * ALPHA) / (1 - ALPHA))

    def update(self, flags):
        self.sums = np.maximum(self.sums + np.where(flags, self.hit, self.miss), 0)


def clean(rates, bound, length, rng):
    """The largest e-value and the largest cumulative sum of each clean stream."""
    evidence, cusum = Evidence(np.full(len(rates), bound)), Cusum(len(rates))
    most = np.ones(len(rates)), np.zeros(len(rates))
    for _ in range(length):
        flags = rng.random(len(rates)) < rates
        evidence.update(flags)
        cusum.update(flags)
        most = np.maximum(most[0], evidence.values), np.maximum(most[1], cusum.sums)
    return most


def delays(rates, bound, times, limits, length, rng):
    """Images from the change to each alarm; infinite where there was none. Alarms before the change are left out."""
    evidence, cusum = Evidence(np.full(len(rates), bound)), Cusum(len(rates))
    when = np.full((2, len(rates)), np.inf)
    for image in range(1, length + 1):
        flags = rng.random(len(rates)) < (rates if image <= CHANGE else np.minimum(times * rates, 1))
        evidence.update(flags)
        cusum.update(flags)
        for row, reached in enumerate((evidence.values >= limits[0], cusum.sums >= limits[1])):
            when[row][reached & np.isinf(when[row])] = image - CHANGE
    return [row[row > 0] for row in when]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, default=10_000)
    parser.add_argument("--length", type=int, default=20_000)
    parser.add_argument("--calibration", type=int, nargs="+", default=[500, 2000])
    given = parser.parse_args()
    for n in given.calibration:
        rng = np.random.default_rng(n)
        rank = math.ceil((n + 1) * (1 - ALPHA))
        bound, limit = luck_bound(n - rank, n, ERROR / 2), 2 / ERROR
        rates = rng.beta(n + 1 - rank, rank, given.streams)
        e_values, sums = clean(rates, bound, given.length, rng)
        threshold = float(np.quantile(sums, 1 - ERROR))
        print(
            f"n = {n}: {(e_values >= limit).mean():.4f} of {given.streams} clean streams of {given.length} images gave "
            f"an alarm (promised, ever: {ERROR}); rate doubted: above {bound:.4f}; CUSUM's limit {threshold:.2f}"
        )
        worst, _ = clean(np.full(given.streams, bound), bound, given.length // 4, rng)
        print(f"  and {(worst >= limit).mean():.4f} of streams with just that rate (promised: {ERROR / 2})")
        some = rates[:1000]
        for times in (2, 3, 5):
            ours, theirs = delays(some, bound, times, (limit, threshold), CHANGE + given.length // 2, rng)
            middle = [float(np.median(one)) for one in (ours, theirs)]
            late = [float(np.quantile(one, 0.9, method="higher")) for one in (ours, theirs)]
            missed = [float(np.isinf(one).mean()) for one in (ours, theirs)]
            print(
                f"  {times} times the rate: median delay {middle[0]:.0f} images, CUSUM {middle[1]:.0f} (ratio "
                f"{middle[0] / middle[1]:.2f}); 90 % within {late[0]:.0f}, CUSUM {late[1]:.0f}; not noticed within "
                f"{given.length // 2}: {missed[0]:.3f}, CUSUM {missed[1]:.3f}"
            )


if __name__ == "__main__":
    main()
