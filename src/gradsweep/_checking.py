"""The road from a cost and a gradient to a report."""

import time
from typing import Any

from gradsweep._costs._kinds import as_function
from gradsweep._costs._network import NetworkCost
from gradsweep._execution import one_blas_thread
from gradsweep._function_checking import check_function
from gradsweep._network_checking import check_network
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
    cost : NetworkCost
        As made by :meth:`gradsweep.Network.cost`.
    params : mapping of str to array_like
        W1, b1, W2, … at which the gradient was computed.
    gradient : mapping of str to array_like, or callable
        The gradient under test, each block in the shape of its parameter. Keys may be those of `params`, or as in ``dW1``,
        ``grad_W1``, ``W1_grad``; ``dA1`` and ``dZ1`` may stand beside them and are ignored. A callable is given a copy of
        `params`.
    mode : str, default: "auto"
        ``"sweep"`` perturbs every parameter on its own. ``"batched"`` does, too, and carries perturbations of several layers
        through the network together, which is faster where layers are narrow and many. ``"neurons"`` perturbs every
        pre-activation of every example, and multiplies its quotient with the layer's inputs: far fewer perturbations for the same
        gradient; some entries of each block are perturbed on their own to guard it. ``"auto"`` takes a sweep, or batches if they
        are faster, where that is predicted to take less than ten seconds on one core, else neurons; the report says which, and
        why.
    scheme : str, default: "central"
        ``"central"`` (J(θ+ε) − J(θ−ε)) / 2ε, or ``"forward"`` (J(θ+ε) − J(θ)) / ε.
    step : float, optional
        ε, absolute. By default 1e-7 (central) or 1e-13 (forward), less where an input is beyond a thousand.
    tolerance : float, optional
        Relative tolerance of every block and entry. By default 1e-7; where parameters or gradient are less precise than float64,
        1024 times their machine epsilon if that is more, up to 0.01.
    jobs : int, optional
        Number of workers as joblib's ``n_jobs``; by default what an active ``joblib.parallel_config`` says, else one.
    seed : int, default: 0
        Chooses the perturbations at which the kernels are held against the plain cost, and the entries that guard products.

    Returns
    -------
    Report
        Verdict, blocks, worst entries and numeric gradient. Nothing is printed, nothing given is modified.

    Raises
    ------
    InputError
        An argument of another shape, name, type or value than is needed; a ValueError.
    OracleError
        The kernels disagree with the plain cost, or a product with the quotient of its parameter (``"neurons"``).

    Notes
    -----
    Changes of the cost are computed by difference forms, not by subtracting two costs: the quotient is the textbook's, at the
    textbook's ε, without its rounding. A gradient fails if an entry differs by more than the tolerance and by more than the
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
