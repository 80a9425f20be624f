"""Seconds of a sweep with one worker and with two: python benchmarks/two_cores.py WORKLOAD …. Prints JSON.

A program of its own, since `compare.py` keeps to one core.
"""

import argparse
import json
import statistics
import time

import numpy as np
import workloads

import gradsweep

# Rounds of each, in turn, so that a machine that changes its speed changes it for both.
_ROUNDS = 5

# Seconds from which on three rounds will do.
_LONG = 3.0


def measure(name: str) -> dict[str, float]:
    """Median seconds with one worker and with two, and how many cores two workers had, on the average."""
    workload = workloads.build(name)
    cost = workload.cost()

    def check(jobs: int) -> gradsweep.Report:
        return gradsweep.check(cost, workload.params, workload.gradient, mode="sweep", jobs=jobs)

    both = check(2), check(1)
    for block in workload.params:
        np.testing.assert_array_equal(both[0].numeric[block], both[1].numeric[block])  # to the bit
    seconds: dict[int, list[float]] = {1: [], 2: []}
    used = []
    for _ in range(_ROUNDS if both[1].seconds < _LONG else 3):
        for jobs, taken in seconds.items():
            begun = time.process_time()
            taken.append(check(jobs).seconds)
            if jobs == 2:
                # Far below 2 where other processes had the second core: then the times tell nothing.
                used.append((time.process_time() - begun) / taken[-1])
    return {"one": statistics.median(seconds[1]), "two": statistics.median(seconds[2]), "cores": statistics.median(used)}


def main() -> None:
    """Print seconds for each workload."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload", nargs="+", choices=workloads.NAMES[:-1])
    print(json.dumps({name: measure(name) for name in parser.parse_args().workload}))


if __name__ == "__main__":
    main()
