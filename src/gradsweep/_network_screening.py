"""A screen of the gradient of a dense network."""

import math
import time
from typing import TYPE_CHECKING

import numpy as np

from gradsweep._costs._network_numerics import Entries, NetworkNumerics, leaves_of
from gradsweep._costs._numerics import Indices
from gradsweep._entries import BlockGradients, Examined, Judge
from gradsweep._findings import Sighting
from gradsweep._monitor import SCREEN, SECOND_POINT, current
from gradsweep._network_findings import Tested, explain_network
from gradsweep._parameters import precision
from gradsweep._report import Report
from gradsweep._screening import Budget, Screen, Subject, count_directions
from gradsweep._second_point import overall_interrupted
from gradsweep._settings import Settings
from gradsweep._sweep import Steps
from gradsweep._verdict import Tally, overall

if TYPE_CHECKING:
    from gradsweep._costs._network_problem import NetworkProblem


def screen_network(
    problem: "NetworkProblem", tested: Tested, settings: Settings, steps: Steps, begun: float, reason: str = ""
) -> Report:
    """Screen the gradient of a dense network at a point.

    Parameters
    ----------
    problem : NetworkProblem
        The cost.
    tested : Tested
        The gradient under test.
    settings : Settings
        How to check.
    steps : Steps
        How quotients are formed.
    begun : float
        When the check began, by `time.perf_counter`.
    reason : str, optional
        Why it is a screen, if that was not asked for.

    Returns
    -------
    Report
        The report.
    """
    leaves = leaves_of(problem)
    exactness = problem.precision.or_less(precision(tested.blocks.values()))
    tolerance = settings.tolerance_for(exactness)
    numerics = NetworkNumerics(problem, steps, Entries(problem))
    gradients = [tested.blocks[leaf.name] for leaf in leaves]
    # Where the caller chose the step, an entry that differs at this step alone is said to do so, not replaced.
    entries = Judge(numerics, tolerance, exactness, replaces=settings.step is None, measures=False)

    def judge(indices: list[Indices]) -> tuple[list[Examined], list[Indices], int]:
        slopes = [numerics.quotients(each) for each in indices]
        blocks = []
        for leaf, each, block, own in zip(leaves, indices, gradients, slopes, strict=True):
            row, column = np.divmod(each - leaf.start, leaf.shape[1])
            blocks.append(BlockGradients(leaf, each, np.asarray(block[row, column], dtype=np.float64), own))
        examined, extra = entries.examine(blocks)
        return examined, indices, extra + sum(own.evaluations for own in slopes) + sum(each.evaluations for each in examined)

    budget = Budget(settings.max_evaluations, settings.max_seconds, begun)
    subject = Subject(leaves, gradients, numerics, exactness, len(steps.scheme.offsets), judge)
    screen = Screen(subject, tolerance, settings.seed, budget)
    monitor, count = current(), count_directions(leaves)
    monitor.plan({SCREEN: count} if tested.call is None else {SCREEN: count, SECOND_POINT: count}, "directions")
    found = screen.run()
    blocks = tuple(each.block for each in found)
    sightings = [Sighting.found(*each) for each in zip(found, leaves, strict=True)]
    total = Tally.of_all(each.tally for each in found)
    return Report(
        verdict=overall_interrupted(blocks, None)[0] if monitor.interrupted else overall(blocks),
        difference=total.difference,
        tolerance=tolerance,
        precision=exactness.epsilon,
        blocks=blocks,
        numeric={},
        mode="screen",
        reason=reason,
        predicted=math.nan,
        scheme=settings.scheme.name,
        step=steps.step,
        evaluations=budget.spent,
        seconds=time.perf_counter() - begun,
        crossed=screen.crossed,
        kinks=sum(block.kinks for block in blocks),
        evaluated_by="kernels",
        displaced=None,
        findings=explain_network(problem, tested, sightings, tolerance),
        interrupted=monitor.interrupted,
    )
