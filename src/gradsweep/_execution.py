"""Running chunks: in the caller, or by joblib; and how many threads BLAS may take meanwhile."""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np

from gradsweep._errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")


def read_jobs(jobs: Any) -> int | None:
    """Number of workers as joblib's ``n_jobs``; InputError if it is something else."""
    if jobs is None:
        return None
    if isinstance(jobs, bool) or not isinstance(jobs, int | np.integer) or jobs == 0:
        raise InputError(f"jobs must be a whole number other than 0, or None, not {jobs!r}")
    return int(jobs)


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold BLAS to one thread.

    A check multiplies small matrices only, between its kernels. A second BLAS thread gains nothing there, and where another
    process has the other core it makes a check of 2 ms take 50: the threads wait for each other. The setting is the process's, so
    of several checks at once the first one saves it and the last one restores it.
    """
    with _blas.lock:
        _blas.holders += 1
        if _blas.holders == 1:
            _blas.limiter = _blas_controller().limit(limits=1, user_api="blas")
    try:
        yield
    finally:
        with _blas.lock:
            _blas.holders -= 1
            if not _blas.holders:
                _blas.limiter.restore_original_limits()


class _Blas:
    """Who holds BLAS to one thread, and how it is undone."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.holders = 0
        self.limiter: Any = None


_blas = _Blas()


@functools.cache
def _blas_controller() -> Any:
    # Looking through the process's libraries takes milliseconds; a limit takes 10 µs.
    import threadpoolctl

    return threadpoolctl.ThreadpoolController()


def run(function: Callable[[Item], Result], items: Iterable[Item], jobs: int | None) -> Iterator[Result]:
    """Results of a function for each item, in order.

    Parameters
    ----------
    function : callable
        Called with each item; the kernels in it release the interpreter lock, so threads are preferred.
    items : iterable
        Generated as they are needed, never listed.
    jobs : int or None
        As joblib's ``n_jobs``: None follows an active ``joblib.parallel_config``, else means one. 1 never asks joblib at all.

    Yields
    ------
    result
        In the order of the items, whatever worker finished first.
    """
    if jobs == 1:
        yield from map(function, items)
        return
    import joblib

    if joblib.effective_n_jobs(jobs) == 1:
        yield from map(function, items)
    else:
        try:
            parallel = joblib.Parallel(n_jobs=jobs, prefer="threads", return_as="generator")
        except ValueError:  # some backends return everything at the end
            parallel = joblib.Parallel(n_jobs=jobs, prefer="threads")
        yield from parallel(joblib.delayed(function)(item) for item in items)
