"""Gradients with respect to activations and pre-activations, which a backward pass may give beside those of the parameters."""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradsweep._diagnosis._evidence import Finding
from gradsweep._parameters import read_numbers
from gradsweep._schemes import CENTRAL
from gradsweep._sweep import Steps, sweep_units
from gradsweep._types import Array

if TYPE_CHECKING:
    from gradsweep._costs._network_problem import NetworkProblem

_KEY = re.compile(r"d([AZ])(\d+)")

# What a gradient of these may differ by from the numeric one, relative to its norm.
_AGREEMENT = 1e-6

_CONFIDENCE = 0.98


def read_intermediates(gradient: Any) -> dict[tuple[str, int], NDArray[Any]]:
    """What is given of these, by ``("A", 1)`` or ``("Z", 1)``. What are no numbers is left out, since nothing rests on it."""
    if not isinstance(gradient, Mapping):
        return {}
    found = {}
    for key, value in gradient.items():
        match = _KEY.fullmatch(key) if isinstance(key, str) else None
        if match and isinstance(value, np.ndarray) and value.dtype.kind in "fiu":
            found[match[1], int(match[2])] = read_numbers(value, str(key))
    return found


def explain_by_intermediates(
    problem: "NetworkProblem", given: Mapping[tuple[str, int], NDArray[Any]], wrong: Sequence[str]
) -> tuple[Finding, ...]:
    """Between which of them the mistake lies.

    Parameters
    ----------
    problem : NetworkProblem
        The cost.
    given : mapping of (str, int) to array
        As of `read_intermediates`.
    wrong : sequence of str
        Names of the blocks that are wrong.

    Returns
    -------
    tuple of Finding
        At most one: the last step of the way back whose beginning is right and whose end is wrong; none if there is no such step.
    """
    known = {key: state for key, array in given.items() if (state := _state(problem, key, array)) is not None}
    for number in range(len(problem.layers), 0, -1):
        ends = [(f"dW{number}", f"W{number}" in wrong, f"dZ{number} and the layer's inputs")]
        ends.append((f"db{number}", f"b{number}" in wrong, f"dZ{number}"))
        if known.get(("Z", number)):
            bad = [(name, source) for name, is_wrong, source in ends if is_wrong]
            if bad:
                names = " and ".join(name for name, _ in bad)
                return (_finding(f"dZ{number}", names, f"the lines that form {names} from {bad[0][1]}", wrong),)
        for start, end, step in (
            (("Z", number), ("A", number - 1), f"the product with W{number}, transposed"),
            (("A", number), ("Z", number), f"the slope of layer {number}'s activation"),
        ):
            if known.get(start) is True and known.get(end) is False:
                return (_finding(f"d{start[0]}{start[1]}", f"d{end[0]}{end[1]}", f"{step}, between the two", wrong),)
    return ()


def _state(problem: "NetworkProblem", key: tuple[str, int], given: NDArray[Any]) -> bool | None:
    """Whether what is given is right, be it of the mean over the examples or of each example's own loss; None if not known."""
    letter, number = key
    layers = problem.layers
    # What an activation changes goes through the next layer's weights; the output's own has none behind it.
    if not 1 <= number <= len(layers) or (letter == "A" and number == len(layers)):
        return None
    numeric = _numeric(problem, number - 1 if letter == "Z" else number)
    if letter == "A":
        numeric = layers[number].weights.T @ numeric
    if given.shape != numeric.shape:
        return None
    tested = np.asarray(given, dtype=np.float64)
    with np.errstate(all="ignore"):
        return any(
            bool(np.linalg.norm(tested - scale * numeric) <= _AGREEMENT * scale * np.linalg.norm(numeric))
            for scale in (1.0, float(problem.examples))
        )


def _numeric(problem: "NetworkProblem", layer: int) -> Array:
    """Difference quotients of a layer's pre-activations, each example's on its own: array of shape (units, examples)."""
    step = CENTRAL.choose_step(1.0)
    units = sweep_units(problem, Steps(CENTRAL, step, step), 1, [layer])[layer]
    return np.array([units.of_unit(unit) for unit in range(problem.layer_shapes[layer][0])])


def _finding(right: str, wrong: str, step: str, blocks: Sequence[str]) -> Finding:
    verb = "are" if " and " in wrong else "is"
    return Finding(
        kind="from_above",
        blocks=tuple(reversed(blocks)),
        message=f"{right} agrees with the numerical gradient, and {wrong} {verb} wrong: consistent with a mistake in {step}",
        advice=f"Look at how {wrong} {verb} computed.",
        confidence=_CONFIDENCE,
        explained=float("nan"),
        evidence=MappingProxyType({"right": right, "wrong": wrong}),
    )
