"""A dense network as a cost, and the guard of its fast path."""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gradsweep import _dense
from gradsweep._costs._protocol import Chunk, CostFunction
from gradsweep._errors import InputError, OracleError
from gradsweep._parameters import format_index, precision, read_blocks, read_numbers
from gradsweep._schemes import FORWARD, Scheme
from gradsweep._step_curves import PlainValues
from gradsweep._types import Array

if TYPE_CHECKING:
    from gradsweep._costs._network_problem import NetworkProblem

# Step of the perturbations at which kernels and plain cost are compared: large enough to stand far above rounding.
_VISIBLE_STEP = 2.0**-6

# Layers in which an entry is perturbed for that, at most.
_MOST_GUARDED = 8

# What kernels and plain cost may differ by, relative. A user's own cost may clip or add 1e-8 to a logarithm.
_AGREEMENT = 1e-6


@dataclass(frozen=True, eq=False)
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
    loss : str
        A name of the losses.
    l2 : float
        λ of the penalty λ/(2m)·Σ‖W‖².
    masks : tuple of (array of shape (units, examples) or None)
        What the activations of each layer are multiplied by.
    like : callable or None
        The user's own cost, which the kernels must agree with.
    """

    layers: tuple[int, ...]
    activations: tuple[str, ...]
    x: Array
    y: Array
    loss: str
    l2: float
    masks: tuple[Array | None, ...]
    like: CostFunction | None

    @functools.cached_property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """Name and shape of every block, W1 first."""
        return _dense.block_shapes(self.layers)

    def describe(self) -> str:
        """All that the cost depends on, beside parameters and data."""
        masks = sum(mask is not None for mask in self.masks)
        return f"{self.layers} {self.activations} {self.loss} {self.l2!r} {masks} masks, {self.y.shape[1]} examples"

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
            _dense.Layer(blocks[f"W{number}"], blocks[f"b{number}"], activation, mask)
            for number, (activation, mask) in enumerate(zip(self.activations, self.masks, strict=True), start=1)
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
        layers = self.read(params)
        return self._value(layers, _dense.checked_forward(layers, self.x))

    def _value(self, layers: list[_dense.Layer], done: _dense.Pass) -> float:
        return _dense.mean_loss(self.loss, done.z[-1], self.y) + _dense.penalty(layers, self.l2, self.y.shape[1])

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
        # Here, since it loads the kernels, and Numba with them.
        from gradsweep._costs._network_problem import NetworkProblem

        exactness = precision(read_numbers(params[name], name) for name in self.shapes)
        problem = NetworkProblem(layers, self.x, self.y, self.loss, self.l2, exactness)
        self._guard(problem, params, seed)
        return problem

    def _guard(self, problem: "NetworkProblem", params: Mapping[str, Any], seed: int) -> None:
        """Raise OracleError unless the kernels agree with the plain cost at the base point and beside it."""
        base, epsilon = self._plain_value(problem, params, None)
        epsilon = max(epsilon, problem.precision.epsilon)
        if not math.isfinite(problem.loss):
            raise InputError(f"params: the cost is {problem.loss} at them; scale the weights or X down")
        self._compare("at the given parameters", problem.loss, base, abs(base), epsilon)
        generator = np.random.default_rng(seed)
        # A few suffice: each changes everything behind it. In all layers of a deep network they would take longer than the sweep.
        chosen = generator.permutation(len(problem.layers))[:_MOST_GUARDED]
        places = []
        for index in sorted(int(layer) + 1 for layer in chosen):
            name = f"{'Wb'[int(generator.integers(2))]}{index}"
            rows, columns = self.shapes[name]
            places.append((name, (int(generator.integers(rows)), int(generator.integers(columns)))))
        # All in one stack: each is of a layer of its own.
        stack = tuple(run for place in places for run in problem.chunk_of(*place).runs)
        quotients = problem.quotients(Chunk((stack,)), FORWARD, _VISIBLE_STEP).values[0]
        for place, quotient in zip(places, quotients.tolist(), strict=True):
            plain = self._plain_value(problem, params, place)[0] - base
            where = f"when {place[0]}[{format_index(place[1])}] grows by {_VISIBLE_STEP}"
            self._compare(f"in the change of the cost {where}", quotient * _VISIBLE_STEP, plain, abs(base), epsilon)

    def _plain_value(self, problem: "NetworkProblem", params: Mapping[str, Any], place: Any) -> tuple[float, float]:
        """Plain cost, the user's own if there is one, with one entry perturbed; and the machine epsilon of what it returns."""
        exact = float(np.finfo(np.float64).eps)
        if self.like is None:
            return self._value_with(problem, place, _VISIBLE_STEP), exact
        own = {name: np.array(params[name], dtype=np.float64) for name in self.shapes}
        if place is not None:
            own[place[0]][place[1]] += _VISIBLE_STEP
        value = self.like(own)
        return read_cost(value, "like"), precision([read_numbers(value, "like")]).epsilon

    def around(self, problem: "NetworkProblem", scheme: Scheme) -> PlainValues:
        """Plain values around the point of a problem: by this class, whatever other cost it was held against."""

        def value(block: str, index: tuple[int, ...], step: float) -> float:
            if step == 0.0:  # from the first layer on, so that it is seen if weights have been changed
                return self._value(problem.layers, _dense.forward(problem.layers, self.x))
            return self._value_with(problem, (block, index), step)

        def place(block: str, index: tuple[int, ...]) -> float:
            layer = problem.layers[problem.layer_of(block)]
            return float((layer.weights if block[0] == "W" else layer.bias)[index])

        return PlainValues(value, self._value_with(problem, None), place, scheme)

    def _value_with(self, problem: "NetworkProblem", place: Any, step: float = 0.0) -> float:
        """Plain cost by this class, from the perturbed unit on."""
        layers, done = problem.layers, problem.plain_pass
        if place is None:
            return self._value(layers, done)
        name, (row, column) = place
        number = problem.layer_of(name)
        weights, bias = layers[number].weights[row].copy(), float(layers[number].bias[row, 0])
        examples = self.y.shape[1]
        penalty = _dense.penalty(layers, self.l2, examples)
        if name[0] == "W":
            old = float(weights[column])
            weights[column] += step
            if self.l2:
                penalty += self.l2 / (2.0 * examples) * (float(weights[column]) * float(weights[column]) - old * old)
        else:
            bias += step
        logits = _dense.forward_with(layers, done, number, row, weights, bias)
        return _dense.mean_loss(self.loss, logits, self.y) + penalty

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


def read_cost(value: Any, argument: str) -> float:
    """One finite number that a cost returned, as a float or as an array of one entry; else InputError."""
    array = read_numbers(value, f"{argument}: the value that it returns")
    if array.size != 1:
        raise InputError(f"{argument} returns an array of shape {array.shape}, but a cost is a single number")
    number = float(array.reshape(()))
    if not np.isfinite(number):
        raise InputError(f"{argument} returns {number} at the given parameters, or near them")
    return number
