"""The errors that gradsweep raises, one family under :class:`GradsweepError`."""

from typing import Any


class GradsweepError(Exception):
    """Base of every error that gradsweep raises on purpose."""


class InputError(GradsweepError, ValueError):
    """An argument has the wrong shape, name, type or value.

    The message starts with the name of the argument.
    """


class DataError(InputError):
    """A data file cannot be read as the layout that was expected.

    The message starts with the path of the file.
    """


class OracleError(GradsweepError):
    """The compiled kernels and a plain evaluation of the cost disagree.

    Without this error a wrong oracle would be reported as a wrong gradient.
    """


class WorkerError(GradsweepError, RuntimeError):
    """A worker process has died."""


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
    """

    def __init__(self, report: Any) -> None:
        super().__init__(report)
        self.report = report

    def __str__(self) -> str:
        """The report as text."""
        return str(self.report)
