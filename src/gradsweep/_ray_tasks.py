"""Tasks of Ray, in the place of the processes that joblib keeps there: those are of no use once a machine is lost, or one comes.

joblib starts as many as there were, and waits for ever if there is no room for them. Tasks go wherever there is.

None is ever cancelled: Ray ends the process of whoever cancels a task at the moment at which it is done (`submissible_tasks_` in
its issues). Those that nobody waits for any more are done nevertheless, two for each worker at most, and one that hangs is ended
by its own process, if there is a limit.
"""

import faulthandler
import itertools
import math
import multiprocessing
import sys
import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Any

from gradsweep._sending import Done, Failed, Sent, evaluate

# Seconds between two looks how many machines there are, and for how long a task takes.
_LOOK = 1.0

# How many tasks for each worker are under way where nobody else is there to do those that wait: without any a worker is given
# back after each.
_AHEAD = 2

# How often an item is begun whose process is lost.
_ATTEMPTS = 3

# Seconds beyond its limit after which a process ends itself: whoever looks at it once in a while takes it for late then.
_LATER = 2.0 * _LOOK

# What joblib's backend may be told of its processes that can be said of a task as well.
_OPTIONS = (
    "num_cpus",
    "num_gpus",
    "memory",
    "resources",
    "accelerator_type",
    "label_selector",
    "scheduling_strategy",
    "runtime_env",
)


@dataclass
class _Task:
    """An item that is under way.

    Attributes
    ----------
    place : int
        Of the item.
    item : object
        It.
    attempts : int
        How often it was begun.
    since : float, optional
        When it was first among those that are being done, as far as there are workers for them.
    """

    place: int
    item: Any
    attempts: int = 1
    since: float | None = None


def evaluated_by_ray(
    sent: Sent, items: Iterable[Any], backend: Any, workers: Callable[[], int], limit: float | None
) -> Generator[Done | Failed, None, None]:
    """Outcomes of items, in order.

    Parameters
    ----------
    sent : Sent
        The function, which Ray's store has.
    items : iterable
        They are taken as they are needed.
    backend : RayBackend
        joblib's.
    workers : callable
        Tells how many items may be done at once.
    limit : float, optional
        Seconds that an item may take. Its process ends itself after them, so that the time for which it waits does not count.

    Yields
    ------
    Done or Failed
        Each as soon as those before are there.

    Raises
    ------
    ray.exceptions.RayError
        Processes have died, each with the same item.
    multiprocessing.TimeoutError
        An item takes longer than it may.
    """
    import ray

    given = backend.ray_remote_args or {}
    # Ray's own attempts have no end where memory runs out.
    task = ray.remote(_evaluate).options(max_retries=0, **{name: given[name] for name in _OPTIONS if name in given})
    source, under_way, outcomes, turn = enumerate(items), dict[Any, _Task](), dict[int, Done | Failed](), 0
    looked = -math.inf
    while True:
        now = time.monotonic()
        if now - looked > _LOOK:
            count, looked = workers(), now
            room = _AHEAD * count if count >= backend.effective_n_jobs(-1) else count
        while len(under_way) < room and (following := next(source, None)):
            under_way[task.remote(sent, following[1], limit)] = _Task(*following)
        if not under_way:
            return
        for each in itertools.islice(under_way.values(), count):
            each.since = now if each.since is None else each.since
        ready, _ = ray.wait(list(under_way), timeout=_LOOK)
        for reference in ready:
            done = under_way.pop(reference)
            try:
                outcomes[done.place] = ray.get(reference)
            except ray.exceptions.RayError as error:
                if limit is not None and done.since is not None and time.monotonic() - done.since > limit:
                    raise multiprocessing.TimeoutError from error
                if done.attempts == _ATTEMPTS:
                    raise
                under_way[task.remote(sent, done.item, limit)] = _Task(done.place, done.item, done.attempts + 1)
        while turn in outcomes:
            yield outcomes.pop(turn)
            turn += 1


def _evaluate(sent: Sent, item: Any, limit: float | None) -> Done | Failed:
    """Evaluate an item in a worker, whose process does not outlive the limit."""
    if limit is None:
        return evaluate(sent, item)
    # By a thread of C's: a loop of C's in the cost lets no other of Python's run.
    faulthandler.dump_traceback_later(limit + _LATER, exit=True, file=sys.__stderr__ or 2)
    try:
        return evaluate(sent, item)
    finally:
        faulthandler.cancel_dump_traceback_later()
