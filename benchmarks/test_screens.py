"""Evaluations of screens of the workloads: these, unlike time, are the same on a busy machine, and asserted."""

from typing import Any

import pytest
import screens
import workloads

import gradsweep

# F has 92 million parameters, and takes gigabytes: only with --benchmark-enable.
_LARGE = ("F",)

# A right gradient, and one of which one entry is off by one per cent; of the largest block of each.
_RIGHT, _WRONG = 64, 200


def _screen(benchmark: Any, name: str, *, off: bool) -> tuple[gradsweep.Report, str]:
    if benchmark.disabled and name in _LARGE:
        pytest.skip("large: only with --benchmark-enable")
    work = workloads.build(name)
    largest = max(work.params, key=lambda each: work.params[each].size)
    rows, columns = work.params[largest].shape
    gradient = screens.spoilt(work.gradient, f"d{largest}", (rows // 3, columns // 3)) if off else work.gradient
    report = benchmark.pedantic(
        lambda: gradsweep.check(work.cost(), work.params, gradient, mode="screen"), rounds=1, iterations=1
    )
    benchmark.extra_info.update(evaluations=report.evaluations, verdict=report.verdict)
    return report, largest


@pytest.mark.parametrize("name", ["A", "B", "C", "E", "F"])
def test_a_right_gradient(benchmark: Any, name: str) -> None:
    report, _ = _screen(benchmark, name, off=False)
    assert report.verdict == "pass"
    assert report.evaluations <= _RIGHT


@pytest.mark.parametrize("name", ["A", "B", "C", "E", "F"])
def test_one_entry_off_by_one_per_cent(benchmark: Any, name: str) -> None:
    report, largest = _screen(benchmark, name, off=True)
    assert report.verdict == "fail"
    assert report.evaluations <= _WRONG
    worst = report.worst(1)[0]
    rows, columns = next(block.shape for block in report.blocks if block.name == largest)
    assert (worst.block, worst.index) == (largest, (rows // 3, columns // 3))


@pytest.mark.parametrize("examples", screens.EXAMPLES)
def test_a_plain_cost(benchmark: Any, examples: int) -> None:
    cost, params, gradient = screens.plain_cost(examples)
    report = benchmark.pedantic(
        lambda: gradsweep.check(gradsweep.plain(cost), params, gradient, mode="screen"), rounds=1, iterations=1
    )
    assert report.verdict == "pass"
    # The two-sided loop takes two for each of 61,481 parameters.
    assert report.evaluations <= 2 * 61_481 / 1000
