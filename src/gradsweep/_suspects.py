"""Which operation of the forward pass has a way back with a mistake that explains the gradient under test, found by trying."""

import itertools
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gradsweep._costs._numpy_function import NumPyFunction
from gradsweep._diagnosis._evidence import Finding
from gradsweep._differences._alterations import Place, Site, Trial, Watch
from gradsweep._differences._departure import Departure
from gradsweep._differences._mistakes import LEFT_OUT, REDUCTIONS, Kind, Mistake
from gradsweep._directions import Direction, Region, matrix_shape
from gradsweep._parameters import precision
from gradsweep._suspect_words import said_of
from gradsweep._trees import Leaf, Tree
from gradsweep._types import Array
from gradsweep._verdict import Block, Status

# Directions in each block: an altered gradient must agree with the one under test along all of them.
_DIRECTIONS = 2

# Blocks that have directions of their own, of those that are wrong and of those that are right; all others share theirs.
_OWN = 12

# Rounding of the gradient under test, in units of that of one of its numbers.
_ROUNDINGS = 64.0

# How much more than what may differ by rounding each wrong block is off by, and by which product of such numbers the gradient is
# told from all that are tried: below, one of them may be met by chance.
_TELLING, _TOLD = 1e3, 1e6

# Seconds that are spent at most, and after the first mistake was found that explains the gradient.
_LONGEST, _LONGEST_AFTER = 2.0, 0.3

# Numbers in all whole directions, at most, of which some are drawn at a time.
_MOST = 2**26

# Times that an operation is met for a mistake to be tried at each of them alone.
_VISITS = 6

# A gradient that is explained to eight digits in each block, right ones included.
_CONFIDENCE = 0.97


class Decided(Protocol):
    """What is asked of a block that was looked at."""

    @property
    def block(self) -> Block: ...
    @property
    def noise(self) -> Array: ...


@dataclass(frozen=True, eq=False)
class _Evidence:
    """Directions, and what the gradient under test is along them.

    Attributes
    ----------
    tree : Tree
        The parameters.
    groups : tuple of tuple of int
        For each direction the blocks in which it is not 0; for each of them there are some in a row.
    wanted, allowed : arrays of shape (n,)
        Products with the gradient under test, and what other ones may differ from these by.
    """

    tree: Tree
    groups: tuple[tuple[int, ...], ...]
    wanted: Array
    allowed: Array

    @property
    def width(self) -> int:
        """How many directions there are."""
        return len(self.groups)

    def directions(self, start: int, stop: int) -> Array:
        """Some of them: array of shape (stop − start, parameters). All of them may be too many to be held."""
        rows = np.zeros((len(range(self.width)[start:stop]), len(self.tree.values)))
        for row, place in zip(rows, range(start, stop), strict=False):
            for block in self.groups[place]:
                leaf = self.tree.blocks[block]
                row[leaf.start : leaf.stop] = _direction(leaf, block, place % _DIRECTIONS)
        return rows

    def together(self) -> tuple[Array, float, float]:
        """The sum of the first direction of each group, and what is wanted and allowed along that."""
        total = np.zeros(len(self.tree.values))
        for place in range(0, self.width, _DIRECTIONS):
            total += self.directions(place, place + 1)[0]
        first = slice(0, self.width, _DIRECTIONS)
        return total, float(self.wanted[first].sum()), float(self.allowed[first].sum())

    def agrees(self, found: Array) -> bool:
        """Whether another gradient is the same one."""
        return bool((np.abs(found - self.wanted) <= self.allowed).all())

    def telling(self, right: Array, wrong: Sequence[int]) -> bool:
        """Whether each wrong block is off by so much that no other gradient agrees by chance."""
        product = 1.0
        for block in wrong:
            own = [place for place, group in enumerate(self.groups) if group == (block,)]
            with np.errstate(all="ignore"):
                ratios = np.abs(right[own] - self.wanted[own]) / self.allowed[own]
            if not own or not np.max(ratios) >= _TELLING:
                # Of many wrong blocks some share their directions.
                if own:
                    return False
                continue
            product *= float(np.max(ratios))
        return product >= _TOLD


