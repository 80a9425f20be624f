"""Which step of a dense network's backward pass has a mistake that explains the gradient under test, tried one by one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradsweep import _dense
from gradsweep._diagnosis._evidence import Finding
from gradsweep._differences._alterations import SLOPES
from gradsweep._types import Array
from gradsweep._verdict import Block, Status

if TYPE_CHECKING:
    from gradsweep._costs._network_problem import NetworkProblem

# What two gradients may differ by, relative to the norm of a block, that are held for the same.
_AGREEMENT = 1e-6

# A gradient that is explained to six digits in each block, right ones included.
_CONFIDENCE = 0.97

# Entries of a block that are compared at first: mostly these tell already that the two are not the same.
_FIRST_ROWS = 4


@dataclass(frozen=True, eq=False)
class _Backward:
    """A backward pass with a mistake.

    Attributes
    ----------
    kind : str
        Of the finding.
    what : str
        What is wrong with it, as the end of a sentence.
    dz : list of arrays of shape (units, examples)
        What it gives for each layer's pre-activations, of the examples' losses.
    """

    kind: str
    what: str
    dz: list[Array]


def suspect_network(
    problem: "NetworkProblem", analytic: Mapping[str, NDArray[Any]], blocks: Sequence[Block]
) -> tuple[Finding, ...]:
    """Try mistakes at the steps of the backward pass.

    Parameters
    ----------
    problem : NetworkProblem
        The cost.
    analytic : mapping of str to array
        The gradient under test.
    blocks : sequence of Block
        What was decided of it.

    Returns
    -------
    tuple of Finding
        At most one; none if no single mistake explains all blocks, right ones included.
    """
    with np.errstate(all="ignore"):
        for tried in _backward_passes(problem):
            if all(_is_same(problem, name, tried.dz, np.asarray(block)) for name, block in analytic.items()):
                return (_finding(tried, blocks),)
    return ()


def _backward_passes(problem: "NetworkProblem") -> Iterator[_Backward]:
    """Backward passes with one mistake each, the likeliest first."""
    layers, done, error = problem.layers, problem.plain_pass, problem.error
    right = _dense.slopes(layers, done)
    for mistake, slope in SLOPES.items():
        for index, layer in enumerate(layers[:-1]):
            z = done.z[index]
            other = slope(z, _dense.ACTIVATIONS[layer.activation].value(z))
            slopes = [*right[:index], np.broadcast_to(other, z.shape), *right[index + 1 :]]
            what = f"the slope of layer {index + 1}'s {layer.activation} {mistake}"
            yield _Backward("activation_derivative", what, _dense.backward(layers, error, slopes)[0])
    output = _dense.LOSSES[problem.loss_name].probability(done.z[-1])
    for what, factor in (
        ("the slope of the output, p(1 - p), is multiplied with once too often", output * (1.0 - output)),
        ("the slope of the output, p(1 - p), is left out behind the derivative of the loss", 1.0 / (output * (1.0 - output))),
    ):
        if problem.loss_name != "squared_error":
            yield _Backward("activation_derivative", what, _dense.backward(layers, error * factor, right)[0])
    for index in range(1, len(layers)):
        weights = layers[index].weights
        if weights.shape[0] == weights.shape[1] > 1:
            turned = _dense.Layer(weights.T, layers[index].bias, layers[index].activation, layers[index].mask)
            what = f"W{index + 1} stands where its transpose is meant, on the way from layer {index + 1} to layer {index}"
            yield _Backward("from_above", what, _dense.backward([*layers[:index], turned, *layers[index + 1 :]], error, right)[0])
    for index, layer in enumerate(layers[:-1]):
        if layer.mask is not None:
            bare = _dense.Layer(layer.weights, layer.bias, layer.activation)
            what = f"the dropout mask of layer {index + 1} is left out"
            yield _Backward("from_above", what, _dense.backward([*layers[:index], bare, *layers[index + 1 :]], error, right)[0])


def _is_same(problem: "NetworkProblem", name: str, dz: list[Array], block: NDArray[Any]) -> bool:
    """Whether a block is what a backward pass gives: some rows first, then all of it."""
    matrix = problem.backpropagated(name, dz[problem.layer_of(name)])
    for rows in (slice(0, _FIRST_ROWS), slice(None)):
        own, other = np.asarray(block[rows], dtype=np.float64), matrix.rows(rows)
        gap = float(np.linalg.norm(own - other))
        if not gap <= _AGREEMENT * float(np.linalg.norm(other)):
            return False
    return True


def _finding(tried: _Backward, blocks: Sequence[Block]) -> Finding:
    wrong = [block.name for block in blocks if block.status is Status.WRONG][::-1]
    names = ", ".join(wrong) if len(wrong) <= 4 else f"{', '.join(wrong[:3])} and {len(wrong) - 3} more"
    return Finding(
        kind=tried.kind,
        blocks=tuple(wrong),
        message=f"{names}: all blocks are, to six digits, those of a backward pass in which {tried.what}: consistent with just "
        "that mistake",
        advice="Look at that step of the backward pass.",
        confidence=_CONFIDENCE,
        explained=1.0,
        evidence=MappingProxyType({"mistake": tried.what}),
    )
