"""Recorded steps as operations of the compiled kernel `sections`: the same difference forms, on registers.

What a step needs of the values, as the coefficients of a power series or which rows of an operand are read, is computed here,
once for all perturbations. Steps that have no operation are done by NumPy.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradsweep._differences import _reductions
from gradsweep._differences._elementary import SERIES
from gradsweep._differences._elementwise import COMPARISONS
from gradsweep._differences._instructions import Instruction
from gradsweep._differences._known_elements import base_of
from gradsweep._differences._lanes import Lanes
from gradsweep._differences._recording import ADD, RESET, VIEW, WRITE, Extent, Node, Slot, Step
from gradsweep._differences._series import Coefficients
from gradsweep._differences._shortcuts import axis_and_dimensions
from gradsweep._differences._varying import real
from gradsweep._types import Array

#: Places among rows, or -1 for none.
Rows = NDArray[np.int64]

# What is only taken apart and put together: each entry of the result is an entry of an operand, or plain.
_STRUCTURAL = frozenset({
    "take", "reshape", "transpose", "copy", np.reshape, np.ravel, np.squeeze, np.expand_dims, np.atleast_1d, np.atleast_2d,
    np.atleast_3d, np.transpose, np.swapaxes, np.moveaxis, np.broadcast_to, np.concatenate, np.stack, np.hstack, np.vstack,
    np.copy, np.where, np.repeat, np.tile, np.roll, np.flip, np.pad,
})  # fmt: skip

# Entries of an array of which a tile of lanes still fits into some megabytes, and numbers that lists and constants may have
# together: 64 MB.
_MOST_ENTRIES, _MOST = 2**15, 2**23


@dataclass(eq=False)
class Register:
    """Changes of an array in a tile of lanes, a row for each entry.

    Attributes
    ----------
    rows : int
        How many; there may be more than entries.
    is_turned : bool
        Whether the last axis of the array comes first. A product δA·B is then one product of matrices with long rows.
    """

    rows: int
    is_turned: bool = False


@functools.lru_cache(maxsize=256)
def _turned(shape: tuple[int, ...]) -> Rows:
    """Entries of an array, counted in C order, as they follow each other where its last axis comes first."""
    entries = np.arange(math.prod(shape), dtype=np.int64).reshape(-1, shape[-1])
    return np.ascontiguousarray(entries.T).reshape(-1)


@functools.lru_cache(maxsize=256)
def _turned_rows(shape: tuple[int, ...]) -> Rows:
    """Where each entry of such an array is."""
    rows = np.empty(math.prod(shape), dtype=np.int64)
    rows[_turned(shape)] = np.arange(len(rows))
    return rows


@dataclass(eq=False)
class Operation:
    """A row of the kernel's table, with registers in the place of rows.

    Attributes
    ----------
    code : str
        Name of its code.
    out : Register or None
        Written; read as well by ``ADD_AT`` and by products that are added.
    rows : int
        How many rows are worked on.
    first, second : Register, optional
        Read.
    first_rows, second_rows : array of int, optional
        Which rows of them; of ``SCATTER`` and ``ADD_AT`` the second are rows of the result.
    constants : array, optional
        What belongs to the values.
    matrix : array, optional
        The plain factor of a product.
    sizes : tuple of int
        Further columns.
    """

    code: str
    out: Register | None
    rows: int
    first: Register | None = None
    second: Register | None = None
    first_rows: Rows | None = None
    second_rows: Rows | None = None
    constants: Array | None = None
    matrix: Array | None = None
    sizes: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """Numbers in its lists and constants."""
        given = (self.first_rows, self.second_rows, self.constants, self.matrix)
        return sum(each.size for each in given if each is not None)

    @property
    def touched(self) -> int:
        """Numbers that it reads and writes in each lane."""
        if self.code in ("PRODUCT", "LEFT", "BILINEAR"):
            return sum(each.rows for each in self.registers)
        if self.code == "SUM":
            return self.rows * (self.sizes[0] + 1)
        return self.rows * len(self.registers)

    @property
    def registers(self) -> list[Register]:
        """All that it reads or writes."""
        return [each for each in (self.out, self.first, self.second) if each is not None]


@dataclass(eq=False)
class Emission:
    """Operations of steps, one after the other.

    Attributes
    ----------
    affected : set of int
        Numbers of the nodes that change.
    entries : set of int
        Of these the ones of which each lane changes a single entry.
    turns : bool
        Whether what comes from outside is turned, as products of it need it.
    operations : list of Operation
        In order.
    values : dict of int to Register
        Nodes, by their numbers, that have a register.
    other_order : dict of int to Register
        The same in the other order, where an operation needed that.
    memory : dict of int to Register
        Memory, by the numbers of its slots.
    owners : list of int
        Identity of the instruction that each operation belongs to.
    needed : list of Node
        Those whose changes come from outside, in the order in which they are first used.
    size : int
        Numbers in lists and constants.
    """

    affected: set[int]
    entries: set[int]
    turns: bool = False
    operations: list[Operation] = field(default_factory=list)
    values: dict[int, Register] = field(default_factory=dict)
    other_order: dict[int, Register] = field(default_factory=dict)
    memory: dict[int, Register] = field(default_factory=dict)
    owners: list[int] = field(default_factory=list)
    needed: list[Node] = field(default_factory=list)
    size: int = 0

    def of(self, node: Node) -> Register:
        """The register of a node, which is loaded if nothing here has made it."""
        known = self.values.get(node.number)
        if known is None:
            known = self.values[node.number] = Register(node.base.size, self.turns and node.base.ndim > 1)
            orders = (_turned(node.base.shape), _turned_rows(node.base.shape)) if known.is_turned else (None, None)
            load = Operation("LOAD", known, known.rows, first_rows=orders[0], second_rows=orders[1], sizes=(len(self.needed),))
            self.operations.append(load)
            self.needed.append(node)
        return known

    def outside(self, node: Node) -> int:
        """The number of what comes from outside as it is."""
        self.needed.append(node)
        return len(self.needed) - 1

    def new(self, node: Node, *operands: Register) -> Register:
        """A register for a result, turned if an operand is."""
        is_turned = node.base.ndim > 1 and any(each.is_turned for each in operands)
        made = self.values[node.number] = Register(node.base.size, is_turned)
        return made

    def laid(self, node: Node, *, is_turned: bool) -> Register:
        """The register of a node in an order that an operation needs."""
        register = self.of(node)
        if register.is_turned == is_turned or node.base.ndim < 2:
            return register
        known = self.other_order.get(node.number)
        if known is None:
            known = self.other_order[node.number] = Register(node.base.size, is_turned)
            rows = _turned(node.base.shape) if is_turned else _turned_rows(node.base.shape)
            self.put("GATHER", known, known.rows, register, first_rows=rows)
        return known

    def rows(self, operand: Any, shape: tuple[int, ...], out: Register) -> Rows | None:
        """Which rows of an operand are read for the rows of a result, to whose shape it is broadcast; None: all, in order."""
        own = base_of(operand)
        is_turned = own.ndim > 1 and self.of(operand).is_turned
        if own.size == out.rows and is_turned == out.is_turned and (not is_turned or own.shape[-1] == shape[-1]):
            return None
        # What is assigned may have further axes in front, of length 1.
        entries = np.broadcast_to(np.arange(own.size).reshape(own.shape[max(own.ndim - len(shape), 0) :]), shape).reshape(-1)
        if out.is_turned:
            entries = entries[_turned(shape)]
        return np.ascontiguousarray(_turned_rows(own.shape)[entries] if is_turned else entries)

    def spread(self, values: Any, shape: tuple[int, ...], out: Register) -> Array:
        """What belongs to the rows of a result."""
        numbers = np.array(np.broadcast_to(real(np.asarray(values)), shape), dtype=np.float64).reshape(-1)
        return numbers[_turned(shape)] if out.is_turned else numbers

    def put(self, code: str, out: Register | None, rows: int, *operands: Register, **details: Any) -> None:
        """Add an operation."""
        first, second = (*operands, None, None)[:2]
        self.operations.append(Operation(code, out, rows, first, second, **details))

    def varies(self, operand: Any) -> bool:
        """Whether an operand changes."""
        return type(operand) is Node and operand.number in self.affected

    def emit(self, instruction: Instruction) -> bool:
        """Add the operations of a step; False if it has none."""
        step = instruction.step
        nodes = (*step.taken, *step.made)
        if instruction.is_selection or any(
            node.base.dtype != np.float64 or not 0 < node.base.size <= _MOST_ENTRIES for node in nodes
        ):
            return False
        before = [len(each) for each in (self.operations, self.needed, self.memory, self.other_order)]
        rule = _rule(step)
        if rule is not None and self.size <= _MOST and rule(self, step, instruction):
            self.owners += [id(instruction)] * (len(self.operations) - before[0])
            self.size += sum(operation.size for operation in self.operations[before[0] :])
            return True
        # What was loaded for it is loaded again by who needs it.
        for node in self.needed[before[1] :]:
            self.values.pop(node.number, None)
        del self.operations[before[0] :], self.needed[before[1] :]
        for known, length in ((self.memory, before[2]), (self.other_order, before[3])):
            while len(known) > length:
                known.popitem()
        for node in step.made:
            self.values.pop(node.number, None)
        return False


def needs_turned(step: Step, affected: set[int]) -> bool:
    """Whether a step is a product of a matrix that changes with one that does not, as where examples are rows."""
    operands = step.args[0] if step.key is np.matmul else step.args
    if step.key not in (np.matmul, np.dot) or len(operands) != 2:
        return False
    first, second = (type(each) is Node and each.number in affected for each in operands)
    return first and not second and np.ndim(base_of(operands[1])) == 2


#: Adds the operations of a step; False if it cannot.
_Rule = Callable[[Emission, Step, Instruction], bool]


def _rule(step: Step) -> _Rule | None:
    if step.slot is not None:
        return _MEMORY[step.key]
    key: Any = step.key
    if isinstance(key, np.ufunc):
        if step.args[1] or any(base_of(each).dtype.kind not in "fiub" for each in step.args[0]):
            return None
        if key in SERIES:
            return _series
        if key in COMPARISONS and len(step.args[0]) == 2:
            return _comparison
        return _UFUNCS.get(key) if type(step.result) is Node else None
    if type(step.result) is not Node:
        return None
    return _structural if key in _STRUCTURAL else _FUNCTIONS.get(key)


def _is_finite(*values: Any) -> bool:
    return all(bool(np.isfinite(base_of(each)).all()) for each in values)


# ---- functions of elements -----------------------------------------------------------------------------------------------


def _sum_of_two(emission: Emission, step: Step, instruction: Instruction) -> bool:
    operands, shape = step.args[0], step.result.base.shape
    if not _is_finite(step.result):
        return False
    moved = [each for each in operands if emission.varies(each)]
    registers = [emission.of(each) for each in moved]
    out = emission.new(step.result, *registers)
    rows = [emission.rows(each, shape, out) for each in moved]
    if len(moved) == 2:
        emission.put(
            "ADD" if step.key is np.add else "SUBTRACT", out, out.rows, *registers, first_rows=rows[0], second_rows=rows[1]
        )
    else:
        is_negative = moved[0] is operands[1] and step.key is np.subtract
        if rows[0] is None and not is_negative:
            emission.values[step.result.number] = registers[0]
        else:
            _pass_on(emission, out, registers[0], rows[0], is_negative=is_negative)
    return True


def _pass_on(emission: Emission, out: Register, register: Register, rows: Rows | None, *, is_negative: bool = False) -> None:
    if is_negative:
        emission.put("NEGATE", out, out.rows, register, first_rows=rows)
    else:
        emission.put("GATHER", out, out.rows, register, first_rows=np.arange(out.rows) if rows is None else rows)


def _negative(emission: Emission, step: Step, instruction: Instruction) -> bool:
    register = emission.of(step.args[0][0])
    _pass_on(emission, emission.new(step.result, register), register, None, is_negative=True)
    return True


def _product_of_two(emission: Emission, step: Step, instruction: Instruction) -> bool:
    operands, shape = step.args[0], step.result.base.shape
    if not _is_finite(*operands, step.result):
        return False
    moved = [each for each in operands if emission.varies(each)]
    registers = [emission.of(each) for each in moved]
    out = emission.new(step.result, *registers)
    rows = [emission.rows(each, shape, out) for each in moved]
    bases = [emission.spread(base_of(each), shape, out) for each in operands]
    if len(moved) == 2:
        constants = np.concatenate(bases)
        emission.put("MULTIPLY", out, out.rows, *registers, first_rows=rows[0], second_rows=rows[1], constants=constants)
    else:
        factor = bases[1] if moved[0] is operands[0] else bases[0]
        emission.put("SCALE", out, out.rows, registers[0], first_rows=rows[0], constants=factor)
    return True


def _quotient_of_two(emission: Emission, step: Step, instruction: Instruction) -> bool:
    (above, below), shape = step.args[0], step.result.base.shape
    if not _is_finite(above, below, step.result) or not (base_of(below) != 0.0).all():
        return False
    if emission.varies(below) and not emission.varies(above):
        table = Coefficients.of_quotients(real(base_of(below)), real(step.result.base)).table()
        return table is not None and _by_series(emission, step.result, below, table)
    moved = [each for each in (above, below) if emission.varies(each)]
    registers = [emission.of(each) for each in moved]
    out = emission.new(step.result, *registers)
    rows = [emission.rows(each, shape, out) for each in moved]
    divisor = emission.spread(base_of(below), shape, out)
    if len(moved) == 1:
        emission.put("DIVIDE_BY", out, out.rows, registers[0], first_rows=rows[0], constants=divisor)
    else:
        constants = np.concatenate([emission.spread(step.result.base, shape, out), divisor])
        emission.put("DIVIDE", out, out.rows, *registers, first_rows=rows[0], second_rows=rows[1], constants=constants)
    return True


def _by_series(emission: Emission, result: Node, operand: Node, table: tuple[Array, int, int]) -> bool:
    constants, few, many = table
    if len(constants) != result.base.size:
        return False
    register, shape = emission.of(operand), result.base.shape
    out = emission.new(result, register)
    if out.is_turned:
        constants = constants[_turned(shape)]
    rows, sizes = emission.rows(operand, shape, out), (constants.shape[1], few, many)
    emission.put("SERIES", out, out.rows, register, first_rows=rows, constants=constants.reshape(-1), sizes=sizes)
    return True


def _series(emission: Emission, step: Step, instruction: Instruction) -> bool:
    (operand,) = step.args[0]
    if type(step.result) is not Node or not _is_finite(operand, step.result):
        return False
    table = Coefficients(SERIES[step.key], real(operand.base), real(step.result.base)).table()
    return table is not None and _by_series(emission, step.result, operand, table)


def _square(emission: Emission, step: Step, instruction: Instruction) -> bool:
    operand = step.args[0][0]
    if not _is_finite(step.result):
        return False
    register = emission.of(operand)
    out = emission.new(step.result, register)
    emission.put("SQUARE", out, out.rows, register, constants=2.0 * emission.spread(operand.base, operand.base.shape, out))
    return True


def _power(emission: Emission, step: Step, instruction: Instruction) -> bool:
    operand, exponent = step.args[0]
    if emission.varies(exponent) or base_of(exponent).size != 1 or not _is_finite(operand, exponent, step.result):
        return False
    number = float(base_of(exponent).reshape(-1)[0])
    if operand.base.shape != step.result.base.shape:
        return False
    if number == 2.0:
        return _square(emission, step, instruction)
    if number in (0.0, 1.0):
        return False
    z, value = real(operand.base), real(step.result.base)
    table = (Coefficients.of_cubes(z, value) if number == 3.0 else Coefficients.of_powers(z, number, value)).table()
    return table is not None and _by_series(emission, step.result, operand, table)


def _comparison(emission: Emission, step: Step, instruction: Instruction) -> bool:
    """Nothing, as long as no change comes near the distance of the two."""
    operands = step.args[0]
    distance = np.abs(np.subtract(*(real(base_of(each)) for each in operands)))
    return _put_near(emission, operands, np.asarray(distance))


def _put_near(emission: Emission, operands: Sequence[Any], distance: Array) -> bool:
    # At a kink from the start the step itself must decide.
    if not bool((distance > 0.0).all()):
        return False
    moved = [each for each in operands if emission.varies(each)]
    registers = [emission.of(each) for each in moved]
    order = Register(distance.size, distance.ndim > 1 and any(each.is_turned for each in registers))
    rows = [emission.rows(each, distance.shape, order) for each in moved]
    room = emission.spread(np.nextafter(distance, 0.0), distance.shape, order)
    if len(moved) == 1:
        emission.put("NEAR", None, room.size, registers[0], first_rows=rows[0], constants=room)
    else:
        emission.put("NEAR_BOTH", None, room.size, *registers, first_rows=rows[0], second_rows=rows[1], constants=room)
    return True


def _extreme_of_two(emission: Emission, step: Step, instruction: Instruction) -> bool:
    """The larger or smaller of a value that changes and a plain one."""
    operands, shape = step.args[0], step.result.base.shape
    moved = [each for each in operands if emission.varies(each)]
    if len(moved) != 1 or not _is_finite(*operands):
        return False
    first, second = (np.broadcast_to(real(base_of(each)), shape) for each in operands)
    lead = first - second if step.key is np.maximum else second - first
    if not _put_near(emission, operands, np.abs(lead)):
        return False
    wins = lead > 0.0 if moved[0] is operands[0] else lead < 0.0
    register = emission.of(moved[0])
    out = emission.new(step.result, register)
    rows, constants = emission.rows(moved[0], shape, out), emission.spread(wins.astype(np.float64), shape, out)
    emission.put("SCALE", out, out.rows, register, first_rows=rows, constants=constants)
    return True


# ---- sums, extremes and matrix products ----------------------------------------------------------------------------------


def _groups(shape: tuple[int, ...], axis: Any) -> tuple[Rows, tuple[int, ...]]:
    """Entries that are reduced to one, a row for each result, and the axes."""
    axes = _reductions.axes_of(axis, len(shape))
    kept = tuple(other for other in range(len(shape)) if other not in axes)
    size = math.prod(shape[other] for other in axes)
    entries = np.arange(math.prod(shape)).reshape(shape).transpose(kept + axes)
    return np.ascontiguousarray(entries).reshape(-1, size), axes


def _put_sum(emission: Emission, out: Register, register: Register, shape: tuple[int, ...], groups: Rows, divisor: float) -> None:
    rows = _turned_rows(shape)[groups] if register.is_turned else groups
    constants = np.array([divisor])
    emission.put("SUM", out, len(groups), register, first_rows=rows.reshape(-1), constants=constants, sizes=(groups.shape[1],))


def _put_reduction(emission: Emission, step: Step, operand: Node, axis: Any, *, is_mean: bool = False) -> bool:
    if not _is_finite(operand, step.result) or not operand.base.size:
        return False
    groups, _ = _groups(operand.base.shape, axis)
    register = emission.of(operand)
    divisor = float(groups.shape[1]) if is_mean else 1.0
    _put_sum(emission, emission.new(step.result), register, operand.base.shape, groups, divisor)
    return True


def _total(emission: Emission, step: Step, instruction: Instruction) -> bool:
    read = axis_and_dimensions(step)
    return read is not None and _put_reduction(emission, step, step.args[0], read[0], is_mean=step.key is np.mean)


def _reduced(emission: Emission, step: Step, instruction: Instruction) -> bool:
    """``np.add.reduce``."""
    (operand,), options = step.args
    return set(options) <= {"axis", "keepdims"} and _put_reduction(emission, step, operand, options.get("axis", 0))


def _variance(emission: Emission, step: Step, instruction: Instruction) -> bool:
    """The mean square of the distance from the mean: δ − mean δ is the change of that distance."""
    options = {name: value for name, value in step.options.items() if value is not np._NoValue}
    axis = options.pop("axis", step.args[1] if len(step.args) > 1 else None)
    options.pop("keepdims", None)
    if any(options.pop(name, 0) for name in ("ddof", "correction")) or any(value is not None for value in options.values()):
        return False
    operand = step.args[0]
    if len(step.args) > 2 or type(operand) is not Node or not _is_finite(operand, step.result) or not operand.base.size:
        return False
    x, shape, register = real(operand.base), operand.base.shape, emission.of(operand)
    groups, axes = _groups(shape, axis)
    mean, centred, squared = Register(len(groups)), Register(x.size, register.is_turned), Register(x.size, register.is_turned)
    owner = np.empty(x.size, dtype=np.int64)
    owner[groups] = np.arange(len(groups))[:, np.newaxis]
    if register.is_turned:
        owner = owner[_turned(shape)]
    _put_sum(emission, mean, register, shape, groups, float(groups.shape[1]))
    emission.put("SUBTRACT", centred, x.size, register, mean, second_rows=owner)
    doubled = 2.0 * emission.spread(x - x.mean(axis=axes, keepdims=True), shape, centred)
    emission.put("SQUARE", squared, x.size, centred, constants=doubled)
    _put_sum(emission, emission.new(step.result), squared, shape, groups, float(groups.shape[1]))
    return True


def _extreme(emission: Emission, step: Step, instruction: Instruction) -> bool:
    """The winner's change, as long as no other comes near."""
    read = axis_and_dimensions(step)
    operand = step.args[0]
    if read is None or not _is_finite(operand) or not operand.base.size:
        return False
    x = real(operand.base) * (1.0 if step.key in (np.max, np.amax) else -1.0)
    groups, _ = _groups(x.shape, read[0])
    values = x.reshape(-1)[groups]
    winner = np.argmax(values, axis=1)
    if groups.shape[1] > 1:
        two = np.partition(values, -2, axis=1)[:, -2:]
        room = np.empty(x.size)
        room[groups] = 0.5 * (two[:, 1] - two[:, 0])[:, np.newaxis]
        if not _put_near(emission, [operand], room.reshape(x.shape)):
            return False
    register, out = emission.of(operand), emission.new(step.result)
    entries = groups[np.arange(len(groups)), winner]
    _pass_on(emission, out, register, _turned_rows(x.shape)[entries] if register.is_turned else entries)
    return True


