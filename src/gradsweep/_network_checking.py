"""The road from a dense network and its gradient to a report."""

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradsweep._analytic import AnalyticGradient, Seal
from gradsweep._blas import one_blas_thread
from gradsweep._checkpoint import digest, versions
from gradsweep._costs._network import NetworkCost
from gradsweep._costs._protocol import Problem
from gradsweep._diagnosis._evidence import Finding
from gradsweep._errors import InputError
from gradsweep._findings import Sighting
from gradsweep._intermediates import read_intermediates
from gradsweep._monitor import DISPUTES, SECOND_POINT, SWEEP, current
from gradsweep._network_entries import check_selected, report_interrupted
from gradsweep._network_findings import Tested, explain_network
from gradsweep._network_screening import screen_network
from gradsweep._numeric import NumericGradient, count_pre_activations, differentiate, quotients_of
from gradsweep._parameters import Precision, match_gradient, precision, read_mapping
from gradsweep._planning import MODES, Plan, make_plan
from gradsweep._report import Displaced, Report
from gradsweep._samples import sample_places
from gradsweep._schemes import COMPLEX
from gradsweep._second_point import AWAY, DISPLACEMENTS, describe_raised, displaced_tree, overall_interrupted, overall_verdict
from gradsweep._settings import Settings
from gradsweep._sweep import FINER, LayerQuotients, ParameterQuotients, Steps
from gradsweep._trees import read_tree
from gradsweep._types import Array, Gradient, Parameters
from gradsweep._verdict import Block, Entry, Sides, Status, Tally, block_status, compare, overall

if TYPE_CHECKING:
    from gradsweep._costs._network_problem import NetworkProblem

# Entries of a block that the diagnosis looks at, at most; and how many of them if there are more.
_SEEN, _SAMPLED = 2**20, 2**14


def check_network(cost: NetworkCost, params: Parameters, gradient: Gradient, settings: Settings, begun: float) -> Report:
    """Check the gradient of a dense network.

    Parameters
    ----------
    cost : NetworkCost
        The network on its data.
    params : mapping of str to array_like
        W1, b1, W2, …
    gradient : mapping of str to array_like, or callable
        Under test.
    settings : Settings
        How to check.
    begun : float
        When the check began, by `time.perf_counter`.

    Returns
    -------
    Report
        The report.

    Raises
    ------
    InputError
        Parameters or gradient are not as they must be.
    OracleError
        The kernels disagree with the plain cost.
    """
    _require_real(settings)
    if callable(gradient):
        # It may change the very arrays that were given, as a training step does.
        params = {name: np.array(value) for name, value in read_mapping(params, "params").items()}
    with one_blas_thread():
        problem = cost.prepare(params, settings.seed)
    # The gradient under test runs with the BLAS threads that it has elsewhere.
    given = _read_gradient(gradient, params)
    analytic = match_gradient(given, "gradient", problem.shapes)
    monitor = current()
    if monitor.journal is not None:
        parameters = digest((name, problem.parameter(name)) for name in problem.shapes)
        described = {"network": cost.describe(), "parameters": parameters, "cost at the parameters": f"{problem.loss:.12g}"}
        monitor.identify({**described, **settings.described(), **versions()}, lambda: digest(analytic.items()))
    with one_blas_thread():
        tested = Tested(analytic, read_intermediates(given), _repeat(problem, gradient, params))
        report = replace(_check(problem, tested, settings, begun), _plain=cost.around(problem, settings.scheme))
    if not callable(gradient) or report.interrupted:
        return report
    elsewhere: Report | None = None
    displaced: Displaced | None = None
    notes: tuple[str, ...] = ()
    try:
        with monitor.phase(SECOND_POINT):
            elsewhere, displaced, notes = _second_point(cost, params, gradient, analytic, replace(settings, mode=report.mode))
    except KeyboardInterrupt:
        monitor.abandon()  # what was found at the first point is kept
    verdict = overall_verdict(report.blocks, displaced)
    if monitor.interrupted:
        verdict, displaced = overall_interrupted(report.blocks, displaced)
    return replace(
        report,
        findings=report.findings or (elsewhere.findings if elsewhere is not None else ()),
        notes=(*report.notes, *notes),
        interrupted=monitor.interrupted,
        verdict=verdict,
        evaluations=report.evaluations + (displaced.evaluations if displaced else 0),
        seconds=time.perf_counter() - begun,
        displaced=displaced,
    )


