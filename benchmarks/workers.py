"""Seconds of a check of a plain cost with one worker and with two processes: python benchmarks/workers.py. Prints JSON.

A program of its own, pinned to nothing. ``cold`` has the start of the processes in it, ``limit`` is how many times faster two
processes that have nothing to do with each other are than one, on this machine and at this time.
"""

import argparse
import concurrent.futures
import json
import statistics
import time
from typing import Any

import numpy as np

import gradsweep

# Rounds of each, in turn, so that a machine that changes its speed changes it for both.
_ROUNDS = 3


def build(parameters: int, terms: int) -> tuple[Any, Any, Any]:
    """A cost of Python floats, which takes some 0.1 µs for each term, its parameters and their gradient."""
    scale = np.linspace(0.5, 1.5, terms)

    def cost(w: Any) -> float:
        total = float(np.sum(w**2))
        for term in scale.tolist():
            total += term * term
        return total

    w = np.linspace(-1.0, 1.0, parameters)
    return gradsweep.plain(cost), w, 2.0 * w


def burn(count: int) -> float:
    """Seconds of a loop of Python that shares nothing with anything."""
    begun = time.perf_counter()
    total = 0.0
    for number in range(count):
        total += number * 0.5
    return time.perf_counter() - begun


def limit() -> float:
    """How many times faster two processes are than one."""
    count = 2 * 10**7
    alone = burn(count)
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        list(pool.map(burn, [1000, 1000]))
        together = max(pool.map(burn, [count, count]))
    return 2.0 * alone / together


def measure(parameters: int, terms: int) -> dict[str, float]:
    """Median seconds with one worker and with two."""
    cost, w, gradient = build(parameters, terms)

    def check(jobs: int) -> tuple[float, gradsweep.Report]:
        begun = time.perf_counter()
        report = gradsweep.check(cost, w, gradient, mode="sweep", jobs=jobs)
        return time.perf_counter() - begun, report

    cold, report = check(2)
    assert report.ok
    assert not report.notes
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(_ROUNDS):
        for jobs, taken in seconds.items():
            elapsed, other = check(jobs)
            taken.append(elapsed)
            np.testing.assert_array_equal(other.numeric["params"], report.numeric["params"])  # to the bit
    one, two = (statistics.median(taken) for taken in seconds.values())
    return {"one": one, "two": two, "cold": cold, "faster": one / two, "faster_cold": one / cold, "limit": limit()}


def main() -> None:
    """Print seconds for a cost of each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parameters", type=int, default=1000)
    parser.add_argument("--terms", type=int, nargs="+", default=[30_000, 100_000])
    given = parser.parse_args()
    print(json.dumps({str(terms): measure(given.parameters, terms) for terms in given.terms}))


if __name__ == "__main__":
    main()
