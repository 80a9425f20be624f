"""The road from a cost and a gradient to a report."""

import time
from typing import Any, TypedDict, Unpack

from gradsweep._costs._kinds import as_function
from gradsweep._costs._network import NetworkCost
from gradsweep._errors import GradientError
from gradsweep._execution import one_blas_thread
from gradsweep._function_checking import check_function, differentiate_function
from gradsweep._network_checking import check_network, differentiate_network
from gradsweep._report import Report
from gradsweep._settings import read_settings


def check(
    cost: Any,
    params: Any,
    gradient: Any,
    *,
    mode: str = "auto",
    scheme: str = "central",
    step: float | None = None,
    tolerance: float | None = None,
    jobs: int | None = None,
    seed: int = 0,
) -> Report:
    """Check a gradient against difference quotients of its cost.

    Parameters
    ----------
    cost : callable or NetworkCost
        A function of `params` that returns a number: written with NumPy, compiled with Numba, or any other; see
        :mod:`gradsweep.functions` for what may be said of it. Or a dense network on its data, as made by
        :meth:`gradsweep.Network.cost`.
    params : array, number, or nesting of dicts, lists and tuples
        At which the gradient was computed; of a network a dict of W1, b1, W2, …
    gradient : the same structure, or callable
        The gradient under test, each block in the shape of its parameter. Keys may be those of `params`, or as in ``dW1``,
        ``grad_W1``, ``W1_grad``; ``dA1`` and ``dZ1`` may stand beside them and are ignored. A callable is given a copy of
        `params`, and looked at in a second point, too, if the cost is a function.
    mode : str, default: "auto"
        ``"sweep"`` perturbs every parameter on its own. ``"batched"`` does, too, and carries perturbations of several layers
        through the network together, which is faster where layers are narrow and many. ``"neurons"`` perturbs every
        pre-activation of every example, and multiplies its quotient with the layer's inputs: far fewer perturbations for the same
        gradient; some entries of each block are perturbed on their own to guard it. ``"auto"`` takes a sweep, or batches if they
        are faster, where that is predicted to take less than ten seconds on one core, else neurons; the report says which, and
        why. Of functions every parameter is perturbed on its own, many of them in a call where the function allows it;
        ``"batched"`` insists on that.
    scheme : str, default: "central"
        ``"central"`` (J(θ+ε) − J(θ−ε)) / 2ε, ``"forward"`` (J(θ+ε) − J(θ)) / ε, ``"five-point"``, which takes steps of ε and 2ε
        to both sides, or ``"complex"`` Im J(θ+iε) / ε, for functions that accept complex parameters and are analytic.
    step : float, optional
        ε, absolute. By default 1e-7 (central), 1e-13 (forward) or 1e-4 (five-point), less where an input is beyond a thousand;
        where only values can be had, what suits their noise.
    tolerance : float, optional
        Relative tolerance of every block and entry. By default 1e-7; where parameters or gradient are less precise than float64,
        1024 times their machine epsilon if that is more, up to 0.01.
    jobs : int, optional
        Number of workers as joblib's ``n_jobs``; by default what an active ``joblib.parallel_config`` says, else one. Kernels
        and compiled functions run in threads, all other functions in processes that have a copy of the function each, if what is
        left to do is predicted to take more than a second. The numeric gradient has the same bits for any number.
    seed : int, default: 0
        Chooses the perturbations at which fast paths are held against the plain cost, and the entries that guard products.

    Returns
    -------
    Report
        Verdict, blocks, worst entries and numeric gradient. Nothing is printed, nothing given is modified.

    Raises
    ------
    InputError
        An argument of another shape, name, type or value than is needed, or a cost that raises an error beside `params`; a
        ValueError.
    OracleError
        The fast path disagrees with the plain cost, or a product with the quotient of its parameter (``"neurons"``).
    WorkerError
        A worker process has died.

    Notes
    -----
    Changes of the cost are computed by difference forms, not by subtracting two costs: the quotient is the textbook's, at the
    textbook's ε, without its rounding. Where a function does what these cannot follow, its values are subtracted, with steps that
    suit their measured noise. A gradient fails if an entry differs by more than the tolerance and by more than the
    rounding that a backward pass may carry, both at this step and at one 2³⁰ times smaller than it or the default.

    Examples
    --------
    >>> import numpy as np
    >>> import gradsweep
    >>> network = gradsweep.Network([4, 3, 1])
    >>> params = network.initialize(seed=0)
    >>> X, Y = np.eye(4), np.array([[0.0, 1.0, 1.0, 0.0]])
    >>> gradient = network.gradient(params, X, Y)
    >>> gradsweep.check(network.cost(X, Y), params, gradient).ok
    True
    >>> gradient["dW2"] = -gradient["dW2"]
    >>> gradsweep.check(network.cost(X, Y), params, gradient).verdict
    'fail'
    """
    begun = time.perf_counter()
    settings = read_settings(mode, scheme, step, tolerance, jobs, seed)
    if isinstance(cost, NetworkCost):
        return check_network(cost, params, gradient, settings, begun)
    with one_blas_thread():
        return check_function(as_function(cost), params, gradient, settings, begun)


