"""A dense network as a cost: the sweep by compiled kernels."""

import functools
import itertools
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradsweep import _dense
from gradsweep._costs._protocol import Chunk, PlainCost, Quotients
from gradsweep._errors import InputError, OracleError
from gradsweep._parameters import Precision, format_index, precision, read_blocks, read_numbers
from gradsweep._schemes import FORWARD, Scheme
from gradsweep._types import Array

# Doubles that a layer's changes may fill at once: a megabyte, about a core's own cache. Half of it is 25 % slower on
# 784-256-128-1.
_CELLS = 2**17

# Parameters perturbed at once, at most: longer rows gain nothing, and their buffers would no longer stay in cache.
_MOST_PARAMETERS = 8192

# Activations with a kink, whose crossings are counted.
_KINKED = frozenset({"relu"})

# Step of the perturbations at which kernels and plain cost are compared: large enough to stand far above rounding.
_VISIBLE_STEP = 2.0**-6

# What kernels and plain cost may differ by, relative. A user's own cost may clip or add 1e-8 to a logarithm.
_AGREEMENT = 1e-6


@dataclass(frozen=True)
class NetworkCost:
    """Cost of a dense network on some data: callable, and ready to be checked.

    Made by :meth:`gradsweep.Network.cost`.

    Attributes
    ----------
    layers : tuple of int
        Sizes of the layers, the inputs first.
    activations : tuple of str
        Activation of each layer; the last is ``"identity"``, since the loss is taken on logits.
    x : array of shape (features, examples)
        Inputs.
    y : array of shape (outputs, examples)
        Labels.
    like : callable or None
        The user's own cost, which the kernels must agree with.
    """

    layers: tuple[int, ...]
    activations: tuple[str, ...]
    x: Array
    y: Array
    like: PlainCost | None

    @functools.cached_property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """Name and shape of every block, W1 first."""
        result: dict[str, tuple[int, int]] = {}
        for number, (inputs, units) in enumerate(zip(self.layers, self.layers[1:], strict=False), start=1):
            result[f"W{number}"] = (units, inputs)
            result[f"b{number}"] = (units, 1)
        return result

    def read(self, params: Mapping[str, Any]) -> list[_dense.Layer]:
        """Check the parameters and sort them by layer.

        Parameters
        ----------
        params : mapping of str to array_like
            W1, b1, W2, … with W of shape (units, inputs) and b of shape (units, 1).

        Returns
        -------
        list of Layer
            In order.

        Raises
        ------
        InputError
            A name is missing or surplus, a shape is wrong, or an entry is not a finite real number.
        """
        blocks = read_blocks(params, "params", self.shapes)
        return [
            _dense.Layer(blocks[f"W{number}"], blocks[f"b{number}"], activation)
            for number, activation in enumerate(self.activations, start=1)
        ]

    def __call__(self, params: Mapping[str, Any]) -> float:
        """Cost at these parameters, in plain NumPy.

        Parameters
        ----------
        params : mapping of str to array_like
            W1, b1, W2, …

        Returns
        -------
        float
            Mean over the examples.

        Raises
        ------
        InputError
            See `read`.
        """
        return self._plain(self.read(params))

    def _plain(self, layers: list[_dense.Layer]) -> float:
        return _dense.cross_entropy(_dense.forward(layers, self.x).z[-1], self.y)

    def prepare(self, params: Mapping[str, Any], seed: int = 0) -> "NetworkProblem":
        """Check the parameters, run the base pass, and hold the kernels against the plain cost.

        Parameters
        ----------
        params : mapping of str to array_like
            W1, b1, W2, …
        seed : int
            Chooses the perturbations at which kernels and plain cost are compared.

        Returns
        -------
        NetworkProblem
            The sweep at these parameters.

        Raises
        ------
        InputError
            See `read`; or the pre-activations overflow.
        OracleError
            The kernels disagree with the plain cost, or with `like`.
        """
        layers = self.read(params)
        problem = NetworkProblem(self, layers, precision(read_numbers(params[name], name) for name in self.shapes))
        self._guard(problem, params, seed)
        return problem

    def _guard(self, problem: "NetworkProblem", params: Mapping[str, Any], seed: int) -> None:
        """Raise OracleError unless the kernels agree with the plain cost at the base point and at an entry of each layer."""
        base = self._plain_value(problem, params, None)
        self._compare("at the given parameters", problem.loss, base, abs(base), problem.precision.epsilon)
        generator = np.random.default_rng(seed)
        for index in range(1, len(problem.layers) + 1):
            name = f"{'Wb'[int(generator.integers(2))]}{index}"
            rows, columns = self.shapes[name]
            place = int(generator.integers(rows)), int(generator.integers(columns))
            chunk = problem.chunk_of(name, place)
            change = float(problem.quotients(chunk, FORWARD, _VISIBLE_STEP).values[0]) * _VISIBLE_STEP
            plain = self._plain_value(problem, params, (name, place)) - base
            where = f"when {name}[{format_index(place)}] grows by {_VISIBLE_STEP}"
            self._compare(f"in the change of the cost {where}", change, plain, abs(base), problem.precision.epsilon)

    def _plain_value(self, problem: "NetworkProblem", params: Mapping[str, Any], place: Any) -> float:
        """Plain cost, the user's own if there is one, with one entry perturbed."""
        if self.like is None and place is None:
            return _dense.cross_entropy(problem.plain_pass.z[-1], self.y)
        if self.like is None:
            return self._plain(_perturbed(problem.layers, place))
        own = {name: np.array(params[name], dtype=np.float64) for name in self.shapes}
        if place is not None:
            own[place[0]][place[1]] += _VISIBLE_STEP
        return read_cost(self.like(own), "like")

    def _compare(self, where: str, fast: float, plain: float, size: float, epsilon: float) -> None:
        # The plain change is the difference of two costs and carries the rounding of both. A cost near 0 is still made of
        # numbers near 1: log(1 + e^z) is rounded on that scale.
        allowed = _AGREEMENT * max(abs(fast), abs(plain)) + 1e3 * epsilon * max(size, 1.0)
        if not abs(fast - plain) <= allowed:
            other = "the plain forward pass" if self.like is None else "the cost given as `like`"
            raise OracleError(
                f"the kernels and {other} disagree {where}: {fast!r} by the kernels, {plain!r} by {other}; "
                "the check would compare with the wrong cost"
            )


