"""What a model of the corpus is: a cost and a backward pass as somebody might have written them, and ways to get it wrong."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Case:
    """A model at a point: `cost(params)` -> number, `gradient(params)` -> same structure as params (right)."""

    cost: Callable[[Any], Any]
    params: Any
    gradient: Callable[[Any], Any]


@dataclass(frozen=True)
class Bug:
    """A planted mistake: the gradient that has it, and the names of the blocks that are wrong for it."""

    gradient: Callable[[Any], Any]
    blocks: tuple[str, ...]


@dataclass(frozen=True)
class Model:
    name: str  # "vanilla RNN, lists of states"
    build: Callable[[int], Case]  # by seed: same shapes, other numbers
    bugs: Callable[[int], dict[str, Bug]]  # by seed; name of the bug -> Bug, at the same point as build(seed)
    leaves_numpy: bool = False  # written so that it cannot run on a duck array (math.exp per entry, file I/O, scipy-like C call)
    float32: bool = False  # params or gradient in float32
    kinks: bool = False  # a kink lies exactly at the point (relu at z == 0, tied max)
