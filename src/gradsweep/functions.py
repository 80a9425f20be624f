"""Costs that are functions, and how they are evaluated: for those that are not simply given to :func:`gradsweep.check`."""

from collections.abc import Callable
from typing import Any

from gradsweep._costs._batched_function import BatchedCost
from gradsweep._costs._kinds import PlainCost
from gradsweep._costs._live import LiveFunction, require_writable
from gradsweep._errors import InputError


def plain(cost: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A cost that is checked by its values alone, never on difference arrays.

    Parameters
    ----------
    cost : callable
        Of the parameters.

    Returns
    -------
    callable
        The same cost, for :func:`gradsweep.check`.

    Notes
    -----
    The difference of two values has the noise of both, so that fewer digits of the gradient can be verified. A function that
    leaves NumPy is checked like this anyway, and the report says where it does.

    Examples
    --------
    >>> import math
    >>> import gradsweep
    >>> report = gradsweep.check(gradsweep.plain(lambda x: math.exp(-x)), 1.0, -math.exp(-1.0))
    >>> report.verdict, report.evaluated_by
    ('pass', 'plain function')
    """
    return PlainCost(_callable(cost, "cost"))


def batched(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A cost that takes many sets of parameters at once.

    Parameters
    ----------
    f : callable
        Of parameters that have one more axis each, the first: a lane for each set, as many in all arrays; a number becomes a
        vector. It returns an array of shape (lanes,), a cost for each lane, which depends on this lane's parameters alone.

    Returns
    -------
    callable
        The cost of a single set of parameters, for :func:`gradsweep.check`, which gives `f` as many lanes as fit into 64 MB.

    Examples
    --------
    >>> import numpy as np
    >>> import gradsweep
    >>> x = np.linspace(0.0, 1.0, 5)
    >>> w = np.ones((2, 1))
    >>> cost = gradsweep.batched(lambda w: np.tanh(w * x).sum(axis=(1, 2)))
    >>> gradient = lambda w: ((1 - np.tanh(w * x) ** 2) * x).sum(axis=1, keepdims=True)
    >>> report = gradsweep.check(cost, w, gradient)
    >>> report.verdict, report.evaluated_by
    ('pass', 'batched function')
    """
    return BatchedCost(_callable(f, "f"))


def in_place(f: Callable[[], Any], params: Any) -> Callable[[Any], Any]:
    """A function of parameters, made of one that reads them inside an object.

    Parameters
    ----------
    f : callable
        Of no argument; reads the live arrays of `params`. A cost, or a gradient.
    params : array, or nesting of dicts, lists and tuples
        The containers that the object holds, as ``model.params``: not a copy of them, though arrays that the object holds
        elsewhere, too, will do in any container.

    Returns
    -------
    callable
        Of parameters in the structure of `params`, for :func:`gradsweep.check`. During a call other arrays stand in the
        containers of `params`, or other values in its arrays. What was there is put back afterwards, also where `f` raises an
        error.

    Raises
    ------
    InputError
        An array is read-only or has no floating type, or a number lies in a tuple.

    Notes
    -----
    On difference arrays, these stand in the containers. If that shows no effect on the cost, because layers hold the arrays
    themselves, values are written into the arrays, and the report says so. The object must compute its cost from what stands in
    them at each call: where it keeps what it has computed for as long as its arrays are the same ones, the cost does not change.

    Examples
    --------
    >>> import numpy as np
    >>> import gradsweep
    >>> class Model:
    ...     def __init__(self):
    ...         self.params = {"w": np.array([0.5, -1.0])}
    ...     def loss(self):
    ...         return np.sum(np.exp(self.params["w"]))
    ...     def backward(self):
    ...         return {"w": np.exp(self.params["w"])}
    >>> model = Model()
    >>> cost = gradsweep.in_place(model.loss, model.params)
    >>> gradient = gradsweep.in_place(model.backward, model.params)
    >>> gradsweep.check(cost, model.params, gradient).ok
    True
    """
    require_writable(params)
    return LiveFunction(_callable(f, "f"), params)


def split(f: Callable[[Any], Any]) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    """Cost and gradient of a function that returns both.

    Parameters
    ----------
    f : callable
        Of the parameters; returns cost and gradient, and perhaps more behind them.

    Returns
    -------
    cost, gradient : callable
        Each of the parameters: what stands first and second in what `f` returns. Each calls it.

    Examples
    --------
    >>> import numpy as np
    >>> import gradsweep
    >>> def loss_and_gradient(w):
    ...     return np.sum(w**3), 3 * w**2
    >>> w = np.array([1.0, 2.0])
    >>> cost, gradient = gradsweep.split(loss_and_gradient)
    >>> gradsweep.check(cost, w, gradient).ok
    True
    """
    return _Part(_callable(f, "f"), 0), _Part(f, 1)


class _Part:
    """One of the things that a function returns; a class, so that it can be pickled wherever the function can.

    Parameters
    ----------
    function : callable
        Of the parameters.
    place : int
        Which.
    """

    def __init__(self, function: Callable[[Any], Any], place: int) -> None:
        self._function, self._place = function, place

    def __call__(self, params: Any) -> Any:
        """What the function returns, this part of it."""
        result = self._function(params)
        if not isinstance(result, tuple | list) or len(result) < 2:
            raise InputError(
                f"f returns {type(result).__name__}, but gradsweep.split needs a function that returns (cost, gradient)"
            )
        return result[self._place]


def _callable(value: Any, argument: str) -> Callable[..., Any]:
    if not callable(value):
        raise InputError(f"{argument} is of type {type(value).__name__}, but must be a function")
    return value  # type: ignore[no-any-return]
