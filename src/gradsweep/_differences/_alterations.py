"""Mistakes of backward passes, at one operation of the forward pass, as changes that are passed on otherwise than they should.

A backward pass is the transpose of what changes go through. So whoever leaves out the slope of an activation computes, to the
last digit, what comes of changes that go through that activation as if its slope were 1. Which operation it is, and which
mistake, is found by trying.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any, TypeAlias

import numpy as np

from gradsweep._differences._departure import describe, is_users
from gradsweep._differences._varying import Operand, Varying, base_of, real
from gradsweep._types import Array

#: Where an operation stands in the user's code: its function, and the instruction of each frame, the innermost first. In a loop
#: it is the same one at each turn.
Place: TypeAlias = tuple[str, tuple[tuple[str, str, int], ...]]


def _logistic(z: Array) -> Array:
    return 0.5 * (1.0 + np.tanh(0.5 * z))


#: What is taken for the slope of a function of elements v = f(u), by what is said of it: functions of u and v.
SLOPES: Mapping[str, Callable[[Array, Array], Any]] = {
    "is left out": lambda u, v: np.ones_like(v),
    "is taken as 1 - u², with what goes in in the place of what comes out": lambda u, v: 1.0 - u**2,
    "is taken as that of tanh, 1 - v²": lambda u, v: 1.0 - v**2,
    "is taken as that of a sigmoid, v(1 - v)": lambda u, v: v * (1.0 - v),
    "is taken as u(1 - u), with what goes in in the place of what comes out": lambda u, v: u * (1.0 - u),
    "is taken as that of tanh, at what comes out": lambda u, v: 1.0 - np.tanh(v) ** 2,
    "is taken as that of tanh, at what goes in": lambda u, v: 1.0 - np.tanh(u) ** 2,
    "is taken as that of a sigmoid, at what comes out": lambda u, v: _logistic(v) * _logistic(-v),
    "is taken as that of a sigmoid, at what goes in": lambda u, v: _logistic(u) * _logistic(-u),
    "is taken as that of a relu": lambda u, v: (u > 0.0) * 1.0,
    "is taken as that of a relu, by what comes out": lambda u, v: (v > 0.0) * 1.0,
    "is taken as a sigmoid of what goes in": lambda u, v: _logistic(u),
    "is taken as a sigmoid of what comes out": lambda u, v: _logistic(v),
    "is taken as v itself": lambda u, v: v,
}

#: What is passed on of an operation's changes: nothing, or not those of its first or its second operand; or through a square
#: matrix that is not transposed on the way back.
DETACHED, WITHOUT_FIRST, WITHOUT_SECOND, TRANSPOSED = (
    "is not passed back through",
    "is passed back through its second operand alone",
    "is passed back through its first operand alone",
    "multiplies with a matrix where its transpose is meant",
)


# Functions that are no ufuncs, and yet compute each entry from those at the same place.
_BY_ELEMENTS = frozenset({"where", "clip", "select", "nan_to_num", "sinc", "heaviside"})


@dataclass(frozen=True)
class Site:
    """An operation of the forward pass.

    Attributes
    ----------
    place : tuple
        Where it stands.
    name : str
        Of NumPy's function.
    where : str
        File, line, function and text of the line.
    mistakes : tuple of str
        What can be wrong with its way back.
    """

    place: Place
    name: str
    where: str
    mistakes: tuple[str, ...]

    @property
    def is_elementwise(self) -> bool:
        """Whether it is part of a function of elements of one array, as of an activation."""
        return any(mistake in SLOPES for mistake in self.mistakes)


class Watch:
    """Sees every operation of a run, and alters one of them.

    Parameters
    ----------
    place : tuple, optional
        Which; none by default.
    mistake : str
        Which mistake it makes.

    Attributes
    ----------
    sites : dict of tuple to Site
        The operations that were met, by their places.
    """

    def __init__(self, place: Place | None = None, mistake: str = "") -> None:
        self._place, self._mistake = place, mistake
        self.sites: dict[Place, Site] = {}
        # Of what was computed element by element from one array: that array. Kept with its key, whose identity it is known by.
        self._roots: dict[int, tuple[Varying, Varying]] = {}

    def __call__(
        self, function: Any, operands: Sequence[Any], result: Varying, again: Callable[[Sequence[Operand]], Any] | None
    ) -> Varying:
        """The result of an operation, with the changes that are passed on.

        Parameters
        ----------
        function : callable
            Of NumPy.
        operands : sequence
            What it was given.
        result : Varying
            What came of it.
        again : callable, optional
            Calls it with other operands, where it is a function of elements or a product.

        Returns
        -------
        Varying
            The same, or altered.
        """
        name = getattr(function, "__name__", "a function")
        changing = [operand for operand in operands if isinstance(operand, Varying)]
        by_elements = name in _BY_ELEMENTS or (again is not None and name != "matmul")
        root = self._root(changing, result) if by_elements else None
        frames = _users_frames()
        place = (name, tuple((frame.f_code.co_filename, frame.f_code.co_qualname, frame.f_lasti) for frame in frames))
        if place not in self.sites:
            where = describe(frames[0] if frames else None)
            self.sites[place] = Site(place, name, where, _possible(name, operands, root, again))
        if place == self._place:
            result = _altered(self._mistake, operands, result, root, again)
        if root is not None:
            self._roots[id(result)] = result, root
        return result

    def _root(self, changing: Sequence[Varying], result: Varying) -> Varying | None:
        """The array from which the result is computed element by element, if it is one only."""
        roots = [self._roots.get(id(operand), (operand, operand))[1] for operand in changing]
        if roots and all(root is roots[0] for root in roots) and roots[0].shape == result.shape:
            return roots[0]
        return None


def _possible(name: str, operands: Sequence[Any], root: Varying | None, again: Any) -> tuple[str, ...]:
    """What can be wrong with an operation's way back."""
    mistakes: list[str] = [DETACHED]
    changing = sum(isinstance(operand, Varying) for operand in operands)
    if again is not None and len(operands) == 2 and changing == 2:
        mistakes += [WITHOUT_FIRST, WITHOUT_SECOND]
    if name == "matmul" and again is not None and any(_is_square(operand) for operand in operands):
        mistakes.append(TRANSPOSED)
    if root is not None:
        mistakes += SLOPES
    return tuple(mistakes)


