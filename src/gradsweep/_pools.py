"""Processes as joblib's active backend has them: on this machine or on others."""

import contextlib
import contextvars
import copy
import dataclasses
import itertools
import multiprocessing
import sys
import time
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from typing import Any

from gradsweep._deadlines import out_of_time
from gradsweep._errors import WorkerError
from gradsweep._filters import filtered
from gradsweep._processes import Processes, ProcessLostError
from gradsweep._ray_tasks import evaluated_by_ray
from gradsweep._sending import Done, Failed, RayStored, Sent, evaluate

# Seconds that are waited for an answer beyond those that a call may take, which processes see to themselves if they can: they
# must start first, and are sent the function.
_GRACE = 10.0

# Seconds of work that is given to processes at a time, where all of its results come at once.
_WAVE = 2.0

# Losses of processes in a row after which no others are asked for.
_LOSSES = 3


class Shipment:
    """A function that processes get once, however many items they are given.

    Parameters
    ----------
    sent : Sent
        The function.
    """

    def __init__(self, sent: Sent) -> None:
        self.sent = sent
        self._place: Any = None
        self._standing: Any = None

    def on(self, backend: Any) -> Any:
        """What stands for it beside each item."""
        name = type(backend).__name__
        place = backend.client if name == "DaskDistributedBackend" else name
        if self._place is not place:
            self._place, self._standing = place, self._shipped(name, backend)
        return self._standing

    def _shipped(self, name: str, backend: Any) -> Any:
        if name == "DaskDistributedBackend":
            import dask

            # A task, unlike data that are scattered, can be done again when all who know its result are gone. And its size is
            # what it is.
            with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TiB"}):
                future = backend.client.submit(_itself, self.sent, key=f"gradsweep-{self.sent.key}", pure=False)
            # Work goes where its data are, so all are to have them from the beginning.
            backend.client.replicate(future)
            return future
        if name == "RayBackend":
            import ray

            return dataclasses.replace(self.sent, pickled=RayStored(ray.put(self.sent.pickled)))
        # joblib's own backends map large arrays into memory.
        return self.sent


def _itself(sent: Sent) -> Sent:
    return sent


class _Held:
    """Processes that are slow to start, kept for a while, and what comes from them."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self._pools: dict[tuple[int, int, float | None], _Pool] = {}
        self._outcomes: weakref.WeakSet[Generator[Any, None, None]] = weakref.WeakSet()
        stack.callback(self._close)

    def close_at_end(self, outcomes: Generator[Any, None, None]) -> None:
        """Close a generator when the check ends: an error of the caller's that is kept would keep it, and its processes busy."""
        self._outcomes.add(outcomes)

    def _close(self) -> None:
        for outcomes in list(self._outcomes):
            outcomes.close()

    def get(self, backend: Any, workers: int, timeout: float | None) -> "_Pool":
        """A pool that belongs to nobody else."""
        key = id(backend), workers, timeout
        if key not in self._pools:
            self._pools[key] = self._stack.enter_context(_pool(backend, workers, timeout))
        return self._pools[key]


# Takes a function that was sent, and items; gives their outcomes, all at once.
_Pool = Callable[[Any, Sequence[Any]], list[Done | Failed]]


@contextlib.contextmanager
def _pool(backend: Any, workers: int, timeout: float | None) -> Iterator[_Pool]:
    """Processes of a backend that gives no result before all are there."""
    import joblib

    if type(backend).__name__ == "MultiprocessingBackend":
        # joblib's own would wait for ever for what a process did that has died.
        limit = None if timeout is None else timeout + _GRACE
        with Processes(workers, limit, backend.get_nested_backend()) as processes:
            yield processes
        return
    # Of a copy of the backend, which keeps its processes on itself.
    with joblib.Parallel(n_jobs=workers, backend=copy.copy(backend), **_limits(timeout)) as parallel:
        yield lambda sent, items: parallel(joblib.delayed(evaluate)(sent, item) for item in items)


_held: contextvars.ContextVar[_Held | None] = contextvars.ContextVar("gradsweep_pools", default=None)


@contextlib.contextmanager
def pools_held() -> Iterator[None]:
    """Start processes once for all that is done within: that may take a second, and what is done no longer."""
    if _held.get() is not None:
        yield
        return
    with contextlib.ExitStack() as stack:
        token = _held.set(_Held(stack))
        try:
            yield
        finally:
            _held.reset(token)


def evaluated(
    shipment: Shipment, items: Iterable[Any], jobs: int | None, where: Callable[[], str] = str
) -> Generator["Done | Failed", None, None]:
    """Outcomes of items in processes, in order.

    Parameters
    ----------
    shipment : Shipment
        The function.
    items : iterable
        Taken as they are needed, also by threads of joblib's, one at a time.
    jobs : int or None
        As joblib's ``n_jobs``.
    where : callable, optional
        Tells where the first item evaluates the cost that there is no outcome of.

    Yields
    ------
    Done or Failed
        One for each item.

    Raises
    ------
    WorkerError
        A process has died, and with it what it was doing.
    CostTimeoutError
        There was no answer in time.
    """
    outcomes = _evaluated(shipment, items, jobs, where)
    if (held := _held.get()) is not None:
        held.close_at_end(outcomes)
    return outcomes