def _second_point(
    cost: NetworkCost,
    params: Parameters,
    gradient: Gradient,
    before: Mapping[str, NDArray[Any]],
    settings: Settings,
) -> tuple[Report | None, Displaced | None, tuple[str, ...]]:
    """The whole gradient at another point; None if there is none, or the gradient does not depend on its argument. And notes."""
    tree = read_tree(dict(params.items()))
    generator = np.random.default_rng(settings.seed)
    raised: Exception | None = None
    for size in DISPLACEMENTS:
        moved = displaced_tree(tree, size, generator)
        other = moved.build(moved.typed_arrays())
        try:
            with one_blas_thread():
                problem = cost.prepare(other, settings.seed)
        except InputError:  # the cost is not finite there
            continue
        try:
            given = _read_gradient(gradient, other)
        except Exception as error:  # whatever a user's code says of parameters that it does not take
            raised = error
            continue
        break
    else:
        return None, None, (describe_raised(raised),) if raised else ()
    try:
        analytic = match_gradient(given, "gradient", problem.shapes)
    except InputError as error:
        raise InputError(f"{error} ({AWAY})") from error
    if all(np.array_equal(analytic[name], block, equal_nan=True) for name, block in before.items()):
        return None, None, ()
    current().place([moved.values])
    with one_blas_thread():
        # By units, since that is quick whatever the first point took; only a screen may be asked for of what is larger still.
        mode = settings.mode if settings.mode == "screen" or settings.select is not None else "neurons"
        tested = Tested(analytic, read_intermediates(given), _repeat(problem, gradient, other))
        found = _check(problem, tested, replace(settings, mode=mode), time.perf_counter())
    return found, Displaced(found.blocks, size, found.evaluations), ()


def _repeat(problem: Problem, gradient: Gradient, params: Parameters) -> Callable[[], Mapping[str, NDArray[Any]]] | None:
    """What calls the gradient once more, if it is callable."""
    if not callable(gradient):
        return None
    return lambda: match_gradient(_read_gradient(gradient, params), "gradient", problem.shapes)


def differentiate_network(cost: NetworkCost, params: Parameters, settings: Settings) -> dict[str, Array]:
    """Numeric gradient of a dense network, by the names of its parameters."""
    _require_real(settings)
    with one_blas_thread():
        problem = cost.prepare(params, settings.seed)
        steps = _steps(problem, settings)
        plan = make_plan(problem, settings.mode, steps, screens=False)
        numeric, _ = differentiate(problem, plan, steps, settings.jobs, settings.seed)
        blocks = NumericGradient({name: numeric[problem.layer_of(name)].block(name) for name in problem.shapes})
        return {name: np.array(block) for name, block in blocks.items()}


def _require_real(settings: Settings) -> None:
    """Raise InputError for the scheme that the kernels do not have."""
    if settings.scheme is COMPLEX:
        raise InputError("scheme: 'complex' is for functions; the kernels of dense networks lose no digits to a real step")


def _steps(problem: Problem, settings: Settings) -> Steps:
    """The step, and one so small that no truncation is left, however large the step that was asked for."""
    usual = settings.scheme.choose_step(problem.largest_input)
    step = usual if settings.step is None else settings.step
    return Steps(settings.scheme, step, min(step, usual) * FINER)


def _check(problem: "NetworkProblem", tested: Tested, settings: Settings, begun: float) -> Report:
    """Check at a point."""
    analytic = tested.blocks
    exactness = problem.precision.or_less(precision(analytic.values()))
    tolerance = settings.tolerance_for(exactness)
    steps = _steps(problem, settings)
    # Selected entries are perturbed on their own, however long that takes.
    asked = "sweep" if settings.select is not None and settings.mode == "auto" else settings.mode
    plan = make_plan(problem, asked, steps)
    mode = current().decide("mode", lambda: plan.mode, lambda found: found in MODES)
    if mode != plan.mode:  # of which an earlier run of this check thought otherwise
        plan = make_plan(problem, mode, steps)
    if plan.mode == "screen":
        return screen_network(problem, tested, settings, steps, begun, plan.reason)
    if settings.select is not None:
        return check_selected(problem, tested, settings, steps, plan, begun)
    # The numeric side is complete before the gradient under test is looked at.
    monitor = current()
    _plan_phases(problem, plan, tested)
    try:
        with monitor.phase(SWEEP):
            numeric, evaluations = differentiate(problem, plan, steps, settings.jobs, settings.seed)
    except KeyboardInterrupt:
        # Examples are looked at one after the other, all units of each: until the last one no entry of the gradient is known.
        monitor.abandon()
        return report_interrupted(problem, tested, {}, settings, steps, plan, begun)
    if monitor.interrupted:
        parameters = {layer: found for layer, found in numeric.items() if isinstance(found, ParameterQuotients)}
        return report_interrupted(problem, tested, parameters, settings, steps, plan, begun)
    judge = _Judge(problem, analytic, numeric, plan, steps, tolerance, exactness)
    with monitor.phase(DISPUTES):  # not by what is recorded of the sweep, which does not depend on the gradient
        judged = [judge.block(name) for name in problem.shapes]
    total = Tally.of_all(tally for _, tally, _ in judged)
    blocks = tuple(block for block, _, _ in judged)
    return Report(
        verdict=overall(blocks),
        difference=total.difference,
        tolerance=tolerance,
        precision=exactness.epsilon,
        blocks=blocks,
        numeric=NumericGradient({name: numeric[problem.layer_of(name)].block(name) for name in problem.shapes}),
        analytic=AnalyticGradient(analytic, {block.name: Seal(tally.analytic, block.worst) for block, tally, _ in judged}),
        mode=plan.mode,
        reason=plan.reason,
        predicted=plan.seconds,
        scheme=settings.scheme.name,
        step=steps.step,
        evaluations=evaluations + sum(extra for _, _, extra in judged),
        seconds=time.perf_counter() - begun,
        crossed=sum(layer.crossed for layer in numeric.values()),
        kinks=sum(block.kinks for block in blocks),
        evaluated_by="kernels",
        displaced=None,
        findings=_explain(problem, tested, judge, blocks),
    )


