"""What tests ask of a report, and reports of every kind."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

import gradsweep
from gradsweep._diagnosis._evidence import Finding
from gradsweep._report import Displaced
from gradsweep._sensitivity import Sensitivity
from gradsweep._verdict import Block, Entry, Status, overall

REASON = "float(...) makes a plain number of a value that changes (train.py, line 12, in cost: return float(w[0])); use w[0]"

LONG = "encoder.layers[12].attention." + 10 * "projection." + "Wq"


def names_of_wrong(blocks: tuple[Block, ...]) -> set[str]:
    """Names of the blocks, at one of the two points, that are wrong."""
    return {block.name for block in blocks if block.status is Status.WRONG}


def wrong_blocks(report: gradsweep.Report) -> set[str]:
    """Names of the blocks that are wrong at the given parameters."""
    return names_of_wrong(report.blocks)


def entry(block: str, index: tuple[int, ...] = (1, 2), numeric: float = 1.0, score: float = 1e6, analytic: float = 2.0) -> Entry:
    return Entry(block, index, analytic, numeric, 1e-12, kink=False, score=score)


def block(name: str, status: Status = Status.AGREES, shape: tuple[int, ...] = (3, 4), **changes: Any) -> Block:
    size = int(np.prod(shape, dtype=int))
    differing = size if status is Status.WRONG else 0
    sensitivity = Sensitivity(2e-7, 2e-7, 1.0) if status is Status.AGREES else None
    made = Block(name, shape, size, status, 1e-15, 3.5e-11, differing, vacuous=0, kinks=0, worst=(entry(name),))
    return replace(made, sensitivity=sensitivity, **changes)


def report(
    *blocks: Block, evaluated_by: str = "plain function", displaced: Displaced | None = None, **changes: Any
) -> gradsweep.Report:
    further = [each for each in displaced.blocks if each.status is Status.WRONG] if displaced else []
    made = gradsweep.Report(
        verdict=overall([*blocks, *further]),
        difference=1e-15,
        tolerance=1e-7,
        precision=float(np.finfo(float).eps),
        blocks=blocks,
        numeric={},
        mode="sweep",
        reason=REASON if evaluated_by == "plain function" else "",
        predicted=math.nan,
        scheme="central",
        step=6.0554544523933395e-06,
        evaluations=1234,
        seconds=2.5,
        crossed=0,
        kinks=0,
        evaluated_by=evaluated_by,
        displaced=displaced,
    )
    return replace(made, **changes)


def finding(name: str, kind: str = "factor") -> Finding:
    return Finding(
        kind,
        (name,),
        f"{name}: the gradient is 2.0 times the numerical one (model.py, line 10, in forward: h = np.tanh(x)): consistent with a "
        "mean over 2 examples that is missing",
        "Look for this factor where the gradient is scaled.",
        1.0,
        1.0,
        {"factor": 2.0},
    )


def layered(count: int, statuses: dict[int, Status], **changes: Any) -> list[Block]:
    """Many blocks, some of them with a status of their own."""
    return [
        block(f"layers[{number}].W", statuses.get(number, Status.AGREES), shape=(64, 64), **changes) for number in range(count)
    ]


def _close(name: str) -> Block:
    """A block that is wrong by little."""
    worst = tuple(entry(name, (i, 200_000), 1.0 / 3.0, analytic=(1.0 + 3e-7) / 3.0) for i in range(3))
    return block(name, Status.WRONG, shape=(10, 300_000), differing=3, difference=1.5e-7, worst=worst)


def _of_every_status(**changes: Any) -> gradsweep.Report:
    statuses = [each for each in Status if each is not Status.WRONG]
    return report(*(block(f"W{number}", status) for number, status in enumerate(statuses)), **changes)


def _screened() -> list[Block]:
    interval = (1.2e-16, 4.9e-16)
    return [
        block("W1", shape=(8192, 3072), interval=interval),
        block("b1", shape=(8192, 1), interval=interval),
        block("W2", Status.WRONG, shape=(8192, 8192), differing=1, looked_at=32, interval=(3e-7, 8e-7)),
        block("b2", Status.UNRESOLVED, shape=(8192, 1), looked_at=128, interval=(3e-7, 8e-7)),
        block("s", shape=(), interval=interval),
    ]


def _named(name: str) -> Callable[[], gradsweep.Report]:
    def make() -> gradsweep.Report:
        wrong = block(name, Status.WRONG, worst=(entry(name, (123, 4567)), entry(name, (0, 1), 1.0, analytic=-1.0)))
        noisy = block(f"{name}2", Status.NOISY)
        findings = finding(name), finding(name, "activation_derivative")
        return report(wrong, noisy, block(f"{name}3"), findings=findings, notes=(f"one worker: {name} cannot be pickled",))

    return make


def _odd_numbers() -> gradsweep.Report:
    pairs = [(0.0, 1e-300), (-1e300, 1e300), (math.nan, 1.0), (math.inf, 1.0), (1e-5, 0.0), (5.0, math.nan), (2.0, -math.inf)]
    worst = tuple(entry("W", (i,), numeric, analytic=analytic) for i, (analytic, numeric) in enumerate(pairs))
    blocks = [block(f"W{i}", Status.WRONG, difference=math.nan, noise=math.inf, worst=worst[i : i + 2]) for i in range(7)]
    return report(*blocks, block("W", vacuous=3), difference=math.nan)


def _second_point() -> gradsweep.Report:
    displaced = Displaced((block("W1"), block("b1", Status.WRONG, shape=(64, 1))), 0.25, 300)
    return report(block("W1"), block("b1", shape=(64, 1)), displaced=displaced, findings=(finding("b1"),))


#: Reports of every kind, each under the name of what it has that others do not.
KINDS: dict[str, Callable[[], gradsweep.Report]] = {
    "pass": lambda: report(block("W1"), block("b1", shape=(3, 1)), evaluated_by="kernels", step=1e-7, predicted=2.0),
    "pass of a function": lambda: report(block("W1"), block("b", shape=()), evaluated_by="difference arrays", step=1e-7),
    "fail": lambda: report(block("W1", Status.WRONG), block("b1"), findings=(finding("W1"),)),
    "wrong by little": lambda: report(_close("W1"), block("b1"), evaluated_by="difference arrays"),
    "wrong at the second point": _second_point,
    "many findings": lambda: report(
        *(block(f"W{i}", Status.WRONG) for i in range(9)), findings=tuple(finding(f"W{i}") for i in range(9))
    ),
    "inconclusive": _of_every_status,
    "inconclusive in a network": lambda: _of_every_status(evaluated_by="kernels", predicted=1.0),
    "interrupted": lambda: report(
        block("W1"),
        block("b1", Status.UNFINISHED, shape=(64, 1), size=12),
        block("W2", Status.UNFINISHED, shape=(640, 480), size=0, difference=0.0, noise=0.0, worst=()),
        evaluated_by="kernels",
        predicted=2.0,
        interrupted=True,
    ),
    "sample": lambda: report(block("W1", size=5), block("b1", shape=(64, 1), size=5), evaluated_by="kernels", predicted=1.0),
    "sample that fails": lambda: report(block("W1", size=5), block("b1", Status.WRONG, shape=(64, 1), size=5, differing=3)),
    "all vacuous": lambda: report(block("W1", Status.VACUOUS), block("b1", Status.VACUOUS)),
    "some vacuous": lambda: report(block("W1", vacuous=3), block("b1", Status.VACUOUS), evaluated_by="kernels", predicted=1.0),
    "kinks": lambda: report(block("W1", kinks=2), evaluated_by="difference arrays", kinks=2, crossed=3),
    "less precise": lambda: report(block("W1"), precision=2.0**-23, tolerance=1.2e-4),
    "screen": lambda: report(*_screened()[:2], evaluated_by="difference arrays", mode="screen", step=1e-7),
    "screen that fails": lambda: report(*_screened(), evaluated_by="kernels", mode="screen", predicted=2.0),
    "complex": lambda: report(block("W1"), scheme="complex", step=2.0**-66, reason=""),
    "notes": lambda: report(block("W1"), notes=("one worker: the cost cannot be pickled", "another " * 40)),
    "many blocks": lambda: report(*layered(200, {})),
    "many blocks, three of them wrong": lambda: report(
        *layered(200, {57: Status.WRONG, 93: Status.NOISY, 150: Status.WRONG}), findings=(finding("layers[150].W"),)
    ),
    "many blocks of every status": lambda: report(*layered(400, {i: [*Status][i // 20 % 8] for i in range(0, 400, 20)})),
    "many blocks, all wrong": lambda: report(*layered(200, dict.fromkeys(range(200), Status.WRONG))),
    "many blocks, all noisy": lambda: report(*layered(200, dict.fromkeys(range(200), Status.NOISY))),
    "many axes": lambda: report(block("W", Status.WRONG, shape=(2,) * 20, worst=(entry("W", (1,) * 20),)), block("b")),
    "odd numbers": _odd_numbers,
    "long names": _named(LONG),
    "wide names": _named("重み行列の勾配🙂е\u0301" * 3),
    "control characters": _named("W\x1b[31m\n\t\r\x07\u202e[red]\udcff"),
}
