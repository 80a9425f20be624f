"""Dense networks, as people write them in NumPy."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gradsweep import _dense
from gradsweep._costs._network import NetworkCost
from gradsweep._costs._protocol import CostFunction
from gradsweep._errors import InputError
from gradsweep._parameters import format_index, read_array, read_numbers
from gradsweep._schemes import known
from gradsweep._types import Array

# No dropout has a factor like this, and no step would be small enough for it.
_LARGEST_FACTOR = 1e100


class Network:
    """A dense network.

    Layer l computes ``Z = W @ A + b`` and ``A = f(Z)``; the last one has the activation of the output. The cost is the mean over
    the examples of the loss, summed over the outputs, and ``l2 / (2 m) * sum of W²`` over the weights of all layers.
    Parameters are a dict W1, b1, W2, … with W of shape (units, inputs) and b of shape (units, 1). Data have a column for each
    example.

    Parameters
    ----------
    layers : sequence of int
        Sizes of the layers, the inputs first: at least two, each at least 1.
    hidden : str or sequence of str, default: "tanh"
        Activation of the hidden layers, one for all or one for each: ``"tanh"``, ``"relu"``, ``"leaky_relu"`` (slope 0.01),
        ``"sigmoid"``, ``"softplus"``, ``"silu"``, ``"gelu"`` (exact), ``"gelu_tanh"`` or ``"identity"``.

    output : str, default: "sigmoid"
        ``"sigmoid"``, ``"softmax"`` or ``"identity"``.
    loss : str, optional
        The loss that belongs to the output: ``"binary_cross_entropy"`` (sigmoid), ``"softmax_cross_entropy"`` (softmax), or
        ``"squared_error"``, half of the squared difference (identity).
    l2 : float, default: 0
        λ of the penalty on the weights.
    dropout_masks : sequence of (array_like of shape (units, examples) or None), optional
        For each hidden layer what its activations are multiplied by, fixed, or None: dropout can be checked if it drops the same
        units each time. For inverted dropout the entries are 0 and 1/keep probability; none may be negative.

    Raises
    ------
    InputError
        A layer without units, less than two layers, a name that is not known, an output and a loss that do not belong together,
        a negative penalty, or masks that do not fit the hidden layers.

    Examples
    --------
    >>> import numpy as np
    >>> import gradsweep
    >>> network = gradsweep.Network([3, 4, 1])
    >>> params = network.initialize(seed=0)
    >>> X, Y = np.ones((3, 2)), np.array([[0.0, 1.0]])
    >>> report = gradsweep.check(network.cost(X, Y), params, network.gradient(params, X, Y))
    >>> report.verdict
    'pass'
    """

    def __init__(
        self,
        layers: Sequence[int],
        hidden: str | Sequence[str] = "tanh",
        output: str = "sigmoid",
        loss: str | None = None,
        l2: float = 0.0,
        dropout_masks: Sequence[ArrayLike | None] | None = None,
    ) -> None:
        self.layers = _read_layers(layers)
        self.hidden = _read_hidden(hidden, len(self.layers) - 2)
        self.loss = _read_loss(output, loss)
        self.output = _dense.LOSSES[self.loss].output
        self.l2 = _read_penalty(l2)
        self.dropout_masks = _read_masks(dropout_masks, self.layers[1:-1])

    def __repr__(self) -> str:
        """Text that makes the same network, but for dropout masks."""
        more = f", output={self.output!r}" if self.output != "sigmoid" else ""
        more += f", l2={self.l2}" if self.l2 else ""
        more += ", dropout_masks=..." if any(mask is not None for mask in self.dropout_masks) else ""
        return f"Network({list(self.layers)}, hidden={list(self.hidden)}{more})"

    def initialize(self, seed: int = 0) -> dict[str, Array]:
        """Random parameters at which a check is worth something.

        Weights are normal, divided by the root of the number of inputs, so that no activation saturates. Biases are 0.1·normal:
        zero biases would hide a wrong bias term.

        Parameters
        ----------
        seed : int, default: 0
            Of the generator.

        Returns
        -------
        dict of str to array
            W1 of shape (units, inputs), b1 of shape (units, 1), W2, …

        Raises
        ------
        InputError
            The seed is not a whole number of at least 0.

        Examples
        --------
        >>> import gradsweep
        >>> {name: block.shape for name, block in gradsweep.Network([2, 3, 1]).initialize(seed=0).items()}
        {'W1': (3, 2), 'b1': (3, 1), 'W2': (1, 3), 'b2': (1, 1)}
        """
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
            raise InputError(f"seed must be a whole number of at least 0, not {seed!r}")
        generator = np.random.default_rng(seed)
        params: dict[str, Array] = {}
        for number, (inputs, units) in enumerate(zip(self.layers, self.layers[1:], strict=False), start=1):
            params[f"W{number}"] = generator.standard_normal((units, inputs)) / np.sqrt(inputs)
            params[f"b{number}"] = 0.1 * generator.standard_normal((units, 1))
        return params

    def forward(self, params: Mapping[str, Any], X: ArrayLike) -> Array:
        """Output of the network.

        Parameters
        ----------
        params : mapping of str to array_like
            W1, b1, W2, …
        X : array_like of shape (features, examples)
            Inputs.

        Returns
        -------
        array of shape (outputs, examples)
            Probabilities, or the logits themselves where the output is the identity.

        Raises
        ------
        InputError
            A missing or surplus name, a wrong shape, or an entry that is not a finite real number.

        Examples
        --------
        >>> import numpy as np
        >>> import gradsweep
        >>> network = gradsweep.Network([2, 1])
        >>> network.forward({"W1": np.array([[1.0, -1.0]]), "b1": np.zeros((1, 1))}, np.array([[3.0], [3.0]]))
        array([[0.5]])
        """
        x = self._read_inputs(X)
        cost = self._cost(x, np.zeros((self.layers[-1], x.shape[1])))
        logits = _dense.checked_forward(cost.read(params), x).z[-1]
        return _dense.LOSSES[self.loss].probability(logits)

    def cost(self, X: ArrayLike, Y: ArrayLike, like: CostFunction | None = None) -> NetworkCost:
        """Cost on some data, to be called with parameters or given to :func:`gradsweep.check`.

        Parameters
        ----------
        X : array_like of shape (features, examples)
            Inputs. Any real type; unsigned bytes as in an image are fine.
        Y : array_like of shape (outputs, examples)
            Labels: in [0, 1] for a cross-entropy, with the sum 1 in each column for softmax; any numbers for the squared error.
        like : callable, optional
            Your own cost: parameters in, a number out. The kernels must agree with it at the checked parameters and at some
            perturbed ones, else the check stops with an error. Without it they must agree with this class in plain NumPy.

        Returns
        -------
        NetworkCost
            A callable.

        Raises
        ------
        InputError
            Shapes that do not fit, no examples, labels that the loss does not take, or an entry that is not a finite real number.

        Examples
        --------
        >>> import numpy as np
        >>> import gradsweep
        >>> cost = gradsweep.Network([1, 1], output="identity").cost(np.array([[1.0, 2.0]]), np.array([[0.0, 1.0]]))
        >>> cost({"W1": np.array([[1.0]]), "b1": np.array([[1.0]])})
        2.0
        """
        if like is not None and not callable(like):
            raise InputError(f"like is of type {type(like).__name__}, but must be a function of the parameters")
        x = self._read_inputs(X)
        return self._cost(x, self._read_labels(Y, x.shape[1]), like)

    def gradient(self, params: Mapping[str, Any], X: ArrayLike, Y: ArrayLike) -> dict[str, Array]:
        """Gradient of the cost by backpropagation, in plain NumPy.

        Parameters
        ----------
        params : mapping of str to array_like
            W1, b1, W2, …
        X : array_like of shape (features, examples)
            Inputs.
        Y : array_like of shape (outputs, examples)
            Labels, as for `cost`.

        Returns
        -------
        dict of str to array
            dW1, db1, dW2, …, each in the shape of its parameter.

        Raises
        ------
        InputError
            As `cost`, and as `forward`.

        Examples
        --------
        >>> import numpy as np
        >>> import gradsweep
        >>> network = gradsweep.Network([1, 1], output="identity")
        >>> params = {"W1": np.array([[1.0]]), "b1": np.array([[1.0]])}
        >>> network.gradient(params, np.array([[1.0, 2.0]]), np.array([[0.0, 1.0]]))
        {'dW1': array([[3.]]), 'db1': array([[2.]])}
        """
        cost = self.cost(X, Y)
        layers = cost.read(params)
        done = _dense.checked_forward(layers, cost.x)
        error = _dense.LOSSES[self.loss].probability(done.z[-1]) - cost.y
        dz, _ = _dense.backward(layers, error, _dense.slopes(layers, done))
        gradient: dict[str, Array] = {}
        for number, (inputs, errors) in enumerate(zip(done.inputs, dz, strict=True), start=1):
            gradient[f"dW{number}"] = errors @ inputs.T / cost.y.shape[1]
            if self.l2:
                gradient[f"dW{number}"] += self.l2 / cost.y.shape[1] * layers[number - 1].weights
            gradient[f"db{number}"] = errors.mean(axis=1, keepdims=True)
        return gradient

    def _cost(self, x: Array, y: Array, like: CostFunction | None = None) -> NetworkCost:
        for number, mask in enumerate(self.dropout_masks):
            if mask is not None and mask.shape[1] != x.shape[1]:
                raise InputError(f"dropout_masks[{number}] has {mask.shape[1]} examples, but X has {x.shape[1]}")
        masks = (*self.dropout_masks, None)
        return NetworkCost(self.layers, (*self.hidden, "identity"), x, y, self.loss, self.l2, masks, like)

    def _read_inputs(self, X: ArrayLike) -> Array:
        given = read_numbers(X, "X")
        if given.ndim != 2:
            raise InputError(f"X has shape {given.shape}, but (features, examples) is needed: one column for each example")
        if given.shape[0] != self.layers[0]:
            raise InputError(f"X has {given.shape[0]} features, but the first layer has {self.layers[0]} inputs")
        if given.shape[1] == 0:
            raise InputError("X has no examples")
        return read_array(given, "X", given.shape)

    def _read_labels(self, Y: ArrayLike, examples: int) -> Array:
        y = read_array(Y, "Y", (self.layers[-1], examples))
        if self.loss == "squared_error":
            return y
        wrong = np.argwhere((y < 0) | (y > 1))
        if len(wrong):
            row, column = wrong[0]
            raise InputError(f"Y[{row}, {column}] is {y[row, column]}; labels must lie in [0, 1]")
        sums = y.sum(axis=0)
        if self.loss == "softmax_cross_entropy" and not np.allclose(sums, 1.0, rtol=0.0, atol=1e-6):
            column = int(np.argmax(np.abs(sums - 1.0)))
            raise InputError(f"Y[:, {column}] has the sum {sums[column]}; the labels of an example must add up to 1 for softmax")
        return y


def _read_layers(layers: Sequence[int]) -> tuple[int, ...]:
    sizes = read_numbers(layers, "layers")
    if sizes.ndim != 1 or len(sizes) < 2:
        raise InputError(f"layers must be a list of at least two sizes, inputs and outputs, not {layers!r}")
    # NumPy reads True beside numbers as 1.
    if sizes.dtype.kind not in "iu" or sizes.min() < 1 or any(isinstance(size, bool | np.bool_) for size in layers):
        raise InputError(f"layers must be whole numbers of at least 1, not {layers!r}")
    return tuple(int(size) for size in sizes)


def _read_hidden(hidden: str | Sequence[str], count: int) -> tuple[str, ...]:
    if not isinstance(hidden, Iterable):
        raise InputError(f"hidden must be the name of an activation, or a list of names, not {hidden!r}")
    names = (hidden,) * count if isinstance(hidden, str) else tuple(hidden)
    if len(names) != count:
        raise InputError(f"hidden names {len(names)} activations, but the network has {count} hidden layers")
    # A single name is checked even where there is no hidden layer that would use it.
    for name in (hidden,) if isinstance(hidden, str) else names:
        if not isinstance(name, str) or name not in _dense.ACTIVATIONS:
            raise InputError(f"hidden: activation {name!r} is not known; known are {known(list(_dense.ACTIVATIONS))}")
    return tuple(str(name) for name in names)


def _read_loss(output: str, loss: str | None) -> str:
    losses = {each.output: name for name, each in _dense.LOSSES.items()}
    if not isinstance(output, str) or output not in losses:
        raise InputError(f"output: {output!r} is not known; known are {known(list(losses))}")
    if loss is None:
        return losses[output]
    if not isinstance(loss, str) or loss not in _dense.LOSSES:
        raise InputError(f"loss: {loss!r} is not known; known are {known(list(_dense.LOSSES))}")
    if losses[output] != loss:
        raise InputError(f"loss: {loss!r} belongs to the output {_dense.LOSSES[loss].output!r}, not {output!r}")
    return loss


def _read_masks(masks: Sequence[ArrayLike | None] | None, units: tuple[int, ...]) -> tuple[Array | None, ...]:
    if masks is None:
        return (None,) * len(units)
    # An array would pass for a list of its rows.
    if not isinstance(masks, list | tuple) or len(masks) != len(units):
        raise InputError(f"dropout_masks must be a list with a mask, or None, for each of the {len(units)} hidden layers")
    result: list[Array | None] = []
    for number, (mask, count) in enumerate(zip(masks, units, strict=True)):
        if mask is None:
            result.append(None)
            continue
        name = f"dropout_masks[{number}]"
        given = read_numbers(mask, name)
        if given.ndim != 2 or given.shape[0] != count:
            raise InputError(f"{name} has shape {given.shape}, but ({count}, examples) is needed")
        # A copy, for a mask that is drawn anew in place would be another one.
        values = np.array(read_array(given, name, given.shape))
        wrong = np.argwhere((values < 0) | (values > _LARGEST_FACTOR))
        if len(wrong):
            index = tuple(int(i) for i in wrong[0])
            limits = f"at least 0, and at most {_LARGEST_FACTOR:g}"
            raise InputError(f"{name}[{format_index(index)}] is {values[index]}; a mask's entries must be {limits}")
        result.append(values)
    return tuple(result)


def _read_penalty(l2: float) -> float:
    value = read_numbers(l2, "l2")
    if value.ndim or value.dtype.kind == "b" or not 0.0 <= float(value) < np.inf:
        raise InputError(f"l2 must be a finite number of at least 0, not {l2!r}")
    return float(value)