def _plan_phases(problem: "NetworkProblem", plan: Plan, tested: Tested) -> None:
    """Say what will be perturbed: parameters or pre-activations, and pre-activations at the second point."""
    units, own = count_pre_activations(problem), plan.mode == "neurons"
    stages = {SWEEP: units if own else sum(rows * columns for rows, columns in problem.layer_shapes)}
    if tested.call is not None:
        stages[SECOND_POINT] = units
    current().plan(stages, "pre-activations" if own else "parameters", "pre-activations")


def _explain(problem: "NetworkProblem", tested: Tested, judge: "_Judge", blocks: Sequence[Block]) -> tuple[Finding, ...]:
    """What is likely to be wrong, if something is."""
    if all(block.status is not Status.WRONG for block in blocks):
        return ()
    return explain_network(problem, tested, [judge.sighting(block) for block in blocks], judge.tolerance)


def _read_gradient(gradient: Gradient, params: Parameters) -> Parameters:
    if not callable(gradient):
        return gradient
    # Copies, so that a backward pass that works in place does not change what the caller holds; and of what it returns, which may
    # be buffers that another call overwrites, or adds to.
    given = gradient({name: np.array(value) for name, value in read_mapping(params, "params").items()})
    if not isinstance(given, Mapping):
        return given
    return {name: np.array(value) if isinstance(value, np.ndarray) else value for name, value in given.items()}


