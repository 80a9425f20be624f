"""The road from a cost and a gradient to a report."""

import contextlib
import functools
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradsweep._costs._network import NetworkCost
from gradsweep._costs._protocol import Problem
from gradsweep._errors import InputError
from gradsweep._execution import one_blas_thread, read_jobs
from gradsweep._numeric import NumericGradient, differentiate, quotients_of
from gradsweep._parameters import Precision, match_gradient, precision, read_mapping
from gradsweep._planning import MODES, Plan, make_plan
from gradsweep._report import Report
from gradsweep._schemes import LEAST_STEP, Scheme, find_scheme, known
from gradsweep._sweep import FINER, LayerQuotients, Steps
from gradsweep._types import Array, Gradient, Parameters
from gradsweep._verdict import Block, Entry, Sides, Tally, block_status, compare, overall

#: What the post calls fine.
TOLERANCE = 1e-7

# Where the gradient is less precise than float64, its rounding alone exceeds 1e-7: 1.2e-4 for float32, whose backward passes
# are commonly right to 1e-6 and, over some layers, to 1e-5.
_ROUNDINGS = 1024.0

# Half precision would get a tolerance of 1, which accepts anything: it is held to this, and inconclusive where that is too much.
_LARGEST_TOLERANCE = 1e-2


def check(
    cost: NetworkCost,
    params: Parameters,
    gradient: Gradient,
    *,
    mode: str = "auto",
    scheme: str = "central",
    step: float | None = None,
    tolerance: float | None = None,
    jobs: int | None = None,
    seed: int = 0,
) -> Report:
    """Check a gradient against difference quotients of its cost.

    Parameters
    ----------
    cost : NetworkCost
        As made by :meth:`gradsweep.Network.cost`.
    params : mapping of str to array_like
        W1, b1, W2, … at which the gradient was computed.
    gradient : mapping of str to array_like, or callable
        The gradient under test, each block in the shape of its parameter. Keys may be those of `params`, or as in ``dW1``,
        ``grad_W1``, ``W1_grad``; ``dA1`` and ``dZ1`` may stand beside them and are ignored. A callable is given a copy of
        `params`.
    mode : str, default: "auto"
        ``"sweep"`` perturbs every parameter on its own. ``"batched"`` does, too, and carries perturbations of several layers
        through the network together, which is faster where layers are narrow and many. ``"neurons"`` perturbs every
        pre-activation of every example, and multiplies its quotient with the layer's inputs: far fewer perturbations for the same
        gradient; some entries of each block are perturbed on their own to guard it. ``"auto"`` takes a sweep, or batches if they
        are faster, where that is predicted to take less than ten seconds on one core, else neurons; the report says which, and
        why.
    scheme : str, default: "central"
        ``"central"`` (J(θ+ε) − J(θ−ε)) / 2ε, or ``"forward"`` (J(θ+ε) − J(θ)) / ε.
    step : float, optional
        ε, absolute. By default 1e-7 (central) or 1e-13 (forward), less where an input is beyond a thousand.
    tolerance : float, optional
        Relative tolerance of every block and entry. By default 1e-7; where parameters or gradient are less precise than float64,
        1024 times their machine epsilon if that is more, up to 0.01.
    jobs : int, optional
        Number of workers as joblib's ``n_jobs``; by default what an active ``joblib.parallel_config`` says, else one.
    seed : int, default: 0
        Chooses the perturbations at which the kernels are held against the plain cost, and the entries that guard products.

    Returns
    -------
    Report
        Verdict, blocks, worst entries and numeric gradient. Nothing is printed, nothing given is modified.

    Raises
    ------
    InputError
        An argument of another shape, name, type or value than is needed; a ValueError.
    OracleError
        The kernels disagree with the plain cost, or a product with the quotient of its parameter (``"neurons"``).

    Notes
    -----
    Changes of the cost are computed by difference forms, not by subtracting two costs: the quotient is the textbook's, at the
    textbook's ε, without its rounding. A gradient fails if an entry differs by more than the tolerance and by more than the
    rounding that a backward pass may carry, both at this step and at one 2³⁰ times smaller than it or the default.

    Examples
    --------
    >>> import numpy as np
    >>> import gradsweep
    >>> network = gradsweep.Network([4, 3, 1])
    >>> params = network.initialize(seed=0)
    >>> X, Y = np.eye(4), np.array([[0.0, 1.0, 1.0, 0.0]])
    >>> gradient = network.gradient(params, X, Y)
    >>> gradsweep.check(network.cost(X, Y), params, gradient).ok
    True
    >>> gradient["dW2"] = -gradient["dW2"]
    >>> gradsweep.check(network.cost(X, Y), params, gradient).verdict
    'fail'
    """
    begun = time.perf_counter()
    settings = _read_settings(cost, mode, scheme, step, tolerance, jobs, seed)
    if callable(gradient):
        # It may change the very arrays that were given, as a training step does.
        params = {name: np.array(value) for name, value in read_mapping(params, "params").items()}
    with one_blas_thread():
        problem = cost.prepare(params, settings.seed)
    # The gradient under test runs with the BLAS threads that it has elsewhere.
    analytic = match_gradient(_read_gradient(gradient, params), "gradient", problem.shapes)
    with one_blas_thread():
        return _check(problem, analytic, settings, begun)


