"""What is under way: how far a check is, when it will be done, and what is left to do once it has been interrupted."""

import collections
import contextlib
import contextvars
import enum
import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from gradsweep._journal import ITEM, Codec, Journal, address

Item = TypeVar("Item")
Result = TypeVar("Result")
Decision = TypeVar("Decision")

#: The phases of a check.
SWEEP, DISPUTES, SECOND_POINT = "sweep", "disputes", "second point"

#: Those of a screen: directions in all blocks, and then the blocks that are searched for what is wrong.
SCREEN, SEARCH = "screen", "search"

#: What comes before, where only values of a cost can be had.
NOISE, STEPS = "measuring noise", "choosing steps"

#: Phases whose results do not depend on the gradient under test, but for what they are asked of.
INDEPENDENT = (SWEEP, SCREEN, SEARCH)

# Seconds between two reports of progress.
_INTERVAL = 0.1

# What was done in this part of the time, or in these seconds if they are more, shows how fast it goes on.
_RECENT, _WINDOW = 0.5, 1.0

# Seconds that may be spent, after an interrupt, on entries that seem to be wrong.
_CLOSING = 1.0


@dataclass(frozen=True)
class Progress:
    """How far a check is.

    Attributes
    ----------
    phase : str
        What is under way: ``"sweep"``, which forms the quotients, or ``"second point"``. Of a screen ``"screen"``, the random
        directions in all blocks; then, if need be, ``"search"``, of those that differ there or are at kinks. Before them, where
        only values of the cost can be had, ``"measuring noise"`` and ``"choosing steps"``.
    done, total : int
        Parameters whose quotients are known, and how many there will be in this phase; or of what `unit` says. Of noise and
        steps, which end when enough is known, how many there may be, roughly.
    seconds : float
        Since the check began.
    remaining : float
        Predicted seconds until it ends, entries in dispute and blocks that are searched aside, since nobody knows how many steps
        these take; NaN as long as there is nothing to predict it from.
    unit : str
        What is counted: ``"parameters"``; ``"pre-activations"`` where those of a network's units are perturbed; of a screen
        ``"directions"``, and ``"blocks"`` that are searched; of noise and steps ``"values"`` of the cost.

    Examples
    --------
    What ``progress=`` gives a callback: here a single time, since the check takes no longer than some milliseconds.

    >>> import numpy as np
    >>> import gradsweep
    >>> w, seen = np.linspace(1.0, 2.0, 50), []
    >>> report = gradsweep.check(lambda w: np.sum(w**3), w, 3 * w**2, progress=seen.append)
    >>> last = seen[-1]
    >>> last.phase, last.done, last.total, last.remaining
    ('sweep', 50, 50, 0.0)
    """

    phase: str
    done: int
    total: int
    seconds: float
    remaining: float
    unit: str = "parameters"


class _State(enum.Enum):
    """Whether quotients are formed."""

    RUNNING = "running"
    ABANDONED = "abandoned"
    CLOSING = "closing"


