"""Consecutive instructions of a program as one call of a compiled kernel.

NumPy takes several passes through memory for most difference forms, and some microseconds for each call. Where a sweep is long
enough to pay for loading a kernel, all instructions that have operations there are done by it, for so few lanes at a time that
their changes stay in a cache. What has none, and slabs, of which there is little to compute, are left to NumPy. Such instructions
are done before a section if they need nothing of it, so that sections are long.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradsweep._differences._instructions import Instruction
from gradsweep._differences._known_elements import Change, spread
from gradsweep._differences._lanes import Lanes
from gradsweep._differences._operations import Emission, Operation, Register, needs_turned
from gradsweep._differences._recording import ADD, WRITE, Node
from gradsweep._differences._slab import Slab
from gradsweep._types import Array

# Numbers in the registers of a tile, and its width: what stays in the caches of a core, in whole vectors.
_CELLS, _NARROWEST, _WIDEST, _VECTOR = 2**17, 16, 256, 8

# Cells of the narrowest tile, at most: 32 MB. Beyond that NumPy does as well.
_MOST_CELLS = 2**22

# How many more numbers a section may touch than NumPy does, which leaves the zeros of slabs out.
_DEARER = 3

# How many numbers of a section take as long as one of NumPy's. None of them is kept, either, so that more lanes go together.
_LIGHTER = 8

# Instructions of which a section is made at least: one alone would be copied in and out for nothing.
_FEWEST = 2

Integers: TypeAlias = NDArray[np.int64]


class Section:
    """Instructions that a kernel does.

    Parameters
    ----------
    emission : Emission
        Their operations.
    instructions : sequence of Instruction
        The same as they are.
    outputs : sequence of Node
        What others need of them.

    Attributes
    ----------
    instructions : sequence of Instruction
        As given.
    reads, outputs : list of int
        Numbers of nodes that it needs, and that others need of it.
    culprit : int
        Identity of the instruction that gave up.
    """

    def __init__(self, emission: Emission, instructions: Sequence[Instruction], outputs: Sequence[Node]) -> None:
        from gradsweep.kernels import sections  # which loads Numba

        self._kernel = sections
        self.instructions = instructions
        self._needed, self._made = emission.needed, outputs
        self.reads, self.outputs = [node.number for node in emission.needed], [node.number for node in outputs]
        self._total = sum(node.base.size for each in instructions for node in each.step.made)
        operations = list(emission.operations)
        for number, node in enumerate(outputs):
            register = emission.values[node.number]
            listed = emission.rows(node, node.base.shape, Register(node.base.size))
            sizes = (len(self._needed) + number,)
            operations.append(Operation("STORE", None, node.base.size, register, first_rows=listed, sizes=sizes))
        places, self._registers = _placed(operations)
        self._lists, self._constants = _Pool(np.int64), _Pool(np.float64)
        rows = [self._row(operation, places) for operation in operations]
        self._table = np.array(rows, dtype=np.int64)
        # Terms and columns of products that are made a few rows at a time.
        self._products = {(each.sizes[0], each.sizes[1]) for each in operations if each.code == "LEFT"}
        self._owners = [*emission.owners, *[id(instructions[-1])] * len(outputs)]
        self.culprit = 0
        self._fixed_places, self._fixed = self._lists.joined(), self._constants.joined()
        # Factors of products are named by their addresses.
        column = sections.P
        for row, operation in zip(self._table, operations, strict=True):
            if operation.matrix is not None:
                row[column] = self._fixed.ctypes.data + row[column] * self._fixed.itemsize
        #: Numbers in lists and constants.
        self.size = self._fixed.size + self._fixed_places.size
        #: Numbers that are read and written in each lane.
        self.touched = sum(operation.touched for operation in operations)
        #: Whether its registers fit into no cache.
        self.is_too_wide = self._registers * _NARROWEST > _MOST_CELLS
        width = _CELLS // max(self._registers, 1)
        self._width = int(np.clip(width - width % _VECTOR, _NARROWEST, _WIDEST))

    def _row(self, operation: Operation, places: Mapping[int, int]) -> list[int]:
        kernel, row = self._kernel, [0] * self._kernel.COLUMNS
        row[kernel.CODE] = getattr(kernel, operation.code)
        row[kernel.ROWS] = operation.rows
        for column, register in ((kernel.OUT, operation.out), (kernel.FIRST, operation.first), (kernel.SECOND, operation.second)):
            row[column] = -1 if register is None else places[id(register)]
        for column, listed in ((kernel.FIRST_ROWS, operation.first_rows), (kernel.SECOND_ROWS, operation.second_rows)):
            row[column] = -1 if listed is None else self._lists.add(listed)
        if operation.constants is not None:
            row[kernel.CONSTANTS] = self._constants.add(operation.constants)
        if operation.matrix is not None:
            row[kernel.P] = self._constants.add(operation.matrix.reshape(-1))
        for column, size in zip(_SIZES[operation.code](kernel), operation.sizes, strict=True):
            row[column] = size
        return row

    def run(self, lanes: Lanes, changes: list[Any]) -> bool:
        """Do it, if it holds for these perturbations.

        Parameters
        ----------
        lanes : Lanes
            The perturbations.
        changes : list
            Changes of nodes by their numbers; those of `outputs` are set.

        Returns
        -------
        bool
            False if an operation does not hold; nothing is set then but `culprit`.
        """
        count = lanes.count
        width = min(self._width, -(-count // _VECTOR) * _VECTOR)
        outside = np.zeros((len(self._needed) + len(self._made), 3), dtype=np.int64)
        lists, begin = [self._fixed_places], self._fixed_places.size
        kept = []
        for row, node in zip(outside, self._needed, strict=False):
            values, listed = _from_outside(changes[node.number], node, count)
            kept.append(values)
            row[:] = values.ctypes.data, values.size // count, -1 if listed is None else begin
            if listed is not None:
                lists.append(listed)
                begin += listed.size
        made = [np.empty((*node.base.shape, count)) for node in self._made]
        for row, array in zip(outside[len(self._needed) :], made, strict=True):
            row[:] = array.ctypes.data, array.size // count, -1
        places = np.concatenate(lists) if len(lists) > 1 else lists[0]
        scratch = max([width, *(self._kernel.cells_for(terms, columns, width) for terms, columns in self._products)])
        cells = np.empty(self._registers * width + scratch)
        for first in range(0, count, width):
            filled = min(width, count - first)
            failed = self._kernel.run(
                self._table, places, self._fixed, outside, first, count, cells, self._registers, width, filled
            )
            if failed >= 0:
                self.culprit = self._owners[failed]
                return False
        for number, array in zip(self.outputs, made, strict=True):
            changes[number] = array
        lanes.total += self._total // _LIGHTER
        lanes.largest = max([lanes.largest, *(node.base.size for node in self._made)])
        return True


#: Columns that the sizes of an operation are written in.
_SIZES: dict[str, Any] = dict.fromkeys(
    ("CLEAR", "GATHER", "SCATTER", "ADD_AT", "NEGATE", "ADD", "SUBTRACT", "SCALE", "DIVIDE_BY", "MULTIPLY", "DIVIDE", "SQUARE"),
    lambda kernel: (),
) | {
    "NEAR": lambda kernel: (),
    "NEAR_BOTH": lambda kernel: (),
    "LOAD": lambda kernel: (kernel.SECOND,),
    "STORE": lambda kernel: (kernel.SECOND,),
    "SERIES": lambda kernel: (kernel.P, kernel.Q, kernel.R),
    "SUM": lambda kernel: (kernel.P,),
    "LEFT": lambda kernel: (kernel.Q, kernel.R, kernel.S),
    "PRODUCT": lambda kernel: (kernel.Q, kernel.R, kernel.S),
    "BILINEAR": lambda kernel: (kernel.Q, kernel.R, kernel.S),
    "COLUMN": lambda kernel: (kernel.SECOND, kernel.Q, kernel.R),
    "ROW": lambda kernel: (kernel.SECOND, kernel.Q, kernel.R),
}


class _Pool:
    """Arrays one after the other, each once."""

    def __init__(self, kind: type) -> None:
        self._kind = kind
        self._arrays: list[NDArray[Any]] = []
        self._known: dict[bytes, int] = {}
        self._size = 0

    def add(self, array: NDArray[Any]) -> int:
        """Where an array begins."""
        own: NDArray[Any] = np.ascontiguousarray(array, dtype=self._kind)
        key = own.tobytes()
        if key not in self._known:
            self._known[key] = self._size
            self._arrays.append(own)
            self._size += own.size
        return self._known[key]

    def joined(self) -> NDArray[Any]:
        """All of them."""
        return np.concatenate([*self._arrays, np.zeros(1, dtype=self._kind)])


def _placed(operations: Sequence[Operation]) -> tuple[dict[int, int], int]:
    """First rows of registers, by their identity, and how many rows there are: rows are used again when nobody needs them."""
    last = {id(register): place for place, operation in enumerate(operations) for register in operation.registers}
    places: dict[int, int] = {}
    free: list[tuple[int, int]] = []  # first row, rows; in order
    top = 0
    for place, operation in enumerate(operations):
        if _may_be_in_place(operation) and last[id(operation.first)] == place and id(operation.out) not in places:
            places[id(operation.out)] = places[id(operation.first)]
        for register in operation.registers:
            if id(register) in places:
                continue
            fitting = next((number for number, (_, rows) in enumerate(free) if rows >= register.rows), None)
            if fitting is None:
                places[id(register)], top = top, top + register.rows
            else:
                first, rows = free.pop(fitting)
                places[id(register)] = first
                if rows > register.rows:
                    free.insert(fitting, (first + register.rows, rows - register.rows))
        kept = {places[id(each)] for each in operation.registers if last[id(each)] > place}
        # Two that have the same rows, as where a result that nobody reads is made in place, give them back once.
        for register in {places[id(each)]: each for each in operation.registers}.values():
            if last[id(register)] == place and places[id(register)] not in kept:
                free = _joined([*free, (places[id(register)], register.rows)])
    return places, top


def _may_be_in_place(operation: Operation) -> bool:
    """Whether the result may take the place of the first operand."""
    first, out = operation.first, operation.out
    if operation.code not in ("SERIES", "ADD", "SUBTRACT") or operation.first_rows is not None or first is operation.second:
        return False
    return first is not None and out is not None and first.rows == out.rows and first is not out


def _joined(free: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Free rows in order, neighbours together."""
    joined: list[tuple[int, int]] = []
    for first, rows in sorted(free):
        if joined and sum(joined[-1]) == first:
            joined[-1] = (joined[-1][0], joined[-1][1] + rows)
        else:
            joined.append((first, rows))
    return joined


