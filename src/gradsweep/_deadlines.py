"""Calls that never end: how long a call of the cost may take, and how it is ended."""

import contextlib
import contextvars
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

from gradsweep._errors import CostTimeoutError

# Seconds after which a call that caught the exception is told again.
_AGAIN = 0.5

_allowed: contextvars.ContextVar[float | None] = contextvars.ContextVar("gradsweep_timeout", default=None)


class OutOfTime(BaseException):
    """Raised within a call that takes too long. No Exception, which the code that is called might take for one of its own."""


@contextlib.contextmanager
def calls_limited(seconds: float | None) -> Iterator[None]:
    """What is done within may call the cost for so many seconds at a time; None for any time."""
    token = _allowed.set(seconds)
    try:
        yield
    finally:
        _allowed.reset(token)


def allowed() -> float | None:
    """Seconds that a call of the cost may take; None if that does not matter."""
    return _allowed.get()


def out_of_time(where: str) -> CostTimeoutError:
    """The error of a call that took longer than it may."""
    return CostTimeoutError(f"cost does not return within {allowed():g} s{f' {where}' if where else ''}")


@contextlib.contextmanager
def in_time(where: Callable[[], str]) -> Iterator[None]:
    """A call of the cost; CostTimeoutError if it takes longer than it may, with a text that says where it was evaluated."""
    try:
        with deadline(allowed()):
            yield
    except OutOfTime:
        raise out_of_time(where()) from None


@contextlib.contextmanager
def deadline(seconds: float | None) -> Iterator[None]:
    """Raise OutOfTime within the ``with`` block if it takes longer; None for any time.

    Python looks for signals and exceptions between two of its own instructions. Code in C that does not come back to it, and
    waits for nothing that a signal ends, cannot be ended by anything but the end of its process.
    """
    if seconds is None:
        yield
    elif _alarm_is_free():
        with _rung(seconds):
            yield
    else:
        with _thrown(seconds):
            yield


def _block() -> FrameType | None:
    """The frame whose ``with`` block is being entered."""
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code.co_filename in (__file__, contextlib.__file__):
        frame = frame.f_back
    return frame


def _is_within(block: FrameType | None, frame: FrameType | None) -> bool:
    """Whether a frame was called by that of a block, however indirectly.

    An exception that arrives while a block is being left may keep it from being left as it should be. What rings then must not go
    on for ever.
    """
    while frame is not None and frame is not block:
        frame = frame.f_back
    return frame is not None


def _alarm_is_free() -> bool:
    """Whether there is an alarm clock, and a handler that can be put back: only Python's main thread is sent signals."""
    return (
        hasattr(signal, "setitimer")
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGALRM) is not None
    )


@contextlib.contextmanager
def _rung(seconds: float) -> Iterator[None]:
    """By the process's alarm clock, which ends waiting, as for a lock or in a sleep, too."""
    armed, block = True, _block()

    def ring(number: int, frame: FrameType | None) -> None:
        if armed and _is_within(block, frame):
            raise OutOfTime
        if armed:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            signal.signal(signal.SIGALRM, handler)

    begun = time.monotonic()
    left, interval = signal.getitimer(signal.ITIMER_REAL)
    handler = signal.signal(signal.SIGALRM, ring)
    try:
        # It may ring at once, where the process has to wait for its turn.
        signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN)
        try:
            yield
        finally:
            armed = False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, handler)
        if left:  # somebody else's alarm, as of a test that may take so long
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - begun), 1e-3), interval)


@contextlib.contextmanager
def _thrown(seconds: float) -> Iterator[None]:
    """By another thread, which throws it into this one: it arrives when this one runs Python's code again."""
    thread, lock, over, armed = threading.get_ident(), threading.Lock(), threading.Event(), True
    block = _block()

    def watch() -> None:
        wait = seconds
        while not over.wait(wait):
            with lock:
                if not armed or not _is_within(block, sys._current_frames().get(thread)):
                    return
                _throw(thread, OutOfTime)
            wait = _AGAIN

    def disarm() -> None:
        nonlocal armed
        with lock:
            armed = False
            _throw(thread, None)  # what has not arrived yet does not

    try:
        try:
            threading.Thread(target=watch, daemon=True, name="gradsweep deadline").start()
            yield
        finally:
            disarm()
    finally:
        # It may have arrived there, too, but not a second time so soon.
        disarm()
        over.set()


def _throw(thread: int, error: type[BaseException] | None) -> None:
    import ctypes

    throw: Callable[..., int] = ctypes.pythonapi.PyThreadState_SetAsyncExc
    throw(ctypes.c_ulong(thread), None if error is None else ctypes.py_object(error))