def suspect(
    numerics: NumPyFunction, analytic: Sequence[NDArray[Any]], seen: Sequence[Decided], order: Sequence[str]
) -> tuple[Finding, ...]:
    """Try mistakes at the operations of the forward pass.

    Parameters
    ----------
    numerics : NumPyFunction
        The cost on difference arrays.
    analytic : sequence of array
        The gradient under test.
    seen : sequence of Decided
        What was decided of its blocks, and the rounding that is known of.
    order : sequence of str
        Names of the blocks, from input to loss.

    Returns
    -------
    tuple of Finding
        At most one; none if no single mistake explains all blocks, right ones included, or the function is too large for this.
    """
    wrong = [place for place, each in enumerate(seen) if each.block.status is Status.WRONG]
    gathered = _gather(numerics, analytic, seen, wrong)
    if gathered is None:
        return ()
    survey = Watch()
    try:
        right = _along(numerics, gathered, (), survey)
        evidence = _sized(gathered, right)
        if not evidence.telling(right, wrong):
            return ()
        found = _Search(numerics, evidence, survey).explaining(_trials(survey))
    except Departure:
        return ()
    best = _most_telling(found, survey)
    if best is None:
        return ()
    trial, alike = best
    place = {name: number for number, name in enumerate(order)}
    names = sorted((seen[number].block.name for number in wrong), key=lambda name: -place.get(name, 0))
    message, advice, evidence_of = said_of(trial, survey, alike, names)
    return (
        Finding(
            kind=_kind_of(trial, survey),
            blocks=tuple(names),
            message=message,
            advice=advice,
            confidence=_CONFIDENCE,
            explained=1.0,
            evidence=evidence_of,
        ),
    )


# ---- what is known of the gradient under test --------------------------------------------------------------------------------


def _gather(
    numerics: NumPyFunction, analytic: Sequence[NDArray[Any]], seen: Sequence[Decided], wrong: Sequence[int]
) -> _Evidence | None:
    """Directions in all blocks; None if there are too many numbers in them, or the gradient is not finite."""
    tree = numerics.propagation.tree
    filled = [place for place, leaf in enumerate(tree.blocks) if leaf.size]
    right = [place for place in filled if place not in set(wrong)]
    own = [place for group in ([place for place in filled if place in set(wrong)], right) for place in group[:_OWN]]
    groups = [[place] for place in own] + [[place for place in filled if place not in set(own)]]
    groups = [group for group in groups if group]
    if not groups or len(groups) * _DIRECTIONS * len(tree.values) > _MOST:
        return None
    exactness = max(numerics.exactness, _ROUNDINGS * precision(analytic).or_less(numerics.precision).epsilon)
    tested = [np.asarray(block, dtype=np.float64).reshape(-1) for block in analytic]
    wanted, allowed = [], []
    with np.errstate(over="ignore", invalid="ignore"):
        for group, number in itertools.product(groups, range(_DIRECTIONS)):
            wanted.append(sum(float(_direction(tree.blocks[place], place, number) @ tested[place]) for place in group))
            allowed.append(sum(_slack(tested[place], seen[place].noise, exactness) for place in group))
    if not np.isfinite(wanted).all() or np.isnan(allowed).any():
        return None
    every = tuple(tuple(group) for group in groups for _ in range(_DIRECTIONS))
    return _Evidence(tree, every, np.array(wanted), np.array(allowed))


def _direction(leaf: Leaf, block: int, number: int) -> Array:
    """A direction of unit norm in a block, as a vector."""
    shape = matrix_shape(leaf.shape)
    return Direction(Region(block, (0, shape[0]), (0, shape[1])), shape[1], number, 0).whole(shape).reshape(-1)


