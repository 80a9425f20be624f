"""Differences through a dense network.

A *lane* is one perturbed parameter with one of the scheme's steps. Lanes are the innermost index of every array and every loop:
neighbouring lanes share their weights and base values, so a loop over them has nothing but packed arithmetic in it.

Parameters of a layer are counted row by row, each unit's bias behind its weights: a perturbed bias is a perturbed weight
whose input is 1. So `inputs` has a last column of ones, and one loop serves both.

The road of a lane, a function for each stretch:

`perturb`    W[i, j] changes z[i] by step·a[j], hence the activation of the one unit i.
`enter`      That change enters the next layer as a rank-one step.
`propagate`  From there on a matrix product over lanes a layer.

In the last layer there is no next one: `losses.add_single_change` takes the change of the one logit as it is.

Array shapes: changes of one unit (examples, steps, parameters), of a whole layer (units, examples, lanes) with
lanes = steps * parameters and all parameters of the first step first, which is the same memory.
"""

import math

import numpy as np

from ._compile import Array, Place, kernel, point
from .activations import any_larger, change, change_layer

# Lanes that a matrix product takes at once: 4 rows of changes and 4 of results stay in 32 KB of L1.
_TILE = 512

# Lanes that are filled before they are passed on to the activation: 16 KB, which are still in L1 then.
_STRETCH = 2048


@point
def _fill(factor: float, values: Array, first: Place, lanes: Place, out: Array, first_out: Place) -> None:
    for lane in range(lanes):
        out[first_out + lane] = factor * values[first + lane]


@kernel("i A3 A2 A1 i M3 M2")
def perturb(code: int, base: Array, inputs: Array, steps: Array, start: int, unit_change: Array, crossings: Array) -> None:
    """Change of each perturbed unit's own activation.

    Parameters
    ----------
    code : int
        Activation of the perturbed layer.
    base : array of shape (examples, units, BASE)
        Its base values.
    inputs : array of shape (examples, columns)
        What the layer's weights are multiplied with; the last column is 1.
    steps : array of shape (steps,)
        What is added to the parameter.
    start : int
        First parameter, counted row by row.
    unit_change : array of shape (examples, steps, parameters)
        Receives the changes; its length says how many parameters are perturbed.
    crossings : array of shape (examples, lanes)
        Raised by one for each crossing of a kink.
    """
    columns = inputs.shape[1]
    parameters = unit_change.shape[2]
    values, out, crossed = inputs.reshape(-1), unit_change.reshape(-1), crossings.reshape(-1)
    for example in range(unit_change.shape[0]):
        for step in range(steps.shape[0]):
            done = 0
            while done < parameters:
                unit, column = divmod(start + done, columns)
                lanes = np.uint64(min(columns - column, parameters - done, _STRETCH))
                first = np.uint64((example * steps.shape[0] + step) * parameters + done)
                _fill(steps[step], values, np.uint64(example * columns + column), lanes, out, first)
                # Crossings have the same lanes in the same order, so they begin at the same place.
                change(code, base, example, unit, out, first, lanes, crossed, first, False)
                done += int(lanes)


@point
def _reach(weights: Array, base: Array, example: int, first_column: int, last_column: int) -> float:
    """How far a unit in some columns may change so that every row's change is within the limit of its power series."""
    reach = math.inf
    for row in range(weights.shape[0]):
        largest = 1e-300
        for column in range(first_column, last_column + 1):
            largest = max(largest, abs(weights[row, column]))
        reach = min(reach, base[example, row, 1] / largest)
    return reach


@kernel("A3 i i A2 i A3 M3 M2")
def enter(
    unit_change: Array, start: int, columns: int, weights: Array, code: int, base: Array, deltas: Array, crossings: Array
) -> None:
    """Change of the next layer's activations, where each lane changes one unit of the layer before.

    Parameters
    ----------
    unit_change : array of shape (examples, steps, parameters)
        As made by `perturb`.
    start, columns : int
        First parameter, and parameters of one unit.
    weights : array of shape (units, units before)
        Weights of the next layer.
    code : int
        Its activation.
    base : array of shape (examples, units, BASE)
        Its base values.
    deltas : array of shape (units, examples, lanes)
        Receives the changes of its activations.
    crossings : array of shape (examples, lanes)
        Raised by one for each crossing of a kink.
    """
    examples, steps, parameters = unit_change.shape
    values, out, crossed = unit_change.reshape(-1), deltas.reshape(-1), crossings.reshape(-1)
    lanes = np.uint64(steps * parameters)
    first_before, first_column = divmod(start, columns)
    last_before = (start + parameters - 1) // columns
    for example in range(examples):
        first_value = np.uint64(example) * lanes
        # Looked for once, not in every row.
        known_small = not any_larger(values, first_value, lanes, _reach(weights, base, example, first_before, last_before))
        for unit in range(deltas.shape[0]):
            first = np.uint64(unit * examples) * lanes + first_value
            filled = changed = 0
            for _ in range(steps):
                before, column, done = first_before, first_column, 0
                while done < parameters:
                    length = min(columns - column, parameters - done, _STRETCH)
                    offset = np.uint64(filled)
                    _fill(weights[unit, before], values, first_value + offset, np.uint64(length), out, first + offset)
                    done += length
                    filled += length
                    column += length
                    if column == columns:
                        before, column = before + 1, 0
                    if filled - changed >= _STRETCH or filled == steps * parameters:
                        offset, stretch = np.uint64(changed), np.uint64(filled - changed)
                        place, crossed_place = first + offset, first_value + offset
                        change(code, base, example, unit, out, place, stretch, crossed, crossed_place, known_small)
                        changed = filled


