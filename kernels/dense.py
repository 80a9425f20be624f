"""Differences through a dense network.

A *lane* is one perturbed parameter with one of the scheme's steps. Lanes are the innermost index of every array and every loop:
neighbouring lanes share their weights and base values, so a loop over them has nothing but packed arithmetic in it.

Parameters of a layer are counted row by row, each unit's bias behind its weights: a perturbed bias is a perturbed weight
whose input is 1. So a layer's inputs have a last column of ones, and one loop serves both. A layer whose inputs are a single
column of ones has its pre-activations themselves for parameters.

Neighbouring parameters of a layer are a *run*, and the runs whose lanes are carried together are a *stack*, at most one run of
each layer. One example at a time, the road of a lane is:

`_perturb`   W[i, j] changes z[i] by step·a[j], hence the activation of the one unit i.
`_advance`   That change enters the next layer as a rank-one step, and the lane takes its place behind those of earlier layers.
`_multiply`  From there on a matrix product over lanes a layer.

`quotients` is the one loop over all of this. A stack of one run is the sweep; one of many runs is the batched pass, whose rows
are long although each layer is narrow; a run of pre-activations, with a quotient for each example, is what neurons are checked
by. In the last layer there is no next one: the change of the one logit is taken as it is. And where few outputs follow, a lane
goes through its next layer in one go, so that the changes of that layer are never stored.
"""

import math

import numpy as np

from ._compile import Array, Integers, Place, kernel, part, point
from ._memory import matrix_at, stack_at, vector_at
from .activations import BASE, any_larger, change
from .losses import add_change_of_one, add_single_change_of_one
from .products import STRETCH, add_4_terms, add_multiple, add_product_to_4_rows, add_product_to_row

#: Columns of the table of layers: sizes, activation, and the addresses of weights, bases and inputs with their number of columns.
#: The last row is the loss: outputs, examples, code, and the addresses of labels, of bases, and of those for a single logit.
UNITS, BEFORE, CODE, WEIGHTS, BASES, INPUTS, COLUMNS = range(7)
LOSS_OUTPUTS, LOSS_EXAMPLES, LOSS_CODE, LOSS_LABELS, LOSS_BASES, LOSS_SINGLE_BASES = range(6)
FIELDS = 7

#: Columns of the table of runs: layer, first parameter, the first that is not included, and the number of the stack.
LAYER, START, STOP, STACK = range(4)
RUN = 4

#: Rows of lanes that a stack needs besides the layers' changes, and what those have room for.
UNIT_CHANGE, CROSSED = range(2)
HERE, THERE, SCRATCH = range(3)

#: Most outputs of a network for which lanes go through the layer before it in one go.
FEW_OUTPUTS = 16

# Lanes that a matrix product takes at once: 4 rows of changes and 4 of results stay in 32 KB of L1.
_TILE = 512

#: Doubles of scratch: a stretch of lanes, or a tile of four units.
SCRATCH_CELLS = max(STRETCH, 4 * _TILE)


@point
def _fill(factor: float, values: Array, first: Place, lanes: Place, out: Array, first_out: Place) -> None:
    for lane in range(lanes):
        out[first_out + lane] = factor * values[first + lane]


@point
def _fill_each(
    factors: Array, first_factor: Place, values: Array, first: Place, lanes: Place, out: Array, first_out: Place
) -> None:
    """Each lane with its own weight: neighbouring lanes perturb neighbouring units."""
    for lane in range(lanes):
        out[first_out + lane] = factors[first_factor + lane] * values[first + lane]


