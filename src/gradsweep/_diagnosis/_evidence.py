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

    Examples
    --------
    A layer of tanh units with weight decay, and the first finding of what is wrong with a backward pass:

    >>> import numpy as np
    >>> import gradsweep
    >>> rng = np.random.default_rng(0)
    >>> X, Y = rng.normal(size=(8, 3)), rng.normal(size=(8, 3))
    >>> params = {"W": rng.normal(size=(3, 3)), "b": rng.normal(size=3)}
    >>> def cost(p):
    ...     h = np.tanh(X @ p["W"] + p["b"])
    ...     return np.mean((h - Y) ** 2) + 0.05 * np.sum(p["W"] ** 2)
    >>> def backward(p):
    ...     dW = X.T @ dz(p) + 0.1 * p["W"]
    ...     return {"W": dW, "b": dz(p).sum(axis=0)}
    >>> def dz(p):
    ...     h = np.tanh(X @ p["W"] + p["b"])
    ...     return 2 * (h - Y) / Y.size * (1 - h**2)
    >>> gradsweep.check(cost, params, backward).findings
    ()
    >>> def first(gradient, cost=cost, params=params):
    ...     finding = gradsweep.check(cost, params, gradient).findings[0]
    ...     print(f"[{finding.kind}] {finding.message}")

    Each kind in turn. The derivative of a square without its 2:

    >>> first(lambda p: {name: each / 2 for name, each in backward(p).items()})
    [factor] b and W: the gradient is 0.5 times the numerical one: consistent with a missing 2, as from the derivative of a
    square, or a half that is too many

    A mean in the place of a sum over the examples:

    >>> first(lambda p: backward(p) | {"b": dz(p).mean(axis=0)})
    [bias_sum] b: the gradient is 0.125 times the numerical one: consistent with a mean over 8 examples where a sum was meant,
    for weights are right

    Factors of a product in the wrong order:

    >>> first(lambda p: backward(p) | {"W": dz(p).T @ X + 0.1 * p["W"].T})
    [transposed] W: the gradient is the transpose of the numerical one: consistent with a transpose that is missing, or one
    too many

    Columns of the inputs from right to left:

    >>> first(lambda p: backward(p) | {"W": backward(p)["W"][::-1]})
    [permuted] W: the gradient is the numerical one with axis 0 turned round: consistent with a kernel, or a sequence, that is
    turned round once too often or not at all

    The penalty is in the cost alone:

    >>> first(lambda p: backward(p) | {"W": X.T @ dz(p)})
    [missing_term] W: the gradient less the numerical one is -0.1 times the parameter: consistent with weight decay of λ = 0.1
    that is missing, or one of half of it that has the wrong sign

    A gradient that is never assigned:

    >>> first(lambda p: backward(p) | {"b": np.zeros(3)})
    [zero] b: the gradient is zero, where the numerical one is up to 0.23...: consistent with a gradient that is never
    computed, or a path that is cut

    A loop that begins at 1, one that ends too early, and an entry that something overwrites:

    >>> def rows(p):
    ...     dW = np.zeros((3, 3))
    ...     for i in range(1, 3):
    ...         dW[i] = X[:, i] @ dz(p) + 0.1 * p["W"][i]
    ...     return backward(p) | {"W": dW}
    >>> first(rows)
    [rows] W: only row 0 of 3 is wrong, where the gradient is zero, the others are right: consistent with a slice or a loop
    that ends one too early or too late
    >>> def columns(p):
    ...     dW = np.zeros((3, 3))
    ...     for j in range(2):
    ...         dW[:, j] = X.T @ dz(p)[:, j] + 0.1 * p["W"][:, j]
    ...     return backward(p) | {"W": dW}
    >>> first(columns)
    [columns] W: only column 2 of 3 is wrong, where the gradient is zero, the others are right: consistent with a slice or a
    loop that ends one too early or too late
    >>> def entries(p):
    ...     dW = backward(p)["W"]
    ...     dW[1, 2] = dW[1, 1]
    ...     return backward(p) | {"W": dW}
    >>> first(entries)
    [entries] W: only entry [1, 2] of 9 is wrong, the others are right: consistent with an entry that is overwritten, or left
    out by a slice, a mask or an index

    The slope of tanh left out. Its line is named, since changes were propagated through it:

    >>> def no_slope(p):
    ...     dh = 2 * (np.tanh(X @ p["W"] + p["b"]) - Y) / Y.size
    ...     return {"W": X.T @ dh + 0.1 * p["W"], "b": dh.sum(axis=0)}
    >>> first(no_slope)
    [activation_derivative] b and W: on the way back the slope of np.tanh is left out (..., line 2, in cost: h = np.tanh(X @
    p["W"] + p["b"])): consistent with that mistake alone, in all blocks

    A wrong derivative of the loss, which no simple pattern explains:

    >>> def absolute(p):
    ...     h = np.tanh(X @ p["W"] + p["b"])
    ...     dz = 2 * np.abs(h - Y) / Y.size * (1 - h**2)
    ...     return {"W": X.T @ dz + 0.1 * p["W"], "b": dz.sum(axis=0)}
    >>> first(absolute)
    [from_above] b and W: gradients are wrong from the loss on, with no simple pattern: consistent with a mistake where the
    backward pass begins, or on the way to b

    A buffer that is never cleared:

    >>> buffer = {"W": np.zeros((3, 3)), "b": np.zeros(3)}
    >>> def accumulating(p):
    ...     for name, each in backward(p).items():
    ...         buffer[name] += each
    ...     return buffer
    >>> first(accumulating)
    [accumulated] b and W: a second call gives ... times the gradient of the first: consistent with a buffer that is added to
    and not cleared

    A backward pass whose results were in half precision once:

    >>> first(lambda p: {name: each.astype(np.float16).astype(float) for name, each in backward(p).items()})
    [precision] b and W: the gradient is off by ...e-04 of its size, as float16 rounds, and its values have no more than 11
    binary digits: consistent with a backward pass, or part of it, in float16

    A small constant in the cost alone:

    >>> def normalised(p):
    ...     return p["w"][0] / (1e-5 + np.sqrt(np.sum(p["w"] ** 2)))
    >>> def without_constant(p):
    ...     size = np.sqrt(np.sum(p["w"] ** 2))
    ...     return {"w": np.eye(4)[0] / size - p["w"] * p["w"][0] / size**3}
    >>> first(without_constant, normalised, {"w": np.array([1.0, 2.0, -1.0, 3.0])})
    [guard] w: the gradient is off by 2.7e-06 of its size in 4 entries: consistent with a constant as in log(p + 1e-7) or a
    norm's ε, or another form of a function, on one side alone

    Another slope at a kink than the cost has on either side, beside something else that is wrong:

    >>> def relu(p):
    ...     return np.sum(np.maximum(p["w"], 0.0)) + p["b"] ** 2
    >>> def beside(p):
    ...     return {"w": np.where(p["w"] == 0.0, -0.5, p["w"] > 0.0), "b": 3 * p["b"]}
    >>> first(beside, relu, {"w": np.array([0.0, 1.0, -1.0]), "b": 1.0})
    [kink] w: entries lie at kinks of the cost, and the gradient there is not what the one-sided slopes allow: consistent with
    another convention for the slope at a kink, which is neither right nor wrong there

    A NaN, as of 0·log 0:

    >>> first(lambda p: backward(p) | {"b": np.array([np.nan, 0.0, 0.0])})
    [non_finite] b: the gradient is NaN in 1 of 3 entries, the first [0]: consistent with 0/0, log(0) or an overflow in the
    backward pass
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
        largest = max(float(np.max(np.abs(each), initial=0.0)) for each in (known, numeric))
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
        return max(float(np.max(self._tested)), -float(np.min(self._tested))) <= share * self.scale

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
    return f"{noun if len(indices) == 1 else noun + 's'} {listed(ranges(indices))}"


def number(value: float) -> str:
    """A number with as many digits as say something: 209.0, 0.01, 7.3e-07.

    Examples
    --------
    >>> number(209.0), number(0.0100000001), number(-1.0)
    ('209.0', '0.01', '-1.0')
    """
    text = f"{value:.6g}"
    return text if any(mark in text for mark in ".en") else f"{text}.0"