@point
def _add_4_rows(
    weights: Array, row: int, column: int, deltas: Array, out: Array, first: Place, stride: Place, lanes: Place
) -> None:
    """Add 4 columns' products to 4 rows: 16 multiplications for 8 loads and 4 stores of a lane, so arithmetic is the limit."""
    w, x, y, z = row, row + 1, row + 2, row + 3
    a, b, c, d = column, column + 1, column + 2, column + 3
    wa, wb, wc, wd = weights[w, a], weights[w, b], weights[w, c], weights[w, d]
    xa, xb, xc, xd = weights[x, a], weights[x, b], weights[x, c], weights[x, d]
    ya, yb, yc, yd = weights[y, a], weights[y, b], weights[y, c], weights[y, d]
    za, zb, zc, zd = weights[z, a], weights[z, b], weights[z, c], weights[z, d]
    from_a = first + np.uint64(column) * stride
    from_b = from_a + stride
    from_c = from_b + stride
    from_d = from_c + stride
    to_w = first + np.uint64(row) * stride
    to_x = to_w + stride
    to_y = to_x + stride
    to_z = to_y + stride
    for lane in range(lanes):
        p, q, r, s = deltas[from_a + lane], deltas[from_b + lane], deltas[from_c + lane], deltas[from_d + lane]
        out[to_w + lane] += wa * p + wb * q + wc * r + wd * s
        out[to_x + lane] += xa * p + xb * q + xc * r + xd * s
        out[to_y + lane] += ya * p + yb * q + yc * r + yd * s
        out[to_z + lane] += za * p + zb * q + zc * r + zd * s


@point
def _add_row(weights: Array, row: int, column: int, deltas: Array, out: Array, first: Place, stride: Place, lanes: Place) -> None:
    """The same for a single row."""
    a, b = weights[row, column], weights[row, column + 1]
    c, d = weights[row, column + 2], weights[row, column + 3]
    from_a = first + np.uint64(column) * stride
    from_b = from_a + stride
    from_c = from_b + stride
    from_d = from_c + stride
    to = first + np.uint64(row) * stride
    for lane in range(lanes):
        total = a * deltas[from_a + lane] + b * deltas[from_b + lane]
        out[to + lane] += total + c * deltas[from_c + lane] + d * deltas[from_d + lane]


@point
def _add_one(weight: float, deltas: Array, first: Place, out: Array, first_out: Place, lanes: Place) -> None:
    for lane in range(lanes):
        out[first_out + lane] += weight * deltas[first + lane]


@point
def _multiply(weights: Array, deltas: Array, out: Array, first: Place, stride: Place, lanes: Place) -> None:
    """Out = weights @ deltas for some lanes; both matrices are flat, their rows `stride` apart.

    Parameters
    ----------
    weights : array of shape (rows, columns)
        Left factor.
    deltas, out : arrays of shape (all,)
        Right factor and result.
    first, stride, lanes : unsigned int
        The lanes' place in the first row, the distance of rows, and how many lanes.
    """
    rows, columns = weights.shape
    for row in range(rows):
        to = first + np.uint64(row) * stride
        for lane in range(lanes):
            out[to + lane] = 0.0
    whole_rows = rows - rows % 4
    whole_columns = columns - columns % 4
    for row in range(0, whole_rows, 4):
        for column in range(0, whole_columns, 4):
            _add_4_rows(weights, row, column, deltas, out, first, stride, lanes)
    for row in range(whole_rows, rows):
        for column in range(0, whole_columns, 4):
            _add_row(weights, row, column, deltas, out, first, stride, lanes)
    for column in range(whole_columns, columns):
        for row in range(rows):
            from_column = first + np.uint64(column) * stride
            _add_one(weights[row, column], deltas, from_column, out, first + np.uint64(row) * stride, lanes)


@kernel("A2 A3 i A3 M3 M2")
def propagate(weights: Array, before: Array, code: int, base: Array, deltas: Array, crossings: Array) -> None:
    """Carry changes of one layer's activations to those of the next.

    Parameters
    ----------
    weights : array of shape (units, units before)
        Weights of the next layer.
    before : array of shape (units before, examples, lanes)
        Changes of activations.
    code : int
        Activation of the next layer.
    base : array of shape (examples, units, BASE)
        Its base values.
    deltas : array of shape (units, examples, lanes)
        Receives the changes of its activations.
    crossings : array of shape (examples, lanes)
        Raised by one for each crossing of a kink.
    """
    examples, lanes = deltas.shape[1], deltas.shape[2]
    flat_before, flat = before.reshape(-1), deltas.reshape(-1)
    for example in range(examples):
        for start in range(0, lanes, _TILE):
            tile = np.uint64(min(_TILE, lanes - start))
            _multiply(weights, flat_before, flat, np.uint64(example * lanes + start), np.uint64(examples * lanes), tile)
    change_layer(code, base, deltas, crossings)
