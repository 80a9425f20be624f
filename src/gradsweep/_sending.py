"""A function on its way to processes, of this machine or of others, and what they do with it."""

import collections
import itertools
import os
import pickle
import threading
import time
import traceback
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradsweep._blas import one_blas_thread
from gradsweep._deadlines import calls_limited, in_time

# Functions that a process keeps: those of several checks at once take turns.
_KEPT = 4

# Seconds between two looks whether the process that a worker works for is still there.
_LOOK = 0.5


@dataclass(frozen=True, eq=False)
class Sent:
    """A function on its way to processes.

    Attributes
    ----------
    key : str
        By which a process knows that it has it already.
    pickled : array of uint8, or callable
        An array, since joblib keeps a large one in memory that processes of a machine share, and does not send it with each item.
        Or what fetches it from where a cluster keeps it.
    shared : bool
        Whether threads of a process may call one copy at once; else each has its own.
    caller : int
        The process that it comes from.
    timeout : float, optional
        Seconds that a call may take.
    """

    key: str
    pickled: Any
    shared: bool
    caller: int
    timeout: float | None

    def unpickled(self) -> Callable[[Any], Any]:
        """The function, a new one."""
        pickled = self.pickled if isinstance(self.pickled, np.ndarray) else self.pickled()
        function: Callable[[Any], Any] = pickle.loads(pickled.data)
        return function


@dataclass(frozen=True, eq=False)
class Done:
    """A result of a process."""

    value: Any


@dataclass(frozen=True)
class RayStored:
    """Something in the store of Ray.

    Attributes
    ----------
    reference : ray.ObjectRef
        Where.
    """

    reference: Any

    def __call__(self) -> Any:
        """Itself, as it is."""
        import ray

        return ray.get(self.reference)


class Failed:
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


def _chained(links: list[bytes]) -> Failed:
    errors = [pickle.loads(each) for each in links]
    for error, cause in itertools.pairwise(errors):
        error.__cause__ = cause
    return Failed(errors[0])


def send(function: Callable[[Any], Any], timeout: float | None, *, shared: bool = False) -> Sent:
    """Pickle a function; whatever a foreign object raises when it is pickled goes through."""
    import cloudpickle

    pickled = np.frombuffer(cloudpickle.dumps(function), dtype=np.uint8)
    return Sent(uuid.uuid4().hex, pickled, shared, os.getpid(), timeout)


def describe_item(function: Callable[[Any], Any], item: Any) -> str:
    """Where an item evaluates the cost, if the function tells: ``when W1[3, 5] grows by 1.2e-06``."""
    describe: Callable[[Any], str] | None = getattr(function, "describe", None)
    return "" if describe is None else describe(item)


def call(function: Callable[[Any], Any], item: Any, timeout: float | None) -> Any:
    """Call a function; CostTimeoutError if that takes longer than it may."""
    if timeout is None:
        return function(item)
    with calls_limited(timeout), in_time(lambda: describe_item(function, item)):
        return function(item)


# What this process evaluates if it is a worker, by run and thread: of the latest runs alone.
_functions: "collections.OrderedDict[tuple[str, int | None], Callable[[Any], Any]]" = collections.OrderedDict()
_changing = threading.Lock()


def evaluate(sent: Sent, item: Any) -> Done | Failed:
    """Evaluate an item in a worker."""
    try:
        end_with(sent.caller)
        function = _rebuilt(sent)
        with one_blas_thread():
            return Done(call(function, item, sent.timeout))
    except Exception as error:
        return Failed(error)


def _rebuilt(sent: Sent) -> Callable[[Any], Any]:
    """The function of this thread, or of this process."""
    key = sent.key, None if sent.shared else threading.get_ident()
    with _changing:
        function = _functions.get(key)
        if function is not None:
            _functions.move_to_end(key)
            return function
    function = sent.unpickled()
    with _changing:
        _functions[key] = function
        keys = list(dict.fromkeys(each for each, _ in _functions))
        for other in [each for each in _functions if each[0] in keys[:-_KEPT]]:
            del _functions[other]
    return function


def end_with(caller: int) -> None:
    """End this process when its caller's has ended, however that did, if that has started it.

    Workers of joblib look for their caller every five minutes only, and one that hangs in a call of the cost never does.
    Processes of a cluster have somebody else to look after them.
    """
    if _watched.is_set() or os.getppid() != caller or os.getpid() == caller:
        return
    _watched.set()

    def watch() -> None:
        while os.getppid() == caller:
            time.sleep(_LOOK)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="gradsweep caller").start()


_watched = threading.Event()