def _perturbed(layers: list[_dense.Layer], place: Any) -> list[_dense.Layer]:
    """The same layers, with the visible step added to one entry of a copy."""
    name, index = place
    number = int(name[1:]) - 1
    old = layers[number]
    block = (old.weights if name[0] == "W" else old.bias).copy()
    block[index] += _VISIBLE_STEP
    weights, bias = (block, old.bias) if name[0] == "W" else (old.weights, block)
    return [*layers[:number], _dense.Layer(weights, bias, old.activation), *layers[number + 1 :]]


def read_cost(value: Any, argument: str) -> float:
    """One finite number that a cost returned, as a float or as an array of one entry; else InputError."""
    array = read_numbers(value, f"{argument}: the value that it returns")
    if array.size != 1:
        raise InputError(f"{argument} returns an array of shape {array.shape}, but a cost is a single number")
    number = float(array.reshape(()))
    if not np.isfinite(number):
        raise InputError(f"{argument} returns {number} at the given parameters, or near them")
    return number


class NetworkProblem:
    """The sweep over a network's parameters at one point.

    Parameters
    ----------
    cost : NetworkCost
        The cost.
    layers : list of Layer
        Its parameters.
    precision : Precision
        Of the least precise of the parameters.
    """

    def __init__(self, cost: NetworkCost, layers: list[_dense.Layer], precision: Precision) -> None:
        from gradsweep import kernels

        kernels.load()
        from gradsweep.kernels import activations, losses

        self.layers = layers
        self.shapes = cost.shapes
        self.precision = precision
        self._rounding: dict[Precision, list[tuple[Array, Array]]] = {}
        self._cost = cost
        self._sizes = cost.layers
        self._kinked = bool(_KINKED.intersection(cost.activations))
        self._labels = np.ascontiguousarray(cost.y.T)
        self._codes = [activations.CODES[layer.activation] for layer in layers]
        self._inputs: list[Array] = []
        self._bases: list[Array] = []
        examples = cost.x.shape[1]
        inputs = _with_ones(examples, cost.layers[0])
        inputs[:, :-1] = cost.x.T
        z = inputs
        for layer, code in zip(layers, self._codes, strict=True):
            units = layer.weights.shape[0]
            with np.errstate(over="ignore", invalid="ignore"):
                z = inputs[:, :-1] @ layer.weights.T + layer.bias.T
            _dense.require_no_overflow(z, len(self._inputs) + 1)
            base = np.empty((examples, units, 3))
            outputs = _with_ones(examples, units)
            activations.evaluate(code, z, outputs, base)
            self._inputs.append(inputs)
            self._bases.append(base)
            inputs = outputs
        each = np.empty(examples)
        self._loss_base = np.empty((examples, self._sizes[-1], 3))
        losses.evaluate(z, self._labels, each, self._loss_base)
        #: Cost at the base point, by the kernels.
        self.loss = float(each.sum() / examples)

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
            # Few enough that the results of a chunk are small, too: large arrays are taken from the system each time.
            length = min(max(1, work // self._work(layer)), _MOST_PARAMETERS)
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
        return len(self._labels) * (1 + sum(tail[1:]) + products // 10)

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
        coefficients = scheme.coefficients(step) / self._labels.shape[0]
        count = chunk.stop - chunk.start
        values = np.zeros(count)
        crossings = np.zeros(count)
        width = max(self._sizes[chunk.layer + 1 :]) * len(steps)
        # As many parameters as fill the cells with one example; where the chunk has fewer, several examples at once.
        length = min(count, max(16, min(_CELLS // width, _MOST_PARAMETERS)))
        examples = min(self._labels.shape[0], max(1, _CELLS // (width * length)))
        _rooms.reserve(examples * len(steps) * length, width * examples * length)
        for start in range(0, count, length):
            stop = min(start + length, count)
            for first in range(0, self._labels.shape[0], examples):
                group = slice(first, first + examples)
                crossed = self._add(chunk.layer, chunk.start + start, group, steps, coefficients, values[start:stop])
                if self._kinked:
                    crossings[start:stop] += crossed.reshape(-1, stop - start).sum(axis=0)
        return Quotients(values, crossings)

    def _add(self, layer: int, start: int, group: slice, steps: Array, coefficients: Array, values: Array) -> Array:
        """Add the quotients of a run of parameters for a group of examples; return the crossings of each lane."""
        from gradsweep.kernels import dense, losses

        inputs = self._inputs[layer][group]
        examples, columns = inputs.shape
        lanes = len(steps) * len(values)
        crossings = _rooms.crossings[: examples * lanes].reshape(examples, lanes)
        if self._kinked:
            crossings[:] = 0.0
        unit_change = _rooms.unit_change[: examples * lanes].reshape(examples, len(steps), len(values))
        dense.perturb(self._codes[layer], self._bases[layer][group], inputs, steps, start, unit_change, crossings)
        last = len(self.layers) - 1
        deltas = _rooms.next_layer(self._sizes[min(layer + 1, last) + 1], examples, lanes)
        if layer == last:
            dense.place(unit_change, start, columns, deltas)
        for index in range(layer + 1, last + 1):
            weights, code, base = self.layers[index].weights, self._codes[index], self._bases[index][group]
            if index == layer + 1:
                dense.enter(unit_change, start, columns, weights, code, base, deltas, crossings)
            else:
                before = deltas
                deltas = _rooms.next_layer(self._sizes[index + 1], examples, lanes)
                dense.propagate(weights, before, code, base, deltas, crossings)
        losses.add_change(self._loss_base[group], self._labels[group], deltas, coefficients, values)
        return crossings

    def blocks(self, layer: int, values: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Views of a layer's array of shape (units, inputs + 1): its weights and its bias by name."""
        return {f"W{layer + 1}": values[:, :-1], f"b{layer + 1}": values[:, -1:]}

    @functools.cached_property
    def plain_pass(self) -> _dense.Pass:
        """The plain forward pass at the base point."""
        return _dense.forward(self.layers, self._cost.x)

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
            self._rounding[precision] = _dense.rounding(self.layers, self.plain_pass, self._cost.y, least)
        left, right = self._rounding[precision][int(name[1:]) - 1]
        # np.dot, since matmul takes five times as long where there is a single example.
        bound: Array = np.dot(precision.epsilon * left[rows], right[:, :-1] if name[0] == "W" else right[:, -1:])
        return bound

    def subgradients(self, layer: int) -> tuple[Array, Array]:
        """Smallest and largest gradient of a layer that backpropagation can give, whatever it takes for the slope at a kink.

        Parameters
        ----------
        layer : int
            Layer.

        Returns
        -------
        below, above : arrays of shape (units, inputs + 1)
            In the layout of the layer's array.
        """
        return self._subgradients[layer]

    @functools.cached_property
    def _subgradients(self) -> list[tuple[Array, Array]]:
        return _dense.subgradients(self.layers, self.plain_pass, self._cost.y)


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
