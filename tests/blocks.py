"""Blocks of made-up gradients, as the fits of a diagnosis take them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradsweep._diagnosis._evidence import Evidence, Seen
from gradsweep._types import Array
from gradsweep._verdict import Status

TOLERANCE = 1e-7


def drawn(*shape: int, seed: int = 0) -> Array:
    """Numbers away from 0, all different, of either sign."""
    generator = np.random.default_rng([seed, *shape])
    values: Array = generator.choice([-1.0, 1.0], shape) * generator.uniform(0.2, 2.0, shape)
    return values


def across(values: Array, seed: int = 11) -> Array:
    """Numbers whose inner product with these is 0, and of the same norm."""
    flat = values.reshape(-1)
    other = drawn(*values.shape, seed=seed).reshape(-1)
    other = other - flat * (other @ flat) / (flat @ flat)
    return np.asarray(other * np.sqrt((flat @ flat) / (other @ other))).reshape(values.shape)


def seen(analytic: Any, numeric: Any, *, places: Sequence[int] | None = None, name: str = "W", **others: Any) -> Seen:
    """A block that is wrong, whole or at some places."""
    tested, right = np.array(analytic, dtype=np.float64), np.array(numeric, dtype=np.float64)
    given = {"parameter": drawn(*tested.shape, seed=7), "noise": np.zeros(tested.shape), "status": Status.WRONG, **others}
    known = None if places is None else np.array(places, dtype=np.intp)
    if known is not None:
        right, given["noise"] = right.reshape(-1)[known], given["noise"].reshape(-1)[known]
    return Seen(name=name, shape=tested.shape, analytic=tested, places=known, numeric=right, **given)


def evidence(analytic: Any, numeric: Any, *, tolerance: float = TOLERANCE, **others: Any) -> Evidence:
    """The same, ready to be fitted."""
    return Evidence(seen(analytic, numeric, **others), tolerance)