def _from_outside(change: Change, node: Node, count: int) -> tuple[Array, Integers | None]:
    """Rows of a change, and of a slab where they lie: the row that each adds to that of its lane."""
    shape = node.base.shape
    if change is None:
        return np.empty((0, count)), None
    change = spread(change, shape)
    if not isinstance(change, Slab) or not change.pattern.axes:
        dense = change.values if isinstance(change, Slab) else change
        return np.ascontiguousarray(np.broadcast_to(dense, (*shape, count)), dtype=np.float64), None
    numbers = np.arange(node.base.size).reshape(shape)
    axes = change.pattern.axes
    index: list[Any] = [0 if axis in axes else slice(None) for axis in range(len(shape))]
    rows = numbers[tuple(index)].reshape(-1)
    strides = [int(np.prod(shape[axis + 1 :], dtype=np.int64)) for axis in axes]
    lanes = np.zeros(count, dtype=np.int64)
    for stride, places in zip(strides, change.pattern.index, strict=True):
        lanes += stride * places
    values = np.ascontiguousarray(np.broadcast_to(change.values, (*change.values.shape[:-1], count)), dtype=np.float64)
    return values, np.concatenate([rows, lanes])


# ---- which instructions ---------------------------------------------------------------------------------------------------

#: What a program is made of.
Part: TypeAlias = Instruction | Section


