"""A check of some entries of a dense network's gradient: those that were selected, or those that an interrupt left."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gradsweep._costs._network_numerics import Entries, NetworkNumerics, leaves_of
from gradsweep._costs._numerics import Indices, Slopes
from gradsweep._entries import BlockGradients, Judge
from gradsweep._findings import Sighting
from gradsweep._monitor import DISPUTES, SECOND_POINT, SWEEP, current
from gradsweep._network_findings import Tested, explain_network
from gradsweep._numeric import quotients_of
from gradsweep._parameters import precision
from gradsweep._planning import Plan
from gradsweep._report import Report
from gradsweep._second_point import overall_interrupted
from gradsweep._selection import ScatteredGradient, chosen_entries, describe_unselected, is_selected
from gradsweep._settings import Settings
from gradsweep._sweep import ParameterQuotients, Steps
from gradsweep._trees import Leaf
from gradsweep._verdict import Tally, interrupted, overall

if TYPE_CHECKING:
    from gradsweep._costs._network_problem import NetworkProblem

# Entries that are perturbed in one call of the kernels: 4 MB of lanes for a layer of some hundred units.
_TOGETHER = 1024


def check_selected(
    problem: "NetworkProblem", tested: Tested, settings: Settings, steps: Steps, plan: Plan, begun: float
) -> Report:
    """Check the entries that were selected.

    Parameters
    ----------
    problem : NetworkProblem
        The cost.
    tested : Tested
        The gradient under test.
    settings : Settings
        How to check, and which entries.
    steps : Steps
        How quotients are formed.
    plan : Plan
        In which mode.
    begun : float
        When the check began, by `time.perf_counter`.

    Returns
    -------
    Report
        Of the blocks that were selected.
    """
    leaves = leaves_of(problem)
    indices = chosen_entries(settings.select, leaves, settings.seed)
    monitor = current()
    count = sum(map(len, indices))
    monitor.plan({SWEEP: count} if tested.call is None else {SWEEP: count, SECOND_POINT: count})
    with monitor.phase(SWEEP):
        if isinstance(settings.select, int):
            numerics = NetworkNumerics(problem, steps, Entries(problem))
            blocks = [_looked_at(numerics, tested, leaf, own) for leaf, own in zip(leaves, indices, strict=True)]
        else:
            names = [leaf.name for leaf in leaves if is_selected(settings.select, leaf.name)]
            layers = sorted({problem.layer_of(name) for name in names})
            with monitor.counting(sum(map(len, indices))):
                numeric = quotients_of(problem, plan.mode, steps, settings.jobs if plan.worth_workers else 1, layers)
            swept = {layer: found for layer, found in numeric.items() if isinstance(found, ParameterQuotients)}
            blocks = list(_known(problem, tested, swept, [leaf for leaf in leaves if leaf.name in names]))
    return report_entries(problem, tested, blocks, settings, steps, plan, begun)


def report_interrupted(
    problem: "NetworkProblem",
    tested: Tested,
    numeric: Mapping[int, ParameterQuotients],
    settings: Settings,
    steps: Steps,
    plan: Plan,
    begun: float,
) -> Report:
    """Check the entries whose quotients there are; arguments as of `check_selected`, and the quotients of some layers."""
    blocks = list(_known(problem, tested, numeric, leaves_of(problem)))
    return report_entries(problem, tested, blocks, settings, steps, plan, begun)


def report_entries(
    problem: "NetworkProblem",
    tested: Tested,
    blocks: Sequence[BlockGradients],
    settings: Settings,
    steps: Steps,
    plan: Plan,
    begun: float,
) -> Report:
    """Compare some entries; arguments as of `check_selected`, and both gradients of some blocks.

    Returns
    -------
    Report
        After an interrupt no block passes that was not compared whole.
    """
    exactness = problem.precision.or_less(precision(tested.blocks.values()))
    tolerance = settings.tolerance_for(exactness)
    numerics = NetworkNumerics(problem, steps, Entries(problem))
    monitor = current()
    judge = Judge(numerics, tolerance, exactness, replaces=settings.step is None, measures=not monitor.interrupted)
    monitor.close()
    with monitor.phase(DISPUTES):
        examined, extra = judge.examine(blocks)
    sightings = [Sighting.of(each, block.indices, block.leaf) for each, block in zip(examined, blocks, strict=True)]
    found = tuple(each.block for each in examined)
    verdict = overall(found)
    if monitor.interrupted:
        found = interrupted(found)
        verdict, _ = overall_interrupted(found, None)
    evaluations = sum(block.slopes.evaluations for block in blocks) + extra + sum(each.evaluations for each in examined)
    leaves = [block.leaf for block in blocks]
    return Report(
        verdict=verdict,
        difference=Tally.of_all(each.tally for each in examined).difference,
        tolerance=tolerance,
        precision=exactness.epsilon,
        blocks=found,
        numeric=ScatteredGradient(leaves, [block.indices for block in blocks], [each.numeric for each in examined]),
        mode=plan.mode,
        reason=plan.reason,
        predicted=plan.seconds,
        scheme=settings.scheme.name,
        step=steps.step,
        evaluations=evaluations,
        seconds=time.perf_counter() - begun,
        crossed=sum(block.slopes.crossed for block in blocks),
        kinks=sum(block.kinks for block in found),
        evaluated_by="kernels",
        displaced=None,
        findings=explain_network(problem, tested, sightings, tolerance) if verdict == "fail" else (),
        notes=describe_unselected(settings.select, leaves_of(problem)),
        interrupted=monitor.interrupted,
    )


def _known(
    problem: "NetworkProblem", tested: Tested, numeric: Mapping[int, ParameterQuotients], leaves: Sequence[Leaf]
) -> Iterator[BlockGradients]:
    """Both gradients of those entries of some blocks whose quotients there are."""
    counted: set[int] = set()
    for leaf in leaves:
        number = problem.layer_of(leaf.name)
        if number not in numeric:
            yield _compared(tested, leaf, np.empty(0, dtype=np.intp), Slopes(*np.zeros((4, 0))))
            continue
        layer = numeric[number]
        values = layer.block(leaf.name).rows(slice(None)).reshape(-1)
        low, high = (side.reshape(-1) for side in layer.interval(leaf.name, slice(None))) if layer.kinked else (values, values)
        there = np.flatnonzero(np.isfinite(values))
        # Kinks are counted by layers. Of evaluations all that were not interrupted are those of the entries.
        crossed = 0 if number in counted else layer.crossed
        counted.add(number)
        evaluations = layer.evaluations * len(there) // max(layer.values.size, 1)
        slopes = Slopes(values[there], low[there].copy(), high[there].copy(), np.zeros(len(there)), crossed, evaluations)
        yield _compared(tested, leaf, leaf.start + there, slopes)


def _looked_at(numerics: NetworkNumerics, tested: Tested, leaf: Leaf, indices: Indices) -> BlockGradients:
    """Both gradients of some entries of a block, which are perturbed here; fewer of them if there is an interrupt."""
    monitor = current()
    pieces = [indices[start : start + _TOGETHER] for start in range(0, len(indices), _TOGETHER)]
    done = 0

    def share(slopes: Slopes) -> float:
        nonlocal done
        done += len(slopes.values)
        return done / len(indices)

    with monitor.counting(len(indices)):
        slopes = list(monitor.follow(map(numerics.quotients, pieces), share))
    values, low, high, noise = (
        np.concatenate([np.empty(0), *(getattr(each, name) for each in slopes)]) for name in ("values", "low", "high", "noise")
    )
    crossed, evaluations = (sum(getattr(each, name) for each in slopes) for name in ("crossed", "evaluations"))
    unclear = None
    if any(each.unclear for each in slopes):
        sides = [each.unclear or (each.values, each.values) for each in slopes]
        unclear = np.concatenate([low for low, _ in sides]), np.concatenate([high for _, high in sides])
    return _compared(
        tested, leaf, indices[: len(values)], Slopes(values, low, high, noise, crossed, evaluations, unclear=unclear)
    )


def _compared(tested: Tested, leaf: Leaf, indices: Indices, slopes: Slopes) -> BlockGradients:
    row, column = np.divmod(indices - leaf.start, leaf.shape[1])
    with np.errstate(over="ignore"):  # what float64 cannot hold is infinite
        analytic = np.asarray(tested.blocks[leaf.name][row, column], dtype=np.float64)
    return BlockGradients(leaf, indices, analytic, slopes)
