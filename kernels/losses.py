r"""Losses on logits: value and difference form, by the same plan as `activations`.

With :math:`s(z) = \log(1 + e^z)`, :math:`p = \operatorname{softmax} z` and :math:`r = z - y`, for one example:

binary cross-entropy    :math:`\ell = \sum_k (1-y_k)\,s(z_k) + y_k\,s(-z_k)`, each term changed as softplus is
squared error           :math:`\ell = \tfrac12\sum_k r_k^2`, changed by :math:`\sum_k \delta_k (2 r_k + \delta_k)/2`
softmax cross-entropy   :math:`\ell = -\sum_c y_c \log p_c`, changed by
                        :math:`T \log\bigl(1 + \sum_k p_k (e^{\delta_k - \bar\delta} - 1)\bigr)`
                        with :math:`T = \sum_c y_c` and :math:`\bar\delta = \sum_c y_c \delta_c / T`

Cross-entropy is taken on the logits, so that neither log(0) nor a clipped probability can occur. Each label's own term is used
with the sign that keeps it small: the textbook's :math:`\log(1+\sigma(z)(e^\delta-1)) - y\,\delta` subtracts two nearly equal
numbers where the network is right. For labels strictly between 0 and 1 the terms oppose each other by nature; the result is
then exact to rounding of the larger one.
"""

import math

import numpy as np

from ._compile import Array, Place, kernel, point
from .activations import SMALL, any_larger, small_change, softplus, softplus_change, softplus_series, store
from .products import STRETCH, add_multiple

BINARY_CROSS_ENTROPY = 0
SQUARED_ERROR = 1
SOFTMAX_CROSS_ENTROPY = 2

#: The number by which kernels know each loss.
CODES = {
    "binary_cross_entropy": BINARY_CROSS_ENTROPY,
    "squared_error": SQUARED_ERROR,
    "softmax_cross_entropy": SOFTMAX_CROSS_ENTROPY,
}


@point
def square_change(x: float, delta: float) -> float:
    """(x+δ)² − x² = δ(2x+δ)."""
    return delta * (2.0 * x + delta)


@point
def _cross_entropy_change(z: float, other: float, label: float, delta: float) -> float:
    """Change of other·s(z) + label·s(−z), for any δ."""
    rising = 0.0
    falling = 0.0
    if other != 0.0:
        rising = other * softplus_change(z, delta)
    if label != 0.0:
        falling = label * softplus_change(-z, -delta)
    return rising + falling


@point
def _store_cross_entropy(base: Array, example: int, output: int, z: float, other: float, label: float) -> None:
    """Store the series of other·s(z+δ) + label·s(−z−δ)."""
    a1, a2, a3, a4, a5 = softplus_series(z)
    b1, b2, b3, b4, b5 = softplus_series(-z)
    # c₁ is σ − y with each label's own term; a falling logit turns the sign of the odd powers.
    c1, c2, c3 = other * a1 - label * b1, other * a2 + label * b2, other * a3 - label * b3
    store(base, example, output, z, SMALL, c1, c2, c3, other * a4 + label * b4, other * a5 - label * b5)


# Not inlined, as `activations._full_row`.
@kernel("i d d d M1 u u")
def _full_row(code: int, z: float, other: float, label: float, deltas: Array, first: Place, lanes: Place) -> None:
    """Replace changes of one logit by changes of the loss, whatever their size."""
    for lane in range(lanes):
        delta = deltas[first + lane]
        if code == SQUARED_ERROR:
            deltas[first + lane] = 0.5 * square_change(z - label, delta)
        else:
            deltas[first + lane] = _cross_entropy_change(z, other, label, delta)


@point
def _separate_change(
    code: int, base: Array, labels: Array, total: float, example: int, output: int, deltas: Array, first: Place, lanes: Place
) -> None:
    """Replace changes of one logit by changes of the loss, in place; rows as in `activations`.

    A cross-entropy weighs the rising term with what the label lacks to `total`.
    """
    if any_larger(deltas, first, lanes, base[example, output, 1]):
        label = labels[example, output]
        _full_row(code, base[example, output, 0], total - label, label, deltas, first, lanes)
    else:
        small_change(base, example, output, deltas, first, lanes)


@point
def _softmax_change_of_lane(
    base: Array, labels: Array, example: int, deltas: Array, place: Place, stride: Place, total: float
) -> float:
    """Change of one example's softmax cross-entropy by one lane, whatever its size."""
    outputs = labels.shape[1]
    reference = deltas[place]
    mean = 0.0
    for output in range(outputs):
        mean += labels[example, output] * (deltas[place + np.uint64(output) * stride] - reference)
    mean /= total
    grown = 0.0
    for output in range(outputs):
        change = deltas[place + np.uint64(output) * stride] - reference - mean
        grown += base[example, output, 2] * math.expm1(change)
    if grown > -0.5 and grown < math.inf:
        return total * math.log1p(grown)
    # 1 + Σ p·expm1 would cancel, or has overflown: the logarithm of a sum of positive terms does neither.
    highest = -math.inf
    for output in range(outputs):
        change = deltas[place + np.uint64(output) * stride] - reference - mean
        highest = max(highest, base[example, output, 3] + change)
    powers = 0.0
    for output in range(outputs):
        change = deltas[place + np.uint64(output) * stride] - reference - mean
        powers += math.exp(base[example, output, 3] + change - highest)
    return total * (highest + math.log(powers))


