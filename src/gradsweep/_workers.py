"""Worker processes for functions that may keep state: each has a copy of its own."""

import collections
import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from gradsweep._deadlines import allowed
from gradsweep._errors import CostTimeoutError
from gradsweep._pools import Shipment, evaluated
from gradsweep._sending import Done, Failed, call, describe_item, send

Item = TypeVar("Item")
Result = TypeVar("Result")

# Work that is predicted to take less than these seconds stays in the caller: the first call of processes takes half a second.
_WORTH_PROCESSES = 1.0

# Characters of an error that are shown in a note.
_SHOWN = 120


class Workers(Generic[Item, Result]):
    """A function, and processes that have a copy of it each.

    Never threads: a function of the caller's may keep what it computes on an object, and two calls at once would mix it up.

    Parameters
    ----------
    function : callable
        Of an item. It is pickled once, when processes are first worth their while, and unpickled once in each of them. If it has
        a method ``describe(item)``, that tells where an item evaluates the cost.
    jobs : int or None
        As joblib's ``n_jobs``: None follows an active ``joblib.parallel_config``, else means one. 1 never asks joblib at all.
    same : callable
        Whether two results are the same: a process that gives another one than the caller is not used.

    Attributes
    ----------
    function, jobs
        As given.
    notes : list of str
        Why there were fewer workers than was asked for, a sentence for each reason.
    """

    def __init__(self, function: Callable[[Item], Result], jobs: int | None, same: Callable[[Result, Result], bool]) -> None:
        self.function, self.jobs, self._same = function, jobs, same
        self.notes: list[str] = []
        self._shipment: Shipment | None = None

    def run(self, items: Iterable[Item], count: int) -> Iterator[Result]:
        """Results for each item, in order.

        Parameters
        ----------
        items : iterable
            Generated as they are needed, never listed. They must not depend on the number of workers, nor do the results then.
        count : int
            How many there are, roughly: the time that is left is predicted from it.

        Yields
        ------
        result
            In the order of the items, whatever worker finished first.

        Raises
        ------
        WorkerError
            A process has died.
        CostTimeoutError
            An item takes longer than it may.

        Notes
        -----
        The first items are computed in the caller, and all others, too, as long as they are predicted to take less than a second
        there. What is raised in a process is raised here, with its causes.
        """
        source = iter(items)
        spent, done = 0.0, 0
        for item in source:
            begun = time.perf_counter()
            result = self._call(item)
            spent += time.perf_counter() - begun
            done += 1
            yield result
            if (count - done) * spent / done > _WORTH_PROCESSES and self._may_leave():
                yield from self._run_apart(source, item, result)
                return

    def _may_leave(self) -> bool:
        """Whether there are processes to be had."""
        if self.jobs == 1 or self.notes:
            return False
        import joblib
        from joblib.parallel import get_active_backend

        if joblib.effective_n_jobs(self.jobs) == 1:
            return False
        backend, _ = get_active_backend(prefer="processes")
        if getattr(backend, "supports_sharedmem", False):
            if backend.nesting_level == 0:  # within a worker there is nothing to be said about it
                self.notes.append("joblib is set to threads, which a function that may keep state cannot share: one worker")
            return False
        return True

    def _run_apart(self, items: Iterator[Item], known: Item, result: Result) -> Iterator[Result]:
        """Results of processes, if their result for an item is the one that is known; else of the caller."""
        try:
            self._shipment = self._shipment or Shipment(send(self.function, allowed()))
        except Exception as error:  # whatever a foreign object raises when it is pickled
            self._stay(f"the function cannot be sent to worker processes ({_brief(error)})")
            yield from map(self._call, items)
            return
        # The known one goes first, and the others are under way while it is looked at.
        under_way = _UnderWay(itertools.chain([known], items))

        def where() -> str:
            return describe_item(self.function, under_way.items[0])

        with contextlib.closing(evaluated(self._shipment, under_way, self.jobs, where)) as outcomes:
            try:
                first = next(outcomes)
                under_way.items.popleft()
                if isinstance(first, Failed) and isinstance(first.error, CostTimeoutError):
                    raise first.error
                if isinstance(first, Done) and self._same(first.value, result):
                    for outcome in outcomes:
                        under_way.items.popleft()
                        if isinstance(outcome, Failed):
                            raise outcome.error from outcome.error.__cause__
                        yield outcome.value
                    return
            finally:
                under_way.close()
        self._stay(
            f"the function cannot be rebuilt in worker processes ({_brief(first.error)})"
            if isinstance(first, Failed)
            else "in worker processes the function gives another value than here, perhaps by what a module of it holds"
        )
        yield from map(self._call, itertools.chain(under_way.items, items))

    def _call(self, item: Item) -> Result:
        result: Result = call(self.function, item, allowed())
        return result

    def _stay(self, reason: str) -> None:
        self.notes.append(f"{reason}: one worker")


class _UnderWay(Generic[Item]):
    """Items as they are handed out, and those of them that there is no outcome of yet.

    Parameters
    ----------
    source : iterator
        The items. Threads of joblib's take them, even while the caller has done with it.

    Attributes
    ----------
    items : collections.deque
        That were handed out, the earliest first. Whoever is given an outcome removes its item.
    """

    def __init__(self, source: Iterator[Item]) -> None:
        self.items: collections.deque[Item] = collections.deque()
        self._source, self._lock, self._closed = source, threading.Lock(), False

    def __iter__(self) -> Iterator[Item]:
        """Itself."""
        return self

    def __next__(self) -> Item:
        """The next one, if nobody has closed it."""
        with self._lock:
            if self._closed:
                raise StopIteration
            item = next(self._source)
            self.items.append(item)
            return item

    def close(self) -> None:
        """Hand out no more."""
        with self._lock:
            self._closed = True


def _brief(error: BaseException) -> str:
    """An error in a line."""
    text = f"{type(error).__name__}: {error}".splitlines()[0]
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
