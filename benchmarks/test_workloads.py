"""The sweep, side by side with the textbook's loop; each benchmark asserts its result.

The suite runs them once, untimed. `pytest benchmarks --benchmark-enable` times them, `python benchmarks/compare.py` prints the
comparison as a table.
"""

from typing import Any

import pytest
import workloads

import gradsweep


@pytest.mark.parametrize("name", workloads.NAMES)
def test_sweep(benchmark: Any, name: str) -> None:
    workload = workloads.build(name)
    cost = workload.cost()
    report = benchmark(gradsweep.check, cost, workload.params, workload.gradient)
    textbook = workload.textbook()
    benchmark.extra_info.update(
        parameters=workload.size,
        difference=report.difference,
        textbook_seconds_each=textbook.seconds_each,
        textbook_seconds=textbook.seconds_each * workload.size,
        textbook_sample=textbook.parameters,
        textbook_difference=textbook.difference,
    )
    assert report.ok
    assert report.step == 1e-7
    assert report.evaluations == 2 * workload.size
    assert max(block.difference for block in report.blocks) <= 1e-13
    # The loop finds the same gradient, with the digits that it has.
    assert textbook.difference < 1e-5


@pytest.mark.parametrize("name", workloads.NAMES)
def test_wrong_gradient(benchmark: Any, name: str) -> None:
    """A wrong gradient takes no longer to reject than a right one to accept."""
    workload = workloads.build(name)
    cost = workload.cost()
    wrong = {**workload.gradient, "dW2": -workload.gradient["dW2"]}
    report = benchmark(gradsweep.check, cost, workload.params, wrong)
    assert [block.name for block in report.blocks if block.differing] == ["W2"]
    # Confirmed by looking at one entry once more.
    assert report.evaluations == 2 * workload.size + 2
