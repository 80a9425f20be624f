"""A screen of the gradient of a function."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from gradsweep._cancellation import describe_slight, usual_size
from gradsweep._costs._functions import Function
from gradsweep._costs._numerics import Indices, Numerics
from gradsweep._diagnosis._evidence import Finding
from gradsweep._differences._departure import Departure
from gradsweep._entries import Examined
from gradsweep._findings import Sighting, explain_function
from gradsweep._function_points import Given, another_point, exactness_of, examine_or_depart, with_rounding
from gradsweep._monitor import SCREEN, SECOND_POINT, current
from gradsweep._report import Displaced, Report
from gradsweep._screening import Budget, Found, Screen, Subject, count_directions
from gradsweep._second_point import overall_interrupted, overall_verdict
from gradsweep._settings import Settings
from gradsweep._trees import Tree
from gradsweep._verdict import Tally


@dataclass(frozen=True)
class Start:
    """What is known before anything is perturbed.

    Attributes
    ----------
    tree : Tree
        The parameters.
    base : float
        The cost there.
    analytic : list of array
        The gradient under test.
    numerics : Numerics
        The numeric side.
    reason : str
        Why it is a screen, if that was not asked for.
    """

    tree: Tree
    base: float
    analytic: list[NDArray[Any]]
    numerics: Numerics
    reason: str = ""


@dataclass(frozen=True)
class _Screened:
    """What a screen found at a point."""

    start: Start
    found: list[Found]
    evaluations: int
    step: float
    crossed: int


def screen_function(function: Function, gradient: Any, start: Start, settings: Settings, begun: float) -> Report:
    """Screen the gradient of a function.

    Parameters
    ----------
    function : Function
        The cost.
    gradient : the structure of the parameters, or callable
        Under test.
    start : Start
        The point.
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
        As of `check_function`.
    """
    monitor, count = current(), count_directions(start.tree.blocks)
    monitor.plan({SCREEN: count, SECOND_POINT: count} if callable(gradient) else {SCREEN: count}, "directions")
    screened = _screen(function, gradient, start, settings, begun)
    numerics, reason = screened.start.numerics, function.reason
    chosen = (f"screened, since {start.reason}",) if start.reason else ()
    elsewhere = None
    if callable(gradient) and not monitor.interrupted:
        try:
            with monitor.phase(SECOND_POINT):
                elsewhere = _second_point(function, gradient, start, numerics, settings)
        except KeyboardInterrupt:
            monitor.abandon()  # what was found at the first point is kept
    exactness = exactness_of(start.analytic, start.tree, numerics)
    tolerance = settings.tolerance_for(exactness)
    findings = _explain(function, gradient, screened, tolerance)
    if elsewhere and not findings:
        findings = _explain(function, gradient, elsewhere[0], tolerance)
    displaced = elsewhere[1] if elsewhere else None
    function.leave(start.tree, start.base)
    blocks = tuple(each.block for each in screened.found)
    gaps = [each.tally.gap for each in screened.found]
    slight = [] if callable(gradient) else describe_slight(blocks, gaps, start.analytic, exactness)
    total = Tally.of_all(each.tally for each in screened.found)
    verdict = overall_verdict(blocks, displaced)
    if monitor.interrupted:
        verdict, displaced = overall_interrupted(blocks, displaced)
    return Report(
        verdict=verdict,
        difference=total.difference,
        tolerance=tolerance,
        precision=exactness.epsilon,
        blocks=blocks,
        numeric={},
        mode="screen",
        reason=reason,
        predicted=math.nan,
        scheme=settings.scheme.name,
        step=screened.step,
        evaluations=screened.evaluations + (displaced.evaluations if displaced else 0),
        seconds=time.perf_counter() - begun,
        crossed=screened.crossed,
        kinks=sum(block.kinks for block in blocks),
        evaluated_by=numerics.kind,
        displaced=displaced,
        findings=findings,
        notes=(*chosen, *numerics.notes, *function.notes, *slight),
        interrupted=monitor.interrupted,
        _plain=function.around(start.tree, start.base, settings.scheme),
    )


def _explain(function: Function, gradient: Any, screened: _Screened, tolerance: float) -> tuple[Finding, ...]:
    """What is likely to be wrong at a point."""
    start = screened.start
    sightings = [Sighting.found(*each) for each in zip(screened.found, start.tree.blocks, strict=True)]
    return explain_function(function, gradient, start.tree, start.analytic, sightings, start.numerics, tolerance)


def _screen(function: Function, gradient: Any, start: Start, settings: Settings, begun: float) -> _Screened:
    """Screen at a point; by values if only now the cost does what difference arrays cannot follow."""
    try:
        return _screen_with(function, gradient, start, settings, begun)
    except Departure as departure:
        by_values = function.numerics_by_values(start.tree, start.base, settings, departure)
        other = Start(start.tree, start.base, start.analytic, by_values)
        return _screen_with(function, gradient, other, settings, begun)


def _screen_with(function: Function, gradient: Any, start: Start, settings: Settings, begun: float) -> _Screened:
    exactness = exactness_of(start.analytic, start.tree, start.numerics)
    budget = Budget(settings.max_evaluations, settings.max_seconds, begun)

    def judge(indices: list[Indices]) -> tuple[list[Examined], list[Indices], int]:
        given = Given(start.tree, start.analytic, indices)
        point = examine_or_depart(function, start.base, start.numerics, given, settings, measures=False)
        point = with_rounding(function, gradient, point, settings, measures=False)
        return point.examined, point.given.indices, point.evaluations

    steps = len(settings.scheme.offsets)
    usual = usual_size(start.analytic, exactness)
    subject = Subject(start.tree.blocks, start.analytic, start.numerics, exactness, steps, judge, usual)
    screen = Screen(subject, settings.tolerance_for(exactness), settings.seed, budget)
    found = screen.run()
    return _Screened(start, found, budget.spent, screen.step, screen.crossed)


def _second_point(
    function: Function, gradient: Callable[[Any], Any], first: Start, like: Numerics, settings: Settings
) -> tuple[_Screened, Displaced] | None:
    """Screen at another point; None if there is none, or the gradient does not depend on its argument."""
    other = another_point(function, gradient, first.tree, first.analytic, settings.seed)
    if other is None:
        return None
    current().place([other.tree.values])
    numerics = function.numerics(other.tree, other.base, settings, like=like)
    start = Start(other.tree, other.base, other.analytic, numerics)
    screened = _screen(function, gradient, start, settings, time.perf_counter())
    return screened, Displaced(tuple(each.block for each in screened.found), other.size, screened.evaluations)