@dataclass(frozen=True)
class Kinds:
    """How nodes change, by their numbers.

    Attributes
    ----------
    affected : set of int
        Those that change.
    dense, entries : set of int
        Of these the ones that are no slabs, and those of which each lane changes a single entry.
    sizes : mapping of int to int
        How many numbers change in each lane.
    """

    affected: set[int]
    dense: set[int]
    entries: set[int]
    sizes: Mapping[int, int]


def divided(instructions: Sequence[Instruction], kinds: Kinds, refused: set[int], result: int | None) -> list[Part]:
    """Instructions, as many of them as possible in sections.

    Parameters
    ----------
    instructions : sequence of Instruction
        In order.
    kinds : Kinds
        Which nodes change, and how.
    refused : set of int
        Identities of instructions that are left to NumPy.
    result : int or None
        Number of the node that is asked for.

    Returns
    -------
    list of Instruction and Section
        In an order in which they can be done.
    """
    refused = set(refused)
    while True:
        runs = _runs(instructions, kinds, refused)
        again = _split_memory(runs) | {id(each) for _, own in runs for each in own if own and len(own) < _FEWEST}
        if not again - refused:
            break
        refused |= again
    parts: list[Part] = []
    last = {number: place for place, (_, own) in enumerate(runs) for each in own for number in each.reads}
    for place, (emission, own) in enumerate(runs):
        if not emission.operations:
            parts += own
            continue
        made = [node for each in own for node in each.step.made]
        outputs = [node for node in made if last.get(node.number, -1) > place or node.number == result]
        section = Section(emission, own, [node for node in outputs if node.number in emission.values])
        touched = sum(kinds.sizes.get(number, 0) for each in own for number in (*each.reads, *each.outputs))
        is_worth = not section.is_too_wide and section.touched <= _DEARER * touched
        parts += [section] if is_worth else own
    return parts


