"""Calls of a user's compiled function, one after the other, without the interpreter.

The function is an argument, so the loop is compiled once for each function, and neither can be kept on disk.
"""

from ._compile import Array, FlatCost, Integers, calling


@calling
def at_entries(function: FlatCost, theta: Array, indices: Integers, steps: Array, work: Array, costs: Array) -> None:
    """Values at steps of single parameters.

    Parameters
    ----------
    function : compiled function
        Of one vector.
    theta : array of shape (parameters,)
        The point.
    indices : array of int of shape (n,)
        Which parameter takes each step.
    steps : array of shape (n,)
        The steps.
    work : array of shape (parameters,)
        A copy of `theta`, and so it is left unless the function writes to it.
    costs : array of shape (n,)
        The values.
    """
    for place in range(len(indices)):
        index = indices[place]
        work[index] = theta[index] + steps[place]
        costs[place] = function(work)
        work[index] = theta[index]


@calling
def along(function: FlatCost, theta: Array, direction: Array, steps: Array, work: Array, costs: Array) -> None:
    """Values at steps along a direction; see `at_entries`.

    Parameters
    ----------
    function : compiled function
        Of one vector.
    theta, direction : arrays of shape (parameters,)
        The point and the direction.
    steps : array of shape (n,)
        Multiples of the direction.
    work : array of shape (parameters,)
        A copy of `theta`, and so it is left unless the function writes to it.
    costs : array of shape (n,)
        The values.
    """
    for place in range(len(steps)):
        work[:] = theta + steps[place] * direction
        costs[place] = function(work)
    work[:] = theta
