"""Running chunks: in the caller, or by joblib."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from gradsweep._errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")


def read_jobs(jobs: Any) -> int | None:
    """Number of workers as joblib's ``n_jobs``; InputError if it is something else."""
    if jobs is not None and (isinstance(jobs, bool) or not isinstance(jobs, int) or jobs == 0):
        raise InputError(f"jobs must be a whole number other than 0, or None, not {jobs!r}")
    return jobs


# Work, in changes of an activation, that gains nothing from workers: some 20 ms, what a joblib call costs.
_SMALL_WORK = 2**26


def run(function: Callable[[Item], Result], items: Iterable[Item], jobs: int | None, work: int) -> Iterator[Result]:
    """Results of a function for each item, in order.

    Parameters
    ----------
    function : callable
        Called with each item; the kernels in it release the interpreter lock, so threads are preferred.
    items : iterable
        Generated as they are needed, never listed.
    jobs : int or None
        As joblib's ``n_jobs``: None follows an active ``joblib.parallel_config``, else means one.
    work : int
        Changes of an activation in all items together. A little work is done in the caller, whatever `jobs` says.

    Yields
    ------
    result
        In the order of the items, whatever worker finished first.
    """
    if work < _SMALL_WORK:
        yield from map(function, items)
        return
    import joblib

    if joblib.effective_n_jobs(jobs) == 1:
        yield from map(function, items)
    else:
        parallel = joblib.Parallel(n_jobs=jobs, prefer="threads", return_as="generator")
        yield from parallel(joblib.delayed(function)(item) for item in items)
