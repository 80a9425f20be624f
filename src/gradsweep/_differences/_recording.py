"""What a function did on difference arrays, written down step by step, so that it can be repeated on other changes alone.

A run is recorded once, with all parameters changing. Every value that changes is a node; every operation that takes one is a
step. Whatever makes a value that is no node makes the record void as soon as that value is used: nothing is left out unseen.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradsweep._differences._memory import Memory
from gradsweep._differences._varying import Varying

# Numbers of plain arrays that a record may hold copies of, and of values that it keeps: 16 MB each, or as many vectors of all
# parameters. A function of larger arrays is run for each chunk: what is done beside its arithmetic takes little of its time.
_COPIED, _KEPT, _VECTORS = 2**21, 2**21, 4

#: What a step does with memory that several arrays are views of: hold a value as a whole, take one in some entries, add one to
#: some entries, be looked at.
RESET, WRITE, ADD, VIEW = "reset", "write", "add", "view"


@dataclass(eq=False, slots=True)
class Node:
    """A value that changes.

    Attributes
    ----------
    number : int
        Counted from 0 in the order in which they were made.
    base : array
        The value where nothing is perturbed.
    """

    number: int
    base: NDArray[Any]


@dataclass(frozen=True)
class Extent:
    """Where a view lies in memory, in numbers: its shape, its first entry, and the strides of its axes."""

    shape: tuple[int, ...]
    offset: int
    strides: tuple[int, ...]


@dataclass(eq=False)
class Slot:
    """Memory that was written to.

    Attributes
    ----------
    number : int
        Counted from 0.
    size : int
        Numbers in it.
    whole : Extent
        Of all of its values.
    first : Node, optional
        What it held before it was first written to; None if that was plain.
    """

    number: int
    size: int
    whole: Extent
    first: Node | None


@dataclass(eq=False)
class Step:
    """An operation.

    Attributes
    ----------
    key : object
        What it is, by which a shorter way to its change is found: a ufunc, a function, or a word.
    call : callable
        Does it once more.
    args, options
        Its arguments, with nodes in the place of values that change, and copies of plain arrays.
    result : object
        What it returned, with nodes in the place of values that change.
    taken, made : list of Node
        The nodes in its arguments, and in its result.
    slot : Slot, optional
        The memory that it concerns.
    """

    key: Any
    call: Callable[..., Any]
    args: tuple[Any, ...]
    options: dict[str, Any]
    result: Any
    taken: list[Node]
    made: list[Node]
    slot: Slot | None = None


@dataclass(eq=False)
class Recording:
    """The steps of a run.

    Attributes
    ----------
    steps : list of Step
        In order.
    nodes : list of Node
        By their numbers.
    arguments : list of Node or None
        The function's own arguments, by the order in which they were given.
    intact : bool
        Whether nothing was met that cannot be repeated.
    """

    steps: list[Step] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    arguments: list[Node] = field(default_factory=list)
    intact: bool = True
    _slots: dict[int, tuple[Memory, Slot]] = field(default_factory=dict)
    # How many of the first nodes share nothing with memory, by its identity.
    _separate: dict[int, int] = field(default_factory=dict)
    _vector: int = 0
    _copied: int = 0
    _kept: int = 0
    # Nodes in the arguments that are being written down.
    _taken: list[Node] = field(default_factory=list)

    def argument(self, value: Varying) -> None:
        """Take a value for the function's next argument."""
        self._vector += value.base.size
        self.arguments.append(self._named(value))
        self._kept = 0  # there is a copy of all parameters in any case

    def note(self, key: Any, call: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any], result: Any) -> None:
        """Write a step down, and make nodes of the values that change in its result."""
        self._append(key, call, (self._written(args), self._written(options)), lambda: self._made(result))

    def _append(
        self, key: Any, call: Callable[..., Any], given: tuple[Any, Any], make: Callable[[], Any], slot: Slot | None = None
    ) -> None:
        taken, self._taken, begin = self._taken, [], len(self.nodes)
        if self.intact:
            result = make()
            self.steps.append(Step(key, call, *given, result, taken, self.nodes[begin:], slot))

    def node_of(self, value: Varying) -> Node:
        """The node of a value; the record is void if it has none."""
        node = value.node
        if type(node) is not Node or node.number >= len(self.nodes) or self.nodes[node.number] is not node:
            self.intact = False
            node = Node(-1, value.base)
        self._taken.append(node)
        return node

    # ---- memory

    def about_to_write(self, memory: Memory) -> None:
        """Keep the values of nodes that share this memory as they are."""
        if self.intact:
            self._slot(memory)
            # Those before do not: they were looked at when it was last written to.
            begin = self._separate.get(id(memory), 0)
            self._separate[id(memory)] = len(self.nodes)
            for node in self.nodes[begin:]:
                if np.may_share_memory(node.base, memory.base):
                    node.base = node.base.copy()

    def write(self, memory: Memory, view: NDArray[Any], index: Any, value: Any) -> None:
        """An assignment of a value, which may be plain, to entries of a view."""
        slot, extent = self._slot(memory), _extent(memory, view)
        taken = self._written(value) if isinstance(value, Varying) else None
        whole = index is Ellipsis and extent == slot.whole and (taken is None or taken.base.shape == extent.shape)
        self._note_memory(RESET if whole else WRITE, slot, (taken, extent, self._written(index)), None)

    def add(self, memory: Memory, view: NDArray[Any], index: Any, value: Any, ufunc: np.ufunc) -> None:
        """``ufunc.at``, of a value that may be plain."""
        if isinstance(value, Varying):
            taken = self._written(value), _extent(memory, view), self._written(index), ufunc
            self._note_memory(ADD, self._slot(memory), taken, None)

    def look(self, memory: Memory, value: Varying) -> None:
        """A view, as it is now, is a value."""
        found = self._slots.get(id(memory))
        if found is None:
            self.intact = False
        else:
            # A node of its own, since `base` may be written to: what it is at the end is not what it was.
            self._note_memory(VIEW, found[1], (_extent(memory, value.base),), value)

    def _note_memory(self, key: str, slot: Slot, args: tuple[Any, ...], result: Varying | None) -> None:
        self._append(key, _never, (args, {}), lambda: None if result is None else self._named(result), slot)

    def _slot(self, memory: Memory) -> Slot:
        known = self._slots.get(id(memory))
        if known is None:
            start, end = np.lib.array_utils.byte_bounds(memory.base)
            # What was written in an earlier run is plain in this one.
            stale = memory.lanes.finished
            first = None if stale or memory.first is None else self.node_of(memory.first)
            if (memory.change is not None and not stale) or memory.base.dtype != np.float64:
                self.intact = False
            size = (end - start) // memory.base.itemsize
            self._taken = []
            known = memory, Slot(len(self._slots), size, _extent(memory, memory.base), first)
            self._slots[id(memory)] = known
        return known[1]

    # ---- arguments and results

    def _written(self, value: Any) -> Any:
        """Arguments, with nodes for what changes and copies of plain arrays, which may be written to later."""
        kind = type(value)
        if kind is Varying:
            return self.node_of(value)
        if kind is np.ndarray:
            # What is read-only may be a view of what is written to elsewhere, as np.broadcast_to gives.
            if value.flags.writeable or value.base is not None:
                self._copied += value.size
                self.intact &= self._copied <= max(_COPIED, _VECTORS * self._vector)
                value = value.copy() if self.intact else value
            return value
        if kind is list or kind is tuple:
            return kind(self._written(each) for each in value)
        if kind is dict:
            return {name: self._written(each) for name, each in value.items()}
        if isinstance(value, list | tuple | dict | np.ndarray):
            self.intact = False
        return value

    def _made(self, result: Any) -> Any:
        """A result, with new nodes for what changes, and nothing else of it."""
        if isinstance(result, Varying):
            return self._named(result)
        if isinstance(result, list | tuple):
            return [self._made(each) for each in result]
        return None

    def _named(self, value: Varying) -> Node:
        node = Node(len(self.nodes), value.base)
        self.nodes.append(node)
        value.__dict__["node"] = node
        self._kept += 0 if value.base.base is not None else value.base.size
        if self._kept > max(_KEPT, _VECTORS * self._vector):
            self.intact = False
            self.steps, self.nodes = [], []
        return node


def _extent(memory: Memory, view: NDArray[Any]) -> Extent:
    size = memory.base.itemsize
    return Extent(view.shape, memory.offset(view), tuple(stride // size for stride in view.strides))


def _never(*args: Any) -> Any:
    raise AssertionError("memory is dealt with by the program")
