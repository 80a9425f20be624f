"""Difference quotients of a dense network, by compiled kernels: of its parameters, or of its units' pre-activations.

Importing this module loads the kernels, or compiles them if need be; so it is imported when the first problem is made.
"""

import functools
import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gradsweep import _dense, _rounding, kernels
from gradsweep._costs._protocol import Chunk, Quotients, Run, Workload
from gradsweep._matrices import LINE, BlockMatrix, Matrix, aligned
from gradsweep._parameters import Precision
from gradsweep._schemes import Scheme
from gradsweep._types import Array
from gradsweep.kernels import activations, dense, forms, losses
from gradsweep.kernels.products import STRETCH

# Changes of an activation in one chunk: some milliseconds of work, which makes the hand-over to a worker negligible.
_WORK = 2**25

# Parameters perturbed at once, at most: longer rows gain nothing.
_MOST_PARAMETERS = 7680

# Parameters in a chunk, at most: half a megabyte of results.
_MOST_IN_CHUNK = 2**16

# Fewest lanes that are worth a pass of their own: shorter rows are mostly overhead, whatever the cache.
_FEWEST = 32

# What an output of a softmax costs, in changes of an activation.
_SOFTMAX = 5.0

# What a change by the full form costs, in changes by power series: exponentials one by one, or a quadrature.
_FULL_FORM = 200.0
_QUADRATURE = 1000.0

# What a piece of a row of lanes is, counted in rows.
_PIECE = 0.1


@functools.cache
def _cells() -> int:
    """Doubles that the changes of one layer may fill: those of two layers, in turn, stay in a core's own cache."""
    size = 0
    if "SC_LEVEL2_CACHE_SIZE" in getattr(os, "sysconf_names", {}):  # not every system tells
        size = os.sysconf("SC_LEVEL2_CACHE_SIZE")
    return max(size, 2**19) // 16