@dataclass(frozen=True)
class _Judge:
    """What is needed to judge a block, once the numeric gradient is complete."""

    problem: Problem
    analytic: Mapping[str, NDArray[Any]]
    numeric: Mapping[int, LayerQuotients]
    plan: Plan
    steps: Steps
    tolerance: float
    precision: Precision

    def block(self, name: str) -> tuple[Block, Tally, int]:
        """A block, its sums, and how many evaluations disputes took."""
        sides = self._sides(name, self.numeric[self.problem.layer_of(name)], self._with_conventions)
        tally = compare(sides, self.tolerance)
        confirmed, evaluations = self._confirm(sides, tally) if tally.differing else (False, 0)
        unclear = bool(tally.kinks and tally.differing and not confirmed)
        rows, columns = sides.analytic.shape
        block = Block(
            name=name,
            shape=(rows, columns),
            size=rows * columns,
            status=block_status(tally, rows * columns, self.tolerance, confirmed=confirmed, at_kinks=unclear),
            difference=tally.difference,
            noise=tally.relative_noise,
            differing=tally.differing if confirmed else 0,
            vacuous=tally.vacuous,
            kinks=tally.kinks,
            worst=tuple(tally.candidates),
            sensitivity=tally.sensitivity(self.tolerance),
        )
        return block, tally, evaluations

    def sighting(self, block: Block) -> Sighting:
        """What the diagnosis may see of a block; of a large one, some entries."""
        places = None
        if block.size > _SEEN:
            # With what is known to be wrong, or a sample may show nothing of it.
            wrong = [np.ravel_multi_index(entry.index, block.shape) for entry in block.worst if entry.score > 1.0]
            places = np.union1d(sample_places(block.shape, _SAMPLED), wrong).astype(np.intp)
        numeric = self.numeric[self.problem.layer_of(block.name)].block(block.name)
        noise = self.problem.rounding(block.name, self.precision, self._least)
        if places is None:
            return Sighting(block, None, numeric.rows(slice(None)), noise.rows(slice(None)))
        chosen = np.divmod(places, block.shape[1])
        return Sighting(block, places, numeric.at(*chosen), noise.at(*chosen))

    def _sides(self, name: str, numeric: LayerQuotients, accept: Callable[[Sides, slice, Array, Array], None]) -> Sides:
        """The two gradients of a block; at kinks, `accept` widens the interval of some rows in place."""
        noise = self.problem.rounding(name, self.precision, self._least)
        sides = Sides(name, self.analytic[name], numeric.block(name), noise)
        if not numeric.kinked:
            return sides

        def interval(rows: slice) -> tuple[Array, Array]:
            below, above = numeric.interval(name, rows)
            if (below < above).any():
                accept(sides, rows, below, above)
            return below, above

        return replace(sides, interval=interval)

    @functools.cached_property
    def _least(self) -> float:
        """What is lost where numbers underflow: in the gradient, and in changes of the cost, smaller than it by ε."""
        return self.precision.tiny + float(np.finfo(np.float64).tiny) / self.steps.finer

    def _confirm(self, sides: Sides, tally: Tally) -> tuple[bool, int]:
        """Whether an entry that differs does so with a much smaller step, too: a wrong gradient does, truncation vanishes.

        The numeric side that is reported stays as it was. A smaller step can only make a difference form more exact, so this is
        no search for a step that suits the gradient.
        """
        scheme, finer = self.steps.scheme, self.steps.finer
        disputed = [entry for entry in tally.candidates if entry.score > 1.0]
        for count, entry in enumerate(disputed, start=1):
            row, column = entry.index
            chunk = self.problem.chunk_of(sides.name, (row, column))
            quotient = float(self.problem.quotients(chunk, scheme, finer).values[0, 0])
            noise = entry.noise + self._vanishing(entry.numeric, quotient)
            if replace(entry, numeric=quotient, noise=noise).differs(self.tolerance) and not self._may_be_right(entry):
                return True, count * len(scheme.offsets)
        evaluations = len(disputed) * len(scheme.offsets)
        if tally.differing == len(disputed):
            return False, evaluations
        layer = self.problem.layer_of(sides.name)
        again = quotients_of(self.problem, self.plan.mode, self.steps.shrunk(), 1, [layer])[layer]
        finer_sides = self._sides(sides.name, again, self._with_subgradients)

        def interval(rows: slice) -> tuple[Array, Array]:
            finely = finer_sides.numeric.rows(rows)
            below, above = finer_sides.interval(rows) if finer_sides.interval else (finely, finely)
            vanishing = self._vanishing(sides.numeric.rows(rows), finely)
            return below - vanishing, above + vanishing

        finer_sides_with_slack = replace(finer_sides, interval=interval)
        return compare(finer_sides_with_slack, self.tolerance).differing > 0, evaluations + again.evaluations

    def _vanishing(self, numeric: Any, finer: Any) -> Any:
        """What is left at the finer step of all that shrinks with the step, and so is no part of a gradient.

        Truncation of the forward scheme does, as does the rounding of second-order terms that cancel: where the exact gradient is
        0 these are all that a quotient consists of, and at any step they are infinitely more than 0, relatively.
        """
        return 4.0 * self.steps.finer / self.steps.step * abs(numeric - finer)

    def _may_be_right(self, entry: Entry) -> bool:
        """Whether an entry at a kink lies where some backward pass could put it."""
        if not entry.kink:
            return False
        row, column = entry.index
        rows = slice(row, row + 1)
        least, most = (bound.rows(rows)[0, column] for bound in self.problem.subgradients(entry.block))
        return not replace(entry, numeric=float(np.clip(entry.analytic, least, most))).differs(self.tolerance)

    def _with_subgradients(self, sides: Sides, rows: slice, below: Array, above: Array) -> None:
        """Accept, at kinks, all that some backward pass might give."""
        at_kink = below < above
        least, most = (bound.rows(rows) for bound in self.problem.subgradients(sides.name))
        np.minimum(below, least, out=below, where=at_kink)
        np.maximum(above, most, out=above, where=at_kink)

    def _with_conventions(self, sides: Sides, rows: slice, below: Array, above: Array) -> None:
        """Accept, at kinks, also what the usual backward passes give.

        Where several units are at their kink at once, that need not lie between the one-sided slopes of the cost: a backward pass
        multiplies the slope it takes for each of them, while a step opens some and not others.
        """
        analytic = sides.tested(rows)
        outside = (below < above) & ~((below <= analytic) & (analytic <= above))
        noise = sides.noise.rows(rows)
        for convention in self.problem.conventions(sides.name):
            candidate = convention.rows(rows)
            allowed = self.tolerance * (np.abs(analytic) + np.abs(candidate)) + noise
            usual = outside & (np.abs(analytic - candidate) <= allowed)
            # Still an interval, so that the entry is known to be at a kink.
            below[usual] = np.minimum(candidate, analytic)[usual]
            above[usual] = np.maximum(np.maximum(candidate, analytic), np.nextafter(below, np.inf))[usual]
