"""What a check has computed, in order: enough to go on where an earlier run of the same check was ended.

A check is deterministic but for what it measures by a clock. So its results need no addresses: whatever it asks for in a second
run it asks for in the same order, and is given what is in the journal before anything is computed anew. What depends on a clock,
as the lengths of chunks do, is in the journal as a decision.
"""

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from gradsweep._errors import DataError

Item = TypeVar("Item", contravariant=True)
Result = TypeVar("Result")

#: A result as arrays of one dimension, by names: float64, int64 or uint8.
Fields: TypeAlias = Mapping[str, NDArray[Any]]

# Seconds between two writings, at least; and how many times longer than a writing took the next one is put off.
_INTERVAL, _PATIENCE = 2.0, 20.0

# Characters of what is damaged that are shown.
_SHOWN = 60

# Arrays that are kept apart before they are put together: small ones take more room for themselves than for their numbers.
_APART = 1024


class Codec(Protocol[Item, Result]):
    """How results of one kind are written down."""

    @property
    def kind(self) -> str:
        """What they are called in a file."""

    def encode(self, result: Result) -> Fields:
        """A result as arrays."""

    def decode(self, item: Item, fields: Fields) -> Result:
        """The result that was encoded, of this item. Arrays are of the types that were encoded, of any length."""


def misfit(what: str, found: int, wanted: int) -> DataError:
    """A checkpoint that holds another number of what is asked for, as it may if it was written on another kind of machine."""
    return DataError(f"the checkpoint has {found} {what} where {wanted} are asked for: it is of another check; remove it")


class Values:
    """Codec of results that are arrays of float64 of one dimension."""

    kind = "values"

    def encode(self, result: NDArray[Any]) -> Fields:
        """The array itself."""
        return {"values": result}

    def decode(self, item: Any, fields: Fields) -> Any:
        """The array itself."""
        return fields["values"]


