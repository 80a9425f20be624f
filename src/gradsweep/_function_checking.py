"""The road from a function of parameters and its gradient to a report."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradsweep._cancellation import describe_slight
from gradsweep._checkpoint import digest, versions
from gradsweep._costs._functions import Function
from gradsweep._costs._numerics import PLAIN, Indices, Numerics
from gradsweep._diagnosis._evidence import Finding
from gradsweep._differences._departure import Departure
from gradsweep._findings import Sighting, explain_function
from gradsweep._function_points import (
    Given,
    Point,
    another_point,
    examine_or_depart,
    gradient_at,
    of_types,
    with_rounding,
)
from gradsweep._function_screening import Start, screen_function
from gradsweep._monitor import SECOND_POINT, SWEEP, current
from gradsweep._parameters import precision
from gradsweep._planning import LONGEST, MODES, describe_seconds
from gradsweep._report import Displaced, Report
from gradsweep._schemes import COMPLEX
from gradsweep._second_point import overall_interrupted, overall_verdict
from gradsweep._selection import ScatteredGradient, chosen_entries, describe_unselected, is_selected, sampled_entries
from gradsweep._settings import Settings
from gradsweep._trees import Tree, read_tree
from gradsweep._types import Array
from gradsweep._verdict import Block, Status, Tally, interrupted

# Entries of the largest blocks by which the time that a sweep takes is predicted, and of how many blocks.
_TIMED, _TIMED_BLOCKS = 64, 4

# Entries of each block that are looked at at the second point.
_AT_SECOND_POINT = 64


def check_function(function: Function, params: Any, gradient: Any, settings: Settings, begun: float) -> Report:
    """Check the gradient of a function.

    Parameters
    ----------
    function : Function
        The cost, and how it is evaluated.
    params : array, number, or nesting of dicts, lists and tuples
        The point.
    gradient : the same structure, or callable
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
        Parameters, gradient or what the cost does are not as they must be.
    OracleError
        A fast path disagrees with the plain function.
    """
    tree = read_tree(params)
    base = function.settle_in(tree)
    analytic = gradient_at(function, gradient, tree)
    monitor = current()
    if monitor.journal is not None:
        monitor.identify(
            _key(tree, base, settings), lambda: digest(zip((leaf.name for leaf in tree.blocks), analytic, strict=True))
        )
    try:
        numerics = function.numerics(tree, base, settings)
        mode, because = monitor.decide(
            "mode",
            lambda: _choose_mode(function, tree, numerics, settings),
            lambda found: found[0] in MODES and isinstance(found[1], str),
        )
    except KeyboardInterrupt:
        monitor.abandon()
        return _nothing_compared(function, tree, analytic, settings, begun)
    if mode == "screen":
        start = Start(tree, base, analytic, numerics, because)
        return screen_function(function, gradient, start, replace(settings, mode=mode), begun)
    chosen = chosen_entries(settings.select, tree.blocks, settings.seed)
    monitor.plan(_stages(chosen, second=callable(gradient)))
    try:
        with monitor.phase(SWEEP):
            point = examine_or_depart(function, base, numerics, Given(tree, analytic, chosen), settings)
    except KeyboardInterrupt:  # while noise was measured, say
        monitor.abandon()
        return _nothing_compared(function, tree, analytic, settings, begun)
    point = with_rounding(function, gradient, point, settings, measures=not monitor.interrupted)
    numerics, reason = point.numerics, function.reason  # at the second point there may be another one
    elsewhere = None
    if callable(gradient) and not monitor.interrupted:
        try:
            with monitor.phase(SECOND_POINT):
                elsewhere = _second_point(function, gradient, point, settings)
        except KeyboardInterrupt:
            monitor.abandon()  # what was found at the first point is kept
    findings = _explain(function, gradient, point) or (_explain(function, gradient, elsewhere[0]) if elsewhere else ())
    displaced = elsewhere[1] if elsewhere else None
    slight: list[str] = []
    if not callable(gradient):
        gaps = [each.tally.gap for each in point.examined]
        slight = describe_slight([each.block for each in point.examined], gaps, point.given.analytic, point.exactness)
    function.leave(tree, base)
    total = Tally.of_all(examined.tally for examined in point.examined)
    blocks = tuple(examined.block for examined in point.examined if is_selected(settings.select, examined.block.name))
    verdict = overall_verdict(blocks, displaced)
    if monitor.interrupted:
        blocks = interrupted(blocks)
        verdict, displaced = overall_interrupted(blocks, displaced)
    return Report(
        verdict=verdict,
        difference=total.difference,
        tolerance=point.tolerance,
        precision=point.exactness.epsilon,
        blocks=blocks,
        numeric=_numeric(point, settings),
        analytic=_by_name(tree, point.given.analytic),
        mode=mode,
        reason=reason,
        predicted=math.nan,
        scheme=settings.scheme.name,
        step=numerics.step,
        evaluations=point.evaluations + (displaced.evaluations if displaced else 0),
        seconds=time.perf_counter() - begun,
        crossed=point.slopes.crossed,
        kinks=sum(block.kinks for block in blocks),
        evaluated_by=numerics.kind,
        displaced=displaced,
        findings=findings,
        notes=(*numerics.notes, *function.notes, *slight, *describe_unselected(settings.select, tree.blocks)),
        interrupted=monitor.interrupted,
        _plain=function.around(tree, base, settings.scheme),
    )


def _nothing_compared(
    function: Function, tree: Tree, analytic: Sequence[NDArray[Any]], settings: Settings, begun: float
) -> Report:
    """The report of a check that was interrupted before there was a quotient."""
    mode = "sweep" if settings.mode == "auto" else settings.mode
    exactness = precision(analytic).or_less(of_types(tree))
    leaves = [leaf for leaf in tree.blocks if is_selected(settings.select, leaf.name)]
    looked_at = 0 if mode == "screen" else None
    blocks = tuple(
        Block(leaf.name, leaf.shape, 0, Status.UNFINISHED, 0.0, 0.0, 0, 0, 0, (), looked_at=looked_at) for leaf in leaves
    )
    none = [np.empty(0, dtype=np.intp) for _ in leaves]
    return Report(
        verdict="inconclusive",
        difference=0.0,
        tolerance=settings.tolerance_for(exactness),
        precision=exactness.epsilon,
        blocks=blocks,
        numeric={} if mode == "screen" else ScatteredGradient(leaves, none, [np.empty(0) for _ in leaves]),
        analytic={} if mode == "screen" else _by_name(tree, analytic),
        mode=mode,
        reason=function.reason,
        predicted=math.nan,
        scheme=settings.scheme.name,
        step=math.nan,
        evaluations=current().measured,
        seconds=time.perf_counter() - begun,
        crossed=0,
        kinks=0,
        evaluated_by=function.kind(tree, settings),
        displaced=None,
        notes=tuple(function.notes),
        interrupted=True,
    )


def _explain(function: Function, gradient: Any, point: Point) -> tuple[Finding, ...]:
    """What is likely to be wrong at a point."""
    given = point.given
    leaves = given.tree.blocks
    sightings = [Sighting.of(*each) for each in zip(point.examined, given.indices, leaves, strict=True)]
    return explain_function(function, gradient, given.tree, given.analytic, sightings, point.numerics, point.tolerance)


def differentiate_function(function: Function, params: Any, settings: Settings) -> Any:
    """Numeric gradient of a function, in the structure of its parameters."""
    tree = read_tree(params)
    base = function.settle_in(tree)
    numerics = function.numerics(tree, base, settings)
    everything = np.arange(len(tree.values), dtype=np.intp)
    try:
        values = numerics.quotients(everything).values
    except Departure as departure:
        values = function.numerics_by_values(tree, base, settings, departure).quotients(everything).values
    function.leave(tree, base)
    return tree.build(tree.arrays(values))


def _second_point(
    function: Function, gradient: Callable[[Any], Any], first: Point, settings: Settings
) -> tuple[Point, Displaced] | None:
    """Entries of each block at another point; None if there is none, or the gradient does not depend on its argument."""
    other = another_point(function, gradient, first.given.tree, first.given.analytic, settings.seed)
    if other is None:
        return None
    current().place([other.tree.values])
    chosen = [
        sampled_entries(leaf, _AT_SECOND_POINT if is_selected(settings.select, leaf.name) else 0, other.generator)
        for leaf in other.tree.blocks
    ]
    numerics = function.numerics(other.tree, other.base, settings, like=first.numerics)
    given = Given(other.tree, other.analytic, chosen)
    point = examine_or_depart(function, other.base, numerics, given, settings, measures=False)
    point = with_rounding(function, gradient, point, settings, measures=False)
    blocks = tuple(examined.block for examined in point.examined if is_selected(settings.select, examined.block.name))
    return point, Displaced(blocks, other.size, point.evaluations)


def _choose_mode(function: Function, tree: Tree, numerics: Numerics, settings: Settings) -> tuple[str, str]:
    """The mode, and why it is a screen, if it is that because a sweep would take too long."""
    if settings.mode != "auto":
        return settings.mode, ""
    if settings.select is not None or settings.scheme is COMPLEX:
        return "sweep", ""
    seconds = len(tree.values) * len(settings.scheme.offsets) * function.seconds
    if seconds >= LONGEST and numerics.kind != PLAIN:
        seconds = _predicted(numerics, tree)
    if seconds < LONGEST:
        return "sweep", ""
    return "screen", f"a sweep would take some {describe_seconds(seconds)} (mode='sweep')"


def _predicted(numerics: Numerics, tree: Tree) -> float:
    """Seconds that quotients of all parameters would take, from some of the largest blocks."""
    seconds, entries = 0.0, 0
    for leaf in sorted(tree.blocks, key=lambda each: -each.size)[:_TIMED_BLOCKS]:
        some = np.arange(leaf.start, min(leaf.stop, leaf.start + _TIMED), dtype=np.intp)
        for _ in range(2):  # what is done once only is done at the first time
            begun = time.perf_counter()
            numerics.quotients(some)
            spent = time.perf_counter() - begun
        seconds += spent * leaf.size / max(len(some), 1)
        entries += leaf.size
    return seconds * len(tree.values) / entries


def _key(tree: Tree, base: float, settings: Settings) -> dict[str, str]:
    """What the numeric side of a check depends on, as far as it can be told."""
    blocks = zip((leaf.name for leaf in tree.blocks), tree.typed_arrays(), strict=True)
    parameters = digest((name, np.asarray(array)) for name, array in blocks)
    # To the digits that are the same at each call, whatever threads do.
    return {"parameters": parameters, "cost at the parameters": f"{base:.12g}", **settings.described(), **versions()}


def _stages(chosen: Sequence[Indices], *, second: bool) -> dict[str, int]:
    """The phases of a check, and how many parameters are looked at in each."""
    sizes = [len(indices) for indices in chosen]
    stages = {SWEEP: sum(sizes)}
    if second:
        stages[SECOND_POINT] = sum(min(size, _AT_SECOND_POINT) for size in sizes)
    return stages


def _numeric(point: Point, settings: Settings) -> Mapping[str, Array]:
    """The numeric gradient by the names of the blocks; NaN where it is not known."""
    known = zip(point.given.tree.blocks, point.given.indices, point.examined, strict=True)
    own = [each for each in known if is_selected(settings.select, each[0].name)]
    leaves, indices = [leaf for leaf, _, _ in own], [chosen for _, chosen, _ in own]
    if all(len(chosen) == leaf.size for leaf, chosen in zip(leaves, indices, strict=True)) and len(own) == len(point.examined):
        return _by_name(point.given.tree, [examined.numeric for _, _, examined in own])
    return ScatteredGradient(leaves, indices, [examined.numeric for _, _, examined in own])


def _by_name(tree: Tree, values: Sequence[NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
    """Gradients by the names of the blocks, read-only."""
    result = {}
    for leaf, block in zip(tree.blocks, values, strict=True):
        shaped = block.reshape(leaf.shape)
        shaped.flags.writeable = False
        result[leaf.name] = shaped
    return result
