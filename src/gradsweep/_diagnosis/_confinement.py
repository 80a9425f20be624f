"""What is said of one block by where it is wrong: nowhere finite, zero, one number, or wrong in few rows, columns or entries."""

import math
from collections.abc import Sequence

import numpy as np

from gradsweep._diagnosis._evidence import Claim, Evidence, Mask, Seen, Value, certainty, number, positions
from gradsweep._diagnosis._proportions import factor_on
from gradsweep._types import Array
from gradsweep._verdict import norm

# Share of rows up to which an error is confined to them, and share of the entries in these that must then differ.
_FEW, _FILLED = 0.7, 0.5

# Share of the entries up to which an error is confined to single ones, and their number that is always single.
_FEW_ENTRIES, _SINGLE = 0.25, 3

# An error is confined if the gap elsewhere is below this share of it.
_ELSEWHERE = 1e-3

# Below this share of the numerical gradient the other one is zero but for rounding.
_ZERO = 1e-12

# Share of the sum of sizes from which on a sum is not what is left of terms that cancel.
_NOT_CANCELLED = 1e-3

# Up to which range a gradient is one number, from which range on another one is not, and how near a sum that number is.
_ONE_NUMBER, _SEVERAL_NUMBERS, _OF_THE_SUM = 1e-12, 1e-3, 1e-5

# Examples from which on a number that is so many times a sum is one that was summed over them.
_LEAST_EXAMPLES = 3

# Integers up to which a factor of one entry is more than chance.
_PLAIN = 10

# Relative difference from which on two calls give two gradients.
_TWO_GRADIENTS = 1e-6


def say_not_finite(seen: Seen) -> Claim | None:
    """The gradient, or the numerical one, has values that are not finite."""
    for side, values in (("gradient", seen.analytic), ("numerical gradient", seen.numeric)):
        flat = values.reshape(-1)
        bad = np.flatnonzero(~np.isfinite(flat))
        if not len(bad):
            continue
        places = bad if side == "gradient" or seen.places is None else seen.places[bad]
        tested = side == "gradient"
        first = tuple(int(i) for i in np.unravel_index(int(places[0]), seen.shape))
        kinds = " and ".join(name for name, found in (("NaN", np.isnan(flat).any()), ("infinity", np.isinf(flat).any())) if found)
        return Claim(
            kind="non_finite",
            blocks=(seen.name,),
            what=f"the {side} is {kinds} in {len(bad):,} of {len(flat):,} entries, the first {list(first)}",
            cause="0/0, log(0) or an overflow in the backward pass"
            if tested
            else "parameters at the end of where the cost is finite",
            advice="Look for divisions, logarithms and exponentials of what may be 0 or large."
            if tested
            else "Move the parameters.",
            confidence=1.0 if tested else 0.9,
            key=side,
            evidence={"side": side, "not_finite": len(bad), "first": first},
        )
    return None


def say_accumulated(seen: Seen) -> Claim | None:
    """A second call gives another gradient than the first."""
    if seen.again is None:
        return None
    first, second = seen.analytic.reshape(-1), seen.again.reshape(-1)
    more, size = second - first, norm(first)
    if not norm(more) > _TWO_GRADIENTS * max(size, norm(second)):  # nor if one of them is not finite
        return None
    known = more if seen.places is None else more[seen.places]
    adds = _is_once_more(known, seen.numeric.reshape(-1)) or _is_once_more(more, first)
    ratio = norm(second) / size if size else math.inf
    return Claim(
        kind="accumulated",
        blocks=(seen.name,),
        what=f"a second call gives {number(ratio)} times the gradient of the first"
        if adds
        else "a second call gives another gradient than the first",
        cause="a buffer that is added to and not cleared" if adds else "state that one call leaves to the next",
        advice="Clear the gradient at the start of each backward pass, and keep no state between calls.",
        confidence=0.98 if adds else 0.9,
        key=adds,
        evidence={"ratio": ratio},
    )


def _is_once_more(more: Array, gradient: Array) -> bool:
    """Whether what a second call gives beyond the first is a gradient; of one that is zero, or not known, nothing can be said."""
    size = norm(gradient)
    return size > 0.0 and norm(more - gradient) <= _TWO_GRADIENTS * size