@point
def _add_weighted_differences(
    factor: float, values: Array, first: Place, minus: Place, lanes: Place, out: Array, to: Place
) -> None:
    for lane in range(lanes):
        out[to + lane] += factor * (values[first + lane] - values[minus + lane])


@point
def _add_weighted_powers(
    factor: float, values: Array, first: Place, minus: Place, lanes: Place, means: Array, out: Array, to: Place
) -> None:
    """Add factor·(e^c − 1) for small c = value − reference − mean, by its series."""
    for lane in range(lanes):
        c = values[first + lane] - values[minus + lane] - means[lane]
        power = c * (1.0 + c * (1 / 2 + c * (1 / 6 + c * (1 / 24 + c * (1 / 120)))))
        out[to + lane] += factor * power


@point
def _take_logarithms(factor: float, values: Array, first: Place, lanes: Place, out: Array) -> None:
    """factor·log(1 + g) for small g, by its series."""
    for lane in range(lanes):
        g = values[first + lane]
        out[lane] = factor * g * (1.0 - g * (1 / 2 - g * (1 / 3 - g * (1 / 4 - g * (1 / 5 - g * (1 / 6))))))


# Not inlined either.
@kernel("A3 A2 i M1 u u u M1")
def _softmax_change(
    base: Array, labels: Array, example: int, deltas: Array, first: Place, stride: Place, lanes: Place, result: Array
) -> None:
    """Change of one example's softmax cross-entropy; the outputs' rows of changes are `stride` apart and kept.

    `result` has room for twice as many lanes, the first of which receive the changes.
    """
    outputs = labels.shape[1]
    total = 0.0
    for output in range(outputs):
        total += labels[example, output]
    large = False
    for output in range(outputs):
        large |= any_larger(deltas, first + np.uint64(output) * stride, lanes, SMALL / 4.0)
    if large:
        for lane in range(lanes):
            result[lane] = _softmax_change_of_lane(base, labels, example, deltas, first + lane, stride, total)
        return
    for lane in range(np.uint64(2) * lanes):
        result[lane] = 0.0
    # The mean of the labelled changes, relative to the first one: exactly that where all are alike.
    for output in range(outputs):
        label = labels[example, output] / total
        if label != 0.0:
            row = first + np.uint64(output) * stride
            _add_weighted_differences(label, deltas, row, first, lanes, result, np.uint64(0))
    for output in range(outputs):
        row = first + np.uint64(output) * stride
        _add_weighted_powers(base[example, output, 2], deltas, row, first, lanes, result, result, lanes)
    _take_logarithms(total, result, lanes, lanes, result)


@point
def _partition(z: Array, example: int) -> tuple[float, float]:
    """The largest logit of an example, and the sum of the powers of all relative to it."""
    largest = z[example, 0]
    for output in range(z.shape[1]):
        largest = max(largest, z[example, output])
    total = 0.0
    for output in range(z.shape[1]):
        total += math.exp(z[example, output] - largest)
    return largest, total


@kernel("i A2 A2 M1 M3")
def evaluate(code: int, z: Array, labels: Array, losses: Array, base: Array) -> None:
    """Loss of every example and base of every logit.

    Parameters
    ----------
    code : int
        One of `CODES`.
    z, labels : arrays of shape (examples, outputs)
        Logits, and labels; in [0, 1] for a cross-entropy.
    losses : array of shape (examples,)
        Receives the loss, summed over the outputs.
    base : array of shape (examples, outputs, BASE)
        Receives what `add_change_of_one` wants to know.
    """
    for example in range(z.shape[0]):
        largest, partition = _partition(z, example)
        total = 0.0
        for output in range(z.shape[1]):
            x = z[example, output]
            y = labels[example, output]
            if code == SQUARED_ERROR:
                total += 0.5 * (x - y) * (x - y)
                store(base, example, output, x, math.inf, x - y, 0.5, 0.0, 0.0, 0.0)
            elif code == SOFTMAX_CROSS_ENTROPY:
                logarithm = x - largest - math.log(partition)
                total -= y * logarithm
                store(base, example, output, x, 0.0, math.exp(logarithm), logarithm, 0.0, 0.0, 0.0)
            else:
                total += (1.0 - y) * softplus(x) + y * softplus(-x)
                _store_cross_entropy(base, example, output, x, 1.0 - y, y)
        losses[example] = total


