"""Whoever wants to know of each check that is made in this process, as the pytest plugin does for its summary."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradsweep._report import Report

_watchers: list[Callable[["Report"], None]] = []


def watch(watcher: Callable[["Report"], None]) -> Callable[[], None]:
    """Have each report of :func:`gradsweep.check` given to a function, too.

    Parameters
    ----------
    watcher : callable
        Called with the report, before :func:`gradsweep.check` returns it.

    Returns
    -------
    callable
        Ends that.
    """
    _watchers.append(watcher)
    return lambda: _watchers.remove(watcher)


def announce(report: "Report") -> None:
    """Give a report to all who watch."""
    for watcher in tuple(_watchers):
        watcher(report)
