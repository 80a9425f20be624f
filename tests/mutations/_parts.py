"""What several models are made of."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Params = dict[str, Any]


def drawn(rng: np.random.Generator, *shape: int, size: float = 1.0) -> Array:
    """Parameters of either sign, none of them near 0, of about this size."""
    values: Array = size * rng.uniform(0.4, 1.4, shape) * rng.choice([-1.0, 1.0], shape)
    return values


def extent(rng: np.random.Generator, low: int, high: int) -> int:
    """An extent from low to high, both included."""
    return int(rng.integers(low, high + 1))


def sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


def softmax(z: Any) -> Any:
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def halved(a: Any) -> Any:
    """The same numbers after they were kept in half precision."""
    return np.asarray(a, dtype=np.float16).astype(np.float64)
