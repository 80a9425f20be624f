"""What a check has computed, in order: enough to go on where an earlier run of the same check was ended.

A check is deterministic but for what it measures by a clock. So whatever it asks for in a second run it asks for in the same
order, and is given what is in the journal before anything is computed anew. What depends on a clock, as the lengths of chunks do,
is in the journal as a decision. Where it asks for something else than it did, as for another gradient, or with more time left,
that is seen by a digest of each item: what follows in the journal is then of no use, and is computed anew.
"""

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
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

#: The field of a result that tells what it is of.
ITEM = "item"

# Arrays that are kept apart before they are put together: small ones take more room for themselves than for their numbers.
_APART = 1024


class Codec(Protocol[Item, Result]):
    """How results of one kind are written down."""

    @property
    def kind(self) -> str:
        """What they are called in a file."""

    def describe(self, item: Item) -> Iterable[bytes | NDArray[Any]]:
        """What a result is of: all that tells an item from others at the same point."""

    def encode(self, result: Result) -> Fields:
        """A result as arrays."""

    def decode(self, item: Item, fields: Fields) -> Result:
        """The result that was encoded, of this item. Arrays are of the types that were encoded, of any length."""


def address(described: Iterable[bytes | NDArray[Any]]) -> NDArray[np.int64]:
    """By what an item is told from others: array of shape (1,)."""
    found = hashlib.blake2b(digest_size=8)
    for part in described:
        content = part if isinstance(part, bytes) else np.ascontiguousarray(part).tobytes()
        found.update(len(content).to_bytes(8, "little") + content)
    return np.frombuffer(found.digest(), dtype="<i8").astype(np.int64)


def misfit(what: str, found: int, wanted: int) -> DataError:
    """A checkpoint that holds another number of what is asked for, as it may if it was written on another kind of machine."""
    return DataError(f"the checkpoint has {found} {what} where {wanted} are asked for: it is of another check; remove it")


class Values:
    """Codec of results that are arrays of float64 of one dimension."""

    kind = "values"

    def describe(self, item: Any) -> Iterable[bytes | NDArray[Any]]:
        """Points at which there are values."""
        described: Iterable[bytes | NDArray[Any]] = item.described
        return described

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

    def first(self, results: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Values and counts of so many results; there may be one more, if an interrupt came while it was added."""
        if len(self._pieces) > 1:
            self._pieces = [np.concatenate(self._pieces)]
        counts = np.array(self._counts[:results], dtype=np.int64)
        return self._pieces[0][: int(counts.sum())] if self._pieces else np.empty(0), counts


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

    def is_of(self, number: int, item: NDArray[np.int64]) -> bool:
        """Whether a result that was there from the beginning is of the item of this address."""
        own = self.columns.get(ITEM)
        return own is not None and np.array_equal(own[number], item)

    def append(self, fields: Fields) -> None:
        """Add a result."""
        for name, values in fields.items():
            self.columns.setdefault(name, Column()).append(values)
        self.count += 1

    def keep(self, results: int) -> None:
        """Forget all but the first results."""
        self.columns = {name: Column(*column.first(results)) for name, column in self.columns.items()} if results else {}
        self.count = self.known = results


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
        write: Callable[[bytes], None],
        form: Callable[[Content], bytes],
    ) -> None:
        self.place, self._content, self._write, self._form = place, content, write, form
        self._decided = self._taken = 0
        self._due, self._changed, self._checked = 0.0, False, False
        self._identified = False

    def identify(self, key: Mapping[str, str], gradient: str, independent: Sequence[str]) -> None:
        """Say of what check this is the journal.

        Parameters
        ----------
        key : mapping of str to str
            What it depends on, with a name for each thing.
        gradient : str
            A digest of the gradient under test. If it is another one, what does not depend on it is kept.
        independent : sequence of str
            The phases that do not.

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
            kept = [number for number, record in enumerate(self._content.records) if record.phase not in ("", *independent)]
            del self._content.records[kept[0] if kept else len(self._content.records) :]
            self._content.decisions = [each for each in self._content.decisions if each[0] in ("", *independent)]
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
        if decisions[self._decided][:2] != (phase, name):
            if not self._decided:
                raise self._misfit(f"{phase or 'beginning'}, {name}")
            self._forget()
            decisions.append((phase, name, json.dumps(value())))
        known = decisions[self._decided]
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
            if not self._taken:
                raise self._misfit(f"{phase}, {kind}")
            self._forget()
            record = Record(phase, kind)
            self._content.records.append(record)
        self._taken += 1
        return record

    def depart(self, record: Record, results: int) -> None:
        """From here on other things are asked for than in the earlier run: forget what it had after these results."""
        record.keep(results)
        self._forget()

    def _forget(self) -> None:
        """Forget all that has not been asked for yet."""
        assert self._content is not None
        del self._content.records[self._taken :]
        del self._content.decisions[self._decided :]
        self._changed = True

    def _misfit(self, asked: str) -> DataError:
        return DataError(f"{self.place}: does not go with this check, which asks for other things ({asked}). Remove the file")

    @property
    def ready(self) -> bool:
        """Whether it is known of what check this is."""
        return self._identified

    def require_same(self, encoded: Fields, record: Record) -> None:
        """Look, once, whether what was computed is computed alike now; DataError if it is not."""
        for name, values in record.fields(0).items():
            if name == ITEM:
                continue
            if not np.array_equal(values, encoded.get(name, np.empty(0)), equal_nan=values.dtype.kind == "f"):
                raise DataError(
                    f"{self.place}: the cost does not give what it gave when this checkpoint was written: it has been changed, "
                    "or gives other values at each call. Remove the file"
                )

    def is_to_be_checked(self) -> bool:
        """Whether nothing of an earlier run has been computed once more yet, which is then done."""
        unchecked, self._checked = not self._checked, True
        return unchecked

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

    def finish(self, form: Callable[[Content], bytes]) -> None:
        """Write it down for the last time, in another form."""
        if self._content is not None:
            self._write(form(self._content))
            self._changed = False