def _evaluated(
    shipment: Shipment, items: Iterable[Any], jobs: int | None, where: Callable[[], str]
) -> Generator["Done | Failed", None, None]:
    """The same, where nobody sees to its end."""
    from joblib.parallel import get_active_backend

    backend, _ = get_active_backend(prefer="processes")
    timeout = shipment.sent.timeout
    by_ray = type(backend).__name__ == "RayBackend"
    streams = by_ray or getattr(backend, "supports_return_generator", False)
    way = _by_ray if by_ray else _streamed if streams else _in_waves
    try:
        yield from way(shipment, items, jobs, backend)
    except _deaths() as error:
        raise _death() from error
    except multiprocessing.TimeoutError as error:
        # Whatever the cost raises comes as an outcome: this is joblib's.
        if timeout is None:
            raise
        raise out_of_time(where() if streams else "") from error


def _streamed(shipment: Shipment, items: Iterable[Any], jobs: int | None, backend: Any) -> Generator[Any, None, None]:
    """Each as soon as those before are there."""
    import joblib

    parallel = joblib.Parallel(n_jobs=jobs, prefer="processes", return_as="generator", **_limits(shipment.sent.timeout))
    sent = shipment.on(backend)
    if type(backend).__name__ == "DaskDistributedBackend":
        _tell_of_failures(backend)
    outcomes = iter(parallel(joblib.delayed(evaluate)(sent, item) for item in items))
    try:
        # Not by delegation, which would close them before the warning is turned off.
        for outcome in outcomes:  # noqa: UP028
            yield outcome
    finally:
        # Processes are stopped when their results are not wanted any more, as after an error. joblib warns of it.
        with filtered("ignore", UserWarning):
            if isinstance(outcomes, Generator):
                outcomes.close()


def _tell_of_failures(backend: Any) -> None:
    """Have joblib told of tasks that Dask has given up, too.

    joblib's backend (seen in 1.6.0) calls back for those alone that have a result, so that a generator of results waits for the
    others for ever: those that have ended too many workers.
    """
    if "submit" in vars(backend):  # by a call before
        return
    submit = backend.submit

    def submitted(task: Any, callback: Any = None) -> Any:
        future = submit(task, callback)

        def tell(done: Any) -> None:
            error = None if done.cancelled() else done.exception()
            if error is not None and callback is not None:
                callback(error)

        future.add_done_callback(tell)
        return future

    backend.submit = submitted


def _by_ray(shipment: Shipment, items: Iterable[Any], jobs: int | None, backend: Any) -> Generator[Any, None, None]:
    """Each as soon as those before are there, by tasks."""
    import joblib

    limit = None if shipment.sent.timeout is None else shipment.sent.timeout + _GRACE
    sent = shipment.on(backend)
    return evaluated_by_ray(sent, items, backend, lambda: int(joblib.effective_n_jobs(jobs)), limit)


def _in_waves(shipment: Shipment, items: Iterable[Any], jobs: int | None, backend: Any) -> Generator[Any, None, None]:
    """Some seconds' work at a time, for nothing can be had before all of it is done."""
    import joblib

    workers = joblib.effective_n_jobs(jobs)
    sent, source, length, losses = shipment.on(backend), iter(items), workers, 0
    with contextlib.ExitStack() as stack:
        held = _held.get() or _Held(stack)
        while wave := list(itertools.islice(source, length)):
            while True:
                begun = time.perf_counter()
                try:
                    pool = held.get(backend, workers, shipment.sent.timeout)
                    outcomes = pool(sent, wave)
                    break
                except _deaths():
                    # It has new processes now. What the old ones did is done once more.
                    losses += 1
                    if losses == _LOSSES:
                        raise
            spent = max(time.perf_counter() - begun, 1e-3)
            losses = 0
            yield from outcomes
            length = max(workers, min(2 * length, round(length * _WAVE / spent)))


def _limits(timeout: float | None) -> dict[str, Any]:
    """How joblib is told that an answer must come in time: of one item, not of several that it sends together."""
    return {} if timeout is None else {"timeout": timeout + _GRACE, "batch_size": 1}


def _deaths() -> tuple[type[BaseException], ...]:
    """What the backends that are loaded raise when a process is lost."""
    kinds: list[type[BaseException]] = [BrokenExecutor, ProcessLostError]
    if "distributed" in sys.modules:
        kinds.append(sys.modules["distributed"].scheduler.KilledWorker)
    if "ray" in sys.modules:
        kinds.append(sys.modules["ray"].exceptions.RayError)
    return tuple(kinds)


def _death() -> WorkerError:
    return WorkerError(
        "a worker process died while it evaluated the cost: it was killed, ran out of memory, or the cost ended it; "
        "with jobs=1 all is evaluated in the caller"
    )