def say_at_kinks(seen: Seen) -> Claim:
    """The gradient is beside what is accepted at a kink."""
    return Claim(
        kind="kink",
        blocks=(seen.name,),
        what="entries lie at kinks of the cost, and the gradient there is not what the one-sided slopes allow",
        cause="another convention for the slope at a kink, which is neither right nor wrong there",
        advice="Move the parameters off the kinks (biases that are not 0).",
        confidence=0.8,
    )


def fit_zero(block: Evidence) -> Claim | None:
    """The gradient is zero in all entries."""
    if not block.is_zero(_ZERO):
        return None
    entries, largest = int(np.count_nonzero(block.differs)), float(np.max(np.abs(block.numeric)))
    return Claim(
        kind="zero",
        blocks=(block.name,),
        what=f"the gradient is zero, where the numerical one is up to {number(largest * block.scale)}",
        cause="a gradient that is never computed, or a path that is cut",
        advice="Look whether this gradient is assigned at all, and under which name.",
        confidence=1.0 if entries > 1 else 0.9,
        misfit=0.0,
        entries=entries,
    )


def fit_one_number(block: Evidence) -> Claim | None:
    """A bias whose gradient is one number, broadcast."""
    if not block.is_vector or block.size < 2:
        return None
    numeric, analytic = block.numeric, block.analytic
    value, total = float(analytic[0]), float(numeric.sum())
    if np.ptp(analytic) > _ONE_NUMBER * abs(value) or np.ptp(numeric) <= _SEVERAL_NUMBERS * np.max(np.abs(numeric)):
        return None
    which, confidence = "", 0.85
    if block.seen.places is None:
        matches = {"the sum over all of them": total, "the mean over all of them": total / len(numeric)}
        named = [words for words, wanted in matches.items() if abs(value - wanted) <= _OF_THE_SUM * abs(wanted)]
        if named:
            which, confidence = f", {named[0]} of the numerical one", 0.97
        elif not _is_multiple(value, total):
            return None
    return _sum_claim(
        block,
        f"the gradient is {number(value * block.scale)} in every entry{which}",
        "a sum over all axes that is broadcast over the units",
        confidence,
    )


def _is_multiple(value: float, total: float) -> bool:
    """Whether a number is an integer, as of examples, times a sum, or a sum over one; of few, any number may be."""
    if not value or not total:
        return False
    size = max(abs(value / total), abs(total / value))
    return round(size) >= _LEAST_EXAMPLES and abs(size - round(size)) <= _OF_THE_SUM * size


def fit_sum(block: Evidence) -> Claim | None:
    """A bias whose gradient has the right sum and wrong entries."""
    if not block.is_vector or block.seen.places is not None:
        return None
    numeric, analytic = block.numeric, block.analytic
    total = float(numeric.sum())
    sizes = float(np.abs(numeric).sum())
    right = abs(float(analytic.sum()) - total) <= block.may_be_left() * 1e-2 * sizes
    if len(numeric) > 2 and right and abs(total) > _NOT_CANCELLED * sizes:
        what = "the entries of the gradient are wrong, and their sum is right"
        return _sum_claim(block, what, "a sum over the wrong axis, of the units in place of the examples", 0.85)
    return None


def _sum_claim(block: Evidence, what: str, cause: str, confidence: float) -> Claim:
    return Claim(
        kind="bias_sum",
        blocks=(block.name,),
        what=what,
        cause=cause,
        advice="Look at the axis of the sum that forms this gradient.",
        confidence=confidence,
        entries=int(np.count_nonzero(block.differs)),
        evidence={"sum": float(block.analytic.sum()) * block.scale, "numeric_sum": float(block.numeric.sum()) * block.scale},
    )


def fit_confined(block: Evidence) -> Claim | None:
    """The error is confined to few rows, columns or entries; and what it is there."""
    differ = block.all_differ
    known = block.all_signal | differ
    if not differ.any() or not _is_crisp(block):
        return None
    best: tuple[float, int, list[int], int] | None = None
    for axis in range(len(block.shape)) if not block.is_vector else ():
        seen, wrong = block.count_along(known, axis), block.count_along(differ, axis)
        affected = np.flatnonzero(wrong)
        alive = int(np.count_nonzero(seen))
        share = len(affected) / alive
        filled = wrong[affected].sum() / seen[affected].sum()
        if share <= _FEW and filled >= _FILLED and wrong.sum() > 1 and (best is None or share < best[0]):
            best = (share, axis, affected.tolist(), alive)
    if best is not None:
        return _slices_claim(block, *best)
    return _entries_claim(block, int(np.count_nonzero(differ)), int(np.count_nonzero(known)))


