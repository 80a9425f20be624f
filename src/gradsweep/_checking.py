"""The road from a cost and a gradient to a report."""

import os
import time
from collections.abc import Callable, Sequence
from typing import Any, TypedDict, Unpack

from gradsweep._blas import one_blas_thread
from gradsweep._checkpoint import checkpointed, put_content
from gradsweep._costs._kinds import as_function
from gradsweep._costs._network import NetworkCost
from gradsweep._deadlines import calls_limited
from gradsweep._errors import GradientError, Interrupted
from gradsweep._function_checking import check_function, differentiate_function
from gradsweep._monitor import Monitor, Progress, watched
from gradsweep._network_checking import check_network, differentiate_network
from gradsweep._pools import pools_held
from gradsweep._presenting._hdf5_layout import format_hdf5
from gradsweep._presenting._progress import shown
from gradsweep._report import Report
from gradsweep._settings import read_settings, read_timeout
from gradsweep._watching import announce


def check(
    cost: Any,
    params: Any,
    gradient: Any,
    *,
    mode: str = "auto",
    scheme: str = "central",
    step: float | None = None,
    tolerance: float | None = None,
    select: str | Sequence[str] | int | None = None,
    jobs: int | None = None,
    seed: int = 0,
    max_evaluations: int | None = None,
    max_seconds: float | None = None,
    progress: bool | Callable[[Progress], None] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    timeout: float | None = None,
) -> Report:
    """Check a gradient against difference quotients of its cost.

    Parameters
    ----------
    cost : callable or NetworkCost
        A function of `params` that returns a number. What is written with NumPy is run on difference arrays, which look like
        NumPy's and carry the changes of many perturbations; what they cannot follow is called once for each perturbation. A Numba
        function of one vector of float64 is called in a compiled loop. :func:`gradsweep.batched`, :func:`gradsweep.in_place`,
        :func:`gradsweep.split` and :func:`gradsweep.plain` make costs of functions of other kinds. Or a dense network on its
        data, as made by :meth:`gradsweep.Network.cost`.
    params : array, number, or nesting of dicts, lists and tuples
        The point at which the gradient is checked. Arrays may have any shape and any real type, numbers are Python's or NumPy's,
        a list of nothing but numbers is an array, None holds no parameters. An array that stands at several places is one
        parameter. The function is given arrays of float64 in new containers of the same types. Of a network: a dict of W1 of
        shape (units, inputs), b1 of shape (units, 1), W2, …
    gradient : the same structure, or callable
        The gradient under test, each block in the shape of its parameter, lists and tuples by position, dicts by name: keys may
        be those of `params`, or as in ``dW1``, ``grad_W1``, ``W1_grad``; ``dA1`` and ``dZ1`` may stand beside them and are
        ignored. Of an array at several places it is the sum of what is given for them; one array that is given for all counts
        once. A callable is given a copy of `params` and returns such a gradient. Where the cost is a function, it is called right
        before that. A callable is asked once more at a second point, all parameters displaced at random, where up to 64 entries
        of each block are looked at, of a network all of them.
    mode : str, default: "auto"
        ``"sweep"`` perturbs every parameter on its own. ``"batched"`` does, too: in a network it carries perturbations of several
        layers together, which is faster where layers are narrow and many; of a function it insists on many perturbations a call.
        ``"neurons"``, for networks, perturbs every pre-activation of every example, and multiplies its quotient with the layer's
        inputs: far fewer perturbations for the same gradient; some entries of each block are perturbed on their own to guard it.
        ``"screen"`` looks at two random directions in each block, whatever its size: the signed sum of all of its entries at
        once. Where these differ, the block is bisected, and single entries decide. ``"auto"`` sweeps. Of a network it takes
        batches if they are faster. Where that is predicted to take more than ten seconds on one core, it takes neurons, or, of a
        function, a screen; the report says which, and why.
    scheme : str, default: "central"
        ``"central"`` (J(θ+ε) − J(θ−ε)) / 2ε, ``"forward"`` (J(θ+ε) − J(θ)) / ε, ``"five-point"``
        (8 (J(θ+ε) − J(θ−ε)) − (J(θ+2ε) − J(θ−2ε))) / 12ε, or ``"complex"`` Im J(θ+iε) / ε, for functions that accept complex
        parameters and are analytic.
    step : float, optional
        ε, absolute. By default 1e-7 (central), 1e-13 (forward) or 1e-4 (five-point), in a network less where an input is beyond a
        thousand. Where values of the cost are subtracted each parameter has a step of its own, which suits their noise; the
        complex step is 2⁻⁶⁶ of a parameter's size, whatever is given here.
    tolerance : float, optional
        Relative tolerance of every block and entry, below 1. By default 1e-7; where parameters or gradient are less precise than
        float64, 1024 times their machine epsilon if that is more, up to 0.01.
    select : str, sequence of str or int, optional
        Which entries are looked at: those of the blocks of these names, or so many entries of each block, the first and the last
        among them. The report then has these blocks, and says how many entries they are. All by default.
    jobs : int, optional
        Number of workers as joblib's ``n_jobs``; by default what an active ``joblib.parallel_config`` says, else one. Kernels
        and compiled functions run in threads, all other functions in processes that have a copy of the function each, if what is
        left to do is predicted to take more than a second. Where ``joblib.parallel_config`` is set to a cluster, as of Dask or
        Ray, all of them run there. The numeric gradient has the same bits for any number.
    seed : int, default: 0
        Chooses the perturbations at which fast paths are held against the plain cost, the entries that guard products, the
        directions of a screen, and the second point.
    max_evaluations : int, optional
        What ``mode="screen"`` may take, in changes or values of the cost, at each of the two points: nothing more is begun that
        would exceed it. Two directions in each block are looked at in any case, and more closely where they differ. No limit by
        default: a right gradient takes those directions alone.
    max_seconds : float, optional
        The same in seconds.
    progress : bool or callable, optional
        True shows on stderr how far the check is and when it will end, if it takes longer than a second: a bar on a terminal,
        else a line every now and then. A callable is given a :class:`gradsweep.Progress` several times a second.
    checkpoint : str or os.PathLike, optional
        A file in which what is computed is kept: written anew every few seconds, and whole at any time. A check that was ended,
        by whatever, goes on from there when it is started again, with any number of workers, and gives the same bits; which
        mistakes are tried to explain a gradient that fails is limited by time, in any run. With another gradient, as when a
        mistake has been mended, quotients are taken from it, and what is in dispute is computed anew.
        When the check is done the file is a report as well, as :meth:`Report.save` writes it.
    timeout : float, optional
        Seconds that a call of a cost function may take while quotients are formed: one call, or several short ones that go
        together, of which the first took a twentieth of a second. One that takes longer ends the check with an error that says
        which parameter had moved, by how much; or which parameters, where many go together. Code in Python is ended wherever it
        is. A loop in C that does not come back to Python cannot be ended in the caller, nor can waiting within C in any thread
        but Python's main one: with ``jobs=2`` or more, worker processes of this machine, and of Ray, are killed ten seconds
        later. Workers of Dask are not: the check ends, and they go on. Kernels and compiled functions have no timeout.

    Returns
    -------
    Report
        Verdict, blocks, worst entries and numeric gradient. Nothing is printed, nothing given is modified.

    Raises
    ------
    InputError
        An argument of another shape, name, type or value than is needed; a cost that returns no finite number at `params`,
        another one at each call, or modifies its parameters; what a cost raises when a parameter is perturbed, or a gradient at
        the second point, from which the error is chained. It is a ValueError, too.
    OracleError
        The fast path disagrees with the plain cost, a product with the quotient of its parameter (``"neurons"``), or the complex
        step with real differences.
    DataError
        `checkpoint` is of another check, or no such file, is in use, or cannot be written.
    WorkerError
        A worker process has died.
    CostTimeoutError
        A call of the cost takes longer than `timeout`. It is a TimeoutError, too.
    Interrupted
        Ctrl-C, in any mode, once the cost and the gradient have been called at `params`: a KeyboardInterrupt, whose `report` has
        what was found until then, which is nothing while noise is measured, or before the last example of ``"neurons"``. Entries
        that seem to be wrong are looked at for one second more; a second Ctrl-C ends that, too, without a report.
    Exception
        What `cost` and `gradient` raise at `params` itself is not touched.

    Notes
    -----
    Changes of the cost are computed by difference forms, not by subtracting two costs: the quotient is the textbook's, at the
    textbook's ε, without its rounding. Where a function does what these cannot follow, its values are subtracted: their noise is
    measured, steps follow from it, and entries in dispute are looked at with a ladder of steps. A perturbed cost that is not
    finite, or raises an ArithmeticError, a ValueError or a LinAlgError on one side, is one that is not defined there.

    A gradient fails if an entry differs by more than the tolerance and by more than the rounding that a backward pass may carry,
    both at this step and at a smaller one. At a kink any value between the one-sided slopes is accepted.

    References
    ----------
    I. Dabbura, "Coding Neural Network - Gradient Checking": formulas 1 and 2, which are ``"forward"`` and ``"central"``, and
    formula 3, the relative difference of two gradients. W. Squire and G. Trapp, "Using complex variables to estimate derivatives
    of real functions", SIAM Review 40(1), 1998: the complex step.

    Examples
    --------
    >>> import numpy as np
    >>> import gradsweep
    >>> x, y = np.linspace(-1.0, 1.0, 8), np.linspace(0.0, 1.0, 8)
    >>> def cost(params):
    ...     return np.mean((np.tanh(params["w"] * x + params["b"]) - y) ** 2)
    >>> def backward(params):
    ...     h = np.tanh(params["w"] * x + params["b"])
    ...     dz = 2 * (h - y) / 8 * (1 - h**2)
    ...     return {"dw": np.sum(dz * x), "db": np.sum(dz)}
    >>> gradsweep.check(cost, {"w": 0.5, "b": 0.0}, backward).verdict
    'pass'

    A dense network has compiled kernels:

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
    settings = read_settings(mode, scheme, step, tolerance, jobs, seed, max_evaluations, max_seconds, select)
    limited = calls_limited(read_timeout(timeout))
    with (
        checkpointed(checkpoint) as journal,
        shown(progress) as tell,
        watched(Monitor(tell, catches=True, journal=journal)),
        limited,
        pools_held(),
    ):
        if isinstance(cost, NetworkCost):
            report = check_network(cost, params, gradient, settings, begun)
        else:
            with one_blas_thread():
                report = check_function(as_function(cost), params, gradient, settings, begun)
        if journal is not None and not report.interrupted:
            journal.finish(lambda content: format_hdf5(report, lambda file: put_content(file, content)))
    if report.interrupted:
        raise Interrupted(report)
    announce(report)
    return report


class Options(TypedDict, total=False):
    """The keyword arguments of :func:`gradsweep.check`."""

    mode: str
    scheme: str
    step: float | None
    tolerance: float | None
    select: str | Sequence[str] | int | None
    jobs: int | None
    seed: int
    max_evaluations: int | None
    max_seconds: float | None
    progress: bool | Callable[[Progress], None] | None
    checkpoint: str | os.PathLike[str] | None
    timeout: float | None


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
        The gradient is wrong, or could not be verified. An AssertionError, whose message is the report.
    InputError, OracleError, WorkerError, CostTimeoutError
        As of :func:`gradsweep.check`.

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
    __tracebackhide__ = True  # pytest shows the line of the test, and the report
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
    # A gradient, or a cost, of a check that is under way may call this: it is no part of that check.
    with watched(Monitor()), pools_held():
        if isinstance(cost, NetworkCost):
            return differentiate_network(cost, params, settings)
        with one_blas_thread():
            return differentiate_function(as_function(cost), params, settings)
