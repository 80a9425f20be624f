"""Running chunks of what keeps no state: in the caller, in threads, or in processes where joblib is set to them."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np

from gradsweep._deadlines import allowed
from gradsweep._errors import InputError
from gradsweep._pools import Shipment, evaluated
from gradsweep._sending import Failed, send

Item = TypeVar("Item")
Result = TypeVar("Result")

# Seconds for which work stays in the caller where there are no threads but processes: what does not last is not worth them.
_WORTH_PROCESSES = 1.0


def read_jobs(jobs: Any) -> int | None:
    """Number of workers as joblib's ``n_jobs``; InputError if it is something else."""
    if jobs is None:
        return None
    if isinstance(jobs, bool) or not isinstance(jobs, int | np.integer) or jobs == 0:
        raise InputError(f"jobs must be a whole number other than 0, or None, not {jobs!r}")
    return int(jobs)


def run(function: Callable[[Item], Result], items: Iterable[Item], jobs: int | None) -> Iterator[Result]:
    """Results of a function for each item, in order.

    Parameters
    ----------
    function : callable
        Called with each item; the kernels in it release the interpreter lock, so threads are preferred. Processes that joblib is
        set to, as those of a cluster, are sent it once.
    items : iterable
        Generated as they are needed, never listed.
    jobs : int or None
        As joblib's ``n_jobs``: None follows an active ``joblib.parallel_config``, else means one. 1 never asks joblib at all.

    Yields
    ------
    result
        In the order of the items, whatever worker finished first.

    Raises
    ------
    WorkerError
        A process has died.
    """
    if jobs == 1:
        yield from map(function, items)
        return
    import joblib
    from joblib.parallel import get_active_backend

    if joblib.effective_n_jobs(jobs) == 1:
        yield from map(function, items)
        return
    backend, _ = get_active_backend(prefer="threads")
    if getattr(backend, "supports_sharedmem", False):
        parallel = joblib.Parallel(n_jobs=jobs, prefer="threads", return_as="generator")
        yield from parallel(joblib.delayed(function)(item) for item in items)
    else:
        yield from _run_apart(function, iter(items), jobs)


def _run_apart(function: Callable[[Item], Result], items: Iterator[Item], jobs: int | None) -> Iterator[Result]:
    """Results of processes, after a second in the caller."""
    begun = time.perf_counter()
    for item in items:
        yield function(item)
        if time.perf_counter() - begun >= _WORTH_PROCESSES:
            break
    else:
        return
    for outcome in evaluated(Shipment(send(function, allowed(), shared=True)), items, jobs):
        if isinstance(outcome, Failed):
            raise outcome.error from outcome.error.__cause__
        yield outcome.value
