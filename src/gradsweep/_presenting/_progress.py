"""How far a check is, on stderr: a bar on a terminal, lines elsewhere; or told to a function."""

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from gradsweep._errors import InputError
from gradsweep._monitor import Progress

#: What is told of the progress.
Tell: TypeAlias = Callable[[Progress], None]

# Seconds until something is shown: a check that takes less needs no bar. And between two lines, where there is no terminal.
_PATIENCE, _BETWEEN_LINES = 1.0, 10.0


@contextlib.contextmanager
def shown(progress: Any) -> Iterator[Tell | None]:
    """What is to be told of the progress of a check.

    Parameters
    ----------
    progress : bool, callable or None
        As :func:`gradsweep.check` takes it.

    Yields
    ------
    callable or None
        What is to be told, if anything is.

    Raises
    ------
    InputError
        If it is something else.
    """
    if progress is None or progress is False:
        yield None
    elif callable(progress):
        yield progress
    elif progress is True:
        view = _Bar() if sys.stderr.isatty() else _Lines()
        try:
            yield view.tell
        finally:
            view.close()
    else:
        raise InputError(f"progress must be True, False, None or a function of a gradsweep.Progress, not {progress!r}")


class _Lines:
    """A line every now and then, as in a log."""

    def __init__(self) -> None:
        self._due = time.perf_counter() + _PATIENCE

    def tell(self, progress: Progress) -> None:
        """Print a line if it is time."""
        now = time.perf_counter()
        if now >= self._due:
            self._due = now + _BETWEEN_LINES
            print(describe_progress(progress), file=sys.stderr, flush=True)

    def close(self) -> None:
        """Nothing is left on the screen that would have to go."""


class _Bar:
    """A bar on a terminal, which is gone in the end."""

    def __init__(self) -> None:
        self._due = time.perf_counter() + _PATIENCE
        self._bar: Any = None
        self._task: Any = None

    def tell(self, progress: Progress) -> None:
        """Draw the bar, once there is something to wait for."""
        if self._bar is None:
            if time.perf_counter() < self._due:
                return
            self._begin()
        left = "" if math.isnan(progress.remaining) else f"{describe_time(progress.remaining)} left"
        self._bar.update(self._task, description=progress.phase, completed=progress.done, total=progress.total, left=left)

    def _begin(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as Bars

        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[left]}")
        self._bar = Bars(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task("", left="")
        self._bar.start()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()


def describe_progress(progress: Progress) -> str:
    """Progress in a line.

    Examples
    --------
    >>> describe_progress(Progress("sweep", 12_300, 61_481, 31.0, 125.0))
    'sweep:  20% | 12,300/61,481 parameters [31 s < 2 min 5 s]'
    >>> describe_progress(Progress("screen", 3, 12, 31.0, math.nan, "directions"))
    'screen:  25% | 3/12 directions [31 s < ?]'
    """
    share = progress.done / progress.total if progress.total else 1.0
    left = "?" if math.isnan(progress.remaining) else describe_time(progress.remaining)
    return (
        f"{progress.phase}: {share:4.0%} | {progress.done:,}/{progress.total:,} {progress.unit} "
        f"[{describe_time(progress.seconds)} < {left}]"
    )


def describe_time(seconds: float) -> str:
    """A duration as people say it.

    Examples
    --------
    >>> describe_time(4.0), describe_time(125.0), describe_time(40_000.0)
    ('4 s', '2 min 5 s', '11 h 6 min')
    """
    whole = max(math.ceil(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