def _is_square(operand: Any) -> bool:
    base = base_of(operand)
    return base.ndim == 2 and base.shape[0] == base.shape[1] > 1


def _altered(
    mistake: str, operands: Sequence[Any], result: Varying, root: Varying | None, again: Callable[[Sequence[Operand]], Any] | None
) -> Varying:
    """The result with other changes; the same where the mistake cannot be made, as in another turn of a loop."""
    lanes = result.lanes
    if mistake == DETACHED:
        return Varying(result.base, np.zeros((*result.shape, lanes.count)), lanes)
    if mistake in SLOPES:
        if root is None:
            return result
        u, v = real(root.base), real(result.base)
        slope = np.broadcast_to(SLOPES[mistake](u, v), result.shape)
        return Varying(result.base, slope[..., np.newaxis] * root.dense, lanes)
    if again is None or len(operands) != 2:
        return result
    first, second = operands
    if mistake == TRANSPOSED:
        return _transposed(first, second, result)
    # Of a small step the terms of second order, in which both take part, are beyond the last digit.
    other = again((base_of(first), second) if mistake == WITHOUT_FIRST else (first, base_of(second)))
    return Varying(result.base, other.dense, lanes) if isinstance(other, Varying) else result


def _transposed(first: Any, second: Any, result: Varying) -> Varying:
    """A product whose square factor is transposed for the changes of the other one."""
    change = np.zeros((*result.shape, result.lanes.count))
    one, other = base_of(first), base_of(second)
    if one.ndim != 2 or other.ndim != 2:
        return result
    if isinstance(second, Varying):
        change += np.einsum("ij,jkl->ikl", one.T if _is_square(first) else one, second.dense)
    if isinstance(first, Varying):
        change += np.einsum("ijl,jk->ikl", first.dense, other.T if _is_square(second) and not _is_square(first) else other)
    return Varying(result.base, change, result.lanes)


def _users_frames() -> list[FrameType]:
    """The frames of the user's function, the innermost first, out to where it was called from."""
    frames: list[FrameType] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_name != "propagate":
        if is_users(frame.f_code):
            frames.append(frame)
        frame = frame.f_back
    return frames