class Options(TypedDict, total=False):
    """The keyword arguments of :func:`gradsweep.check`."""

    mode: str
    scheme: str
    step: float | None
    tolerance: float | None
    jobs: int | None
    seed: int


def assert_gradient(cost: Any, params: Any, gradient: Any, **options: Unpack[Options]) -> Report:
    """Check a gradient, and raise an error unless it passes: one line of a test.

    Parameters
    ----------
    cost, params, gradient
        As of :func:`gradsweep.check`.
    **options
        The keyword arguments of :func:`gradsweep.check`.

    Returns
    -------
    Report
        As of :func:`gradsweep.check`.

    Raises
    ------
    GradientError
        The gradient is wrong, or could not be verified. The message is the report.

    Examples
    --------
    >>> import numpy as np
    >>> import gradsweep
    >>> w = np.array([1.0, 2.0])
    >>> report = gradsweep.assert_gradient(lambda w: np.sum(w**3), w, 3 * w**2)
    >>> gradsweep.assert_gradient(lambda w: np.sum(w**3), w, 2 * w**2)
    Traceback (most recent call last):
        ...
    gradsweep._errors.GradientError: FAIL: the gradient of params is wrong
    ...
    """
    report = check(cost, params, gradient, **options)
    if not report.ok:
        raise GradientError(report)
    return report


def numerical_gradient(
    cost: Any, params: Any, *, scheme: str = "central", step: float | None = None, jobs: int | None = None, seed: int = 0
) -> Any:
    """Numeric gradient of a cost.

    Parameters
    ----------
    cost, params
        As of :func:`gradsweep.check`.
    scheme : str, default: "central"
        As of :func:`gradsweep.check`.
    step : float, optional
        ε, absolute; by default as of :func:`gradsweep.check`.
    jobs : int, optional
        Number of workers, as of :func:`gradsweep.check`.
    seed : int, default: 0
        Chooses the perturbations at which fast paths are held against the plain cost.

    Returns
    -------
    the structure of `params`
        Arrays of float64, and numbers. An array that stands at several places has the total at each of them. At a kink, the mean
        of the two slopes, or what the scheme gives.

    Raises
    ------
    InputError, OracleError, WorkerError
        As of :func:`gradsweep.check`.

    Examples
    --------
    >>> import numpy as np
    >>> import gradsweep
    >>> gradsweep.numerical_gradient(lambda p: np.sum(p["w"] ** 3) * p["c"], {"w": np.array([1.0, 2.0]), "c": 0.5})
    {'w': array([1.5, 6. ]), 'c': 9.0}
    """
    settings = read_settings("auto", scheme, step, None, jobs, seed)
    if isinstance(cost, NetworkCost):
        return differentiate_network(cost, params, settings)
    with one_blas_thread():
        return differentiate_function(as_function(cost), params, settings)