@kernel("I2 i i A2 i i M1 u M1")
def _perturb(
    network: Integers,
    layer: int,
    example: int,
    scheme: Array,
    start: int,
    parameters: int,
    out: Array,
    first: Place,
    crossed: Array,
) -> None:
    """Change of each perturbed unit's own activation: all parameters with the first step, then with the next.

    Parameters
    ----------
    network, scheme : array of int of shape (layers + 1, FIELDS), array of shape (2, steps)
        As for `quotients`.
    layer, example : int
        Which layer, and which example.
    start, parameters : int
        First parameter, counted row by row, and how many.
    out, crossed : arrays of shape (all,)
        Receive changes and crossings, from `first` on.
    first : unsigned int
        Where.
    """
    examples, columns = network[network.shape[0] - 1, LOSS_EXAMPLES], network[layer, COLUMNS]
    base = stack_at(network[layer, BASES], examples, network[layer, UNITS], BASE)
    inputs = vector_at(network[layer, INPUTS], examples * columns)
    to = first
    for step in range(scheme.shape[1]):
        unit, column = divmod(start, columns)
        done = 0
        while done < parameters:
            lanes = np.uint64(min(columns - column, parameters - done, STRETCH))
            _fill(scheme[0, step], inputs, np.uint64(example * columns + column), lanes, out, to)
            change(network[layer, CODE], base, example, unit, out, to, lanes, crossed, to, False)
            to += lanes
            done += int(lanes)
            column += int(lanes)
            if column == columns:
                unit, column = unit + 1, 0


@part
def _reach(weights: Array, before: int, base: Array, example: int, first_column: int, last_column: int) -> float:
    """How far a unit in some columns may change so that every row's change is within the limit of its power series."""
    reach = math.inf
    for row in range(base.shape[1]):
        largest = 1e-300
        for place in range(row * before + first_column, row * before + last_column + 1):
            largest = max(largest, abs(weights[place]))
        reach = min(reach, base[example, row, 1] / largest)
    return reach


@part
def _enter_row(
    weights: Array,
    first_weight: int,
    start: int,
    columns: int,
    parameters: int,
    skipped: int,
    lanes: int,
    values: Array,
    first: Place,
    out: Array,
    first_out: Place,
) -> None:
    """Changes of one unit's pre-activation by lanes of a run, without the `skipped` first ones.

    Parameters
    ----------
    weights : array of shape (units * units before,)
        Weights of the layer that is entered.
    first_weight : int
        The first one of the unit.
    start, columns, parameters : int
        First parameter of the run, parameters of one unit, and parameters in the run.
    skipped, lanes : int
        Which lanes of the run, all steps counted.
    values : array of shape (all,)
        Changes as made by `_perturb`, the run's first one at `first`.
    first : unsigned int
        Where.
    out : array of shape (all,)
        Receives the changes from `first_out` on.
    first_out : unsigned int
        Where.
    """
    place = skipped % parameters
    before, column = divmod(start + place, columns)
    origin = first + np.uint64(skipped)
    done = 0
    while done < lanes:
        rest = min(parameters - place, lanes - done)
        if columns == 1:
            length = rest
            offset = np.uint64(done)
            own = np.uint64(first_weight + before)
            _fill_each(weights, own, values, origin + offset, np.uint64(length), out, first_out + offset)
            before += length
        else:
            length = min(columns - column, rest)
            offset = np.uint64(done)
            _fill(weights[first_weight + before], values, origin + offset, np.uint64(length), out, first_out + offset)
            column += length
            if column == columns:
                before, column = before + 1, 0
        done += length
        place += length
        if place == parameters:
            place = 0
            before, column = divmod(start, columns)


@part
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
    rows = weights.shape[0]
    for row in range(rows):
        to = first + np.uint64(row) * stride
        for lane in range(lanes):
            out[to + lane] = 0.0
    for row in range(0, rows - rows % 4, 4):
        add_product_to_4_rows(weights, row, deltas, first, stride, out, first + np.uint64(row) * stride, stride, lanes)
    for row in range(rows - rows % 4, rows):
        add_product_to_row(weights, row, deltas, first, stride, out, first + np.uint64(row) * stride, lanes)


