"""The errors that gradsweep raises, one family under :class:`GradsweepError`."""

from typing import Any


class GradsweepError(Exception):
    """Base of every error that gradsweep raises on purpose.

    Examples
    --------
    >>> import gradsweep
    >>> try:
    ...     gradsweep.Network([3])
    ... except gradsweep.GradsweepError as error:
    ...     print(type(error).__name__)
    InputError
    """


class InputError(GradsweepError, ValueError):
    """An argument has the wrong shape, name, type or value.

    The message starts with the name of the argument.

    Examples
    --------
    >>> import numpy as np
    >>> import gradsweep
    >>> gradsweep.check(lambda w: np.sum(w**2), np.ones(3), np.ones(2))
    Traceback (most recent call last):
        ...
    gradsweep._errors.InputError: gradient has shape (2,), but (3,) is needed
    """


class DataError(InputError):
    """A data file cannot be read as the layout that was expected.

    The message starts with the path of the file.

    Examples
    --------
    >>> from gradsweep import problems
    >>> problems.load("no-such-file.h5")
    Traceback (most recent call last):
        ...
    gradsweep._errors.DataError: ...no-such-file.h5: no such file
    """


class OracleError(GradsweepError):
    """A fast path and a plain evaluation of the cost disagree.

    Without this error a wrong oracle would be reported as a wrong gradient.

    Examples
    --------
    A network whose own cost has a penalty that the kernels were not told of:

    >>> import numpy as np
    >>> import gradsweep
    >>> network = gradsweep.Network([2, 1])
    >>> params, X, Y = network.initialize(), np.eye(2), np.array([[0.0, 1.0]])
    >>> def own_cost(p):
    ...     return network.cost(X, Y)(p) + np.sum(p["W1"] ** 2)
    >>> try:
    ...     gradsweep.check(network.cost(X, Y, like=own_cost), params, network.gradient(params, X, Y))
    ... except gradsweep.OracleError as error:
    ...     print("stopped")
    stopped
    """


class WorkerError(GradsweepError, RuntimeError):
    """A worker process has died.

    Examples
    --------
    To be told from an error of the cost itself, where a check runs in several processes:

    >>> import gradsweep
    >>> issubclass(gradsweep.WorkerError, gradsweep.GradsweepError), issubclass(gradsweep.WorkerError, RuntimeError)
    (True, True)
    """


class CostTimeoutError(GradsweepError, TimeoutError):
    """A call of the cost takes longer than it may.

    The message says where it was evaluated, as far as that is known.

    Examples
    --------
    A cost that never returns, but at the point itself:

    >>> import numpy as np
    >>> import gradsweep
    >>> def stuck(w):
    ...     while w[0] != 1.0:
    ...         pass
    ...     return float(np.sum(w**2))
    >>> try:
    ...     gradsweep.check(gradsweep.plain(stuck), np.ones(3), 2 * np.ones(3), timeout=0.1)
    ... except gradsweep.CostTimeoutError as error:
    ...     print(error)
    cost does not return within 0.1 s ...
    """


class GradientError(GradsweepError, AssertionError):
    """A gradient is wrong, or could not be verified.

    Parameters
    ----------
    report : Report
        What the check found.

    Attributes
    ----------
    report : Report
        As given; its text is the message.

    Examples
    --------
    >>> import numpy as np
    >>> import gradsweep
    >>> try:
    ...     gradsweep.assert_gradient(lambda w: np.sum(w**2), np.ones(3), np.ones(3))
    ... except gradsweep.GradientError as error:
    ...     print(error.report.verdict, [finding.kind for finding in error.report.findings])
    fail ['factor']
    """

    def __init__(self, report: Any) -> None:
        super().__init__(report)
        self.report = report

    def __str__(self) -> str:
        """The report as text."""
        return str(self.report)


class Interrupted(KeyboardInterrupt):
    """A check was interrupted, as by Ctrl-C; what it found until then is kept.

    A KeyboardInterrupt, so that whatever ends at one ends at this, too, and none of the other errors of gradsweep.

    Parameters
    ----------
    report : Report
        What was found: its verdict is ``"fail"`` or ``"inconclusive"``.

    Attributes
    ----------
    report : Report
        As given; its text is the message.

    Examples
    --------
    Somebody loses patience at the 7,000th call of a slow cost:

    >>> import numpy as np
    >>> import gradsweep
    >>> calls = []
    >>> def slow(w):
    ...     calls.append(1)
    ...     if len(calls) == 7000:
    ...         raise KeyboardInterrupt
    ...     return float(np.sum(w**3))
    >>> w = np.linspace(1.0, 2.0, 4000)
    >>> try:
    ...     gradsweep.check(gradsweep.plain(slow), w, 3 * w**2)
    ... except gradsweep.Interrupted as error:
    ...     report = error.report
    >>> report.verdict, report.interrupted, 0 < report.blocks[0].size < 4000
    ('inconclusive', True, True)
    """

    def __init__(self, report: Any) -> None:
        super().__init__(report)
        self.report = report

    def __str__(self) -> str:
        """The report as text."""
        return str(self.report)
