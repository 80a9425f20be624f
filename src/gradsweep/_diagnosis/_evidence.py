"""What a diagnosis is made of: blocks as they were seen, what is claimed of them, and the words for names and numbers."""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradsweep._samples import Places
from gradsweep._types import Array
from gradsweep._verdict import Status, norm

Mask = NDArray[np.bool_]
Value = float | int | str | tuple[object, ...]

# Entries of one block that are fitted at most: beyond, a fit gains nothing and takes seconds.
_FITTED = 2**16

# What is left of a gap by a fit that explains it, relative to the gap: rounding; and where tolerance and noise allow for more.
_ROUNDING, _MOST_LEFT = 1e-5, 0.03

# The same with fewer entries than these.
_CLOSE, _MANY = 1e-9, 4

# Names, and indices, that are listed before the rest is counted.
_LISTED = 5


@dataclass(frozen=True)
class Finding:
    """Which mistake the evidence is consistent with.

    Attributes
    ----------
    kind : str
        ``"factor"``, ``"transposed"``, ``"permuted"``, ``"missing_term"``, ``"zero"``, ``"rows"``, ``"columns"``, ``"entries"``,
        ``"bias_sum"``, ``"activation_derivative"``, ``"from_above"``, ``"accumulated"``, ``"precision"``, ``"guard"``,
        ``"kink"`` or ``"non_finite"``.
    blocks : tuple of str
        The blocks that it is about, the one nearest the loss first.
    message : str
        One sentence: what, where, by how much, and what that is consistent with.
    advice : str
        What to look at.
    confidence : float
        From 0 to 1: by how much of the gap is explained, by how many entries, and with how many parameters.
    explained : float
        Share of ‖g − ĝ‖² that is explained, 1 if all but rounding; NaN where nothing was fitted.
    evidence : mapping of str to number, str or tuple
        The numbers behind the message; read-only.
    """

    kind: str
    blocks: tuple[str, ...]
    message: str
    advice: str
    confidence: float
    explained: float
    evidence: Mapping[str, Value]

    def __post_init__(self) -> None:
        """Make the evidence read-only, a copy of what was given."""
        object.__setattr__(self, "evidence", MappingProxyType(dict(self.evidence)))

    def __reduce__(self) -> tuple[Any, ...]:
        """Without the proxy, which cannot be pickled: a report may come from another process."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return type(self), tuple((values | {"evidence": dict(self.evidence)}).values())


# eq=False: arrays do not compare to a single truth value.
@dataclass(frozen=True, eq=False)
class Seen:
    """A block as it was seen: all of its entries, or a sample.

    Attributes
    ----------
    name : str
        Its name.
    shape : tuple of int
        Its shape.
    status : Status
        What is known of it.
    parameter : array of shape `shape`
        The parameter.
    analytic : array of shape `shape`
        The gradient under test, which is always known whole.
    places : array of int of shape (n,), optional
        C-order indices of the entries whose numeric value is known; None: all of them.
    numeric : array of shape (n,), or `shape`
        The numeric gradient there.
    noise : array of shape (n,), or `shape`
        Rounding that the two may carry.
    examples : int, optional
        Number of examples, if it is known.
    again : array of shape `shape`, optional
        The gradient under test at a second call; None if it was not called twice.
    """

    name: str
    shape: tuple[int, ...]
    status: Status
    parameter: Array
    analytic: Array
    places: Places | None
    numeric: Array
    noise: Array
    examples: int | None = None
    again: Array | None = None


@dataclass(frozen=True)
class Claim:
    """What is said of one block; claims of one kind and key are one finding.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    blocks : tuple of str
        The blocks.
    what : str
        What was seen, as it stands after their names.
    cause : str
        What that is consistent with.
    advice : str
        What to look at.
    confidence : float
        From 0 to 1.
    key : hashable
        What the claims of one finding have in common.
    misfit : float
        Norm of what is left of the gap over the norm of the gap; NaN where nothing was fitted.
    entries : int
        How many were fitted.
    evidence : mapping
        The numbers.
    """

    kind: str
    blocks: tuple[str, ...]
    what: str
    cause: str
    advice: str
    confidence: float
    key: Hashable = None
    misfit: float = math.nan
    entries: int = 0
    evidence: Mapping[str, Value] = field(default_factory=dict)

    def finding(self) -> Finding:
        """The finding that this claim makes by itself."""
        fitted = not math.isnan(self.misfit)
        numbers: dict[str, Value] = dict(self.evidence)
        if self.entries:
            numbers["entries"] = self.entries
        if fitted:
            numbers["residual"] = self.misfit
        return Finding(
            kind=self.kind,
            blocks=self.blocks,
            message=f"{listed(self.blocks)}: {self.what}: consistent with {self.cause}",
            advice=self.advice,
            confidence=self.confidence,
            explained=max(0.0, 1.0 - self.misfit**2) if fitted else math.nan,
            evidence=numbers,
        )


class Evidence:
    """A failing block, ready to be fitted: both gradients at the entries that are known, and which of them differ.

    Numbers are divided by the largest of both gradients, so that their squares neither overflow nor vanish.

    Attributes
    ----------
    seen : Seen
        The block.
    places : array of int of shape (n,)
        Entries that are fitted, ascending: those that are known, of a large block some of them.
    analytic, numeric, noise, parameter : array of shape (n,)
        The two gradients, their rounding, and the parameter, each at those entries.
    differs : array of bool of shape (n,)
        Where the two gradients differ by more than tolerance and noise.
    signal : array of bool of shape (n,)
        Where either is above the noise.
    scale : float
        By what both gradients were divided.
    """

    def __init__(self, seen: Seen, tolerance: float) -> None:
        self.seen, self.tolerance = seen, tolerance
        self.shape, self.name = seen.shape, seen.name
        self.size = math.prod(seen.shape)
        self._tested, self._parameters = seen.analytic.reshape(-1), seen.parameter.reshape(-1)
        numeric, noise = seen.numeric.reshape(-1), seen.noise.reshape(-1)
        known = self._tested if seen.places is None else self._tested[seen.places]
        largest = max((float(np.max(np.abs(each), initial=0.0)) for each in (known, numeric)), default=0.0)
        self.scale = largest if 0.0 < largest < math.inf else 1.0
        self.all_differ = _differs(known, numeric, noise, tolerance)
        self.known = len(numeric)
        chosen = _chosen(self.all_differ)
        self.places = chosen if seen.places is None else seen.places[chosen]
        self.analytic, self.numeric, self.noise = (each[chosen] / self.scale for each in (known, numeric, noise))
        self.parameter = self._parameters[self.places]
        self.differs = self.all_differ[chosen]
        self.signal: Mask = np.maximum(np.abs(self.analytic), np.abs(self.numeric)) > self.noise

    @property
    def all_signal(self) -> Mask:
        """Where either gradient is above the noise, for all entries that are known."""
        known = self._tested if self.seen.places is None else self._tested[self.seen.places]
        mask: Mask = np.maximum(np.abs(known), np.abs(self.seen.numeric.reshape(-1))) > self.seen.noise.reshape(-1)
        return mask

    @cached_property
    def gap(self) -> Array:
        """Gradient under test less the numeric one, both divided by `scale`."""
        return self.analytic - self.numeric

    @cached_property
    def relative_gap(self) -> float:
        """Norm of the gap over that of the numeric gradient, infinite if that is 0."""
        size = norm(self.numeric)
        return norm(self.gap) / size if size else math.inf

    @property
    def is_vector(self) -> bool:
        """Whether it has the form of a bias: no more than one extent is above 1."""
        return self.size == max(self.shape, default=1)

    def tested(self, places: Places) -> Array:
        """The gradient under test at any entries, known whole."""
        return np.asarray(self._tested[places] / self.scale)

    def parameter_at(self, places: Places) -> Array:
        """The parameter at any entries."""
        return np.asarray(self._parameters[places])

    def is_zero(self, share: float) -> bool:
        """Whether the gradient under test is zero in all entries, but for so small a share of the largest number in the block."""
        # Not of the absolute values, which would be as large an array again.
        most, least = float(np.max(self._tested, initial=0.0)), float(np.min(self._tested, initial=0.0))
        return max(most, -least) <= share * self.scale

    def misfit(self, residual: Array, on: Mask | Places | slice = slice(None)) -> float:
        """Norm of what a fit leaves of the gap, relative to the gap, in the entries that were fitted."""
        size = norm(self.gap[on])
        return float(norm(residual) / size) if size else math.inf

    def may_be_left(self, on: Mask | Places | slice = slice(None)) -> float:
        """Up to which misfit a fit is exact: rounding, or what tolerance and noise allow."""
        size = norm(self.gap[on])
        sides = norm(self.analytic[on]) + norm(self.numeric[on])
        allowed = 2.0 * (self.tolerance * sides + norm(self.noise[on])) / size if size else 0.0
        # Of few numbers something simple is true by chance to five digits, if enough is tried.
        rounding = _ROUNDING if len(self.gap[on]) >= _MANY else _CLOSE
        return max(rounding, min(allowed, _MOST_LEFT))

    def along(self, axis: int) -> Places:
        """Index along an axis of each fitted entry."""
        return np.asarray(np.unravel_index(self.places, self.shape)[axis])

    def count_along(self, mask: Mask, axis: int) -> NDArray[np.int64]:
        """How many of all known entries have a property, for each index along an axis."""
        if self.seen.places is None:
            others = tuple(other for other in range(len(self.shape)) if other != axis)
            return np.asarray(np.count_nonzero(mask.reshape(self.shape), axis=others))
        index = np.unravel_index(self.seen.places[mask], self.shape)[axis]
        return np.bincount(index, minlength=self.shape[axis])

    def looked_at(self, *, known: bool = False) -> str:
        """How many entries were fitted, or are known, in parentheses; nothing if that is all of them."""
        count = self.known if known else len(self.places)
        return "" if count == self.size else f" (in {count:,} entries looked at, of {self.size:,})"


def _differs(analytic: Array, numeric: Array, noise: Array, tolerance: float) -> Mask:
    """Where the two differ by more than tolerance and noise; a NaN does."""
    with np.errstate(all="ignore"):
        allowed = tolerance * (np.abs(analytic) + np.abs(numeric)) + noise
        gap = np.abs(analytic - numeric)
        differs: Mask = ~((gap <= allowed) & (gap < np.inf))
    return differs


def _chosen(differs: Mask) -> Places:
    """Entries that are fitted: all, or of many some that differ and some at random."""
    if len(differs) <= _FITTED:
        return np.arange(len(differs))
    generator = np.random.default_rng(0)
    wrong = np.flatnonzero(differs)
    if len(wrong) > _FITTED // 2:
        wrong = wrong[generator.integers(len(wrong), size=_FITTED // 2)]
    return np.union1d(wrong, generator.integers(len(differs), size=_FITTED // 2))


def certainty(misfit: float, entries: int, parameters: int) -> float:
    """How sure a fit may make: that so many entries agree so closely by chance has as many digits as all of them together.

    Parameters
    ----------
    misfit : float
        What is left of the gap, relative to it.
    entries : int
        How many were fitted.
    parameters : int
        How many numbers the fit was free to choose.

    Returns
    -------
    float
        From 0 to 1.
    """
    digits = -math.log10(max(misfit, 1e-12)) if misfit < 1.0 else 0.0
    surprise = max(entries - parameters, 0) * digits
    return float(1.0 - math.pow(10.0, -surprise / 4.0)) * max(0.0, 1.0 - misfit**2)


def listed(names: Sequence[str]) -> str:
    """Names with commas between them; of many the first ones and how many more."""
    shown = list(names) if len(names) <= _LISTED + 1 else [*names[:_LISTED], f"{len(names) - _LISTED} more"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def ranges(indices: Iterable[int]) -> list[str]:
    """Indices in words, those in a row as one range.

    Examples
    --------
    >>> ranges([0, 4, 5, 6, 9])
    ['0', '4 to 6', '9']
    """
    found: list[list[int]] = []
    for index in indices:
        if found and found[-1][1] == index - 1:
            found[-1][1] = index
        else:
            found.append([index, index])
    words: list[str] = []
    for first, last in found:
        words += [str(first)] if first == last else [f"{first} to {last}"] if last > first + 1 else [str(first), str(last)]
    return words


def positions(noun: str, indices: Sequence[int]) -> str:
    """Which rows, columns or entries.

    Examples
    --------
    >>> positions("row", [3]), positions("column", [0, 1, 2])
    ('row 3', 'columns 0 to 2')
    """
    words = ranges(indices)
    shown = words if len(words) <= _LISTED else [*words[:_LISTED], f"{len(words) - _LISTED} more"]
    return f"{noun if len(indices) == 1 else noun + 's'} {listed(shown)}"


def number(value: float) -> str:
    """A number with as many digits as say something: 209.0, 0.01, 7.3e-07.

    Examples
    --------
    >>> number(209.0), number(0.0100000001), number(-1.0)
    ('209.0', '0.01', '-1.0')
    """
    text = f"{value:.6g}"
    return text if any(mark in text for mark in ".en") else f"{text}.0"