def _is_crisp(block: Evidence) -> bool:
    """Whether what agrees does so by far more than what differs."""
    inside, outside = block.gap[block.differs], block.gap[~block.differs]
    rounding = norm(block.noise[~block.differs])
    return norm(outside) <= _ELSEWHERE * float(np.median(np.abs(inside))) * math.sqrt(len(outside)) + rounding


def _slices_claim(block: Evidence, share: float, axis: int, affected: Sequence[int], alive: int) -> Claim:
    kind, noun = _slice_words(block.shape, axis)
    there, numbers = _what_there(block, block.differs)
    verb = "is" if len(affected) == 1 else "are"
    where = f"{positions(noun, affected)} of {block.shape[axis]} {verb} wrong{there}"
    return Claim(
        kind=kind,
        blocks=(block.name,),
        what=f"only {where}, the others are right{block.looked_at(known=True)}",
        cause=_cause_of_slices(affected, block.shape[axis]),
        advice=f"Look at what is done for these {'slices' if kind == 'entries' else kind} alone.",
        confidence=(1.0 - 0.4 * share) * certainty(0.0, alive, 1),
        key=(kind, tuple(affected)),
        misfit=0.0,
        entries=int(np.count_nonzero(block.differs)),
        evidence={kind: tuple(affected), "share": share, **numbers},
    )


def _slice_words(shape: tuple[int, ...], axis: int) -> tuple[str, str]:
    """Kind, and the noun, of what an index along an axis picks."""
    kind = "rows" if axis == 0 else "columns" if axis == len(shape) - 1 else "entries"
    if len(shape) == 2:
        return kind, kind[:-1]
    return kind, f"index (axis {axis})"


def _cause_of_slices(affected: Sequence[int], extent: int) -> str:
    if len(affected) == 1 and affected[0] in (0, extent - 1):
        return "a slice or a loop that ends one too early or too late"
    return "an assignment where a sum was meant, as for a token that occurs twice, or a mask or slice that picks these alone"


def _entries_claim(block: Evidence, count: int, alive: int) -> Claim | None:
    if count >= alive or not (count <= _SINGLE or count <= _FEW_ENTRIES * alive or (block.is_vector and count <= _FEW * alive)):
        return None
    if count > 0.5 * alive and not block.is_vector:
        return None
    places = block.places[block.differs]
    there, numbers = _what_there(block, block.differs)
    verb = "is" if count == 1 else "are"
    if block.is_vector:
        indices = places.tolist()
        words = positions("entry", indices).replace("entrys", "entries")
    else:
        shown = [str([int(i) for i in np.unravel_index(int(place), block.shape)]) for place in places[:5]]
        more = f" and {count - 5:,} more" if count > 5 else ""
        words = f"{'entry' if count == 1 else 'entries'} {', '.join(shown)}{more}"
        indices = [tuple(int(i) for i in np.unravel_index(int(place), block.shape)) for place in places[:5]]
    return Claim(
        kind="entries",
        blocks=(block.name,),
        what=f"only {words} of {block.size:,} {verb} wrong{there}, the others are right{block.looked_at(known=True)}",
        cause="an entry that is overwritten, or left out by a slice, a mask or an index",
        advice="Look at what is done for these entries alone.",
        confidence=(1.0 - 0.4 * count / alive) * certainty(0.0, alive - count, 0),
        key=("entries", tuple(places[:64].tolist())),
        misfit=0.0,
        entries=count,
        evidence={"indices": tuple(indices), **numbers},
    )


def _what_there(block: Evidence, on: Mask) -> tuple[str, dict[str, Value]]:
    """Whether the gradient is zero where it is wrong, or a constant times the numerical one."""
    analytic: Array = block.analytic[on]
    if not analytic.any():
        return ", where the gradient is zero", {"factor": 0.0}
    fitted = factor_on(block, on)
    if fitted is None or (len(analytic) == 1 and not _is_plain(fitted[0])):
        return "", {}
    return f", {number(fitted[0])} times the numerical one there", {"factor": fitted[0]}


def _is_plain(factor: float) -> bool:
    """Whether a factor is one that a single entry may well have: a small integer or its inverse, of either sign."""
    size = max(abs(factor), 1.0 / abs(factor))
    return abs(size - round(size)) <= 1e-7 * size and round(size) <= _PLAIN
