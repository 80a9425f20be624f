"""The sweep over a dense network's parameters, by compiled kernels.

Importing this module loads the kernels, or compiles them if need be; so it is imported when the first problem is made.
"""

import functools
import itertools
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradsweep import _dense, kernels
from gradsweep._costs._protocol import Chunk, Quotients
from gradsweep._parameters import Precision
from gradsweep._schemes import Scheme
from gradsweep._types import Array
from gradsweep.kernels import activations, dense, losses

# Doubles that a layer's changes may fill at once: a megabyte, about a core's own cache. Half of it is 25 % slower on
# 784-256-128-1.
_CELLS = 2**17

# Parameters perturbed at once, at most: longer rows gain nothing, and their buffers would no longer stay in cache. A chunk has at
# most twice as many, so that its results stay below 128 KB, from where on the C library takes memory from the system each time.
_MOST_PARAMETERS = 7680


class NetworkProblem:
    """The sweep over a network's parameters at one point.

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
        self._sizes = [x.shape[0], *(layer.weights.shape[0] for layer in layers)]
        self.shapes = _dense.block_shapes(self._sizes)
        self._rounding: dict[Precision, list[tuple[Array, Array | None]]] = {}
        self._kinked = any(layer.activation in _dense.KINKS for layer in layers)
        self._loss, self._loss_code = loss, losses.CODES[loss]
        self._decay = l2 / x.shape[1]
        self._labels = np.ascontiguousarray(y.T)
        self._codes = [activations.CODES[layer.activation] for layer in layers]
        self._inputs: list[Array] = []
        self._bases: list[Array] = []
        settled = _dense.settle_kinks(layers, self.plain_pass, precision.epsilon) if self._kinked else None
        features, examples = x.shape
        inputs = _with_ones(examples, features)
        inputs[:, :-1] = x.T
        pre_activations: list[Array] = []
        for layer, code in zip(layers, self._codes, strict=True):
            units = layer.weights.shape[0]
            with np.errstate(over="ignore", invalid="ignore"):
                z = inputs[:, :-1] @ layer.weights.T + layer.bias.T
            if settled:
                z[settled[len(pre_activations)].T] = 0.0
            pre_activations.append(z)
            base = np.empty((examples, units, activations.BASE))
            outputs = _with_ones(examples, units)
            activations.evaluate(code, z, outputs, base)
            self._inputs.append(inputs)
            self._bases.append(base)
            inputs = outputs
        _dense.require_no_overflow(pre_activations)
        each = np.empty(examples)
        self._loss_base = np.empty((examples, self._sizes[-1], activations.BASE))
        losses.evaluate(self._loss_code, pre_activations[-1], self._labels, each, self._loss_base)
        self._single_base = self._loss_base
        if self._loss_code == losses.SOFTMAX_CROSS_ENTROPY:
            self._single_base = np.empty_like(self._loss_base)
            losses.evaluate_single(pre_activations[-1], self._labels, self._single_base)
        #: Cost at the base point, by the kernels.
        self.loss = float(each.sum() / examples) + _dense.penalty(layers, l2, examples)

    @functools.cached_property
    def largest_input(self) -> float:
        """Largest absolute value that a parameter is multiplied with."""
        return max(float(max(inputs.max(), -inputs.min())) for inputs in self._inputs)

    @property
    def layer_shapes(self) -> list[tuple[int, int]]:
        """Shape of each layer's array: its weights with the bias as last column."""
        return [(units, inputs + 1) for inputs, units in zip(self._sizes, self._sizes[1:], strict=False)]

    def chunks(self, work: int, layers: Iterable[int]) -> Iterator[Chunk]:
        """Chunks that cover every parameter of some layers once, in order.

        Parameters
        ----------
        work : int
            How many changes of an activation a chunk should cost, about.
        layers : iterable of int
            Which layers.

        Yields
        ------
        Chunk
            In order.
        """
        for layer in layers:
            units, columns = self.layer_shapes[layer]
            length = min(max(1, work // self._work(layer)), 2 * _MOST_PARAMETERS)
            for start in range(0, units * columns, length):
                yield Chunk(layer, start, min(start + length, units * columns))

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
        layer = int(name[1:]) - 1
        columns = self.layer_shapes[layer][1]
        place = index[0] * columns + (index[1] if name[0] == "W" else columns - 1)
        return Chunk(layer, place, place + 1)

    @property
    def work(self) -> int:
        """Changes of an activation that one step of every parameter costs."""
        return sum(units * columns * self._work(layer) for layer, (units, columns) in enumerate(self.layer_shapes))

    def _work(self, layer: int) -> int:
        """Multiplications and activations that one perturbed parameter of a layer costs."""
        tail = self._sizes[layer + 1 :]
        products = sum(before * after for before, after in itertools.pairwise(tail[1:]))
        # A product over lanes costs about a tenth of an activation.
        return int(len(self._labels) * (1 + sum(tail[1:]) + products // 10))

    def quotients(self, chunk: Chunk, scheme: Scheme, step: float) -> Quotients:
        """Difference quotients of a chunk.

        Parameters
        ----------
        chunk : Chunk
            Parameters.
        scheme : Scheme
            Steps and their weights.
        step : float
            ε.

        Returns
        -------
        Quotients
            The same bits whatever else runs beside it.
        """
        steps = scheme.steps(step)
        coefficients = scheme.coefficients(step) / len(self._labels)
        count = chunk.stop - chunk.start
        values, crossings = np.zeros(count), np.zeros(count)
        # The perturbed layer itself changes in one unit only; the widest layer behind it decides how many lanes fit.
        width = max(self._sizes[chunk.layer + 2 :], default=1) * len(steps)
        # As many parameters as fill the cells with one example; where the chunk has fewer, several examples at once.
        length = min(count, max(16, min(_CELLS // width, _MOST_PARAMETERS)))
        examples = min(len(self._labels), max(1, _CELLS // (width * length)))
        _rooms.reserve(examples * len(steps) * length, width * examples * length)
        for first in range(0, len(self._labels), examples):
            group = _Group(self, chunk.layer, slice(first, first + examples))
            for start in range(0, count, length):
                part = slice(start, min(start + length, count))
                crossed = group.add(chunk.start + start, steps, coefficients, values[part])
                if self._kinked:
                    crossings[part] += crossed.reshape(-1, len(values[part])).sum(axis=0)
        if self._decay:
            self._add_penalty(chunk, scheme, step, values)
        return Quotients(values, crossings)

    def _add_penalty(self, chunk: Chunk, scheme: Scheme, step: float, values: Array) -> None:
        """Add the quotient of λ/(2m)·w²: its change is λ/(2m)·d·(2w + d), without a difference of squares."""
        columns = self.layer_shapes[chunk.layer][1]
        row, column = np.divmod(np.arange(chunk.start, chunk.stop), columns)
        penalised = column < columns - 1  # biases are not
        weights = self.layers[chunk.layer].weights[row[penalised], column[penalised]]
        for d, coefficient in zip(scheme.steps(step), scheme.coefficients(step), strict=True):
            values[penalised] += coefficient * (0.5 * self._decay * d * (2.0 * weights + d))

    def blocks(self, layer: int, values: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Views of a layer's array of shape (units, inputs + 1): its weights and its bias by name."""
        return {f"W{layer + 1}": values[:, :-1], f"b{layer + 1}": values[:, -1:]}

    @functools.cached_property
    def plain_pass(self) -> _dense.Pass:
        """The plain forward pass at the base point; pre-activations that are at a kink up to rounding are 0."""
        with np.errstate(over="ignore", invalid="ignore"):
            return _dense.forward(self.layers, self._x)

    def rounding(self, name: str, rows: slice, precision: Precision) -> Array:
        """Rounding that a backpropagated gradient may carry.

        Parameters
        ----------
        name : str
            Name of the block.
        rows : slice
            Which rows of it.
        precision : Precision
            In what the gradient was computed.

        Returns
        -------
        array of shape (rows, columns)
            An estimate on the safe side.
        """
        if precision not in self._rounding:
            least = precision.tiny / precision.epsilon
            self._rounding[precision] = _dense.rounding(self.layers, self.plain_pass, self._y, self._loss, least)
        left, right = self._rounding[precision][int(name[1:]) - 1]
        columns = slice(None, -1) if name[0] == "W" else slice(-1, None)
        if right is None:
            bound = precision.epsilon * left[rows, columns]
        else:
            # np.dot, since matmul takes five times as long where there is a single example.
            bound = np.dot(precision.epsilon * left[rows], right[:, columns])
        if self._decay and name[0] == "W":
            bound += 4.0 * precision.epsilon * self._decay * np.abs(self.layers[int(name[1:]) - 1].weights[rows])
        return bound

    def subgradients(self, layer: int) -> tuple[Array, Array]:
        """Smallest and largest gradient of a layer that backpropagation can give, whatever it takes for the slope at each kink.

        Parameters
        ----------
        layer : int
            Layer.

        Returns
        -------
        below, above : arrays of shape (units, inputs + 1)
            In the layout of the layer's array. Wide: they bound what may be right, and prove nothing of what lies between.
        """
        below, above = _dense.subgradients(self.layers, self.plain_pass, self._error)[layer]
        return self._decayed(layer, below), self._decayed(layer, above)

    def conventions(self, layer: int) -> list[Array]:
        """What backward passes give that take the slope at every kink for that on the left, the mean, or that on the right.

        Parameters
        ----------
        layer : int
            Layer.

        Returns
        -------
        list of arrays of shape (units, inputs + 1)
            In the layout of the layer's array.
        """
        gradients = []
        for at_kink in (0.0, 0.5, 1.0):
            dz, _ = _dense.backward(self.layers, self.plain_pass, self._error, at_kink)
            gradients.append(self._decayed(layer, dz[layer] @ self._inputs[layer] / len(self._labels)))
        return gradients

    @functools.cached_property
    def _error(self) -> Array:
        return _dense.LOSSES[self._loss].probability(self.plain_pass.z[-1]) - self._y

    def _decayed(self, layer: int, gradient: Array) -> Array:
        if self._decay:
            gradient[:, :-1] += self._decay * self.layers[layer].weights
        return gradient


class _Group:
    """Some examples, and what the kernels need of them from a perturbed layer on.

    Parameters
    ----------
    problem : NetworkProblem
        The sweep.
    layer : int
        The perturbed layer.
    examples : slice
        Which examples.
    """

    def __init__(self, problem: NetworkProblem, layer: int, examples: slice) -> None:
        self._kinked = problem._kinked
        self._inputs = problem._inputs[layer][examples]
        self._perturbed = problem._codes[layer], problem._bases[layer][examples]
        # Weights, activation and base of each layer behind the perturbed one.
        self._behind = [
            (problem.layers[index].weights, problem._codes[index], problem._bases[index][examples])
            for index in range(layer + 1, len(problem.layers))
        ]
        self._loss = problem._loss_code, problem._loss_base[examples], problem._labels[examples]
        self._single_loss = problem._loss_code, problem._single_base[examples], problem._labels[examples]

    def add(self, start: int, steps: Array, coefficients: Array, values: Array) -> Array:
        """Add the examples' part of the quotients of a run of parameters; return the crossings of each lane."""
        examples, columns = self._inputs.shape
        lanes = len(steps) * len(values)
        crossings = _rooms.crossings[: examples * lanes].reshape(examples, lanes)
        if self._kinked:
            crossings[:] = 0.0
        unit_change = _rooms.unit_change[: examples * lanes].reshape(examples, len(steps), len(values))
        dense.perturb(*self._perturbed, self._inputs, steps, start, unit_change, crossings)
        if self._behind:
            (weights, code, base), *further = self._behind
            deltas = _rooms.next_layer(len(weights), examples, lanes)
            dense.enter(unit_change, start, columns, weights, code, base, deltas, crossings)
            for weights, code, base in further:
                before, deltas = deltas, _rooms.next_layer(len(weights), examples, lanes)
                dense.propagate(weights, before, code, base, deltas, crossings)
            # The perturbed unit's own changes have served their purpose, and leave room.
            losses.add_change(*self._loss, deltas, coefficients, _rooms.unit_change, values)
        else:
            losses.add_single_change(*self._single_loss, start, columns, unit_change, coefficients, values)
        return crossings


class _Rooms(threading.local):
    """Memory that lanes move through, a set for each thread: two layers' changes in turn.

    It is kept between chunks. Taken anew from the system for each of them, its first touch would cost as much as the arithmetic
    of a narrow network.
    """

    def __init__(self) -> None:
        self.unit_change = self.crossings = np.empty(0)
        self._layers = (np.empty(0), np.empty(0))

    def reserve(self, unit: int, layer: int) -> None:
        """Make room for so many doubles of one unit's, and of a layer's changes."""
        if len(self.crossings) < unit:
            self.unit_change, self.crossings = np.empty(unit), np.zeros(unit)
        if len(self._layers[0]) < layer:
            self._layers = (np.empty(layer), np.empty(layer))

    def next_layer(self, units: int, examples: int, lanes: int) -> Array:
        """The room that was not handed out last, as an array of this shape."""
        self._layers = self._layers[::-1]
        return self._layers[0][: units * examples * lanes].reshape(units, examples, lanes)


_rooms = _Rooms()


def _with_ones(examples: int, units: int) -> Array:
    """Room for a layer's outputs, behind them the 1 that a bias is multiplied with."""
    outputs = np.empty((examples, units + 1))
    outputs[:, -1] = 1.0
    return outputs
