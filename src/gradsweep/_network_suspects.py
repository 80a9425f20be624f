"""Which step of a dense network's backward pass has a mistake that explains the gradient under test, tried one by one."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradsweep import _dense
from gradsweep._diagnosis._evidence import Finding
from gradsweep._differences._mistakes import SLOPES
from gradsweep._types import Array
from gradsweep._verdict import Block, Status

if TYPE_CHECKING:
    from gradsweep._costs._network_problem import NetworkProblem

# What two gradients may differ by, relative to the norm of a block, that are held for the same.
_AGREEMENT = 1e-6

# Seconds that are spent at most.
_LONGEST = 2.0

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
    begun = time.perf_counter()
    with np.errstate(all="ignore"):
        for tried in _backward_passes(problem, _top(problem, blocks)):
            if time.perf_counter() - begun > _LONGEST:
                return ()
            if all(_is_same(problem, name, tried.dz, np.asarray(block)) for name, block in analytic.items()):
                return (_finding(tried, blocks),)
    return ()


def _top(problem: "NetworkProblem", blocks: Sequence[Block]) -> int:
    """Number of the layer nearest the loss that is wrong, from 1 on: a mistake shows in the first layer that it reaches."""
    return max(problem.layer_of(block.name) + 1 for block in blocks if block.status is Status.WRONG)


def _backward_passes(problem: "NetworkProblem", top: int) -> Iterator[_Backward]:
    """Backward passes with one mistake each that shows in this layer first, the likeliest ones first."""
    layers, done, error = problem.layers, problem.plain_pass, problem.error
    right = _dense.slopes(layers, done)
    index = top - 1
    hidden = index < len(layers) - 1
    for mistake, slope in SLOPES.items() if hidden else ():
        z, activation = done.z[index], layers[index].activation
        other = slope(z, _dense.ACTIVATIONS[activation].value(z))
        if np.allclose(other, right[index]):  # no mistake at all
            continue
        slopes = [*right[:index], np.broadcast_to(other, z.shape), *right[index + 1 :]]
        what = f"the slope of layer {top}'s {activation} {mistake}"
        yield _Backward("activation_derivative", what, _dense.backward(layers, error, slopes)[0])
    if hidden:
        yield from _ways_to(problem, index, right)
        return
    output = _dense.LOSSES[problem.loss_name].probability(done.z[-1])
    for what, factor in (
        ("the slope of the output, p(1 - p), is multiplied with once too often", output * (1.0 - output)),
        ("the slope of the output, p(1 - p), is left out behind the derivative of the loss", 1.0 / (output * (1.0 - output))),
    ):
        if problem.loss_name != "squared_error":
            yield _Backward("activation_derivative", what, _dense.backward(layers, error * factor, right)[0])


def _ways_to(problem: "NetworkProblem", index: int, slopes: list[Array]) -> Iterator[_Backward]:
    """Backward passes with a mistake on the way to a hidden layer from the one behind it."""
    layers, error = problem.layers, problem.error
    after, own = layers[index + 1], layers[index]
    if after.weights.shape[0] == after.weights.shape[1] > 1:
        turned = replace(after, weights=after.weights.T)
        what = f"W{index + 2} stands where its transpose is meant, on the way from layer {index + 2} to layer {index + 1}"
        yield _Backward(
            "from_above", what, _dense.backward([*layers[: index + 1], turned, *layers[index + 2 :]], error, slopes)[0]
        )
    if own.mask is not None:
        bare = replace(own, mask=None)
        what = f"the dropout mask of layer {index + 1} is left out"
        yield _Backward("from_above", what, _dense.backward([*layers[:index], bare, *layers[index + 1 :]], error, slopes)[0])


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
