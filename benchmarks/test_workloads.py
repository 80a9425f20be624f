"""Every mode on every workload, beside one backpropagation and the textbook's loop; each benchmark asserts its result.

The suite runs them once, untimed, and leaves out what is long and adds nothing to the rest. `pytest benchmarks
--benchmark-enable` times all of them, `python benchmarks/compare.py` prints the comparison as a table.
"""

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import pytest
import workloads
from threadpoolctl import threadpool_limits

import gradsweep

# F has 92 million parameters: perturbed one by one they take hours.
_WORKLOADS = {"sweep": "ABCDE", "batched": "ABCDE", "neurons": "ABCDEF"}

# Those that take longer than 0.2 s are worth two workers.
_TWO_JOBS = {("sweep", name) for name in "CDE"} | {("batched", name) for name in "CDE"}

_GRID = [
    pytest.param(mode, name, jobs, id=f"{mode}-{name}-{jobs}")
    for mode, names in _WORKLOADS.items()
    for name in names
    for jobs in (1, 2)
    if jobs == 1 or (mode, name) in _TWO_JOBS
]

# Seconds each, and gigabytes for F, for what a smaller workload shows as well: only with --benchmark-enable.
_LONG = {(mode, name, 2) for mode in ("sweep", "batched") for name in "DE"} | {("batched", "E", 1), ("neurons", "F", 1)}

# Seconds that the rounds of a benchmark take together, unless three of them take longer.
_SECONDS = 2.0

# Backpropagations of which the median counts.
_BACKPROPS = 7


@pytest.fixture(scope="module", autouse=True)
def _kernels() -> None:
    """Kernels are loaded, or compiled, before anything is timed."""
    tiny = workloads.make("tiny", [3, 2, 1], 2, 1)
    assert gradsweep.check(tiny.cost(), tiny.params, tiny.gradient).ok


@pytest.mark.parametrize(("mode", "name", "jobs"), _GRID)
def test_right_gradient(benchmark: Any, mode: str, name: str, jobs: int) -> None:
    if benchmark.disabled and (mode, name, jobs) in _LONG:
        pytest.skip("long: only with --benchmark-enable")
    workload = workloads.build(name)
    cost = workload.cost()

    def check() -> gradsweep.Report:
        return gradsweep.check(cost, workload.params, workload.gradient, mode=mode, jobs=jobs)

    report = benchmark.pedantic(check, rounds=_rounds(benchmark, check), iterations=1)
    beside = _compare(benchmark, workload)
    benchmark.extra_info.update(
        parameters=workload.size,
        difference=report.difference,
        predicted=report.predicted,
        evaluations=report.evaluations,
        # Two workers on one core are no faster, and a saved result should tell.
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        **beside,
    )
    if not benchmark.disabled:
        median = benchmark.stats.stats.median
        benchmark.extra_info["backprops"] = median / beside["backprop_seconds"]
        benchmark.extra_info["textbook_ratio"] = beside["textbook_seconds"] / median
    assert report.ok
    assert report.mode == mode
    assert report.step == 1e-7
    assert max(block.difference for block in report.blocks) <= 1e-13
    if mode == "neurons":
        # Of every unit and example both signs, and the parameters that guard them.
        assert report.evaluations >= 2 * sum(workload.layers[1:]) * workload.x.shape[1]
    else:
        assert report.evaluations == 2 * workload.size
    # The loop finds the same gradient, with the digits that it has.
    assert beside["textbook_difference"] < 1e-5


@pytest.mark.parametrize("name", ["A", "B"])
@pytest.mark.parametrize("mode", list(_WORKLOADS))
def test_wrong_gradient(benchmark: Any, mode: str, name: str) -> None:
    """A wrong gradient takes no longer to reject than a right one to accept."""
    workload = workloads.build(name)
    cost = workload.cost()
    wrong = {**workload.gradient, "dW2": -workload.gradient["dW2"]}

    def check() -> gradsweep.Report:
        return gradsweep.check(cost, workload.params, wrong, mode=mode, jobs=1)

    report = benchmark.pedantic(check, rounds=_rounds(benchmark, check), iterations=1)
    right = gradsweep.check(cost, workload.params, workload.gradient, mode=mode, jobs=1)
    assert report.verdict == "fail"
    assert [block.name for block in report.blocks if block.differing] == ["W2"]
    # Confirmed by looking at one entry once more, to both sides.
    assert report.evaluations == right.evaluations + 2


def _rounds(benchmark: Any, check: Callable[[], gradsweep.Report]) -> int:
    """How many rounds to time, after one to warm up; a run that is not timed has just the one."""
    return 1 if benchmark.disabled else max(3, min(200, int(_SECONDS / check().seconds)))


def _compare(benchmark: Any, workload: workloads.Workload) -> dict[str, float]:
    """One backpropagation and the textbook's loop, right after the check, and as it is on one BLAS thread."""
    with threadpool_limits(limits=1):
        textbook = workload.textbook(1 if benchmark.disabled else None)
        seconds = []
        for _ in range(1 if benchmark.disabled else _BACKPROPS):
            begun = time.perf_counter()
            workload.backprop()
            seconds.append(time.perf_counter() - begun)
    return {
        "backprop_seconds": statistics.median(seconds),
        "textbook_seconds_each": textbook.seconds_each,
        "textbook_seconds": textbook.seconds_each * workload.size,
        "textbook_sample": textbook.parameters,
        "textbook_difference": textbook.difference,
    }