class Monitor:
    """Follows the work of a check, chunk by chunk.

    Parameters
    ----------
    tell : callable, optional
        Is told of the progress, every now and then.
    catches : bool, default: False
        Whether an interrupt ends the work, with what there is, in the place of the check.
    journal : Journal, optional
        Of what is computed.

    Attributes
    ----------
    interrupted : bool
        Whether that has happened: what is not there, is missing.
    lacks : bool
        Whether something is that was asked for after `close`.
    measured : int
        Values of the cost that noise and steps took so far.
    """

    def __init__(
        self, tell: Callable[[Progress], None] | None = None, *, catches: bool = False, journal: Journal | None = None
    ) -> None:
        self._tell, self._catches, self.journal = tell, catches, journal
        self._state, self._deadline, self.lacks = _State.RUNNING, math.inf, False
        self._begun = self._told = time.perf_counter()
        self._stages: dict[str, int] = {}
        self._units: dict[str, str] = {}
        self._phase = ""
        # Parameters of this phase whose quotients are known, but for those that are under way; and how fast it goes.
        self._counted = 0
        self._pace: _Pace | None = None
        # How many quotients are followed next, and whether some of them are of use without the others.
        self._counting: tuple[int, bool] | None = None
        # What is measured before there are quotients, how many values that takes, roughly, and where they began.
        self._measuring: tuple[str, int, int] | None = None
        self.measured = 0

    @property
    def interrupted(self) -> bool:
        """Whether the work was interrupted."""
        return self._state is not _State.RUNNING

    @property
    def _idle(self) -> bool:
        """Whether nothing more is computed."""
        return self._state is _State.ABANDONED or time.perf_counter() > self._deadline

    def plan(self, stages: dict[str, int], unit: str = "parameters", elsewhere: str = "") -> None:
        """Say which phases there will be, and how many parameters each of them looks at; known once a second point is reached.

        `unit` is what is counted in the place of parameters, and `elsewhere` at the second point, if that is another thing.
        """
        if self._phase != SECOND_POINT:
            self._stages, self._units = dict(stages), {name: unit for name in stages} | {SECOND_POINT: elsewhere or unit}

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """What is done within belongs to a phase."""
        before = self._phase, self._counted, self._pace
        if before[0] == SECOND_POINT and name in (SWEEP, SCREEN):
            name = SECOND_POINT  # a sweep, or a screen, there
        self._phase, self._counted, self._pace = name, 0, None
        try:
            yield
        finally:
            self._phase, self._counted, self._pace = before

    @contextlib.contextmanager
    def measuring(self, name: str, values: int) -> Iterator[None]:
        """What is asked for within are so many values of the cost, roughly, none of which is of use without the others."""
        before, self._measuring = self._measuring, (name, values, self.measured)
        try:
            yield
        finally:
            self._measuring = before

    def known(self, values: int) -> None:
        """So many more values of a cost are known. It is told where they are measured, and nothing else is under way yet."""
        if self._measuring is None:
            return
        self.measured += values
        if self._phase in (SEARCH, SECOND_POINT) or self._counted:
            self._say(self._counted)
        elif self._phase != DISPUTES:
            name, total, begun = self._measuring
            self._say(self.measured - begun, of=(name, total, "values"))

    @contextlib.contextmanager
    def searching(self, blocks: int) -> Iterator[None]:
        """What is done within looks for what is wrong in so many blocks, of which `searched` counts those that are done."""
        if self._phase == SECOND_POINT or not blocks:  # directions are what is counted there
            yield
            return
        stages, units = self._stages, self._units
        with self.phase(SEARCH):
            self._stages, self._units = {SEARCH: blocks}, {SEARCH: "blocks"}
            try:
                yield
            finally:
                self._stages, self._units = stages, units

    def searched(self) -> None:
        """One more of these blocks is done."""
        if self._phase == SEARCH:
            self._counted += 1
            try:
                self._say(self._counted, last=self._counted >= self._stages[SEARCH])
            except KeyboardInterrupt:  # as a window's button to stop may raise
                self.abandon()

    @contextlib.contextmanager
    def counting(self, entries: int, *, partly: bool = True) -> Iterator[None]:
        """What is followed first within are the quotients of so many parameters; `partly`: some are of use without the others."""
        self._counting, before = (entries, partly), self._counting
        try:
            yield
            if self._phase != SEARCH:
                self._counted += entries
        finally:
            self._counting = before

    def identify(self, key: Mapping[str, str], gradient: Callable[[], str]) -> None:
        """Say of what check the journal is, if there is one: what all depends on, and a digest of the gradient under test."""
        if self.journal is not None:
            self.journal.identify(key, gradient(), INDEPENDENT)

    def decide(self, name: str, value: Callable[[], Decision], fits: Callable[[Any], bool]) -> Decision:
        """A value that depends on a clock; where there is a journal, that of the first run, if it fits, as in any sound file."""
        if self.journal is None:
            return value()
        # What is computed for it is not written down: it is not computed again.
        journal, self.journal = self.journal, None
        try:
            decided: Decision = journal.decide(self._phase, name, value, fits)
        finally:
            self.journal = journal
        return decided

    def recorded(
        self,
        items: Iterable[Item],
        compute: Callable[[Iterator[Item], int], Iterable[Result]],
        codec: Codec[Item, Result],
    ) -> Iterator[Result]:
        """Results for items: those that are in the journal, and then those that are computed.

        Parameters
        ----------
        items : iterable
            In an order, and cut, that do not depend on any clock.
        compute : callable
            Computes results of those items that are left, of which it is told how many came before.
        codec : Codec
            How they are written down.

        Yields
        ------
        result
            For each item, in order.
        """
        source = iter(items)
        journal = self.journal
        if journal is None or not journal.ready or self.interrupted:
            yield from compute(source, 0)
            return
        record = journal.take(self._phase, codec.kind)
        known = 0
        while known < record.known:
            item = next(source, None)
            if item is None or not record.is_of(known, address(codec.describe(item))):
                journal.depart(record, known)
                source = source if item is None else itertools.chain([item], source)
                break
            if journal.is_to_be_checked():
                (again,) = compute(iter([item]), 0)
                journal.require_same(codec.encode(again), record)
            yield codec.decode(item, record.fields(known))
            known += 1
        # Workers are given items before there are results of those that they have.
        asked: collections.deque[NDArray[np.int64]] = collections.deque()

        def noted() -> Iterator[Item]:
            for item in source:
                asked.append(address(codec.describe(item)))
                yield item

        for result in compute(noted(), known):
            of = asked.popleft()
            if not self.interrupted:
                journal.append(record, {ITEM: of, **codec.encode(result)})
            yield result

    def witness(self, values: NDArray[np.float64]) -> None:
        """Values that tell the cost from others, and are computed at each run; DataError if they were others in the first run."""
        journal = self.journal
        if journal is not None and journal.ready:
            record = journal.take(self._phase, "witness")
            if record.known:
                journal.require_same({"values": values}, record)
            else:
                journal.append(record, {"values": values})

    def place(self, described: Iterable[bytes | NDArray[Any]]) -> None:
        """What follows is at another point, of which this is all that it depends on: what was computed at others is of no use."""
        journal = self.journal
        if journal is not None and journal.ready and not self.interrupted:
            record, own = journal.take(self._phase, "point"), address(described)
            if record.known and not record.is_of(0, own):
                journal.depart(record, 0)
            if not record.known:
                journal.append(record, {ITEM: own})

    def close(self) -> None:
        """Allow what decides about entries that seem to be wrong a little time, after an interrupt."""
        if self._state is _State.ABANDONED:
            self._state, self._deadline = _State.CLOSING, time.perf_counter() + _CLOSING

    def follow(self, results: Iterable[Result], share: Callable[[Result], float] | None = None) -> Iterator[Result]:
        """Pass results on as they come in.

        Parameters
        ----------
        results : iterable
            Each is computed when it is asked for.
        share : callable, optional
            Called with each result: how much of the work is done with it, all that came before included, from 0 to 1; 0 as long
            as that is not known.

        Yields
        ------
        result
            In their order. Fewer of them if the work is interrupted: the rest is missing.
        """
        (entries, partly), self._counting = self._counting or (None, False), None
        iterator = iter(results)
        if entries is not None and self._pace is None:
            self._pace = _Pace()
        while not self._idle:
            try:
                result = next(iterator)
            except StopIteration:
                return
            except KeyboardInterrupt:
                self._abandon(partly=partly)
                return
            yield result
            if share is not None and (entries is not None or self._phase == SEARCH):
                try:
                    self._note(entries, share(result))
                except KeyboardInterrupt:  # as a window's button to stop may raise
                    self._abandon(partly=partly)
                    return
        self.lacks = self._state is _State.CLOSING

    def abandon(self) -> None:
        """Leave missing what is not there, for an interrupt that is being handled; raise it again if it is the second one."""
        if not self._catches or self.interrupted:
            raise
        self._state = _State.ABANDONED

    def _abandon(self, *, partly: bool) -> None:
        """The same if what there is is of use; else raise it again."""
        # Before the first phase quotients are formed for no other reason than to see how long they take.
        if self._phase != DISPUTES and not (partly and self._phase):
            raise
        self.abandon()

    def _note(self, entries: int | None, share: float) -> None:
        """Tell that a share of the quotients of these parameters is known, and what is left; in a search, that it goes on."""
        if self._phase == SEARCH or entries is None:
            self._say(self._counted)
        elif self._pace is not None and self._phase in self._stages:
            names = list(self._stages)
            later = sum(self._stages[name] for name in names[names.index(self._phase) + 1 :])
            self._say(self._counted + entries * share, later, last=share >= 1.0)

    def _say(self, done: float, later: int | None = None, *, last: bool = False, of: tuple[str, int, str] | None = None) -> None:
        """Tell how far this phase is, if it is time or its end; and how long it takes, if it is known what comes later.

        `of` are name, total and unit of another phase.
        """
        now = time.perf_counter()
        if self._phase in self._stages:
            of = of or (self._phase, self._stages[self._phase], self._units[self._phase])
        if self._tell is None or of is None or (now - self._told < _INTERVAL and not last):
            return
        self._told, remaining = now, math.nan
        name, count, unit = of
        if later is not None and self._pace is not None:
            remaining = self._pace.seconds_each(done, now) * (max(count - done, 0.0) + later)
        self._tell(Progress(name, min(round(done), count), count, now - self._begun, remaining, unit))


class _Pace:
    """How long work takes, by what was done last: workers must start first, and caches fill."""

    def __init__(self) -> None:
        self._begun = time.perf_counter()
        self._marks = collections.deque([(self._begun, 0.0)])

    def seconds_each(self, done: float, now: float) -> float:
        """Seconds for a unit of work, when so much has been done; NaN if that is none."""
        window = max(_WINDOW, _RECENT * (now - self._begun))
        self._marks.append((now, done))
        while len(self._marks) > 2 and self._marks[0][0] < now - window:
            self._marks.popleft()
        since, before = self._marks[0]
        return (now - since) / (done - before) if done > before else math.nan


_current: contextvars.ContextVar[Monitor] = contextvars.ContextVar("gradsweep_monitor")


def current() -> Monitor:
    """The monitor of the check that is under way; where there is none, as in a worker process, one that nobody listens to."""
    return _current.get(None) or Monitor()


@contextlib.contextmanager
def watched(monitor: Monitor) -> Iterator[Monitor]:
    """What is done within is followed by a monitor."""
    token = _current.set(monitor)
    try:
        yield monitor
    finally:
        _current.reset(token)
