"""Processes in the place of `multiprocessing.Pool`, each at the end of a pipe of its own.

A pool never hears of a task that was lost with its process, and where one dies with a lock on the queue that all share, no other
is given anything, nor can the pool be ended. Here nothing is shared: what has died is an end of file.
"""

import collections
import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import Any

from gradsweep._sending import Done, Failed, Sent, end_with, evaluate

# Seconds between two looks at processes that do not answer: the end of the pipe of one that has died may live on in a process
# that it has started.
_LOOK = 0.5


class ProcessLostError(Exception):
    """A process has died, with what it was doing."""


@dataclass
class _Process:
    """A process, and what it was given.

    Attributes
    ----------
    process : multiprocessing.Process
        It.
    connection : Connection
        The end of the pipe that is here.
    key : str
        Of the function that it was sent last.
    place : int, optional
        Of the item that there is no outcome of yet.
    since : float
        When that was sent.
    """

    process: BaseProcess
    connection: Connection
    key: str = ""
    place: int | None = None
    since: float = 0.0


class Processes:
    """Processes that are started as they are needed, and ended at the latest with a context.

    Parameters
    ----------
    count : int
        How many there are at most.
    limit : float, optional
        Seconds that an item may take.
    nested : tuple, optional
        joblib's backend for what a function may run in parallel itself, and its number of workers.
    """

    def __init__(self, count: int, limit: float | None, nested: tuple[Any, int | None] | None = None) -> None:
        self._count, self._limit, self._nested = count, limit, nested
        self._processes: list[_Process] = []

    def __enter__(self) -> "Processes":
        """Itself."""
        return self

    def __exit__(self, *raised: object) -> None:
        """End them."""
        self.close()

    def __call__(self, sent: Sent, items: Sequence[Any]) -> list[Done | Failed]:
        """Outcomes of items, in order.

        Parameters
        ----------
        sent : Sent
            The function. A process gets it with the first of several items.
        items : sequence
            They go to whoever is idle, one at a time.

        Returns
        -------
        list of Done or Failed
            One for each item.

        Raises
        ------
        ProcessLostError
            A process has died. All others are ended, too, and new ones are started at the next call.
        multiprocessing.TimeoutError
            An item takes longer than it may.
        """
        outcomes: dict[int, Done | Failed] = {}
        waiting = collections.deque(enumerate(items))
        try:
            self._start(min(self._count, len(items)))
            for idle in self._processes:
                _give(idle, sent, waiting)
            while len(outcomes) < len(items):
                for done in self._answering():
                    assert done.place is not None
                    outcomes[done.place] = _answer(done)
                    _give(done, sent, waiting)
        except BaseException:
            # Whatever they are doing, nobody waits for it any more.
            self.close()
            raise
        return [outcomes[place] for place in range(len(items))]

    def close(self) -> None:
        """End all of them at once: one that hangs in a call would not listen."""
        for each in self._processes:
            each.process.kill()
            each.connection.close()
        for each in self._processes:
            each.process.join()
            each.process.close()
        self._processes = []

    def _start(self, count: int) -> None:
        context = _context()
        while len(self._processes) < count:
            here, there = context.Pipe()
            # mypy does not know that every context has processes.
            process: BaseProcess = context.Process(target=_serve, args=(there, os.getpid(), self._nested), daemon=True)  # type: ignore[attr-defined]
            process.start()
            # Else processes that are started later would have it, too, and there were no end of file.
            there.close()
            self._processes.append(_Process(process, here))

    def _answering(self) -> list[_Process]:
        """Those that have an answer; ProcessLostError if one never will, TimeoutError if it is late."""
        busy = {each.connection: each for each in self._processes if each.place is not None}
        if ready := wait(list(busy), _LOOK):
            return [each for connection, each in busy.items() if connection in ready]
        now = time.monotonic()
        for each in busy.values():
            if not each.process.is_alive() and not each.connection.poll():
                raise ProcessLostError
            if self._limit is not None and now - each.since > self._limit:
                raise multiprocessing.TimeoutError
        return []


def _context() -> BaseContext:
    """How processes are started: as joblib is told to, else as Python does."""
    return multiprocessing.get_context(os.environ.get("JOBLIB_START_METHOD", "").strip() or None)


def _give(idle: _Process, sent: Sent, waiting: "collections.deque[tuple[int, Any]]") -> None:
    """Send the next item to a process, if there is one, with the function, unless that is the last that it was sent."""
    idle.place = None
    if not waiting:
        return
    idle.place, item = waiting.popleft()
    try:
        idle.connection.send((sent if idle.key != sent.key else replace(sent, pickled=None), item))
    except OSError as error:
        raise ProcessLostError from error
    idle.key, idle.since = sent.key, time.monotonic()


def _answer(done: _Process) -> Done | Failed:
    """What a process has sent."""
    try:
        outcome: Done | Failed = done.connection.recv()
    except (EOFError, OSError) as error:
        raise ProcessLostError from error
    return outcome


def _serve(connection: Connection, caller: int, nested: tuple[Any, int | None] | None) -> None:
    """Evaluate items as they come, in a process."""
    import joblib

    # Ctrl-C goes to all processes of a terminal. The caller decides what it ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with(caller)
    backend, workers = nested or ("sequential", 1)
    with joblib.parallel_config(backend=backend, n_jobs=workers):
        while True:
            try:
                sent, item = connection.recv()
            except EOFError:
                return
            outcome = evaluate(sent, item)
            try:
                connection.send(outcome)
            except OSError:  # nobody is there
                return
            except Exception as error:  # whatever a result raises when it is pickled
                connection.send(Failed(error))
