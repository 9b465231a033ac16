"""The closed form against the exact simulator on as many random machines and nests as one likes.

Run as ``python -m benchmarks.agreement 10000 --seed 1``: half of them single Einsums, a quarter fused
cascades, a quarter fused over ranks that some Einsums lack. Nests that the legality check refuses are drawn again. Each
disagreement is printed with its cascade, its nest, and the counts that differ; figures are CPU seconds.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from random import Random

from einsum import WeirError
from sim.model.legal import check
from tests.machines import Thrown, difference, fused, single

KINDS = (("single", single, 2), ("fused", fused, 1), ("fused, recomputing", partial(fused, foreign=True), 1))


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("count", type=int)
    asked.add_argument("--seed", type=int, default=0)
    options = asked.parse_args()
    dice, bad = Thrown(Random(options.seed)), 0  # noqa: S311 no secret
    for name, make, quarters in KINDS:
        start, done, refused, lines = time.process_time(), 0, 0, 0
        while done < options.count * quarters // 4:
            cascade, nest, device = make(dice)
            try:
                check(cascade, nest, device)
            except WeirError:
                refused += 1
                continue
            done, lines = done + 1, lines + len(str(nest).splitlines())
            if found := difference(cascade, nest, device):
                bad += 1
                print(f"{dict(cascade.sizes)}\n{cascade}\n{nest}\n{found}\n", flush=True)
        spent = time.process_time() - start
        print(f"{name}: {done} compared in {spent:.0f} s, {refused} refused, {lines / done:.1f} lines each", flush=True)
    print(f"seed {options.seed}: {bad} disagreements", flush=True)


if __name__ == "__main__":
    main()
