"""Many checks in one process, and what they leave behind: ``python tests/long_run.py --checks 1000``."""

import argparse
import ctypes
import gc
import itertools
import math
import os
import pathlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np

import gradsweep


@dataclass(frozen=True)
class Belongings:
    """What a process has.

    Attributes
    ----------
    memory : int
        Bytes that are resident.
    files : int
        Open files.
    threads : int
        Threads.
    """

    memory: int
    files: int
    threads: int

    @classmethod
    def now(cls) -> "Belongings":
        """Of this process, when what is garbage has been collected and given back."""
        gc.collect()
        if sys.platform == "linux":
            ctypes.CDLL(None).malloc_trim(0)
        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
        files, threads = (len(os.listdir(f"/proc/self/{name}")) for name in ("fd", "task"))
        return cls(pages * os.sysconf("SC_PAGE_SIZE"), files, threads)


def verdict_of(report: gradsweep.Report) -> str:
    """The verdict, and everything else that is formed when it is asked for."""
    assert str(report).startswith(report.verdict.upper())
    assert len(report.numeric) == len(report.blocks) or report.mode == "screen"
    return report.verdict


def check_network(seed: int, change: float = 1.0, **options: Any) -> str:
    """A network by the kernels, its data and its parameters other ones each time."""
    network = gradsweep.Network([6, 5, 4, 1], hidden=["tanh", "relu"], l2=0.1)
    params = network.initialize(seed)
    generator = np.random.default_rng(seed)
    X, Y = generator.standard_normal((6, 7)), (generator.random((1, 7)) < 0.5).astype(float)
    gradient = network.gradient(params, X, Y)
    gradient["dW2"] = change * gradient["dW2"]
    return verdict_of(gradsweep.check(network.cost(X, Y), params, gradient, seed=seed, **options))


def check_function(seed: int, factor: float = 3.0, **options: Any) -> str:
    """A new function each time, on difference arrays."""
    params = {"W": np.random.default_rng(seed).standard_normal((4, 3)), "b": np.full(3, 0.5)}

    def cost(p: Any) -> Any:
        return np.sum(np.tanh(p["W"] + p["b"]) ** 2) + np.sum(p["W"] ** 3)

    def gradient(p: Any) -> Any:
        t = np.tanh(p["W"] + p["b"])
        change = 2 * t * (1 - t**2)
        return {"W": change + factor * p["W"] ** 2, "b": change.sum(axis=0)}

    return verdict_of(gradsweep.check(cost, params, gradient, seed=seed, **options))


def check_values(seed: int, factor: float = 1.0, **options: Any) -> str:
    """A function that is evaluated by its values."""
    x = np.random.default_rng(seed).standard_normal(4)

    def cost(w: Any) -> float:
        return sum(math.sin(float(each)) for each in w)

    return verdict_of(gradsweep.check(cost, x, factor * np.cos(x), seed=seed, **options))


def check_in_threads(seed: int) -> str:
    """Two threads, which joblib is asked for."""
    with joblib.parallel_config("threading"):
        return check_values(seed, jobs=2)


#: What is checked in turn, and the verdict.
KINDS: list[tuple[Callable[[int], str], str]] = [
    (check_network, "pass"),
    (lambda seed: check_network(seed, -1.0), "fail"),
    (lambda seed: check_network(seed, mode="neurons"), "pass"),
    (lambda seed: check_network(seed, mode="screen"), "pass"),
    (lambda seed: check_network(seed, mode="sweep", jobs=2), "pass"),
    (check_function, "pass"),
    (lambda seed: check_function(seed, 2.0), "fail"),
    (lambda seed: check_function(seed, mode="screen"), "pass"),
    (check_values, "pass"),
    (lambda seed: check_values(seed, 2.0), "fail"),
    (check_in_threads, "pass"),
]


def run(checks: int, every: int) -> Iterator[tuple[int, Belongings]]:
    """Check so many times, and say what the process has after each of some.

    Parameters
    ----------
    checks : int
        How many checks.
    every : int
        After how many of them to say it.

    Yields
    ------
    int
        Checks until then.
    Belongings
        What there is.
    """
    for number, (kind, verdict) in zip(range(1, checks + 1), itertools.cycle(KINDS), strict=False):
        found = kind(number)
        if found != verdict:
            raise AssertionError(f"check {number} should {verdict}, found {found}")
        if number % every == 0:
            yield number, Belongings.now()


def main() -> None:
    """Print what the process has, after every tenth of the checks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checks", type=int, default=1000)
    arguments = parser.parse_args()
    print("checks  resident KB  files  threads")
    for number, has in run(arguments.checks, max(arguments.checks // 20, 1)):
        print(f"{number:6}  {has.memory // 1024:11,}  {has.files:5}  {has.threads:7}")


if __name__ == "__main__":
    main()