def _runs(instructions: Sequence[Instruction], kinds: Kinds, refused: set[int]) -> list[tuple[Emission, list[Instruction]]]:
    """Instructions in runs, by turns of those without operations and of those with."""
    turns = any(needs_turned(each.step, kinds.affected) for each in instructions)
    runs: list[tuple[Emission, list[Instruction]]] = []
    before: list[Instruction] = []
    emission, own, made = Emission(kinds.affected, kinds.entries, turns), [], set[int]()
    for instruction in instructions:
        able = id(instruction) not in refused and all(number in kinds.dense for number in instruction.outputs)
        if able and emission.emit(instruction):
            own.append(instruction)
            made.update(instruction.outputs)
        elif made.isdisjoint(instruction.reads) and not (own and instruction.step.key in (WRITE, ADD)):
            # What is written in part may be what the section before has a view of.
            before.append(instruction)
        else:
            runs += [(Emission(kinds.affected, kinds.entries, turns), before), (emission, own)]
            before, emission, own, made = [instruction], Emission(kinds.affected, kinds.entries, turns), [], set()
    return [*runs, (Emission(kinds.affected, kinds.entries, turns), before), (emission, own)]


def _split_memory(runs: Sequence[tuple[Emission, list[Instruction]]]) -> set[int]:
    """Instructions on memory that is not dealt with in a single section."""
    where: dict[int, set[int]] = {}
    for place, (_, own) in enumerate(runs):
        for each in own:
            if each.step.slot is not None:
                where.setdefault(each.step.slot.number, set()).add(place)
    apart = {number for number, places in where.items() if len(places) > 1}
    return {id(each) for _, own in runs for each in own if each.step.slot is not None and each.step.slot.number in apart}