def _slack(block: Array, noise: Array, exactness: float) -> float:
    """What a product with a direction may be off by: by the size that such products have, and by rounding that is known of."""
    rounding = float(np.sqrt(np.mean(np.square(noise)))) if noise.size else 0.0
    return exactness * float(np.linalg.norm(block)) / math.sqrt(block.size) + rounding


def _sized(evidence: _Evidence, right: Array) -> _Evidence:
    """The same, where a gradient under test of zeros may differ by rounding of the right one."""
    least = np.finfo(np.float64).eps * np.nan_to_num(np.abs(right))
    return replace(evidence, allowed=np.maximum(evidence.allowed, least))


def _along(numerics: NumPyFunction, evidence: _Evidence, trials: Sequence[Trial], survey: Watch) -> Array:
    """Quotients along all directions, of one mistake or of none: array of shape (n,)."""
    found = []
    for start in range(0, evidence.width, numerics.room):
        piece = evidence.directions(start, min(start + numerics.room, evidence.width))
        found.append(numerics.altered(piece, Watch(trials, len(piece), survey) if trials else survey))
    return np.concatenate(found)


# ---- which mistakes there are ------------------------------------------------------------------------------------------------

# Of mistakes that explain a gradient alike, the first one is named.
_RANKS = (
    Kind.FACTOR,
    Kind.TRANSPOSED,
    Kind.CARRIED,
    Kind.DETACHED,
    Kind.SCALED,
    Kind.SLOPE,
    Kind.WITHOUT,
    Kind.OVERWRITTEN,
    Kind.OTHER,
)


def _rank(trial: Trial) -> tuple[float, int]:
    """The likeliest first: a factor or a slope that is left out, then by kinds; of each what is done wrong at each visit."""
    mistake = trial.mistake
    left_out = _is_left_out(mistake)
    rank = 0.5 if left_out else float(_RANKS.index(mistake.kind))
    return rank, 0 if trial.visit is None else 1


def _is_left_out(mistake: Mistake) -> bool:
    return mistake.kind is Kind.SLOPE and isinstance(mistake.detail, tuple) and mistake.detail[0] == LEFT_OUT


def _trials(survey: Watch) -> list[Trial]:
    """All that is tried, the likeliest first."""
    # Of what is computed in several steps, as a sigmoid is, the last one has all of it.
    sites = list(reversed(survey.sites.values()))
    trials: dict[Trial, None] = {}
    helpers: dict[Any, list[Site]] = {}
    for site in sites:
        helpers.setdefault(site.innermost, []).append(site)
    for group in helpers.values():
        trials.update(
            (Trial(mistake, tuple(site.place for site in group if mistake in site.mistakes)), None)
            for mistake in _mistakes(group)
        )
    for site in sites:
        trials.update((Trial(mistake, (site.place,)), None) for mistake in site.mistakes)
        if 1 < len(site.results) <= _VISITS:
            trials.update(
                (Trial(mistake, (site.place,), visit), None)
                for mistake in site.mistakes
                for visit in range(len(site.results))
                if mistake.kind is not Kind.SLOPE or _is_left_out(mistake)
            )
    alike: dict[Any, list[Site]] = {}
    for site in sites:
        alike.setdefault(site.recipe or site.name, []).append(site)
    for group in alike.values():
        trials.update(
            (Trial(mistake, tuple(site.place for site in group if mistake in site.mistakes)), None)
            for mistake in _mistakes(group)
            if mistake.kind not in (Kind.DETACHED, Kind.FACTOR)
        )
    trials.update((trial, None) for trial in _statistics(sites))
    carried = survey.carried()
    trials.update([(carried, None)] if carried else [])
    return sorted(trials, key=_rank)


def _mistakes(sites: Iterable[Site]) -> list[Mistake]:
    return list(dict.fromkeys(mistake for site in sites for mistake in site.mistakes))


