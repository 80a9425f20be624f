"""The rounding that backpropagation through a dense network carries: a running error analysis."""

import numpy as np

from gradsweep import _dense
from gradsweep._types import Array

# What an estimate that overflows is replaced by: the product of two is still finite.
_ENORMOUS = 1e150


def rounding(
    layers: list[_dense.Layer], done: _dense.Pass, y: Array, loss: str, least: float
) -> list[tuple[Array, Array | None]]:
    r"""How much rounding an entry of a backpropagated gradient may carry, as factors of low rank.

    A running error analysis: each quantity of the forward and backward pass gets an estimate of its rounding in units of the
    machine epsilon. Rounding that is made anew in a sum of n products is taken to be (4 + √n) times the root of the sum of their
    squares, generous for any order of summation that people use; rounding that is passed on adds up as independent errors do;
    and the derivative of an activation is off by its `roughness`. What underflows is lost altogether.

    Parameters
    ----------
    layers : list of Layer
        The network.
    done : Pass
        Its forward pass.
    y : array of shape (outputs, examples)
        Labels.
    loss : str
        A name of `_dense.LOSSES`.
    least : float
        Smallest normal number, in units of epsilon.

    Returns
    -------
    list of (array of shape (units, terms), array of shape (terms, inputs + 1) or None)
        A pair for each layer, whose product, times epsilon, is the rounding of dW, its last column that of db; or the product
        itself and None.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return _rounding(layers, done, y, _dense.LOSSES[loss], least)


def _rounding(
    layers: list[_dense.Layer], done: _dense.Pass, y: Array, loss: _dense.Loss, least: float
) -> list[tuple[Array, Array | None]]:
    examples = y.shape[1]
    # At a kink as if on its right, steeper side: what may be passed on there may be rounded, too.
    slopes = _dense.slopes(layers, done, at_kink=1.0)
    input_errors, z_errors = _forward_rounding(layers, done, slopes, least)
    output = loss.probability(done.z[-1])
    dz, da = _dense.backward(layers, output - y, slopes)
    error = loss.rounding(output, y, z_errors[-1]) + least
    factors: list[tuple[Array, Array | None]] = []
    for index in range(len(layers) - 1, -1, -1):
        parts = [((error + _growth(examples) * np.abs(dz[index])) / examples, done.inputs[index], 1.0)]
        if index:  # the data themselves are exact
            parts.append((np.abs(dz[index]) / examples, input_errors[index], 0.0))
        units, columns = dz[index].shape[0], done.inputs[index].shape[0] + 1
        # With more examples than units and inputs the product is the smaller one.
        if units * columns < (units + columns) * examples * len(parts):
            factors.append((sum((_product(*part) for part in parts), np.zeros((units, columns))), None))
        else:
            lefts, rights = zip(*(_bordered(*part) for part in parts), strict=True)
            factors.append((np.hstack(lefts), np.vstack(rights)))
        if index:
            weights = layers[index].weights
            passed_on = _quadrature(weights, np.hypot(error, _growth(weights.shape[0]) * dz[index]), backward=True)
            before = _dense.ACTIVATIONS[layers[index - 1].activation]
            z = done.z[index - 1]
            slope = slopes[index - 1]
            rough = 2.0 * before.roughness(z) + before.curvature(z, slope) * z_errors[index - 1] + least
            error = layers[index - 1].masked(passed_on * np.abs(slope) + np.abs(da[index - 1]) * rough) + least
    return factors[::-1]


def _finite(factor: Array) -> Array:
    """The same where it is finite; elsewhere so large that nothing can be said of a gradient, yet safe to multiply."""
    if factor.max() <= _ENORMOUS:
        return factor
    return np.nan_to_num(np.minimum(factor, _ENORMOUS), nan=_ENORMOUS)


def _bordered(left: Array, inputs: Array, bias_input: float) -> tuple[Array, Array]:
    """Factors of left @ |inputs|ᵀ, with a last column for the bias."""
    right = np.empty((inputs.shape[1], inputs.shape[0] + 1))
    np.abs(inputs.T, out=right[:, :-1])
    right[:, -1] = bias_input
    return _finite(left), _finite(right)


def _product(left: Array, inputs: Array, bias_input: float) -> Array:
    """The product of these factors, without a transposed copy of the inputs."""
    left = _finite(left)
    product = np.empty((left.shape[0], inputs.shape[0] + 1))
    product[:, :-1] = left @ _finite(np.abs(inputs)).T
    product[:, -1] = bias_input * left.sum(axis=1)
    return product


def _forward_rounding(
    layers: list[_dense.Layer], done: _dense.Pass, slopes: list[Array], least: float
) -> tuple[list[Array], list[Array]]:
    """Rounding of each layer's inputs, and of its pre-activations, in units of epsilon."""
    error = np.zeros_like(done.inputs[0])
    input_errors, z_errors = [], []
    for index, (layer, inputs) in enumerate(zip(layers, done.inputs, strict=True)):
        input_errors.append(error)
        row_norms = _row_norms(layer.weights)[:, np.newaxis]
        input_norms = _row_norms(inputs.T)[np.newaxis, :]
        made_anew = _growth(inputs.shape[0]) * row_norms * input_norms + np.abs(layer.bias)
        # The first layer, the largest one, has nothing to pass on.
        z_error = np.hypot(made_anew, _quadrature(layer.weights, error)) if index else made_anew
        z_errors.append(z_error)
        if index < len(slopes):
            own = _dense.ACTIVATIONS[layer.activation].value_roughness(done.z[index])
            error = layer.masked(np.abs(slopes[index]) * z_error + own) + least
    return input_errors, z_errors


def _growth(terms: int) -> float:
    return 4.0 + float(np.sqrt(terms))


def _row_norms(values: Array) -> Array:
    norms: Array = np.sqrt(np.vecdot(values, values))
    if norms.min() > 1e-140:
        return norms
    # Squares have underflown; a norm of 0 would declare exact what is not.
    largest = np.maximum(np.abs(values).max(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    scaled: Array = np.sqrt(np.vecdot(values / largest, values / largest)) * largest[:, 0]
    return scaled


def _quadrature(weights: Array, errors: Array, *, backward: bool = False) -> Array:
    """Error of weights @ values, or of their transpose with them, where the values carry independent errors."""
    # Loads the kernels: an array of squared weights is as large as they are, and takes ten times as long.
    from gradsweep.kernels import squares

    # Errors of saturated units are 1e-200 and less, whose squares would be 0.
    largest = np.maximum(np.abs(errors).max(axis=0, keepdims=True), np.finfo(np.float64).tiny)
    scaled = np.ascontiguousarray((errors / largest).T)
    sums = np.zeros((errors.shape[1], weights.shape[1] if backward else weights.shape[0]))
    (squares.add_transposed if backward else squares.add)(weights, scaled * scaled, sums)
    result: Array = np.sqrt(sums.T) * largest
    return result


def settle_kinks(layers: list[_dense.Layer], done: _dense.Pass, epsilon: float) -> None:
    """Set pre-activations of units with a kink to 0 where they are 0 up to rounding: a backward pass may see them on either side.

    Parameters
    ----------
    layers : list of Layer
        The network.
    done : Pass
        Its forward pass; what is set moves by no more than its rounding.
    epsilon : float
        Machine epsilon.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        _, z_errors = _forward_rounding(layers, done, _dense.slopes(layers, done, at_kink=1.0), 0.0)
    for layer, z, error in zip(layers, done.z, z_errors, strict=True):
        if layer.activation in _dense.KINKS:
            z[np.abs(z) <= 0.5 * epsilon * error] = 0.0