def _matmul(emission: Emission, step: Step, instruction: Instruction) -> bool:
    operands = step.args[0] if step.key is np.matmul else step.args
    if len(operands) != 2 or step.options or not all(isinstance(base_of(each), np.ndarray) for each in operands):
        return False
    bases = [real(base_of(each)) for each in operands]
    if 0 in (bases[0].ndim, bases[1].ndim) or not _is_finite(*operands, step.result) or any(not base.size for base in bases):
        return False
    left = bases[0][np.newaxis] if bases[0].ndim == 1 else bases[0]
    right = bases[1][:, np.newaxis] if bases[1].ndim == 1 else bases[1]
    if step.key is not np.matmul and right.ndim > 2:
        return False
    single = [emission.varies(each) and each.number in emission.entries and each.base.ndim == 2 for each in operands]
    moved = [emission.varies(each) and not one for each, one in zip(operands, single, strict=True)]
    if right.ndim == 2 and not moved[1] and not single[0]:
        _put_product_of_rows(emission, step, operands, (left, right))
        return True
    if left.ndim == right.ndim == 2 and not single[1] and not (single[0] and moved[0]):
        _put_product_of_columns(emission, step, operands, (left, right))
        return True
    if any(single) or left.ndim != right.ndim or left.shape[:-2] != right.shape[:-2]:
        return False
    _put_products(emission, step, operands, (left, right))
    return True


