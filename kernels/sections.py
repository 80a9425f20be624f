"""Recorded operations on changes, done one after the other for some lanes at a time.

What a function written with NumPy did is a table of operations here. All changes that belong together, those of one tile of
lanes, lie in one array, the registers, small enough for a cache: an operation reads rows of it and writes rows of it, each as
long as the tile is wide. NumPy would take five passes through memory for a power series, and some microseconds a call; here it is
one pass, and a call of nothing.

Every operation computes the difference form that its namesake in `_differences` has. Where one does not hold, as that of a
power series for a change that is too large, or where a change may cross a kink, the kernel gives up and says at which operation.
"""

import numpy as np

from ._compile import Array, Integers, Place, kernel, part, point
from ._memory import matrix_at, vector_at
from .products import add_product_to_4_rows, add_product_to_row

#: Codes of operations, in the column CODE of the table.
(
    LOAD,
    STORE,
    CLEAR,
    GATHER,
    SCATTER,
    ADD_AT,
    NEGATE,
    ADD,
    SUBTRACT,
    SCALE,
    DIVIDE_BY,
    MULTIPLY,
    DIVIDE,
    SERIES,
    SQUARE,
    NEAR,
    NEAR_BOTH,
    SUM,
    PRODUCT,
    LEFT,
    BILINEAR,
    COLUMN,
    ROW,
) = range(23)

#: Columns of the table: the code; first row of the result, and how many rows there are; first rows of the operands; where the
#: rows that are read of them are listed, -1 if they are all of them in order; where the constants begin; sizes.
CODE, OUT, ROWS, FIRST, SECOND, FIRST_ROWS, SECOND_ROWS, CONSTANTS, P, Q, R, S = range(12)
COLUMNS = 12

#: Columns of the table of what comes from outside, or goes there: the address of changes, how many of them there are a lane, and
#: where the rows are listed that they belong to, followed by the row that each lane adds to them; -1 if they are all rows.
ADDRESS, COUNT, PLACES = range(3)

# The largest finite number.
_LARGEST = 1.7976931348623157e308

#: Lanes of a product that go through all of its terms together: eight rows of them are in L1.
PIECE = 512

#: Lanes of several rows that go through a matrix product together: rows of few lanes would mostly set loops up.
LONG = 256

# Rows that are added up before their sum is added to that of others, which keeps rounding small.
_TOGETHER = 64