class Column:
    """One field of all results of a run.

    Parameters
    ----------
    values : array of shape (n,), optional
        Those of all results, one after the other.
    counts : array of int of shape (results,), optional
        How many each result has.
    """

    def __init__(self, values: NDArray[Any] | None = None, counts: NDArray[np.int64] | None = None) -> None:
        self._pieces: list[NDArray[Any]] = [] if values is None else [values]
        self._counts: list[int] = [] if counts is None else counts.tolist()
        self._known = values
        self._edges = np.concatenate([[0], np.cumsum(self._counts, dtype=np.int64)])

    def __getitem__(self, number: int) -> NDArray[Any]:
        """Values of a result that was there from the beginning."""
        assert self._known is not None
        return self._known[self._edges[number] : self._edges[number + 1]].copy()

    def append(self, values: NDArray[Any]) -> None:
        """Add those of another result."""
        self._counts.append(len(values))
        # Not the array itself, which may be part of a larger one, or written to.
        self._pieces.append(values.copy())
        if len(self._pieces) > _APART:
            self._pieces = [np.concatenate(self._pieces)]

    def whole(self) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Values and counts of all results."""
        if len(self._pieces) > 1:
            self._pieces = [np.concatenate(self._pieces)]
        return self._pieces[0] if self._pieces else np.empty(0), np.array(self._counts, dtype=np.int64)


@dataclass(eq=False)
class Record:
    """The results of a run: of one call of workers with some items.

    Attributes
    ----------
    phase, kind : str
        In which phase of the check, and of which kind they are.
    columns : dict of str to Column
        By the names of their fields.
    count : int
        How many there are.
    known : int
        How many of them were there from the beginning.
    """

    phase: str
    kind: str
    columns: dict[str, Column] = field(default_factory=dict)
    count: int = 0
    known: int = 0

    def fields(self, number: int) -> dict[str, NDArray[Any]]:
        """A result that was there from the beginning."""
        return {name: column[number] for name, column in self.columns.items()}

    def append(self, fields: Fields) -> None:
        """Add a result."""
        for name, values in fields.items():
            self.columns.setdefault(name, Column()).append(values)
        self.count += 1


@dataclass(eq=False)
class Content:
    """All that a journal holds.

    Attributes
    ----------
    key : dict of str to str
        What check it is of.
    gradient : str
        A digest of the gradient under test. Quotients do not depend on it.
    decisions : list of (str, str, str)
        Phase, name and value, in order; values as JSON.
    records : list of Record
        In order.
    """

    key: dict[str, str]
    gradient: str
    decisions: list[tuple[str, str, str]] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)


class Journal:
    """The journal of a check that is under way.

    Parameters
    ----------
    place : str
        Path of its file, for messages.
    content : Content, optional
        Of an earlier run of the check.
    write : callable
        Writes the file.
    form : callable
        Makes what is to stand in it.
    """

    def __init__(
        self,
        place: str,
        content: Content | None,
        write: Callable[[bytes | memoryview], None],
        form: Callable[[Content], memoryview],
    ) -> None:
        self.place, self._content, self._write, self._form = place, content, write, form
        self._decided = self._taken = 0
        self._due, self._changed, self._checked = 0.0, False, False
        self._identified = False

    def identify(self, key: Mapping[str, str], gradient: str, independent: str) -> None:
        """Say of what check this is the journal.

        Parameters
        ----------
        key : mapping of str to str
            What it depends on, with a name for each thing.
        gradient : str
            A digest of the gradient under test. If it is another one, what does not depend on it is kept.
        independent : str
            The phase that does not.

        Raises
        ------
        DataError
            The file is that of another check.
        """
        self._identified = True
        self._due = time.perf_counter() + _INTERVAL
        if self._content is None:
            self._content = Content(dict(key), gradient)
            return
        other = [name for name in {**key, **self._content.key} if key.get(name) != self._content.key.get(name)]
        if other:
            raise DataError(
                f"{self.place}: is the checkpoint of another check: not the same {', '.join(other)}. "
                "Give another file, or remove this one"
            )
        if self._content.gradient != gradient:
            kept = [number for number, record in enumerate(self._content.records) if record.phase not in ("", independent)]
            del self._content.records[kept[0] if kept else len(self._content.records) :]
            self._content.decisions = [each for each in self._content.decisions if each[0] in ("", independent)]
            self._content.gradient = gradient
        for record in self._content.records:
            record.known = record.count

    def decide(self, phase: str, name: str, value: Callable[[], Any], fits: Callable[[Any], bool]) -> Any:
        """A value that depends on a clock: that of the earlier run, if there was one; DataError if it does not fit."""
        if self._content is None:
            return value()
        decisions = self._content.decisions
        if self._decided == len(decisions):
            decisions.append((phase, name, json.dumps(value())))
        known = decisions[self._decided]
        if known[:2] != (phase, name):
            raise self._misfit(f"{phase or 'beginning'}, {name}")
        self._decided += 1
        with contextlib.suppress(ValueError, TypeError, LookupError, RecursionError):
            decided = json.loads(known[2])
            if fits(decided):
                return decided
        raise DataError(f"{self.place}: is damaged: {name} is {known[2][:_SHOWN]}. Remove the file")

    def take(self, phase: str, kind: str) -> Record:
        """The next run."""
        assert self._content is not None
        if self._taken == len(self._content.records):
            self._content.records.append(Record(phase, kind))
        record = self._content.records[self._taken]
        if (record.phase, record.kind) != (phase, kind):
            raise self._misfit(f"{phase}, {kind}")
        self._taken += 1
        return record

    def _misfit(self, asked: str) -> DataError:
        return DataError(f"{self.place}: does not go with this check, which asks for other things ({asked}). Remove the file")

    @property
    def ready(self) -> bool:
        """Whether it is known of what check this is."""
        return self._identified

    def require_same(self, encoded: Fields, record: Record) -> None:
        """Look, once, whether what was computed is computed alike now; DataError if it is not."""
        self._checked = True
        for name, values in record.fields(0).items():
            if not np.array_equal(values, encoded.get(name, np.empty(0)), equal_nan=values.dtype.kind == "f"):
                raise DataError(
                    f"{self.place}: the cost does not give what it gave when this checkpoint was written: it has been changed, "
                    "or gives other values at each call. Remove the file"
                )

    @property
    def unchecked(self) -> bool:
        """Whether nothing of an earlier run has been computed once more yet."""
        return not self._checked

    def append(self, record: Record, fields: Fields) -> None:
        """Note a result, and write all of them down if it is time."""
        record.append(fields)
        self._changed = True
        if time.perf_counter() >= self._due:
            self.flush()

    def flush(self) -> None:
        """Write down what is new."""
        if self._changed and self._content is not None:
            begun = time.perf_counter()
            self._write(self._form(self._content))
            self._changed = False
            ended = time.perf_counter()
            self._due = ended + max(_INTERVAL, _PATIENCE * (ended - begun))

    def finish(self, form: Callable[[Content], memoryview]) -> None:
        """Write it down for the last time, in another form."""
        if self._content is not None:
            self._write(form(self._content))
            self._changed = False