def _whole_rows(matrix: Array) -> Array:
    """A matrix with rows of zeros behind it, so that none is left over where four go together."""
    padded = np.zeros((-(-len(matrix) // 4) * 4, matrix.shape[1]))
    padded[: len(matrix)] = matrix
    return padded


def _put_product_of_rows(emission: Emission, step: Step, operands: Sequence[Any], factors: tuple[Array, Array]) -> None:
    """δA·B, all rows of A at once, and what an entry of B adds in each lane: a column, of A after its own change."""
    left, right = factors
    terms, columns = right.shape
    rows = left.size // terms
    moved = emission.varies(operands[0])
    register = emission.laid(operands[0], is_turned=True) if moved else None
    matrix = _whole_rows(right.T)
    # A product with a vector has no columns: its entries are in the order of the rows.
    is_turned = step.result.base.ndim > 1 and base_of(operands[1]).ndim > 1
    out = emission.values[step.result.number] = Register(len(matrix) * rows, is_turned)
    emission.put("CLEAR", out, out.rows)
    if register is not None:
        emission.put("PRODUCT", out, len(matrix), register, matrix=matrix, sizes=(terms, rows, 1))
    if emission.varies(operands[1]):
        factor, number = np.ascontiguousarray(left).reshape(rows, terms), emission.outside(operands[1])
        sizes = (number, terms, columns)
        emission.operations.append(Operation("COLUMN", out, rows, register, matrix=factor, sizes=sizes))


def _put_product_of_columns(emission: Emission, step: Step, operands: Sequence[Any], factors: tuple[Array, Array]) -> None:
    """The same of A·δB, and of an entry of A; and of two that both change."""
    left, right = factors
    rows, terms = left.shape
    columns = right.shape[1]
    is_entry = emission.varies(operands[0]) and operands[0].number in emission.entries and operands[0].base.ndim == 2
    first = emission.laid(operands[0], is_turned=False) if emission.varies(operands[0]) and not is_entry else None
    second = emission.laid(operands[1], is_turned=False) if emission.varies(operands[1]) else None
    factor = _whole_rows(left)
    out = emission.values[step.result.number] = Register(len(factor) * columns)
    emission.put("CLEAR", out, out.rows)
    if second is not None:
        emission.put("PRODUCT", out, len(factor), second, matrix=factor, sizes=(terms, columns, 1))
    if is_entry:
        number = emission.outside(operands[0])
        matrix, sizes = np.ascontiguousarray(right), (number, columns, rows)
        emission.operations.append(Operation("ROW", out, terms, second, matrix=matrix, sizes=sizes))
    if first is not None:
        emission.put("LEFT", out, rows, first, matrix=np.ascontiguousarray(right.T), sizes=(terms, columns, rows))
        if second is not None:
            emission.put("BILINEAR", out, rows, first, second, sizes=(terms, columns, 1))


def _put_products(emission: Emission, step: Step, operands: Sequence[Any], factors: tuple[Array, Array]) -> None:
    """Products of stacks of matrices."""
    left, right = factors
    rows, terms = left.shape[-2:]
    columns, stacks = right.shape[-1], left.size // (rows * terms)
    first, second = (emission.laid(each, is_turned=False) if emission.varies(each) else None for each in operands)
    out = emission.new(step.result)
    emission.put("CLEAR", out, out.rows)
    if first is not None:
        matrices = np.ascontiguousarray(np.swapaxes(right, -1, -2))
        emission.put("LEFT", out, stacks * rows, first, matrix=matrices, sizes=(terms, columns, rows))
    if second is not None:
        emission.put("PRODUCT", out, rows, second, matrix=np.ascontiguousarray(left), sizes=(terms, columns, stacks))
    if first is not None and second is not None:
        emission.put("BILINEAR", out, rows, first, second, sizes=(terms, columns, stacks))


# ---- structure -----------------------------------------------------------------------------------------------------------


def _structural(emission: Emission, step: Step, instruction: Instruction) -> bool:
    """Which entry of which operand each entry of the result is: entries are numbered, and the step is done with these numbers."""
    nodes = {node.number: node for node in step.taken}
    if step.key in ("take", np.repeat, np.roll, np.tile) and len(nodes) != 1:
        return False
    numbers: list[Any] = []
    begin = 1
    for number in instruction.inputs:
        node = nodes[number]
        if not emission.varies(node):
            numbers.append(None)
            continue
        numbers.append(np.arange(begin, begin + node.base.size, dtype=np.float64).reshape(*node.base.shape, 1))
        begin += node.base.size
    change = instruction.run(Lanes(1), numbers)
    if not isinstance(change, np.ndarray):
        return False
    found = np.broadcast_to(change, (*step.result.base.shape, 1)).reshape(-1).astype(np.int64) - 1
    sources = [nodes[number] for number in instruction.inputs if emission.varies(nodes[number])]
    registers = [emission.of(node) for node in sources]
    out = emission.new(step.result, *registers)
    if out.is_turned:
        found = found[_turned(step.result.base.shape)]
    if len(sources) == 1:
        (node,), (register,) = sources, registers
        rows = np.where(found < 0, -1, _turned_rows(node.base.shape)[found]) if register.is_turned else found
        is_same = register.is_turned == out.is_turned and len(rows) == register.rows
        if is_same and np.array_equal(rows, np.arange(len(rows))):
            emission.values[step.result.number] = register  # in another shape
        else:
            emission.put("GATHER", out, out.rows, register, first_rows=rows)
        return True
    if (found < 0).any():
        emission.put("CLEAR", out, out.rows)
    first = 0
    for node, register in zip(sources, registers, strict=True):
        own = np.flatnonzero((found >= first) & (found < first + node.base.size))
        if len(own):
            entries = found[own] - first
            rows = _turned_rows(node.base.shape)[entries] if register.is_turned else entries
            emission.put("SCATTER", out, len(own), register, first_rows=rows, second_rows=own)
        first += node.base.size
    return True


# ---- memory --------------------------------------------------------------------------------------------------------------


def _held(emission: Emission, slot: Slot) -> Register:
    """Memory as it is before it is first written to here, which is what it held first."""
    known = emission.memory.get(slot.number)
    if known is None:
        first = emission.of(slot.first) if slot.first is not None and emission.varies(slot.first) else None
        known = emission.memory[slot.number] = Register(slot.size)
        emission.put("CLEAR", known, slot.size)
        if first is not None:
            assert slot.first is not None
            rows = _turned_rows(slot.first.base.shape) if first.is_turned else None
            emission.put(
                "SCATTER", known, slot.first.base.size, first, first_rows=rows, second_rows=_places(slot, slot.whole, ...)
            )
    return known


def _places(slot: Slot, extent: Extent, index: Any) -> Rows:
    """Where entries of a view lie in memory."""
    numbers = np.arange(slot.size)
    size = numbers.itemsize
    strides = tuple(stride * size for stride in extent.strides)
    view = np.ndarray(extent.shape, numbers.dtype, numbers, extent.offset * size, strides)
    return np.array(view[index]).reshape(-1)  # a view would keep the numbers of all of it


def _written(emission: Emission, step: Step, instruction: Instruction) -> bool:
    slot, (value, extent, index) = _slot(step), step.args
    memory = _held(emission, slot)
    index = ... if step.key == RESET else index
    places = _places(slot, extent, index)
    shape = np.empty(extent.shape, dtype=bool)[index].shape
    if value is None or not emission.varies(value):
        emission.operations.append(Operation("SCATTER", memory, len(places), second_rows=places))
        return True
    register = emission.of(value)
    rows = emission.rows(value, shape, Register(len(places)))
    emission.put("SCATTER", memory, len(places), register, first_rows=rows, second_rows=places)
    return True


def _added(emission: Emission, step: Step, instruction: Instruction) -> bool:
    slot, (value, extent, index, ufunc) = _slot(step), step.args
    if ufunc not in (np.add, np.subtract):
        return False
    memory = _held(emission, slot)
    if not emission.varies(value):
        return True
    places = _places(slot, extent, index)
    shape = np.empty(extent.shape, dtype=bool)[index].shape
    register = emission.of(value)
    rows, sign = emission.rows(value, shape, Register(len(places))), np.array([1.0 if ufunc is np.add else -1.0])
    emission.put("ADD_AT", memory, len(places), register, first_rows=rows, second_rows=places, constants=sign)
    return True


def _viewed(emission: Emission, step: Step, instruction: Instruction) -> bool:
    slot = _slot(step)
    memory, out = _held(emission, slot), emission.new(step.result)
    _pass_on(emission, out, memory, _places(slot, step.args[0], ...))
    return True


def _slot(step: Step) -> Slot:
    assert step.slot is not None
    return step.slot


_UFUNCS: Mapping[np.ufunc, _Rule] = {
    np.add: _sum_of_two,
    np.subtract: _sum_of_two,
    np.negative: _negative,
    np.multiply: _product_of_two,
    np.divide: _quotient_of_two,
    np.square: _square,
    np.power: _power,
    np.maximum: _extreme_of_two,
    np.minimum: _extreme_of_two,
    np.matmul: _matmul,
}

_FUNCTIONS: Mapping[Any, _Rule] = {
    np.sum: _total,
    np.mean: _total,
    (np.add, "reduce"): _reduced,
    np.var: _variance,
    np.max: _extreme,
    np.amax: _extreme,
    np.min: _extreme,
    np.amin: _extreme,
    np.dot: _matmul,
}

_MEMORY: Mapping[str, _Rule] = {RESET: _written, WRITE: _written, ADD: _added, VIEW: _viewed}