def cells_for(terms: int, columns: int, width: int) -> int:
    """Cells that a product by `LEFT` needs beside the registers.

    Parameters
    ----------
    terms, columns : int
        Of the plain factor.
    width : int
        Of a register.

    Returns
    -------
    int
        How many.

    Examples
    --------
    >>> from gradsweep.kernels.sections import cells_for
    >>> cells_for(10, 20, 64)
    7680
    """
    return (terms + columns) * (LONG // width) * width


@point
def _row(rows: Integers, listed: int, number: int, first: int, width: Place) -> Place:
    """Place of a row of an operand in the registers."""
    row = number if listed < 0 else rows[listed + number]
    return np.uint64(first + row) * width


@point
def _clear(out: Array, to: Place, lanes: Place) -> None:
    for lane in range(lanes):
        out[to + lane] = 0.0


@point
def _copy(source: Array, begin: Place, out: Array, to: Place, lanes: Place) -> None:
    for lane in range(lanes):
        out[to + lane] = source[begin + lane]


@point
def _add(source: Array, begin: Place, factor: float, out: Array, to: Place, lanes: Place) -> None:
    for lane in range(lanes):
        out[to + lane] += factor * source[begin + lane]


@point
def _leaves(numbers: Array, begin: Place, lanes: Place, limit: float) -> bool:
    """Whether a number is larger than a limit, or none. An `or` of flags vectorises, a maximum would not."""
    found = False
    for lane in range(lanes):
        found |= not abs(numbers[begin + lane]) <= limit
    return found


@part
def _load(
    outside: Integers, number: int, places: Integers, rows: int, entries: int, registers: int, begin: int, lanes: Place,
    total: int, cells: Array, to: Place, width: Place,
) -> None:  # fmt: skip
    """Changes from outside, whose entries have an order of their own; lanes that the tile has no more are 0."""
    count, listed = outside[number, COUNT], outside[number, PLACES]
    values = vector_at(outside[number, ADDRESS], count * total)
    if listed < 0 and count == rows:
        for row in range(rows):
            place = to + np.uint64(row) * width
            entry = row if entries < 0 else places[entries + row]
            _copy(values, np.uint64(entry * total + begin), cells, place, lanes)
            _clear(cells, place + lanes, width - lanes)
        return
    _clear(cells, to, np.uint64(rows) * width)
    if listed >= 0:
        for row in range(count):
            own = places[listed + row]
            for lane in range(lanes):
                entry = own + places[listed + count + begin + int(lane)]
                there = np.uint64(entry if registers < 0 else places[registers + entry])
                cells[to + there * width + lane] = values[np.uint64(row * total + begin) + lane]


@point
def _series(constants: Array, at: Place, few: int, many: int, cells: Array, begin: Place, to: Place, width: Place) -> bool:
    """δ·(c₁ + δ·(c₂ + …)) with as many coefficients as the largest δ needs; False if all of them are too few."""
    terms = few
    if _leaves(cells, begin, width, constants[at]):
        terms = many
        if _leaves(cells, begin, width, constants[at + np.uint64(1)]):
            return False
    own = at + np.uint64(2)
    a, b, c = constants[own], constants[own + np.uint64(1)], constants[own + np.uint64(2)]
    d, e = constants[own + np.uint64(3)], constants[own + np.uint64(4)]
    f = constants[own + np.uint64(5)] if terms == 6 else 0.0
    # In place and apart: of the same row twice the compiler could not tell that it may work on several lanes at once.
    if terms == 3 and to == begin:
        for lane in range(width):
            delta = cells[to + lane]
            cells[to + lane] = delta * (a + delta * (b + delta * c))
    elif terms == 3:
        for lane in range(width):
            delta = cells[begin + lane]
            cells[to + lane] = delta * (a + delta * (b + delta * c))
    elif to == begin:
        e = 0.0 if terms == 4 else e
        for lane in range(width):
            delta = cells[to + lane]
            cells[to + lane] = delta * (a + delta * (b + delta * (c + delta * (d + delta * (e + delta * f)))))
    else:
        e = 0.0 if terms == 4 else e
        for lane in range(width):
            delta = cells[begin + lane]
            cells[to + lane] = delta * (a + delta * (b + delta * (c + delta * (d + delta * (e + delta * f)))))
    return True


@part
def _sum(
    places: Integers, listed: int, first: int, rows: int, terms: int, divisor: float, cells: Array, out: int, width: Place,
    scratch: Place,
) -> None:  # fmt: skip
    """Sums of so many rows each, divided by a number."""
    for row in range(rows):
        to = np.uint64(out + row) * width
        _clear(cells, to, width)
        for begin in range(0, terms, _TOGETHER):
            end = min(begin + _TOGETHER, terms)
            into = to if terms <= _TOGETHER else scratch
            if terms > _TOGETHER:
                _clear(cells, scratch, width)
            for term in range(begin, end):
                _add(cells, _row(places, listed, row * terms + term, first, width), 1.0, cells, into, width)
            if terms > _TOGETHER:
                _add(cells, scratch, 1.0, cells, to, width)
        if divisor != 1.0:
            for lane in range(width):
                cells[to + lane] /= divisor


@point
def _product(left: Array, cells: Array, begin: Place, stride: Place, to: Place, lanes: Place) -> None:
    """Add left @ right to the result: rows of both lie `stride` apart."""
    rows = left.shape[0]
    for start in range(np.uint64(0), lanes, np.uint64(PIECE)):
        length = min(np.uint64(PIECE), lanes - start)
        for row in range(0, rows - rows % 4, 4):
            out = to + np.uint64(row) * stride + start
            add_product_to_4_rows(left, row, cells, begin + start, stride, cells, out, stride, length)
        for row in range(rows - rows % 4, rows):
            add_product_to_row(left, row, cells, begin + start, stride, cells, to + np.uint64(row) * stride + start, length)


@part
def _product_of_rows(
    address: int, terms: int, columns: int, shared: int, first: int, rows: int, cells: Array, out: int, width: Place,
    scratch: Place,
) -> None:  # fmt: skip
    """Add Bᵀ·δaᵀ for each row of δA, so many of which share a matrix; several rows together are one product with long rows."""
    together = max(1, LONG // int(width))
    begin = 0
    while begin < rows:
        count = min(together, rows - begin, shared - begin % shared)
        matrix = matrix_at(address + 8 * columns * terms * (begin // shared), columns, terms)
        if count == 1:
            there = np.uint64(first + begin * terms) * width
            _product(matrix, cells, there, width, np.uint64(out + begin * columns) * width, width)
        else:
            length = np.uint64(count) * width
            made = scratch + np.uint64(terms) * length
            for row in range(count):
                for term in range(terms):
                    to = scratch + np.uint64(term) * length + np.uint64(row) * width
                    _copy(cells, np.uint64(first + (begin + row) * terms + term) * width, cells, to, width)
            _clear(cells, made, np.uint64(columns) * length)
            _product(matrix, cells, scratch, length, made, length)
            for row in range(count):
                for column in range(columns):
                    there = made + np.uint64(column) * length + np.uint64(row) * width
                    _add(cells, there, 1.0, cells, np.uint64(out + (begin + row) * columns + column) * width, width)
        begin += count


@part
def _bilinear(
    first: int, second: int, out: int, stacks: int, rows: int, terms: int, columns: int, cells: Array, width: Place
) -> None:
    """Add the product of two changes, lane by lane."""
    for stack in range(stacks):
        for row in range(rows):
            for term in range(terms):
                left = np.uint64(first + (stack * rows + row) * terms + term) * width
                for column in range(columns):
                    right = np.uint64(second + (stack * terms + term) * columns + column) * width
                    to = np.uint64(out + (stack * rows + row) * columns + column) * width
                    for lane in range(width):
                        cells[to + lane] += cells[left + lane] * cells[right + lane]


@part
def _entry(
    outside: Integers, number: int, places: Integers, begin: int, lanes: Place, total: int, matrix: Array, is_right: bool,
    first: int, columns: int, cells: Array, out: int, width: Place,
) -> None:  # fmt: skip
    """Add a product with a matrix of which each lane changes one entry: of the other factor, as it is after its own change.

    Of ``A @ B`` an entry of B adds to a column of the product, an entry of A to a row. Where it is a column, columns come first
    in A and in the product.
    """
    values, listed = vector_at(outside[number, ADDRESS], total), outside[number, PLACES] + 1 + begin
    rows, terms = matrix.shape
    for lane in range(lanes):
        value = values[np.uint64(begin) + lane]
        if value != 0.0:
            entry = places[listed + int(lane)]
            if is_right:
                term, column = entry // columns, entry % columns
                for row in range(rows):
                    factor = matrix[row, term]
                    if first >= 0:
                        factor += cells[np.uint64(first + term * rows + row) * width + lane]
                    cells[np.uint64(out + column * rows + row) * width + lane] += factor * value
            else:
                row, term = entry // rows, entry % rows
                for column in range(terms):
                    factor = matrix[term, column]
                    if first >= 0:
                        factor += cells[np.uint64(first + term * terms + column) * width + lane]
                    cells[np.uint64(out + row * terms + column) * width + lane] += factor * value


@kernel("I2 I1 A1 I2 i i M1 i i i")
def run(
    table: Integers, places: Integers, constants: Array, outside: Integers, begin: int, total: int, cells: Array, registers: int,
    wide: int, lanes: int,
) -> int:  # fmt: skip
    """Do all operations of a table for some lanes.

    Parameters
    ----------
    table : array of int of shape (operations, COLUMNS)
        Operations.
    places : array of int of shape (all,)
        Lists of rows.
    constants : array of shape (all,)
        What belongs to the values, which do not change.
    outside : array of int of shape (arrays, 3)
        What is loaded and stored: arrays of shape (rows, total).
    begin, total : int
        First lane of the tile, and how many lanes there are in the arrays outside.
    cells : array of shape (registers * wide + scratch,)
        Registers, and behind them cells for a sum, of a width, or for a product by `LEFT`, `cells_for` of its sizes; overwritten.
    registers : int
        How many there are.
    wide : int
        Width of a register, a multiple of 8.
    lanes : int
        Lanes of the tile, as many as it is wide at most; those beyond are 0.

    Returns
    -------
    int
        -1, or the number of the operation that does not hold here.
    """
    filled = np.uint64(lanes)
    width = np.uint64(wide)
    scratch = np.uint64(registers) * width
    for number in range(table.shape[0]):
        code, out, rows = table[number, CODE], table[number, OUT], table[number, ROWS]
        first, second = table[number, FIRST], table[number, SECOND]
        listed, also = table[number, FIRST_ROWS], table[number, SECOND_ROWS]
        own = table[number, CONSTANTS]
        p, q, r, s = table[number, P], table[number, Q], table[number, R], table[number, S]
        to = np.uint64(out) * width
        if code == ADD or code == SUBTRACT:
            sign = 1.0 if code == ADD else -1.0
            for row in range(rows):
                a, b = _row(places, listed, row, first, width), _row(places, also, row, second, width)
                there = to + np.uint64(row) * width
                if a == there:
                    _add(cells, b, sign, cells, there, width)
                else:
                    for lane in range(width):
                        cells[there + lane] = cells[a + lane] + sign * cells[b + lane]
        elif code == SCALE or code == DIVIDE_BY:
            for row in range(rows):
                a, there = _row(places, listed, row, first, width), to + np.uint64(row) * width
                constant = constants[own + row]
                if code == SCALE:
                    for lane in range(width):
                        cells[there + lane] = cells[a + lane] * constant
                else:
                    for lane in range(width):
                        cells[there + lane] = cells[a + lane] / constant
        elif code == MULTIPLY:
            # δa·(b + δb) + a·δb
            for row in range(rows):
                a, b = _row(places, listed, row, first, width), _row(places, also, row, second, width)
                there = to + np.uint64(row) * width
                left, right = constants[own + row], constants[own + rows + row]
                for lane in range(width):
                    change = cells[b + lane]
                    cells[there + lane] = cells[a + lane] * (right + change) + left * change
        elif code == DIVIDE:
            # (δa − q·δb)/(b + δb)
            for row in range(rows):
                a, b = _row(places, listed, row, first, width), _row(places, also, row, second, width)
                there = to + np.uint64(row) * width
                quotient, divisor = constants[own + row], constants[own + rows + row]
                for lane in range(width):
                    change = cells[b + lane]
                    cells[there + lane] = (cells[a + lane] - quotient * change) / (divisor + change)
        elif code == SERIES:
            for row in range(rows):
                a, there = _row(places, listed, row, first, width), to + np.uint64(row) * width
                if not _series(constants, np.uint64(own + row * p), q, r, cells, a, there, width):
                    return number
        elif code == SQUARE:
            # δ·(2z + δ)
            for row in range(rows):
                a, there = _row(places, listed, row, first, width), to + np.uint64(row) * width
                doubled = constants[own + row]
                for lane in range(width):
                    change = cells[a + lane]
                    cells[there + lane] = change * (doubled + change)
        elif code == GATHER:
            for row in range(rows):
                there = to + np.uint64(row) * width
                if places[listed + row] < 0:
                    _clear(cells, there, width)
                else:
                    _copy(cells, _row(places, listed, row, first, width), cells, there, width)
        elif code == SCATTER or code == ADD_AT:
            for row in range(rows):
                goal = _row(places, also, row, out, width)
                if first < 0:
                    _clear(cells, goal, width)
                elif code == SCATTER:
                    _copy(cells, _row(places, listed, row, first, width), cells, goal, width)
                else:
                    _add(cells, _row(places, listed, row, first, width), constants[own], cells, goal, width)
        elif code == SUM:
            _sum(places, listed, first, rows, p, constants[own], cells, out, width, scratch)
        elif code == LEFT:
            _product_of_rows(p, q, r, s, first, rows, cells, out, width, scratch)
        elif code == PRODUCT:
            for stack in range(s):
                left = matrix_at(p + 8 * rows * q * stack, rows, q)
                begins, there = np.uint64(first + stack * q * r) * width, to + np.uint64(stack * rows * r) * width
                _product(left, cells, begins, width * np.uint64(r), there, width * np.uint64(r))
        elif code == BILINEAR:
            _bilinear(first, second, out, s, rows, q, r, cells, width)
        elif code == COLUMN or code == ROW:
            if outside[second, COUNT] != 1 or outside[second, PLACES] < 0:
                return number
            other = matrix_at(p, rows, q)
            _entry(outside, second, places, begin, filled, total, other, code == COLUMN, first, r, cells, out, width)
        elif code == NEGATE:
            for row in range(rows):
                a, there = _row(places, listed, row, first, width), to + np.uint64(row) * width
                for lane in range(width):
                    cells[there + lane] = -cells[a + lane]
        elif code == NEAR:
            for row in range(rows):
                if _leaves(cells, _row(places, listed, row, first, width), width, constants[own + row]):
                    return number
        elif code == NEAR_BOTH:
            for row in range(rows):
                a, b = _row(places, listed, row, first, width), _row(places, also, row, second, width)
                far = False
                for lane in range(width):
                    far |= not abs(cells[a + lane]) + abs(cells[b + lane]) <= constants[own + row]
                if far:
                    return number
        elif code == CLEAR:
            _clear(cells, to, np.uint64(rows) * width)
        elif code == LOAD:
            _load(outside, second, places, rows, listed, also, begin, filled, total, cells, to, width)
        elif code == STORE:
            values = vector_at(outside[second, ADDRESS], rows * total)
            for row in range(rows):
                a = _row(places, listed, row, first, width)
                if _leaves(cells, a, filled, _LARGEST):
                    return number
                _copy(cells, a, values, np.uint64(row * total + begin), filled)
    return -1
