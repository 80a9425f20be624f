"""What perturbations that go through a function together share: how many they are, and what they met on the way."""

import functools
import math
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradsweep._differences._cast import Cast
from gradsweep._differences._departure import describe, users_frame
from gradsweep._types import Array

#: Whose side is taken where two values are equal: both branches of a kink, and the mean of their slopes.
Ties = Literal["first", "second", "mean"]


# Random numbers from which the jitter of smaller arrays may be taken, beginning anywhere among them: to draw each of them anew
# takes most of the time of a run.
_DRAWN = 2**18


class Number(NamedTuple):
    """A plain number that was made of a value that changes.

    Attributes
    ----------
    number : float
        The number.
    value : Varying
        What it was made of.
    what, where : str
        By what, as ``"float"``, and the place.
    """

    number: float
    value: Any
    what: str
    where: str


class Lanes:
    """Perturbations that go through a function together.

    Parameters
    ----------
    count : int
        How many there are.
    decide : bool, default: False
        Whether comparisons and selections follow the perturbed values in the place of the base's. Of a single lane only.
    ties : str, optional
        If given, values whose order a lane would change count as equal, nothing crosses, and all lanes take this side: what a
        backward pass gives that has one convention for every kink.
    jitter : float, default: 0.0
        If positive, every intermediate result, value and change, is multiplied by 1 ± up to this much, at random: the spread of
        the results, scaled down to the rounding of the numbers, is what rounding may do to them.
    exactness : float, default: 1.0
        Rounding of float64 over that of the type whose rounding is simulated: what is computed here by subtracting values is
        rounded as float64, however coarse the gradient is.
    seed : int, default: 0
        Of that jitter.
    pooled : bool, default: False
        Whether small arrays may take their jitter from numbers that were drawn before, for all of them.
    infinite : bool, default: False
        Whether values may be infinite, as the logarithm of a mask is: their changes are then 0, which takes a look at every
        value.

    Attributes
    ----------
    crossings : array of int of shape (count,)
        How many decisions each lane would have taken otherwise than the base values did.
    largest, total : int
        Numbers that the largest change so far has in each lane, and all of them together.
    subtracts : bool
        Whether some change was computed by subtracting values, with the rounding that this has.
    cast : Cast, optional
        The least precise type to which a value that changes was rounded; None if all of it was float64.
    finished : bool
        Whether the function has been run. Arrays that it has kept somewhere are from then on what their values are.

    References
    ----------
    D. S. Parker, "Monte Carlo arithmetic: exploiting randomness in floating-point arithmetic", UCLA CSD-970002, 1997.
    """

    def __init__(
        self,
        count: int,
        *,
        decide: bool = False,
        ties: Ties | None = None,
        jitter: float = 0.0,
        exactness: float = 1.0,
        seed: int = 0,
        pooled: bool = False,
        infinite: bool = False,
    ) -> None:
        if decide and count != 1:
            raise ValueError(f"only a single lane can decide, not {count}")
        self.count, self.decide, self.ties, self.jitter = count, decide, ties, jitter
        self.crossings: NDArray[np.int64] = np.zeros(count, dtype=np.int64)
        self.infinite = infinite
        self.largest, self.total, self.subtracts, self.finished = 0, 0, False, False
        self.cast: Cast | None = None
        #: Plain numbers that were made of values that change, which whoever made them may return.
        self.numbers: list[Number] = []
        #: Sees every operation, and may alter what is passed on; see `_alterations`.
        self.watch: Any = None
        #: Writes every operation down; a `Recording`.
        self.recording: Any = None
        #: Products that a compiled method was given half of, and which must have been asked for again by the end.
        self.halves: list[Any] = []
        self._exactness, self._seed, self._pooled = exactness, seed, pooled
        self._generator = np.random.default_rng(seed) if jitter else None

    def cross(self, where: NDArray[np.bool_]) -> None:
        """Count decisions that lanes would have taken otherwise: array of shape (…, count)."""
        if self.ties is None and not self.decide:
            self.crossings += np.count_nonzero(where.reshape(-1, self.count), axis=0)

    def note_number(self, number: "Number") -> None:
        """Remember a plain number that was made of a value that changes.

        A function may end with ``return float(cost)``. If what it returns is this very object, its change is known all the same.
        """
        self.numbers.append(number)

    def note_cast(self, kind: np.dtype[Any]) -> None:
        """Remember that a value that changes is rounded to a type, if it is less precise than all before."""
        if self.cast is None or np.finfo(kind).eps > np.finfo(self.cast.kind).eps:
            self.cast = Cast(kind, describe(users_frame()))

    def blur(self, values: Any) -> Any:
        """Values with the jitter on them; themselves if there is none."""
        if not self.jitter:
            return values
        shape = np.shape(values)
        drawn = self._part(shape)
        return values * (1.0 + self._random(shape) if drawn is None else _factors(self._seed, self.jitter)[drawn].reshape(shape))

    def rounding(self, size: Array) -> Array | float:
        """Jitter of changes that are computed by subtracting values of this size."""
        return size * self._exactness * self._random(size.shape) if self.jitter else 0.0

    def slack(self, size: Array) -> Array | float:
        """Jitter of changes whose slope a backward pass may compute from rounded values, with an error of this size."""
        return size * self._random(size.shape) if self.jitter else 0.0

    def _random(self, shape: tuple[int, ...]) -> Array:
        assert self._generator is not None
        drawn = self._part(shape)
        numbers = self._generator.uniform(-1.0, 1.0, shape) if drawn is None else _drawn(self._seed)[drawn].reshape(shape)
        return self.jitter * numbers

    def _part(self, shape: tuple[int, ...]) -> slice | None:
        """Which of the numbers that were drawn before an array takes; None if it takes none of them."""
        assert self._generator is not None
        size = math.prod(shape)
        if not self._pooled or 2 * size > _DRAWN:
            return None
        begin = int(self._generator.integers(_DRAWN - size))
        return slice(begin, begin + size)


@functools.lru_cache(maxsize=8)
def _drawn(seed: int) -> Array:
    """Random numbers between -1 and 1."""
    return np.random.default_rng(seed).uniform(-1.0, 1.0, _DRAWN)


@functools.lru_cache(maxsize=8)
def _factors(seed: int, jitter: float) -> Array:
    """Random factors that are 1 but for the jitter."""
    return 1.0 + jitter * _drawn(seed)