@kernel("I2 i i A1 i i i i i M1 u M1 b M1 M1")
def _advance(
    network: Integers,
    layer: int,
    example: int,
    unit_change: Array,
    start: int,
    columns: int,
    parameters: int,
    stored: int,
    lanes: int,
    there: Array,
    stride: Place,
    crossed: Array,
    through: bool,
    scratch: Array,
    here: Array,
) -> None:
    """Carry lanes into a layer: of the first `stored` ones the changes of its pre-activations are there, the others enter.

    Four units at a time. If `through`, their changes stay in L1 until they have been multiplied with the next layer's weights and
    added to its pre-activations; otherwise they are left where they are.

    Parameters
    ----------
    network : array of int of shape (layers + 1, FIELDS)
        As for `quotients`.
    layer, example : int
        Which layer, and which example.
    unit_change : array of shape (lanes,)
        Changes of the layer before by lanes that enter, as made by `_perturb`.
    start, columns, parameters : int
        The run that enters: first parameter, parameters of one unit, and parameters in the run.
    stored, lanes : int
        Lanes in the layer before, and with those that enter.
    there : array of shape (all,)
        Changes of the layer, its rows `stride` apart.
    stride : unsigned int
        Their distance.
    crossed : array of shape (lanes,)
        Raised by one for each crossing of a kink.
    through : bool
        Whether to go on to the next layer.
    scratch, here : arrays of shape (SCRATCH_CELLS,) and (all,)
        Overwritten; with `through`, `here` receives the changes of the next layer's pre-activations.
    """
    units, before, code = network[layer, UNITS], network[layer, BEFORE], network[layer, CODE]
    weights = vector_at(network[layer, WEIGHTS], units * before)
    base = stack_at(network[layer, BASES], network[network.shape[0] - 1, LOSS_EXAMPLES], units, BASE)
    following = layer + 1 if through else layer
    outputs = network[following, UNITS]
    next_weights = matrix_at(network[following, WEIGHTS], outputs, network[following, BEFORE])
    known_small = False
    if stored == 0 and columns > 1:
        # Looked for once, not in every row; where each lane has its own weight that would read all of them.
        last = (start + parameters - 1) // columns
        reach = _reach(weights, before, base, example, start // columns, last)
        known_small = not any_larger(unit_change, np.uint64(0), np.uint64(lanes), reach)
    rows, row_length = (scratch, np.uint64(_TILE)) if through else (there, stride)
    for begin in range(0, lanes, _TILE):
        length = np.uint64(min(_TILE, lanes - begin))
        place = np.uint64(begin)
        entering = max(stored - begin, 0)  # from this lane of the tile on
        if through:
            for output in range(outputs):
                to = np.uint64(output) * stride + place
                for lane in range(length):
                    here[to + lane] = 0.0
        for block in range(0, units, 4):
            count = min(4, units - block)
            for row in range(count):
                unit = block + row
                to = np.uint64(row) * row_length if through else np.uint64(unit) * row_length + place
                if entering < length:
                    skipped, added = begin + entering - stored, int(length) - entering
                    values_from = np.uint64(stored)
                    _enter_row(
                        weights, unit * before, start, columns, parameters, skipped, added, unit_change, values_from, rows,
                        to + np.uint64(entering),
                    )  # fmt: skip
                change(code, base, example, unit, rows, to, length, crossed, place, known_small)
            if through and count == 4:
                for output in range(outputs):
                    to = np.uint64(output) * stride + place
                    add_4_terms(next_weights, output, block, rows, np.uint64(0), row_length, here, to, length)
            elif through:
                for output in range(outputs):
                    to = np.uint64(output) * stride + place
                    for row in range(count):
                        add_multiple(next_weights[output, block + row], rows, np.uint64(row) * row_length, here, to, length)


@part
def _carry(
    network: Integers,
    runs: Integers,
    begin: int,
    end: int,
    example: int,
    scheme: Array,
    rows: Array,
    layers: Array,
    values: Array,
    first_value: int,
    crossings: Array,
) -> None:
    """Carry one example's lanes of a stack from their parameters to the loss, and add their part of the quotients."""
    depth = network.shape[0] - 1
    steps = scheme.shape[1]
    outputs = network[depth, LOSS_OUTPUTS]
    unit_change, crossed = rows[UNIT_CHANGE], rows[CROSSED]
    here, there, scratch = layers[HERE], layers[THERE], layers[SCRATCH]
    stride = np.uint64(rows.shape[1])
    if crossings.shape[0]:
        for lane in range(stride):
            crossed[lane] = 0.0
    # Lanes whose changes of the layer before are known, in `here` or, if they have passed it by, of this layer's pre-activations
    # in `there`; and lanes that change a single unit of it.
    active = entering = start = columns = parameters = 0
    passed = False
    run = begin
    for layer in range(runs[begin, LAYER], depth):
        if not passed and active:
            weights = matrix_at(network[layer, WEIGHTS], network[layer, UNITS], network[layer, BEFORE])
            for tile in range(0, active, _TILE):
                _multiply(weights, here, there, np.uint64(tile), stride, np.uint64(min(_TILE, active - tile)))
        passed = layer == depth - 2 and outputs <= FEW_OUTPUTS and active == 0
        if active + entering > 0:
            _advance(
                network, layer, example, unit_change, start, columns, parameters, active, active + entering, there, stride,
                crossed, passed, scratch, here,
            )  # fmt: skip
            active += entering
            entering = 0
        here, there = there, here
        if run < end and runs[run, LAYER] == layer:
            start, parameters, columns = runs[run, START], runs[run, STOP] - runs[run, START], network[layer, COLUMNS]
            _perturb(network, layer, example, scheme, start, parameters, unit_change, np.uint64(active), crossed)
            entering = steps * parameters
            run += 1
    examples, code = network[depth, LOSS_EXAMPLES], network[depth, LOSS_CODE]
    labels = matrix_at(network[depth, LOSS_LABELS], examples, outputs)
    lane, value = 0, first_value
    for run in range(begin, end):
        start, parameters = runs[run, START], runs[run, STOP] - runs[run, START]
        first, to = np.uint64(lane), np.uint64(value)
        if runs[run, LAYER] < depth - 1:
            base = stack_at(network[depth, LOSS_BASES], examples, outputs, BASE)
            add_change_of_one(code, base, labels, example, here, first, stride, scheme[1], parameters, scratch, values, to)
        else:
            columns = network[depth - 1, COLUMNS]
            base = stack_at(network[depth, LOSS_SINGLE_BASES], examples, outputs, BASE)
            add_single_change_of_one(
                code, base, labels, example, start, columns, unit_change, first, scheme[1], parameters, values, to
            )
        if crossings.shape[0]:
            for step in range(steps):
                for place in range(parameters):
                    crossings[value + place] += crossed[lane + step * parameters + place]
        lane += steps * parameters
        value += parameters


@kernel("I2 I2 A2 i M2 M2 M2 M2")
def quotients(
    network: Integers,
    runs: Integers,
    scheme: Array,
    first_example: int,
    rows: Array,
    layers: Array,
    values: Array,
    crossings: Array,
) -> None:
    """Difference quotients of the parameters of some runs, and how many kinks their steps cross.

    Parameters
    ----------
    network : array of int of shape (layers + 1, FIELDS)
        Sizes, activations and addresses of all layers, and of the loss; see the names of the columns above.
    runs : array of int of shape (runs, RUN)
        Parameters, stack by stack, in each stack by layer.
    scheme : array of shape (2, steps)
        What is added to a parameter, and what each change of the loss counts: its weight over ε (and the number of examples).
    first_example : int
        The example of the first row of `values`, which has a row for each of some; below 0 where it has one for all of them.
    rows : array of shape (2, >= lanes of the largest stack)
        Overwritten. Its rows, and those of `layers`, are fastest where they begin at multiples of 64 bytes: 93 GFLOP/s in the
        product, else 55.
    layers : array of shape (3, >= SCRATCH_CELLS)
        Overwritten. Room for the changes of a layer and of the one before, each with as many lanes as `rows`, and for scratch.
    values : array of shape (rows, parameters)
        Quotients of all runs are added to it: those of all examples to a single row, or those of each to its own.
    crossings : array of the same shape, or of shape (rows, 0)
        Raised by one for each crossing of a kink; none are counted where it has no columns.
    """
    begin, done = 0, 0
    each = first_example >= 0
    examples = values.shape[0] if each else network[network.shape[0] - 1, LOSS_EXAMPLES]
    while begin < runs.shape[0]:
        end, parameters = begin, 0
        while end < runs.shape[0] and runs[end, STACK] == runs[begin, STACK]:
            parameters += runs[end, STOP] - runs[end, START]
            end += 1
        for example in range(examples):
            row = example if each else 0
            chosen = first_example + example if each else example
            _carry(network, runs, begin, end, chosen, scheme, rows, layers, values[row], done, crossings[row])
        begin, done = end, done + parameters
