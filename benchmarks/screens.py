"""Screens: of F, the network of 92 million parameters, and of plain Python costs beside the two-sided loop, in one run.

Run it on a quiet machine: python benchmarks/screens.py. It pins itself to one core. F takes some 4 GB.
"""

import hardware

if __name__ == "__main__":
    hardware.take_one_core()

import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import workloads
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import gradsweep
from gradsweep import scratch

Array = NDArray[np.float64]

# Of each check the fastest counts, and parameters that the loop takes, from which it is extrapolated.
REPEATS, SAMPLE = 5, 200

# The textbook's ε, and by how much one entry of a gradient is spoilt.
STEP, OFF = 1e-7, 1.01

# Examples of the post's network, 12288-5-5-1: one, as in the post's own check, and as many as it trains with.
EXAMPLES = (1, 209)


def plain_cost(examples: int) -> tuple[Callable[[Mapping[str, Array]], float], dict[str, Array], dict[str, Array]]:
    """The post's network as a plain Python function, with its gradient."""
    work = workloads.make("post", [12288, 5, 5, 1], examples, SAMPLE)
    x, y = work.x, work.y

    def cost(params: Mapping[str, Array]) -> float:
        al, _ = scratch.L_model_forward(x, params, "tanh")
        return float(-np.mean(y * np.log(al) + (1.0 - y) * np.log(1.0 - al)))

    return cost, work.params, work.gradient


def loop_seconds(cost: Callable[[Mapping[str, Array]], float], params: Mapping[str, Array]) -> float:
    """Seconds that the two-sided loop takes, perturbing in place: by a sample of the largest block."""
    own = {name: block.copy() for name, block in params.items()}
    block = max(own.values(), key=lambda each: each.size).reshape(-1)
    fastest = math.inf
    for _ in range(REPEATS):
        begun = time.perf_counter()
        for place in np.linspace(0, block.size - 1, SAMPLE).astype(int):
            kept = block[place]
            block[place] = kept + STEP
            above = cost(own)
            block[place] = kept - STEP
            (above - cost(own)) / (2.0 * STEP)
            block[place] = kept
        fastest = min(fastest, time.perf_counter() - begun)
    return fastest * sum(each.size for each in own.values()) / SAMPLE


def screen_seconds(cost: Any, params: Mapping[str, Array], gradient: Mapping[str, Array]) -> tuple[float, gradsweep.Report]:
    """Seconds of the fastest of some screens, and what the last one found."""
    fastest = math.inf
    for _ in range(REPEATS):
        begun = time.perf_counter()
        report = gradsweep.check(cost, params, gradient, mode="screen")
        fastest = min(fastest, time.perf_counter() - begun)
    return fastest, report


def spoilt(gradient: Mapping[str, Array], name: str, index: tuple[int, int]) -> dict[str, Array]:
    """The gradient with one entry wrong by one per cent."""
    other = {**gradient, name: gradient[name].copy()}
    other[name][index] *= OFF
    return other


def rows() -> Iterator[tuple[str, ...]]:
    """What was screened, how long it took, in how many evaluations, what came of it, and the loop."""
    for examples in EXAMPLES:
        cost, params, gradient = plain_cost(examples)
        loop = loop_seconds(cost, params)
        for what, tested in (("right", gradient), ("one entry off by 1 %", spoilt(gradient, "dW1", (3, 4321)))):
            seconds, report = screen_seconds(gradsweep.plain(cost), params, tested)
            yield f"plain Python, 12288-5-5-1, m={examples}", what, *described(seconds, report), f"{loop / seconds:,.0f}"
    work = workloads.build("F")
    for what, tested in (("right", work.gradient), ("one entry off by 1 %", spoilt(work.gradient, "dW2", (4567, 1234)))):
        seconds, report = screen_seconds(work.cost(), work.params, tested)
        yield f"F, kernels, {work.size:,} parameters", what, *described(seconds, report), "-"


def described(seconds: float, report: gradsweep.Report) -> tuple[str, str, str]:
    """Milliseconds, evaluations, and the verdict with the worst entry."""
    worst = [entry for entry in report.worst(1) if entry.score > 1.0]
    found = f", {worst[0].block}{list(worst[0].index)}" if worst else ""
    return f"{seconds * 1e3:,.1f} ms", f"{report.evaluations}", report.verdict + found


def main() -> None:
    table = Table("cost", "gradient", "screen", "evaluations", "verdict", "loop / screen")
    for row in rows():
        table.add_row(*row)
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
