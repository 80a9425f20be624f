"""Worker processes for functions that may keep state: each has a copy of its own."""

import contextlib
import itertools
import pickle
import threading
import time
import traceback
import uuid
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from gradsweep._errors import WorkerError
from gradsweep._execution import one_blas_thread

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
        Of an item. It is pickled once, when processes are first worth their while, and unpickled once in each of them.
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
        self._sent: _Sent | None = None

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

        Notes
        -----
        The first items are computed in the caller, and all others, too, as long as they are predicted to take less than a second
        there. What is raised in a process is raised here, with its causes.
        """
        source = iter(items)
        spent, done = 0.0, 0
        for item in source:
            begun = time.perf_counter()
            result = self.function(item)
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
        import joblib

        try:
            self._sent = self._sent or _send(self.function)
        except Exception as error:  # whatever a foreign object raises when it is pickled
            self._stay(f"the function cannot be sent to worker processes ({_brief(error)})")
            yield from map(self.function, items)
            return
        with joblib.Parallel(n_jobs=self.jobs, prefer="processes") as parallel, _deaths_reported():
            (first,) = parallel([joblib.delayed(_evaluate)(self._sent, known)])
        if isinstance(first, _Failed) or not self._same(first.value, result):
            self._stay(
                f"the function cannot be rebuilt in worker processes ({_brief(first.error)})"
                if isinstance(first, _Failed)
                else "in worker processes the function gives another value than here, perhaps by what a module of it holds"
            )
            yield from map(self.function, items)
            return
        yield from self._results(items)

    def _results(self, items: Iterator[Item]) -> Iterator[Result]:
        import joblib

        try:
            parallel = joblib.Parallel(n_jobs=self.jobs, prefer="processes", return_as="generator")
        except ValueError:  # some backends return everything at the end
            parallel = joblib.Parallel(n_jobs=self.jobs, prefer="processes")
        outcomes = iter(parallel(joblib.delayed(_evaluate)(self._sent, item) for item in items))
        with _deaths_reported(), _closing(outcomes):
            for outcome in outcomes:
                if isinstance(outcome, _Failed):
                    raise outcome.error from outcome.error.__cause__
                yield outcome.value

    def _stay(self, reason: str) -> None:
        self.notes.append(f"{reason}: one worker")


@contextlib.contextmanager
def _closing(outcomes: Iterator[Any]) -> Iterator[None]:
    """Stop the workers when their results are not wanted any more, as after an error, without the warning of joblib."""
    try:
        yield
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            if isinstance(outcomes, Generator):
                outcomes.close()


@contextlib.contextmanager
def _deaths_reported() -> Iterator[None]:
    try:
        yield
    except BrokenExecutor as error:
        raise WorkerError(
            "a worker process died while it evaluated the cost: it was killed, ran out of memory, or the cost ended it; "
            "with jobs=1 all is evaluated in the caller"
        ) from error


@dataclass(frozen=True, eq=False)
class _Sent:
    """A function on its way to processes.

    Attributes
    ----------
    key : str
        By which a process knows that it has it already.
    pickled : array of uint8
        An array, since joblib keeps a large one in memory that processes share, and does not send it with each item.
    """

    key: str
    pickled: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class _Done:
    """A result of a process."""

    value: Any


class _Failed:
    """An error of a process, with what it was raised from, which pickling an error forgets.

    Parameters
    ----------
    error : Exception
        As it was caught.
    """

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __reduce__(self) -> tuple[Any, ...]:
        """The chain of errors, each on its own, with the text of its traceback as a note."""
        chain: list[BaseException] = []
        link: BaseException | None = self.error
        while link is not None and link not in chain:
            chain.append(link)
            link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
        return _chained, ([_portable(each) for each in chain],)


def _portable(error: BaseException) -> bytes:
    """An error as it can be sent; one of its type and message in text, if it cannot."""
    import cloudpickle

    if error.__traceback__ is not None:
        error.add_note("In a worker process:\n" + "".join(traceback.format_tb(error.__traceback__)).rstrip())
    try:
        pickled: bytes = cloudpickle.dumps(error)
        pickle.loads(pickled)
    except Exception:  # whatever a foreign error raises when it is pickled, or made anew
        substitute = RuntimeError(f"{type(error).__name__}: {error}")
        for note in getattr(error, "__notes__", []):
            substitute.add_note(note)
        return pickle.dumps(substitute)
    return pickled


def _chained(links: list[bytes]) -> _Failed:
    errors = [pickle.loads(each) for each in links]
    for error, cause in itertools.pairwise(errors):
        error.__cause__ = cause
    return _Failed(errors[0])


def _send(function: Callable[..., Any]) -> _Sent:
    import cloudpickle

    return _Sent(uuid.uuid4().hex, np.frombuffer(cloudpickle.dumps(function), dtype=np.uint8))


def _brief(error: BaseException) -> str:
    """An error in a line."""
    text = f"{type(error).__name__}: {error}".splitlines()[0]
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


# What this process evaluates if it is a worker: by run and thread, of the latest run alone.
_functions: dict[tuple[str, int], Callable[[Any], Any]] = {}


def _evaluate(sent: _Sent, item: Any) -> _Done | _Failed:
    """Evaluate an item in a worker."""
    key = sent.key, threading.get_ident()
    try:
        if key not in _functions:
            for other in [each for each in _functions if each[0] != sent.key]:
                _functions.pop(other, None)
            _functions[key] = pickle.loads(sent.pickled.data)
        with one_blas_thread():
            return _Done(_functions[key](item))
    except Exception as error:
        return _Failed(error)