class NetworkProblem:
    """Difference quotients of a network's parameters at one point.

    Parameters
    ----------
    layers : list of Layer
        The parameters.
    x : array of shape (features, examples)
        Inputs.
    y : array of shape (outputs, examples)
        Labels.
    loss : str
        A name of the losses.
    l2 : float
        λ of the penalty λ/(2m)·Σ‖W‖².
    precision : Precision
        Of the least precise of the parameters.
    """

    def __init__(self, layers: list[_dense.Layer], x: Array, y: Array, loss: str, l2: float, precision: Precision) -> None:
        kernels.load()
        self.layers = layers
        self.precision = precision
        self._x, self._y = x, y
        self._sizes: list[int] = [x.shape[0], *(layer.weights.shape[0] for layer in layers)]
        self.shapes = _dense.block_shapes(self._sizes)
        self._rounding: dict[Precision, list[Matrix]] = {}
        self._kinked = any(layer.activation in _dense.KINKS for layer in layers)
        self.loss_name, self._loss_code = loss, losses.CODES[loss]
        self._decay = l2 / x.shape[1]
        self._labels = np.ascontiguousarray(y.T)
        self._codes = [activations.CODES[layer.activation] for layer in layers]
        self._inputs: list[Array] = []
        self._bases: list[Array] = []
        _dense.require_no_overflow(self.plain_pass.z)
        if self._kinked:
            _rounding.settle_kinks(layers, self.plain_pass, precision.epsilon)
        features, examples = x.shape
        inputs = _with_ones(examples, features)
        inputs[:, :-1] = x.T
        # Pre-activations are those of the plain pass: the matrix products would be the same ones.
        pre_activations = [np.ascontiguousarray(z.T) for z in self.plain_pass.z]
        for layer, code, z in zip(layers, self._codes, pre_activations, strict=True):
            units = layer.weights.shape[0]
            base = np.empty((examples, units, activations.BASE))
            outputs = _with_ones(examples, units)
            activations.evaluate(code, z, outputs, base)
            if layer.mask is not None:
                activations.scale(np.ascontiguousarray(layer.mask.T), outputs, base)
            self._inputs.append(inputs)
            self._bases.append(base)
            inputs = outputs
        each = np.empty(examples)
        self._loss_base = np.empty((examples, self._sizes[-1], activations.BASE))
        losses.evaluate(self._loss_code, pre_activations[-1], self._labels, each, self._loss_base)
        self._single_base = self._loss_base
        if self._loss_code == losses.SOFTMAX_CROSS_ENTROPY:
            self._single_base = np.empty_like(self._loss_base)
            losses.evaluate_single(pre_activations[-1], self._labels, self._single_base)
        self._make_tables()
        #: Cost at the base point, by the kernels.
        self.loss = float(each.sum() / examples) + _dense.penalty(layers, l2, examples)

    @property
    def examples(self) -> int:
        """Number of examples."""
        return len(self._labels)

    @functools.cached_property
    def largest_input(self) -> float:
        """Largest absolute value that a parameter is multiplied with."""
        return max(float(max(inputs.max(), -inputs.min())) for inputs in self._inputs)

    @property
    def layer_shapes(self) -> list[tuple[int, int]]:
        """Shape of each layer's array: its weights with the bias as last column."""
        return [(units, inputs + 1) for inputs, units in zip(self._sizes, self._sizes[1:], strict=False)]

    def layer_of(self, name: str) -> int:
        """Layer that a block belongs to."""
        return int(name[1:]) - 1

    def parameter(self, name: str) -> Array:
        """The parameters of a block: an array of its shape, not to be written to."""
        layer = self.layers[self.layer_of(name)]
        return layer.weights if name[0] == "W" else layer.bias

    # ---- what is perturbed together --------------------------------------------------------------------------------------

    def chunks(self, steps: int, layers: Iterable[int], *, stacked: bool = False, units: bool = False) -> Iterator[Chunk]:
        """Chunks that cover every parameter, or every unit, of some layers once, generated in order.

        Parameters
        ----------
        steps : int
            How many steps the scheme takes.
        layers : iterable of int
            Which layers, ascending.
        stacked : bool, default: False
            Whether parameters of several layers go through the network together, as many as stay in the cache.
        units : bool, default: False
            Whether each unit's pre-activation is perturbed in the place of parameters, for each example on its own.

        Yields
        ------
        Chunk
            Each of about the same work, some milliseconds.
        """
        # Of units there is a quotient for each example, so chunks of them share out the examples, too, where there are many.
        widest = max(self._sizes[1:])
        examples = max(1, min(self.examples, _WORK // (widest * max(self.work(layer) for layer in range(len(self.layers))))))
        for first in range(0, self.examples if units else 1, examples):
            chosen = (first, min(first + examples, self.examples)) if units else None
            count = chosen[1] - chosen[0] if chosen else self.examples
            stacks: list[tuple[Run, ...]] = []
            work = held = lanes = width = 0
            for stack in self._stacks(steps, layers, stacked=stacked, units=units):
                more = count * sum(run.size * self.work(run.layer) for run in stack)
                size, wide = sum(run.size for run in stack), self._stored_width(stack[0].layer)
                # A chunk has one room for all of its stacks: long rows of a narrow layer do not go with those of a wide one.
                room = max(lanes, size * steps) * max(width, wide)
                crowded = room > 2 * _cells() and room > size * steps * wide
                if stacks and (work + more > _WORK or held + size > _MOST_IN_CHUNK or crowded):
                    yield Chunk(tuple(stacks), chosen)
                    stacks, work, held, lanes, width = [], 0, 0, 0, 0
                stacks.append(stack)
                work, held = work + more, held + size
                lanes, width = max(lanes, size * steps), max(width, wide)
            if stacks:
                yield Chunk(tuple(stacks), chosen)

    def _stacks(self, steps: int, layers: Iterable[int], *, stacked: bool, units: bool) -> Iterator[tuple[Run, ...]]:
        """Stacks that cover every parameter, or unit, once."""
        runs: list[Run] = []
        free = 0
        for layer in layers:
            count = self._sizes[layer + 1] if units else self._sizes[layer + 1] * (self._sizes[layer] + 1)
            start = 0
            while start < count:
                if not runs:
                    # Behind its first layer a stack never gets wider than there.
                    free = self._most_together(layer, steps)
                stop = min(count, start + free)
                runs.append(Run(layer, start, stop))
                free -= stop - start
                start = stop
                if free == 0 or (stop == count and not stacked):
                    yield tuple(runs)
                    runs = []
        if runs:
            yield tuple(runs)

    def _most_together(self, layer: int, steps: int) -> int:
        """How many parameters, perturbed together, leave their changes in the cache; the first of them of this layer."""
        return min(_MOST_PARAMETERS, max(_FEWEST, _cells() // (self._stored_width(layer) * steps)))

    def _stored_width(self, layer: int) -> int:
        """Widest layer whose changes are stored while those of a layer's perturbations are carried on."""
        behind = self._sizes[layer + 2 :]
        if len(behind) == 2 and behind[1] <= dense.FEW_OUTPUTS:
            return behind[1]
        return max(behind, default=1)

    def work(self, layer: int) -> int:
        """Multiplications and activations that a perturbed parameter, or unit, of a layer costs, for each example."""
        tail = self._sizes[layer + 1 :]
        products = sum(before * after for before, after in itertools.pairwise(tail[1:]))
        # A product over lanes costs about a tenth of an activation.
        return 1 + sum(tail[1:]) + products // 10

    def workload(self, steps: int, step: float, *, stacked: bool = False, units: bool = False) -> Workload:
        """How much work the chunks of `chunks` are, of all layers.

        Parameters
        ----------
        steps : int
            How many steps the scheme takes.
        step : float
            ε: a large one takes the full difference forms, which are slower than their power series.
        stacked, units : bool, default: False
            As for `chunks`.

        Returns
        -------
        Workload
            Estimated from the sizes of the layers, without a look at the chunks.
        """
        large = step * (1.0 if units else max(1.0, self.largest_input)) > activations.SMALL
        costs = [_full_cost(layer.activation) if large else 1.0 for layer in self.layers]
        # A softmax's outputs are gone through some times.
        softmax = _SOFTMAX if self._loss_code == losses.SOFTMAX_CROSS_ENTROPY else 1.0
        costs[-1] = _FULL_FORM if large and self.loss_name != "squared_error" else softmax
        dear = [cost * units for cost, units in zip(costs, self._sizes[1:], strict=True)]
        changes = products = rows = work = 0.0
        for layer in range(len(self.layers)):
            count = self._sizes[layer + 1] if units else self._sizes[layer + 1] * (self._sizes[layer] + 1)
            tail = self._sizes[layer + 1 :]
            stacks = count / self._most_together(layer, steps)
            changes += steps * count * (costs[layer] + sum(dear[layer + 1 :]))
            products += 2 * steps * count * sum(before * after for before, after in itertools.pairwise(tail[1:]))
            # A stack's rows are those of all layers from its first one on. Stacks of several layers are full, but for the last.
            rows += (stacks if stacked or units else -(-stacks // 1)) * (1 + sum(tail[1:]))
            rows += count if units else self._sizes[layer + 1]  # pieces of a run that share a unit
            # Each of those is a piece of each row of the next layer, too, which is less than a row of its own.
            rows += 0.0 if units else _PIECE * steps * self._sizes[layer + 1] * sum(tail[1:2])
            work += count * self.work(layer)
        size = sum(units * columns for units, columns in self.layer_shapes)
        terms = 3 * self.examples if units else 2 * self.examples
        return Workload(
            changes=changes * self.examples,
            products=products * self.examples,
            rows=rows * self.examples,
            chunks=1.0 + max(work * self.examples / _WORK, 0.0 if units else size / _MOST_IN_CHUNK),
            comparisons=size * (8.0 + terms),
            weights=float(size),
            layers=len(self.layers),
        )

    def chunk_of(self, name: str, index: tuple[int, int]) -> Chunk:
        """The chunk that holds just one entry of a block.

        Parameters
        ----------
        name : str
            Name of the block.
        index : tuple of int
            Row and column of the entry.

        Returns
        -------
        Chunk
            Of one parameter.
        """
        layer = self.layer_of(name)
        columns = self.layer_shapes[layer][1]
        place = index[0] * columns + (index[1] if name[0] == "W" else columns - 1)
        return Chunk(((Run(layer, place, place + 1),),))

    # ---- quotients -------------------------------------------------------------------------------------------------------

    def quotients(self, chunk: Chunk, scheme: Scheme, step: float) -> Quotients:
        """Difference quotients of a chunk.

        Parameters
        ----------
        chunk : Chunk
            Parameters, or units.
        scheme : Scheme
            Steps and their weights.
        step : float
            ε.

        Returns
        -------
        Quotients
            The same bits whatever else runs beside it. Of single units and examples without the penalty, which is not theirs.
        """
        table = np.empty((2, len(scheme.offsets)))
        table[0] = scheme.steps(step)
        table[1] = scheme.coefficients(step) / self.examples
        runs = np.array(
            [(run.layer, run.start, run.stop, number) for number, stack in enumerate(chunk.stacks) for run in stack],
            dtype=np.int64,
        )
        lanes = max(sum(run.size for run in stack) for stack in chunk.stacks) * len(scheme.offsets)
        width = max(self._stored_width(stack[0].layer) for stack in chunk.stacks)
        rows, layers = _rooms.reserve(lanes, width)
        each = chunk.examples is not None
        first, last = chunk.examples if chunk.examples is not None else (-1, 0)
        values = np.zeros((last - first if each else 1, chunk.size))
        crossings = np.zeros((len(values), values.shape[1] if self._kinked else 0))
        dense.quotients(self._unit_table if each else self._table, runs, table, first, rows, layers, values, crossings)
        if self._decay and not each:
            self._add_penalty(chunk, scheme, step, values[0])
        return Quotients(values, crossings if self._kinked else np.zeros_like(values))

    def _make_tables(self) -> None:
        """Write down sizes, activations and addresses, for `dense.quotients`; once with units in the place of parameters.

        Before any worker can ask for them: two of them making the same array would leave a table with the address of one that is
        gone, since a cached property is not locked.
        """
        self._ones = np.ones(self.examples)
        self._table = np.zeros((len(self.layers) + 1, dense.FIELDS), dtype=np.int64)
        for index, layer in enumerate(self.layers):
            units, before = layer.weights.shape
            addresses = (_address(array) for array in (layer.weights, self._bases[index], self._inputs[index]))
            self._table[index] = units, before, self._codes[index], *addresses, before + 1
        loss = (_address(array) for array in (self._labels, self._loss_base, self._single_base))
        self._table[-1, :6] = self._sizes[-1], self.examples, self._loss_code, *loss
        # The only input of each layer is a 1: its parameters are the pre-activations themselves.
        self._unit_table = self._table.copy()
        self._unit_table[:-1, dense.INPUTS] = _address(self._ones)
        self._unit_table[:-1, dense.COLUMNS] = 1

    def __getstate__(self) -> dict[str, Any]:
        """State for pickle: addresses are worth nothing elsewhere."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_table", "_unit_table")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore what `__getstate__` made, and write down where it is."""
        self.__dict__.update(state)
        self._make_tables()

    def _add_penalty(self, chunk: Chunk, scheme: Scheme, step: float, values: Array) -> None:
        """Add the quotient of λ/(2m)·w² to that of each weight; biases are not penalised."""
        slope, constant = self._penalty(scheme, step)
        done = 0
        for run in chunk.runs:
            row, column = np.divmod(np.arange(run.start, run.stop), self.layer_shapes[run.layer][1])
            weights = self.layers[run.layer].weights
            penalised = np.flatnonzero(column < weights.shape[1])
            values[done + penalised] += slope * weights[row[penalised], column[penalised]] + constant
            done += run.size

    def penalty_along(self, name: str, scheme: Scheme, step: float, product: Callable[[Array], float]) -> float:
        """Quotient of the penalty along a direction of unit norm in a block, whose product with the weights is asked for."""
        if not self._decay or name[0] == "b":
            return 0.0
        slope, constant = self._penalty(scheme, step)
        return slope * product(self.layers[self.layer_of(name)].weights) + constant

    def _penalty(self, scheme: Scheme, step: float) -> tuple[float, float]:
        """Quotient of λ/(2m)·w², whose change is λ/(2m)·d·(2w + d): what w counts in it, and what is added."""
        if not self._decay:
            return 0.0, 0.0
        steps, coefficients = scheme.steps(step), scheme.coefficients(step)
        slope = self._decay * sum(c * d for c, d in zip(coefficients, steps, strict=True))
        return slope, 0.5 * self._decay * sum(c * d * d for c, d in zip(coefficients, steps, strict=True))

    # ---- directions ------------------------------------------------------------------------------------------------------

    def along(self, products: Sequence[tuple[int, Array]], scheme: Scheme, step: float) -> Quotients:
        """Difference quotients along directions, without the penalty.

        Parameters
        ----------
        products : sequence of (int, array of shape (units, examples))
            For each direction its layer, in ascending order, and its product with the layer's inputs: by how much the layer's
            pre-activations change for a step of 1, since they are linear in the parameters.
        scheme : Scheme
            Steps and their weights.
        step : float
            ε.

        Returns
        -------
        Quotients
            In one row, in this order.
        """
        offsets = scheme.steps(step)
        changes = np.empty((self._sizes[0], self.examples, len(offsets), 0))
        crossings = np.zeros((self.examples, 0))
        for index, (layer, code) in enumerate(zip(self.layers, self._codes, strict=True)):
            units = layer.weights.shape[0]
            entering = [product for first, product in products if first == index]
            if not changes.shape[-1] and not entering:
                continue
            carried = np.empty((units, *changes.shape[1:]))
            if changes.size:
                np.dot(layer.weights, changes.reshape(len(changes), -1), out=carried.reshape(units, -1))
            new = np.array(entering).reshape(-1, units, self.examples).transpose(1, 2, 0)
            # Those that enter lie one after the other, and what they are joined to would take their order.
            changes = np.ascontiguousarray(np.concatenate([carried, new[:, :, np.newaxis] * offsets[:, np.newaxis]], axis=-1))
            lanes = changes.reshape(units, self.examples, -1)
            crossed = np.zeros(lanes.shape[1:])
            forms.change_all(code, self._bases[index], lanes, crossed)
            known = crossings.reshape(self.examples, len(offsets), -1)
            now = crossed.reshape(self.examples, len(offsets), -1)
            now[:, :, : known.shape[-1]] += known
            crossings = crossed
        values = np.zeros(changes.shape[-1])
        coefficients = scheme.coefficients(step) / self.examples
        scratch = np.empty(STRETCH)
        lanes = changes.reshape(len(changes), self.examples, -1)
        forms.add_change(self._loss_code, self._loss_base, self._labels, lanes, coefficients, scratch, values)
        total = crossings.reshape(self.examples * len(offsets), -1).sum(axis=0)
        return Quotients(values[np.newaxis], total[np.newaxis])

    # ---- a layer's array and its blocks ----------------------------------------------------------------------------------

    def block(self, name: str, matrix: Matrix) -> BlockMatrix:
        """The part of a layer's array that is one block."""
        columns = self.shapes[name][1]
        return BlockMatrix(matrix, self._first_column(name), columns)

    def _first_column(self, name: str) -> int:
        return 0 if name[0] == "W" else self.layer_shapes[self.layer_of(name)][1] - 1

    def penalised(self, name: str, matrix: Matrix, scheme: Scheme, step: float) -> BlockMatrix:
        """The same with the quotient of the penalty added, which quotients of single units lack."""
        return self._with_weights(self.block(name, matrix), name, *self._penalty(scheme, step))

    def _with_weights(
        self, block: BlockMatrix, name: str, slope: float, constant: float, *, absolute: bool = False
    ) -> BlockMatrix:
        if not self._decay or name[0] == "b":
            return replace(block, constant=constant if absolute else 0.0)
        weights = self.layers[self.layer_of(name)].weights
        return replace(block, weights=weights, slope=slope, absolute=absolute, constant=constant)

    def inputs(self, layer: int) -> Array:
        """What a layer's parameters are multiplied with: array of shape (examples, inputs + 1)."""
        return self._inputs[layer]

    def split_inputs(self, layer: int) -> Array:
        """The same, positive inputs of all examples first, then negative ones: array of shape (2 * examples, inputs + 1)."""
        return np.vstack([np.maximum(self._inputs[layer], 0.0), np.minimum(self._inputs[layer], 0.0)])

    # ---- backpropagation, and what it is rounded by ----------------------------------------------------------------------

    @functools.cached_property
    def plain_pass(self) -> _dense.Pass:
        """The plain forward pass at the base point; pre-activations that are at a kink up to rounding are 0."""
        with np.errstate(over="ignore", invalid="ignore"):
            return _dense.forward(self.layers, self._x)

    def rounding(self, name: str, precision: Precision, least: float) -> BlockMatrix:
        """Rounding that a gradient computed in this precision, and the quotients, may carry in a block.

        Parameters
        ----------
        name : str
            Name of the block.
        precision : Precision
            In what the gradient was computed.
        least : float
            What is added to every entry's.

        Returns
        -------
        BlockMatrix
            An estimate on the safe side.
        """
        # Both gradients are rounded, the quotient never more than the tested one.
        unit = 2.0 * precision.epsilon
        if precision not in self._rounding:
            factors = _rounding.rounding(
                self.layers, self.plain_pass, self._y, self.loss_name, precision.tiny / precision.epsilon
            )
            self._rounding[precision] = [
                Matrix(dense=unit * left) if right is None else Matrix(left=unit * left, right=right) for left, right in factors
            ]
        block = self.block(name, self._rounding[precision][self.layer_of(name)])
        return self._with_weights(block, name, 4.0 * unit * self._decay, least, absolute=True)

    def subgradients(self, name: str) -> tuple[BlockMatrix, BlockMatrix]:
        """Smallest and largest gradient of a block that backpropagation can give, whatever it takes for the slope at each kink.

        Parameters
        ----------
        name : str
            Name of the block.

        Returns
        -------
        below, above : BlockMatrix
            Wide: they bound what may be right, and prove nothing of what lies between.
        """
        layer = self.layer_of(name)
        low, high = self._subgradients[layer]
        split = self.split_inputs(layer)
        below = self._backpropagated(name, np.hstack([low, high]), split)
        return below, self._backpropagated(name, np.hstack([high, low]), split)

    @functools.cached_property
    def _subgradients(self) -> list[tuple[Array, Array]]:
        return _dense.subgradients(self.layers, self.plain_pass, self.error)

    def conventions(self, name: str) -> list[BlockMatrix]:
        """What backward passes give that take the slope at every kink for that on the left, the mean, or that on the right.

        Parameters
        ----------
        name : str
            Name of the block.

        Returns
        -------
        list of BlockMatrix
            One for each.
        """
        layer = self.layer_of(name)
        return [self.backpropagated(name, dz[layer]) for dz in self._conventions]

    @functools.cached_property
    def _conventions(self) -> list[list[Array]]:
        slopes = [_dense.slopes(self.layers, self.plain_pass, at_kink) for at_kink in (0.0, 0.5, 1.0)]
        return [_dense.backward(self.layers, self.error, each)[0] for each in slopes]

    def backpropagated(self, name: str, dz: Array) -> BlockMatrix:
        """A block of the gradient, of that of each example's loss with respect to its layer's pre-activations."""
        return self._backpropagated(name, dz, self._inputs[self.layer_of(name)])

    def _backpropagated(self, name: str, dz: Array, inputs: Array) -> BlockMatrix:
        matrix = Matrix(left=np.ascontiguousarray(dz) / self.examples, right=inputs)
        return self._with_weights(self.block(name, matrix), name, self._decay, 0.0)

    @functools.cached_property
    def error(self) -> Array:
        """Gradient of each example's loss with respect to its logits: array of shape (outputs, examples)."""
        return _dense.LOSSES[self.loss_name].probability(self.plain_pass.z[-1]) - self._y


class _Rooms(threading.local):
    """Memory that lanes move through, a set for each thread.

    It is kept between chunks. Taken anew from the system for each of them, its first touch would cost as much as the arithmetic
    of a narrow network.
    """

    def __init__(self) -> None:
        self._rows = self._layers = np.empty(0)

    def reserve(self, lanes: int, width: int) -> tuple[Array, Array]:
        """Rows for so many lanes, and layers for the changes of so many units by them, as `dense.quotients` wants them."""
        stride = -(-lanes // LINE) * LINE
        cells = max(width * stride, dense.SCRATCH_CELLS)
        if len(self._rows) < 2 * stride:
            self._rows = aligned(2 * stride)
        if len(self._layers) < 3 * cells:
            self._layers = aligned(3 * cells)
        return self._rows[: 2 * stride].reshape(2, stride), self._layers[: 3 * cells].reshape(3, cells)


_rooms = _Rooms()


def _full_cost(activation: str) -> float:
    """What a change of an activation by its full form costs; straight pieces have no other."""
    if activation == "identity" or activation in _dense.KINKS:
        return 1.0
    return _QUADRATURE if activation == "gelu" else _FULL_FORM


def _address(array: Array) -> int:
    """Where an array's memory begins; a kernel will take it for C-contiguous float64."""
    assert array.flags.c_contiguous
    assert array.dtype == np.float64
    return array.ctypes.data


def _with_ones(examples: int, units: int) -> Array:
    """Room for a layer's outputs, behind them the 1 that a bias is multiplied with."""
    outputs = np.empty((examples, units + 1))
    outputs[:, -1] = 1.0
    return outputs