def _statistics(sites: Sequence[Site]) -> list[Trial]:
    """Several statistics of a function taken for constants at once: all of them, or those of one shape.

    The mean and the variance of a norm are of one shape, and so are the largest number and the sum of a softmax.
    """
    groups: dict[Any, dict[Place, None]] = {}
    for site in sites:
        shapes = {value.shape for value in site.results if value.size > 1}
        if site.name in REDUCTIONS and site.place[1] and shapes:
            function = site.place[1][0][0]
            for key in ((function, None), (function, frozenset(shapes))):
                groups.setdefault(key, {})[site.place] = None
    found = dict.fromkeys(tuple(places) for places in groups.values() if len({place[1][0] for place in places}) > 1)
    return [Trial(Mistake(Kind.DETACHED), places) for places in sorted(found, key=len)]


# ---- trying them -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Search:
    """Tries mistakes, first many of them along one direction, then those that are left along all of them."""

    numerics: NumPyFunction
    evidence: _Evidence
    survey: Watch

    def explaining(self, trials: Sequence[Trial]) -> list[Trial]:
        """Those that give the gradient under test, as far as time allows."""
        evidence = self.evidence
        together, wanted, allowed = evidence.together()
        found: list[Trial] = []
        begun = time.perf_counter()
        end = begun + _LONGEST
        room = self.numerics.room
        start = 0
        while start < len(trials):
            now = time.perf_counter()
            chunk = trials[start : start + room]
            quotients = self.numerics.altered(np.tile(together, (len(chunk), 1)), Watch(chunk, 1, self.survey))
            likely = [trial for trial, value in zip(chunk, quotients, strict=True) if abs(value - wanted) <= allowed]
            for trial in likely:
                if evidence.agrees(_along(self.numerics, evidence, (trial,), self.survey)):
                    found.append(trial)
                if time.perf_counter() > end:
                    return found
            start += room
            if found:
                end = min(end, time.perf_counter() + _LONGEST_AFTER)
            later = time.perf_counter()
            if later + (later - now) > end:
                return found
        return found


# ---- which of them is named --------------------------------------------------------------------------------------------------


def _most_telling(found: Sequence[Trial], survey: Watch) -> tuple[Trial, list[Site]] | None:
    """The mistake that is named of those that explain the gradient alike, and other places where it would, too."""
    if not found:
        return None
    detached = {(trial.places, trial.visit) for trial in found if trial.mistake.kind is Kind.DETACHED}
    # Where nothing that is passed on counts, as that of a sum of what is centred, no slope is wrong.
    left = [trial for trial in found if trial.mistake.kind is Kind.DETACHED or (trial.places, trial.visit) not in detached]

    def is_statistic(trial: Trial) -> bool:
        return all(place[0] in REDUCTIONS for place in trial.places)

    left.sort(
        key=lambda trial: (_rank(trial), len(trial.places), trial.mistake.kind is Kind.DETACHED and not is_statistic(trial))
    )
    best = left[0]
    alike: dict[Place, Site] = {}
    for trial in left[1:]:
        if trial.mistake == best.mistake and trial.visit is None and len(trial.places) == len(best.places) == 1:
            alike[trial.places[0]] = survey.sites[trial.places[0]]
    return best, list(alike.values())


# Functions that something small is added to the argument of, so that it is not zero; and by which that is done.
_GUARDED, _GUARDS = frozenset({"log", "log2", "log10", "sqrt", "divide", "reciprocal"}), frozenset({"add", "maximum", "clip"})


def _kind_of(trial: Trial, survey: Watch) -> str:
    """What the mistake is called: that of a slope, in a function of elements of one array; of a guard; or of what is above."""
    mistake, sites = trial.mistake, [survey.sites[place] for place in trial.places]
    if mistake.kind is Kind.OTHER and sites[0].name in _GUARDED and isinstance(mistake.detail, tuple):
        return "guard" if _GUARDS.intersection(sites[0].recipe[-2:-1]) else "activation_derivative"
    of_slopes = mistake.kind in (Kind.SLOPE, Kind.DETACHED, Kind.SCALED) and all(site.is_part for site in sites)
    return "activation_derivative" if of_slopes or mistake.kind is Kind.OVERWRITTEN else "from_above"
