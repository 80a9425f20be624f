"""What is known of the gradient of a dense network when its sweep is interrupted."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from gradsweep._costs._network_numerics import Entries, NetworkNumerics, leaves_of
from gradsweep._costs._numerics import Slopes
from gradsweep._entries import BlockGradients, Judge
from gradsweep._findings import Sighting
from gradsweep._monitor import DISPUTES, current
from gradsweep._network_findings import Tested, explain_network
from gradsweep._numeric import NumericGradient
from gradsweep._parameters import precision
from gradsweep._planning import Plan
from gradsweep._report import Report
from gradsweep._second_point import overall_interrupted
from gradsweep._settings import Settings
from gradsweep._sweep import ParameterQuotients, Steps
from gradsweep._trees import Leaf
from gradsweep._verdict import Tally, interrupted

if TYPE_CHECKING:
    from gradsweep._costs._network_problem import NetworkProblem


def report_interrupted(
    problem: "NetworkProblem",
    tested: Tested,
    numeric: Mapping[int, ParameterQuotients],
    settings: Settings,
    steps: Steps,
    plan: Plan,
    begun: float,
) -> Report:
    """Compare the entries whose quotients there are.

    Parameters
    ----------
    problem : NetworkProblem
        The cost.
    tested : Tested
        The gradient under test.
    numeric : mapping of int to ParameterQuotients
        By layer; NaN where the interrupt came first.
    settings : Settings
        How to check.
    steps : Steps
        How quotients are formed.
    plan : Plan
        What was to be done.
    begun : float
        When the check began, by `time.perf_counter`.

    Returns
    -------
    Report
        The report; no block passes that was not compared whole.
    """
    leaves = leaves_of(problem)
    exactness = problem.precision.or_less(precision(tested.blocks.values()))
    tolerance = settings.tolerance_for(exactness)
    numerics = NetworkNumerics(problem, steps, Entries(problem))
    judge = Judge(numerics, tolerance, exactness, replaces=settings.step is None, measures=False)
    blocks = [_known(problem, tested, numeric, leaf) for leaf in leaves]
    current().close()
    with current().phase(DISPUTES):
        examined, extra = judge.examine(blocks)
    sightings = [Sighting.of(each, block.indices, leaf) for each, block, leaf in zip(examined, blocks, leaves, strict=True)]
    found = interrupted([each.block for each in examined])
    verdict, _ = overall_interrupted(found, None)
    evaluations = sum(len(block.indices) for block in blocks) * len(steps.scheme.offsets)
    return Report(
        verdict=verdict,
        difference=Tally.of_all(each.tally for each in examined).difference,
        tolerance=tolerance,
        precision=exactness.epsilon,
        blocks=found,
        numeric=NumericGradient({name: numeric[problem.layer_of(name)].block(name) for name in problem.shapes}),
        mode=plan.mode,
        reason=plan.reason,
        predicted=plan.seconds,
        scheme=settings.scheme.name,
        step=steps.step,
        evaluations=evaluations + extra + sum(each.evaluations for each in examined),
        seconds=time.perf_counter() - begun,
        crossed=sum(layer.crossed for layer in numeric.values()),
        kinks=sum(block.kinks for block in found),
        evaluated_by="kernels",
        displaced=None,
        findings=explain_network(problem, tested, sightings, tolerance) if verdict == "fail" else (),
        interrupted=True,
    )


def _known(problem: "NetworkProblem", tested: Tested, numeric: Mapping[int, ParameterQuotients], leaf: Leaf) -> BlockGradients:
    """Both gradients of those entries of a block whose quotients there are."""
    layer = numeric[problem.layer_of(leaf.name)]
    values = layer.block(leaf.name).rows(slice(None)).reshape(-1)
    low, high = (side.reshape(-1) for side in layer.interval(leaf.name, slice(None))) if layer.kinked else (values, values)
    there = np.flatnonzero(np.isfinite(values))
    own = Slopes(values[there], low[there].copy(), high[there].copy(), np.zeros(len(there)))
    row, column = np.divmod(there, leaf.shape[1])
    with np.errstate(over="ignore"):  # what float64 cannot hold is infinite
        analytic = np.asarray(tested.blocks[leaf.name][row, column], dtype=np.float64)
    return BlockGradients(leaf, leaf.start + there, analytic, own)
