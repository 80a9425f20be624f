"""Difference schemes: which steps are taken, and how the changes they cause combine to a quotient."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gradsweep._errors import InputError

# A step in a parameter changes a pre-activation by ε times an input. Up to this input the default ε is taken as it is;
# beyond it ε shrinks in proportion, so that ε·input stays below 1e-4 and the central scheme's error below some 1e-9.
_LARGEST_INPUT = 1e3


#: Below this the division by ε comes near to overflow.
LEAST_STEP = 1e-250


@dataclass(frozen=True)
class Scheme:
    """A difference quotient: sum of weights[k]·(J(θ + offsets[k]·ε) − J(θ)), over ε.

    Attributes
    ----------
    name : str
        As given to :func:`gradsweep.check`.
    offsets, weights : tuple of float
        Steps in units of ε, and what each change counts.
    order : int
        The error falls as this power of ε.
    default_step : float
        ε for a well-scaled problem.

    Notes
    -----
    A cost of which only values can be had has noise of some eps·|J|, which counts as eps/ε in the quotient. With the truncation
    ε^order that is least, eps^(order/(order + 1)), at an ε of eps^(1/(order + 1)): roots of second, third and fifth degree for
    orders 1, 2 and 4. Difference forms have no such noise, and `default_step` is for them.
    """

    name: str
    offsets: tuple[float, ...]
    weights: tuple[float, ...]
    order: int
    default_step: float

    def steps(self, step: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """What is added to the parameter, a step at a time: array of shape (steps,)."""
        return np.array(self.offsets) * step

    def coefficients(self, step: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """What each change of the cost counts in the quotient: array of shape (steps,)."""
        return np.array(self.weights) / step

    def quotient(self, change: Callable[[float], float], step: float) -> float:
        """Difference quotient of a function of one number.

        Parameters
        ----------
        change : callable
            ``change(d)`` is f(x + d) − f(x), by whatever means.
        step : float
            ε.

        Returns
        -------
        float
            The quotient.

        Examples
        --------
        The example of the post, f(x) = x² at 3, by the difference form d·(2x + d):

        >>> CENTRAL.quotient(lambda d: d * (2 * 3 + d), 1e-2)
        6.0
        """
        # The sum is formed before the division, which is the textbook's order of operations.
        return float(sum(w * change(o * step) for o, w in zip(self.offsets, self.weights, strict=True)) / step)

    def choose_step(self, largest_input: float) -> float:
        """Step that suits the scheme where parameters are multiplied with inputs of this size.

        Parameters
        ----------
        largest_input : float
            Largest absolute value that a parameter is multiplied with.

        Returns
        -------
        float
            ε: `default_step`, or less for inputs beyond a thousand.
        """
        return max(self.default_step * min(1.0, _LARGEST_INPUT / max(largest_input, 1.0)), LEAST_STEP)


#: Formula 1 of the post. Its error is of first order; a difference form has no rounding that forbids a small step,
#: so the default is small enough for the error to stay under the tolerance.
FORWARD = Scheme("forward", offsets=(1.0,), weights=(1.0,), order=1, default_step=1e-13)

#: Formula 2 of the post, at the post's ε.
CENTRAL = Scheme("central", offsets=(1.0, -1.0), weights=(0.5, -0.5), order=2, default_step=1e-7)

#: The right-hand scheme's mirror image: with FORWARD it brackets the slopes at a kink.
BACKWARD = Scheme("backward", offsets=(-1.0,), weights=(-1.0,), order=1, default_step=1e-13)

#: Two two-sided quotients, of which the second takes away what is left of order ε² in the first. Beside CENTRAL it gains where
#: values are noisy, since it allows a larger step.
FIVE_POINT = Scheme(
    "five-point", offsets=(1.0, -1.0, 2.0, -2.0), weights=(2 / 3, -2 / 3, -1 / 12, 1 / 12), order=4, default_step=1e-4
)

#: Im J(θ + iε) / ε: one imaginary step, and no difference at all. It needs a cost that accepts complex parameters and is
#: analytic, and none of what forms quotients of real steps.
COMPLEX = Scheme("complex", offsets=(), weights=(), order=2, default_step=2.0**-66)

_SCHEMES = {scheme.name: scheme for scheme in (FORWARD, CENTRAL, FIVE_POINT, COMPLEX)}


def find_scheme(name: str) -> Scheme:
    """Scheme of this name.

    Parameters
    ----------
    name : str
        ``"forward"``, ``"central"``, ``"five-point"`` or ``"complex"``.

    Returns
    -------
    Scheme
        The scheme.

    Raises
    ------
    InputError
        There is none of this name.
    """
    if not isinstance(name, str) or name not in _SCHEMES:
        raise InputError(f"scheme: {name!r} is not known; known are {known(_SCHEMES)}")
    return _SCHEMES[name]


def known(names: Sequence[str] | dict[str, Scheme]) -> str:
    """Names in quotes, for an error message."""
    return ", ".join(repr(name) for name in names)
