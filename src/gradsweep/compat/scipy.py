"""The gradient checkers of ``scipy.optimize``. SciPy itself is not needed.

A script that imports them from SciPy runs with the import changed; what it prints has more digits, since changes of the function
are propagated, not subtracted, where it is written with NumPy.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradsweep._checking import numerical_gradient
from gradsweep._errors import InputError
from gradsweep._parameters import read_numbers
from gradsweep._types import Array


def check_grad(
    func: Callable[..., Any],
    grad: Callable[..., Any],
    x0: Any,
    *args: Any,
    epsilon: Any = None,
    direction: str = "all",
    rng: Any = None,
    seed: Any = None,
) -> float:
    """How far a gradient is from difference quotients of its function.

    Parameters
    ----------
    func : callable
        ``func(x0, *args)`` returns a number, or a vector.
    grad : callable
        ``grad(x0, *args)`` returns its gradient, or its Jacobian.
    x0 : array_like of shape (n,)
        The point.
    *args
        What else both are given.
    epsilon : float or array_like of shape (n,), optional
        Step of forward differences. By default, unlike SciPy's, central differences with a step that suits the function.
    direction : str, default: "all"
        ``"all"``, or ``"random"``: the slope along one random direction alone.
    rng : int or Generator, optional
        Of that direction, as of ``np.random.default_rng``.
    seed : int, Generator or RandomState, optional
        The same under SciPy's older name, by which a number is one of ``RandomState``.

    Returns
    -------
    float
        Square root of the sum of the squared differences.

    Raises
    ------
    InputError
        An argument is of no use; a ValueError.

    Examples
    --------
    >>> import numpy as np
    >>> from gradsweep.compat.scipy import check_grad
    >>> def func(x):
    ...     return x[0] ** 2 - 0.5 * x[1] ** 3
    >>> def grad(x):
    ...     return [2 * x[0], -1.5 * x[1] ** 2]
    >>> check_grad(func, grad, [1.5, -1.5]) < 1e-12
    True
    >>> check_grad(func, grad, [1.5, -1.5], direction="random", rng=np.random.default_rng()) < 1e-12
    True
    """
    point = _read_point(x0, "x0")
    analytic = read_numbers(grad(point.copy(), *args), "what grad returns").astype(np.float64)
    if direction == "all":
        numeric = approx_fprime(point, func, epsilon, *args)
        if analytic.size != numeric.size:
            raise InputError(f"grad returns an array of shape {analytic.shape}, but {numeric.shape} is needed")
        return float(np.sqrt(np.sum(np.square(analytic.reshape(numeric.shape) - numeric))))
    if direction != "random":
        raise InputError(f"direction: {direction!r} is not known; known are 'all' and 'random'")
    if epsilon is not None and np.ndim(epsilon):
        raise InputError("epsilon must be a number where direction is 'random'")
    if analytic.shape[-1:] != point.shape:
        raise InputError(f"grad returns an array of shape {analytic.shape}, but one of length {len(point)} is needed")
    vector = _generator(rng, seed).standard_normal(point.shape)
    slope = approx_fprime(np.zeros(1), lambda t: func(point + t[0] * vector, *args), epsilon)
    return float(np.sqrt(np.sum(np.square(analytic @ vector - np.squeeze(slope, axis=-1)))))


def approx_fprime(xk: Any, f: Callable[..., Any], epsilon: Any = None, *args: Any) -> Array:
    """Difference quotients of a function of a vector.

    Parameters
    ----------
    xk : array_like of shape (n,)
        The point.
    f : callable
        ``f(xk, *args)`` returns a number, or a vector of shape (m,).
    epsilon : float or array_like of shape (n,), optional
        Step of forward differences, one for each entry or for all. By default, unlike SciPy's, central differences with a step
        that suits the function.
    *args
        What else it is given.

    Returns
    -------
    array of shape (n,), or (m, n)
        The gradient, or of a vector the Jacobian: a gradient for each of its entries, each with evaluations of its own.

    Raises
    ------
    InputError
        An argument is of no use; a ValueError.

    Examples
    --------
    >>> import numpy as np
    >>> from gradsweep.compat.scipy import approx_fprime
    >>> def func(x, c0, c1):
    ...     return c0 * x[0] ** 2 + c1 * x[1] ** 2
    >>> eps = np.sqrt(np.finfo(float).eps)
    >>> approx_fprime(np.ones(2), func, [eps, np.sqrt(200) * eps], 1, 200)
    array([  2.00000001, 400.00004215])
    >>> approx_fprime(np.ones(2), func, None, 1, 200)
    array([  2., 400.])
    >>> approx_fprime(np.ones(2), lambda x: np.array([x[0] * x[1], x[0] ** 3]))
    array([[1., 1.],
           [3., 0.]])
    """
    point = _read_point(xk, "xk")
    steps = _read_steps(epsilon, point)
    shape = np.shape(f(point.copy(), *args))
    if len(shape) > 1:
        raise InputError(f"f returns an array of shape {shape}, but a number or a vector is needed")
    if not shape:
        return _quotients(_Entry(f, args, ()), point, steps)
    rows = [_quotients(_Entry(f, args, (row,)), point, steps) for row in range(shape[0])]
    return np.array(rows).reshape(shape[0], len(point)) if shape != (1,) else rows[0]


class _Entry:
    """An entry of what a function returns, as a function of its first argument.

    Parameters
    ----------
    function : callable
        The user's.
    args : tuple
        Its other arguments.
    place : tuple of int
        Which entry.
    """

    def __init__(self, function: Callable[..., Any], args: Sequence[Any], place: tuple[int, ...]) -> None:
        self._function, self._args, self._place = function, args, place

    def __call__(self, x: Any) -> Any:
        """The entry."""
        result = self._function(x, *self._args)
        return result[self._place[0]] if self._place else result


def _quotients(function: _Entry, point: Array, steps: Array | None) -> Array:
    """Quotients of a function that returns a number; forward ones where steps are given."""
    if steps is None:
        return np.asarray(numerical_gradient(function, point))
    result = np.empty(len(point))
    for step in np.unique(steps):
        own = steps == step
        result[own] = np.asarray(numerical_gradient(function, point, scheme="forward", step=float(step)))[own]
    return result


def _read_point(x: Any, argument: str) -> Array:
    point = np.atleast_1d(read_numbers(x, argument)).astype(np.float64)
    if point.ndim != 1:
        raise InputError(f"{argument} has shape {point.shape}, but a vector is needed")
    return point


def _read_steps(epsilon: Any, point: Array) -> Array | None:
    """A step for each entry; None where there is none."""
    if epsilon is None:
        return None
    steps = read_numbers(epsilon, "epsilon").astype(np.float64)
    if steps.shape not in ((), (1,), point.shape) or not (steps > 0.0).all():
        raise InputError(f"epsilon must be a positive number, or {len(point)} of them, not {epsilon!r}")
    return np.broadcast_to(steps, point.shape)


def _generator(rng: Any, seed: Any) -> Any:
    """What draws the direction: as SciPy reads its two arguments, of which the older one draws from another stream."""
    if rng is not None and seed is not None:
        raise InputError("rng and seed are two names of one argument; give one of them")
    given = seed if rng is None else rng
    if isinstance(given, np.random.Generator | np.random.RandomState):
        return given
    return np.random.default_rng(rng) if seed is None else np.random.RandomState(seed)