@dataclass(frozen=True)
class _Settings:
    """How to check: the keyword arguments of `check`, once they have been looked at."""

    mode: str
    scheme: Scheme
    step: float | None
    tolerance: float | None
    jobs: int | None
    seed: int


def _check(problem: Problem, analytic: Mapping[str, NDArray[Any]], settings: _Settings, begun: float) -> Report:
    exactness = problem.precision.or_less(precision(analytic.values()))
    tolerance = settings.tolerance
    if tolerance is None:
        tolerance = min(max(TOLERANCE, _ROUNDINGS * exactness.epsilon), _LARGEST_TOLERANCE)
    usual = settings.scheme.choose_step(problem.largest_input)
    step = usual if settings.step is None else settings.step
    # The finer one is so small that no truncation is left, however large the step that was asked for.
    steps = Steps(settings.scheme, step, min(step, usual) * FINER)
    plan = make_plan(problem, settings.mode, steps)
    # The numeric side is complete before the gradient under test is looked at.
    numeric, evaluations = differentiate(problem, plan, steps, settings.jobs, settings.seed)
    judge = _Judge(problem, analytic, numeric, plan, steps, tolerance, exactness)
    judged = [judge.block(name) for name in problem.shapes]
    total = Tally()
    for _, tally, _ in judged:
        total.add(tally)
    blocks = tuple(block for block, _, _ in judged)
    return Report(
        verdict=overall(blocks),
        difference=total.difference,
        tolerance=tolerance,
        precision=exactness.epsilon,
        blocks=blocks,
        numeric=NumericGradient({name: numeric[problem.layer_of(name)].block(name) for name in problem.shapes}),
        mode=plan.mode,
        reason=plan.reason,
        predicted=plan.seconds,
        scheme=settings.scheme.name,
        step=step,
        evaluations=evaluations + sum(extra for _, _, extra in judged),
        seconds=time.perf_counter() - begun,
        crossed=sum(layer.crossed for layer in numeric.values()),
        kinks=sum(block.kinks for block in blocks),
    )


def _read_settings(cost: Any, mode: Any, scheme: Any, step: Any, tolerance: Any, jobs: Any, seed: Any) -> _Settings:
    if not isinstance(cost, NetworkCost):
        raise InputError(f"cost is of type {type(cost).__name__}, but must be made by Network(...).cost(X, Y)")
    if not isinstance(mode, str) or mode not in MODES:
        raise InputError(f"mode: {mode!r} is not known; known are {known(MODES)}")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InputError(f"seed must be a whole number of at least 0, not {seed!r}")
    width = _read_positive(step, "step")
    if width is not None and width < LEAST_STEP:
        raise InputError(f"step must be at least {LEAST_STEP:g}, not {step!r}")
    allowed = _read_positive(tolerance, "tolerance")
    if allowed is not None and allowed >= 1.0:
        raise InputError(f"tolerance must be below 1, since |g - ĝ| is never more than |g| + |ĝ|, not {tolerance!r}")
    return _Settings(mode, find_scheme(scheme), width, allowed, read_jobs(jobs), int(seed))


def _read_positive(value: Any, argument: str) -> float | None:
    if value is None:
        return None
    number = math.nan
    if isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):  # an integer of hundreds of digits
            number = float(value)
    if not 0.0 < number < math.inf:
        raise InputError(f"{argument} must be a positive finite number, not {value!r}")
    return number


def _read_gradient(gradient: Gradient, params: Parameters) -> Parameters:
    if not callable(gradient):
        return gradient
    # Copies, so that a backward pass that works in place does not change what the caller holds.
    return gradient({name: np.array(value) for name, value in read_mapping(params, "params").items()})


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
            status=block_status(tally, rows * columns, self.tolerance, confirmed=confirmed, at_kinks=unclear),
            difference=tally.difference,
            noise=tally.relative_noise,
            differing=tally.differing if confirmed else 0,
            vacuous=tally.vacuous,
            kinks=tally.kinks,
            worst=tuple(tally.candidates),
        )
        return block, tally, evaluations

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
            chunk = self.problem.chunk_of(sides.name, entry.index)
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