@kernel("i A3 A2 i M1 u u A1 i M1 M1 u")
def add_change_of_one(
    code: int,
    base: Array,
    labels: Array,
    example: int,
    deltas: Array,
    first: Place,
    stride: Place,
    coefficients: Array,
    parameters: int,
    scratch: Array,
    quotient: Array,
    to: Place,
) -> None:
    """Add one example's part of the difference quotients.

    Parameters
    ----------
    code : int
        One of `CODES`.
    base : array of shape (examples, outputs, BASE)
        As made by `evaluate`.
    labels : array of shape (examples, outputs)
        Labels.
    example : int
        Which example.
    deltas : array of shape (all,)
        Changes of the first logit from `first` on, all parameters with the first step first; those of the next logit `stride`
        further. Overwritten.
    first, stride : unsigned int
        Where.
    coefficients : array of shape (steps,)
        What each step's change of the loss counts: its weight over ε and the number of examples.
    parameters : int
        How many.
    scratch : array of shape (STRETCH,)
        Overwritten.
    quotient : array of shape (all,)
        Receives the sum, from `to` on.
    to : unsigned int
        Where.
    """
    # A softmax takes two rows of scratch.
    length = STRETCH // 2 if code == SOFTMAX_CROSS_ENTROPY else STRETCH
    for step in range(coefficients.shape[0]):
        for start in range(0, parameters, length):
            stretch = np.uint64(min(length, parameters - start))
            place = first + np.uint64(step * parameters + start)
            if code == SOFTMAX_CROSS_ENTROPY:
                _softmax_change(base, labels, example, deltas, place, stride, stretch, scratch)
                add_multiple(coefficients[step], scratch, np.uint64(0), quotient, to + np.uint64(start), stretch)
            else:
                for output in range(labels.shape[1]):
                    row = place + np.uint64(output) * stride
                    _separate_change(code, base, labels, 1.0, example, output, deltas, row, stretch)
                    add_multiple(coefficients[step], deltas, row, quotient, to + np.uint64(start), stretch)


@kernel("A2 A2 M3")
def evaluate_single(z: Array, labels: Array, base: Array) -> None:
    """Base of every logit of a softmax, for changes of it alone.

    All other logits at rest, the softmax cross-entropy is a binary one: of z − log Σ e^z over the others, whose σ is p.

    Parameters
    ----------
    z, labels : arrays of shape (examples, outputs)
        Logits and labels.
    base : array of shape (examples, outputs, BASE)
        Receives what `add_single_change_of_one` wants to know.
    """
    for example in range(z.shape[0]):
        largest, partition = _partition(z, example)
        total = 0.0
        for output in range(z.shape[1]):
            total += labels[example, output]
        for output in range(z.shape[1]):
            power = math.exp(z[example, output] - largest)
            others = partition - power
            if 2.0 * power > partition:
                # One output at most is more than all others, and there the difference has no digits.
                others = 0.0
                for other in range(z.shape[1]):
                    others += math.exp(z[example, other] - largest) if other != output else 0.0
            # A single output, or others that have underflown: p is 1, and nothing changes it that a double could show.
            alone = z[example, output] - largest - math.log(others) if others > 0.0 else 700.0
            label = labels[example, output]
            _store_cross_entropy(base, example, output, alone, total - label, label)


@kernel("i A3 A2 i i i M1 u A1 i M1 u")
def add_single_change_of_one(
    code: int,
    base: Array,
    labels: Array,
    example: int,
    start: int,
    columns: int,
    unit_change: Array,
    first: Place,
    coefficients: Array,
    parameters: int,
    quotient: Array,
    to: Place,
) -> None:
    """Add one example's part of the difference quotients, where each lane changes a single logit.

    Parameters
    ----------
    code, labels, coefficients : int and arrays
        As for `add_change_of_one`.
    base : array of shape (examples, outputs, BASE)
        As made by `evaluate`, for a softmax by `evaluate_single`.
    example : int
        Which example.
    start, columns : int
        First parameter of the last layer, counted row by row, and parameters of one unit.
    unit_change : array of shape (all,)
        Changes of the logits from `first` on, all parameters with the first step first. Overwritten.
    first : unsigned int
        Where.
    parameters : int
        How many.
    quotient : array of shape (all,)
        Receives the sum, from `to` on.
    to : unsigned int
        Where.
    """
    total = 1.0
    if code == SOFTMAX_CROSS_ENTROPY:
        total = 0.0
        for output in range(labels.shape[1]):
            total += labels[example, output]
    for step in range(coefficients.shape[0]):
        output, column = divmod(start, columns)
        done = 0
        while done < parameters:
            length = min(columns - column, parameters - done, STRETCH)
            place = first + np.uint64(step * parameters + done)
            _separate_change(code, base, labels, total, example, output, unit_change, place, np.uint64(length))
            add_multiple(coefficients[step], unit_change, place, quotient, to + np.uint64(done), np.uint64(length))
            done += length
            column += length
            if column == columns:
                output, column = output + 1, 0
