"""The demo: the post's network on the shipped images, with a right backward pass or one with a planted bug."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gradsweep import datasets, scratch
from gradsweep._checking import check
from gradsweep._errors import InputError
from gradsweep._report import Report
from gradsweep._textbook import TextbookRun, run_textbook
from gradsweep._types import Array
from gradsweep.network import Network

#: The post's network.
LAYERS = [12288, 5, 5, 1]

_HIDDEN = "tanh"

# Parameters on which the textbook's loop is timed: some tens of milliseconds.
_SAMPLE = 300


@dataclass(frozen=True)
class Bug:
    """A mistake in a backward pass.

    Attributes
    ----------
    description : str
        What was done instead of what.
    plant : callable
        Backward pass with the mistake: probabilities, labels and caches in, gradients out.
    examples : int
        How many examples it takes to see the mistake at all.
    """

    description: str
    plant: Callable[[Array, Array, list[scratch.Cache]], dict[str, Array]]
    examples: int = 1


def _right(AL: Array, Y: Array, caches: list[scratch.Cache]) -> dict[str, Array]:
    return scratch.L_model_backward(AL, Y, caches, _HIDDEN)


def _forgotten_mean(AL: Array, Y: Array, caches: list[scratch.Cache]) -> dict[str, Array]:
    gradients = _right(AL, Y, caches)
    return {name: value if name.startswith("dA") else value * Y.shape[1] for name, value in gradients.items()}


def _wrong_sign(AL: Array, Y: Array, caches: list[scratch.Cache]) -> dict[str, Array]:
    gradients = _right(AL, Y, caches)
    return {**gradients, "dW3": -gradients["dW3"]}


def _wrong_derivative(AL: Array, Y: Array, caches: list[scratch.Cache]) -> dict[str, Array]:
    gradients = _right(AL, Y, caches)
    for number in (2, 1):
        (A_prev, _, _), Z = caches[number - 1]
        dZ = gradients[f"dA{number}"] * (1 - np.tanh(Z))
        gradients[f"dW{number}"] = dZ @ A_prev.T / Y.shape[1]
        gradients[f"db{number}"] = dZ.mean(axis=1, keepdims=True)
        gradients[f"dA{number - 1}"] = caches[number - 1][0][1].T @ dZ
    return gradients


def _bias_sum(AL: Array, Y: Array, caches: list[scratch.Cache]) -> dict[str, Array]:
    gradients = _right(AL, Y, caches)
    return {**gradients, "db2": np.full_like(gradients["db2"], gradients["db2"].sum())}


def _transposed(AL: Array, Y: Array, caches: list[scratch.Cache]) -> dict[str, Array]:
    gradients = _right(AL, Y, caches)
    return {**gradients, "dW2": gradients["dW2"].T}


#: The planted bugs by name.
BUGS = {
    "forgotten-mean": Bug("dW and db are sums over the examples: the mean is forgotten", _forgotten_mean, examples=2),
    "wrong-sign": Bug("dW3 has the wrong sign", _wrong_sign),
    "wrong-derivative": Bug("the derivative of tanh is taken for 1 - A in the place of 1 - A²", _wrong_derivative),
    "bias-sum": Bug("db2 is summed over the units, too", _bias_sum),
    "transposed": Bug("dW2, a square matrix, is transposed", _transposed),
}


@dataclass(frozen=True)
class Demo:
    """What the demo did.

    Attributes
    ----------
    rows : tuple of int
        Which of the shipped images were used.
    labels : tuple of int
        Their labels: 1 for a cat.
    raw : bool
        Whether pixels were left at 0 to 255.
    report : Report
        The check.
    textbook : TextbookRun
        The textbook's loop on a sample of the parameters.
    """

    rows: tuple[int, ...]
    labels: tuple[int, ...]
    raw: bool
    report: Report
    textbook: TextbookRun


def run_demo(bug: str | None = None, examples: int | None = None, seed: int = 0, *, raw: bool = False) -> Demo:
    """Check the post's backward pass on the shipped images.

    Parameters
    ----------
    bug : str, optional
        Name of a mistake to plant, one of `BUGS`.
    examples : int, optional
        How many images; by default one as in the post, or as many as it takes to see the bug.
    seed : int, default: 0
        Draws the images.
    raw : bool, default: False
        Leave pixels at 0 to 255, as the post does; by default they are scaled to [0, 1].

    Returns
    -------
    Demo
        Report, and the textbook's figures for comparison.

    Raises
    ------
    InputError
        More images than there are, or too few to see the bug.
    """
    planted = BUGS[bug] if bug else None
    needed = planted.examples if planted else 1
    count = needed if examples is None else examples
    available = datasets.count()
    if not 1 <= count <= available:
        raise InputError(f"examples must lie between 1 and {available}, not {count}")
    if count < needed:
        raise InputError(f"examples: the bug {bug!r} cannot be seen with fewer than {needed} examples")
    rows = np.random.default_rng(seed).choice(available, count, replace=False)
    X, Y = datasets.images(rows, raw=raw)
    parameters = scratch.initialize_parameters(LAYERS)
    AL, caches = scratch.L_model_forward(X, parameters, _HIDDEN)
    gradients = (planted.plant if planted else _right)(AL, Y, caches)
    cost = Network(LAYERS, hidden=_HIDDEN).cost(X, Y)
    # Twice: the loop's time for each parameter is that of a loop that has run for a while, so the check's is not its first.
    check(cost, parameters, gradients, step=1e-7)
    report = check(cost, parameters, gradients, step=1e-7)
    textbook = run_textbook(parameters, gradients, X, Y, LAYERS, _SAMPLE, hidden=_HIDDEN, epsilon=1e-7)
    return Demo(tuple(int(row) for row in rows), tuple(int(label) for label in Y[0]), raw, report, textbook)
