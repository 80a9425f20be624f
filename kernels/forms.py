"""The difference forms of a whole layer, and of a loss, by themselves.

`dense` makes them part of its own loops. Here they are for changes of whole layers, as directions make them, and for tests that
hold them against exact numbers.
"""

import numpy as np

from ._compile import Array, kernel
from .activations import change
from .losses import add_change_of_one


@kernel("i A3 M3 M2")
def change_all(code: int, base: Array, deltas: Array, crossings: Array) -> None:
    """`change` for every unit and example.

    Parameters
    ----------
    code : int
        One of `CODES`.
    base : array of shape (examples, units, BASE)
        As made by `evaluate`.
    deltas : array of shape (units, examples, lanes)
        Changes of pre-activations, replaced by changes of activations.
    crossings : array of shape (examples, lanes)
        Raised by one for each crossing of a kink.
    """
    units, examples, lanes = deltas.shape
    flat, flat_crossings = deltas.reshape(-1), crossings.reshape(-1)
    for unit in range(units):
        for example in range(examples):
            first = np.uint64((unit * examples + example) * lanes)
            first_crossing = np.uint64(example * lanes)
            change(code, base, example, unit, flat, first, np.uint64(lanes), flat_crossings, first_crossing, False)


@kernel("i A3 A2 M3 A1 M1 M1")
def add_change(
    code: int, base: Array, labels: Array, deltas: Array, coefficients: Array, scratch: Array, quotient: Array
) -> None:
    """Add each lane's part of the difference quotient.

    Parameters
    ----------
    code : int
        One of `CODES`.
    base : array of shape (examples, outputs, BASE)
        As made by `evaluate`.
    labels : array of shape (examples, outputs)
        Labels.
    deltas : array of shape (outputs, examples, steps * parameters)
        Changes of logits; all parameters of the first step stand first. Overwritten.
    coefficients : array of shape (steps,)
        What each step's change of the loss counts: its weight over ε and the number of examples.
    scratch : array of shape (STRETCH,)
        Overwritten.
    quotient : array of shape (parameters,)
        Receives the sum.
    """
    examples, lanes = deltas.shape[1], np.uint64(deltas.shape[2])
    stride = np.uint64(examples) * lanes
    flat = deltas.reshape(-1)
    for example in range(examples):
        first = np.uint64(example) * lanes
        parameters = quotient.shape[0]
        add_change_of_one(
            code, base, labels, example, flat, first, stride, coefficients, parameters, scratch, quotient, np.uint64(0)
        )
