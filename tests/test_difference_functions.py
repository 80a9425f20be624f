"""NumPy's functions on difference arrays, against the plain functions and against 50 digits.

Every entry of the tables of rules has cases here; an entry without one fails.
"""

import contextlib
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import mpmath  # type: ignore[import-untyped]
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import basic_indices, broadcastable_shapes, mutually_broadcastable_shapes
from numpy.typing import NDArray

from gradsweep._differences._array import DifferenceArray
from gradsweep._differences._assignments import ASSIGNMENTS, CALLERS
from gradsweep._differences._creation import intercepted
from gradsweep._differences._departure import Departure
from gradsweep._differences._functions import BUFFERS, FUNCTIONS, PASSED_ON
from gradsweep._differences._lanes import Lanes
from gradsweep._differences._reductions import summed
from gradsweep._differences._slab import one_hot
from gradsweep._differences._varying import Varying

# NumPy 2.5 asks for np.trunc in its place, and takes it as before.
pytestmark = pytest.mark.filterwarnings("ignore:numpy.fix is deprecated:DeprecationWarning")

LANES = 7
VECDOT: Any = np.vecdot  # its type knows of no axis
LINALG_VECDOT: Any = np.linalg.vecdot
NAN = np.array([1.0, np.nan, 1.0, 1.0])  # a factor that makes some numbers none


# ---- arguments ----------------------------------------------------------------------------------------------------------


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    return rng.normal(size=shape)


def _positive(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    return rng.uniform(0.5, 2.0, size=shape)


def _apart(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[Any]:
    """Whole numbers in disorder: two of them are so far apart that small changes leave their order."""
    return rng.permutation(int(np.prod(shape, dtype=int))).reshape(shape) + 1.0


def _close_together(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[Any]:
    """Numbers of which visible changes alter the order in some lanes."""
    return 0.04 * rng.permutation(int(np.prod(shape, dtype=int))).reshape(shape) - 0.27


def _regular(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[Any]:
    """Matrices that are far from singular."""
    return _normal(rng, shape) + np.diag(np.full(shape[-1], 3.0))


def _definite(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[Any]:
    half = _normal(rng, shape)
    return half @ np.swapaxes(half, -1, -2) + np.diag(np.full(shape[-1], 2.0))


def _ascending(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
    return np.arange(shape[0]) + rng.uniform(0.1, 0.3, size=shape)


@dataclass(frozen=True)
class Case:
    """A call, and the arguments that it is tried with."""

    call: Callable[..., Any]
    shapes: tuple[tuple[int, ...], ...]
    make: Callable[..., Any] | tuple[Callable[..., Any], ...] = _normal
    exact: Callable[..., Any] | None = None
    """In numbers of 50 digits, where NumPy's own function does not take them; `_unknown` if there is no such reference."""
    fills: bool = False
    """It makes arrays that take differences, or lists of numbers that have them."""
    decides: bool = False
    """Its result is a decision by the base values: only lanes that are not counted can be expected to agree."""

    def values(self) -> list[NDArray[np.float64]]:
        rng = np.random.default_rng(zlib.crc32(repr(self.shapes).encode()))
        makes = self.make if isinstance(self.make, tuple) else (self.make,) * len(self.shapes)
        return [make(rng, shape) for make, shape in zip(makes, self.shapes, strict=True)]

    def changes(self, size: float) -> list[NDArray[np.float64]]:
        """Of each argument in each lane: from a hundredth of the size up to all of it."""
        rng = np.random.default_rng(1)
        sizes = size * np.logspace(-2.0, 0.0, LANES)
        return [rng.uniform(-1.0, 1.0, size=(*shape, LANES)) * sizes for shape in self.shapes]


def _unknown(*args: Any) -> Any:
    raise AssertionError("no reference")


def case(call: Callable[..., Any], *shapes: tuple[int, ...], **options: Any) -> Case:
    return Case(call, shapes, **options)


def _matrix(values: Any) -> Any:
    return mpmath.matrix(np.asarray(values).tolist())


def _array(matrix: Any) -> NDArray[Any]:
    return np.array(matrix.tolist(), dtype=object)


def _exact_inverse(a: Any) -> Any:
    return np.stack([_exact_inverse(each) for each in a]) if a.ndim > 2 else _array(_matrix(a) ** -1)


def _exact_determinant(a: Any) -> Any:
    return np.array([_exact_determinant(each) for each in a]) if a.ndim > 2 else mpmath.det(_matrix(a))


def _exact_logarithm(a: Any) -> Any:
    signs = np.sign(np.linalg.det(np.asarray(a, dtype=np.float64)))
    return signs, np.vectorize(lambda value: mpmath.log(abs(value)), otypes=[object])(_exact_determinant(a))


def _exact_cholesky(a: Any) -> Any:
    if a.ndim > 2:
        return np.stack([_exact_cholesky(each) for each in a])
    return _array(mpmath.cholesky(_matrix(np.tril(a) + np.tril(a, -1).T)))


def _exact_solution(a: Any, b: Any) -> Any:
    return _exact_inverse(a) @ b


def _each(function: Callable[[Any], Any]) -> Callable[..., Any]:
    return np.vectorize(function, otypes=[object])


def _exact_power(matrix: Any, n: int) -> Any:
    return _array(_matrix(matrix) ** n)


def _exact_interpolation(x: Any, xp: Any, fp: Any) -> Any:
    places = np.searchsorted(xp.astype(float), x.astype(float), side="right") - 1
    inner = np.clip(places, 0, xp.size - 2)
    line = fp[inner] + (fp[inner + 1] - fp[inner]) * (x - xp[inner]) / (xp[inner + 1] - xp[inner])
    return np.where(places < 0, fp[0], np.where(places > xp.size - 2, fp[-1], line))


def _exact_quantile(x: Any, q: float) -> Any:
    ordered = np.sort(x.ravel())
    place = mpmath.mpf(q) * (ordered.size - 1)
    below = int(mpmath.floor(place))
    return ordered[below] + (ordered[min(below + 1, ordered.size - 1)] - ordered[below]) * (place - below)


def _exact_masked_variance(x: Any) -> Any:
    count = MASK.sum(axis=1, keepdims=True)
    centred = (x - (x * MASK).sum(axis=1, keepdims=True) / count) * MASK
    return (centred * centred).sum(axis=1) / count[:, 0]


def _slopes(size: int, *distances: Any, edge_order: int = 1) -> Any:
    """The matrix of a gradient, of which every entry is known to all digits but one."""
    gradient: Any = np.gradient
    return gradient(np.eye(size), *distances, axis=0, edge_order=edge_order)


def _exact_covariance(x: Any) -> Any:
    centred = x - x.sum(axis=1, keepdims=True) / x.shape[1]
    return centred @ centred.T / (x.shape[1] - 1)


def _exact_correlation(x: Any) -> Any:
    c = _exact_covariance(x)
    deviation = np.sqrt(np.diag(c))
    return c / deviation / deviation[:, None]


def _exact_norm(order: float) -> Callable[[Any], Any]:
    return lambda x: (np.abs(x) ** mpmath.mpf(order)).sum() ** (1 / mpmath.mpf(order))


def _exact_transform(x: Any) -> Any:
    n = x.shape[-1]
    turn = np.array([[mpmath.expjpi(mpmath.mpf(-2 * i * k) / n) for k in range(n)] for i in range(n)])
    return x @ turn


def _exact_log_sum(x: Any) -> Any:
    return _each(mpmath.log)(_each(mpmath.exp)(x).sum(axis=-1))


# ---- calls that write ----------------------------------------------------------------------------------------------------


def _writes(function: Callable[..., Any], *given_args: Any, **options: Any) -> Callable[..., Any]:
    """A call that writes into a copy of its first argument: the other one comes second, further ones at given places."""

    def call(x: Any, values: Any) -> Any:
        target = np.copy(x)
        function(target, *(values if each is VALUES else each for each in given_args), **options)
        return target

    return call


VALUES = object()
MASK = np.array([[True, False, True, False], [False, False, True, True], [True, True, True, False]])


def _filled_up(name: str) -> Callable[..., Any]:
    def call(x: Any, values: Any) -> Any:
        target = getattr(np, name)(x)
        target[...] = 0.5
        target[1] = values
        return target * x

    return call


def _in_place(name: str, *args: Any) -> Callable[..., Any]:
    def call(x: Any) -> Any:
        target = x.copy()
        getattr(target, name)(*args)
        return target

    return call


def _kernel(x: Any) -> Any:
    return np.where(x > 0.0, x, 0.5 * x)


M, C = (3, 4), (2, 3, 4)

CASES: dict[Any, list[Case]] = {
    np.sum: [
        case(np.sum, C),
        case(lambda x: np.sum(x, 1), C),
        case(lambda x: np.sum(x, (0, -1), keepdims=True), C),
        case(lambda x: np.sum(x, -2, None, None, True), C),
        case(lambda x: np.sum(x, axis=()), M),
        case(lambda x: np.sum(x, axis=0, where=MASK, initial=2.0), M),
        case(lambda x, y: np.sum([x, y], axis=0), M, M, fills=True),
        case(np.sum, ()),
        case(lambda x: np.sum(x, axis=0), (0, 3)),
        case(lambda x: x.sum(-1), C),
    ],
    np.prod: [
        case(np.prod, M),
        case(lambda x: np.prod(x, -1, keepdims=True), (2, 3, 5)),
        case(lambda x: np.prod(x, (0, 2)), C),
        case(lambda x: np.prod(x, axis=1, where=MASK, initial=3.0), M),
        case(lambda x: np.prod(x, axis=0), (0, 3)),
        case(lambda x: np.prod(x * np.array([0.0, 1.0, 1.0, 1.0]), axis=-1), M),
    ],
    np.max: [
        case(np.max, M, make=_apart),
        case(lambda x: np.max(x, 0, None, True), M, make=_close_together),
        case(lambda x: x.max(axis=(0, 2), keepdims=True), C, make=_close_together),
        case(lambda x: np.max(x, -1, initial=0.1), M, make=_close_together),
        case(lambda x: np.max(x, 0, initial=-9.0, where=MASK), M, make=_apart),
        case(lambda x: np.max(x, axis=1), (0, 3)),
    ],
    np.min: [
        case(np.min, M, make=_apart),
        case(lambda x: np.min(x, -1, keepdims=True), C, make=_close_together),
        case(lambda x: np.min(x, axis=0, initial=9.0, where=MASK), M, make=_apart),
    ],
    np.amax: [case(lambda x: np.amax(x, axis=-1), M, make=_apart)],
    np.amin: [case(lambda x: np.amin(x, axis=-1), M, make=_apart)],
    np.all: [
        case(lambda x: np.all(x, axis=-1, keepdims=True), M, exact=_unknown),
        case(lambda x: np.all(x > 0.0), M, make=_positive),
        case(lambda x: np.all(x, axis=1, where=MASK), M, exact=_unknown),
    ],
    np.any: [case(lambda x: np.any(x, 0), M, exact=_unknown), case(lambda x: np.any(x > 0.0, axis=-1), M, make=_positive)],
    np.mean: [
        case(np.mean, C),
        case(lambda x: np.mean(x, (0, -1), keepdims=True), C),
        case(lambda x: np.mean(x, axis=1, where=MASK), M, exact=lambda x: (x * MASK).sum(axis=1) / MASK.sum(axis=1)),
        case(lambda x: np.mean(x, -1, None, None, True), M),
        case(lambda x: np.mean(x), ()),
        case(lambda x, y: np.mean([x, y]), (), (), fills=True),
    ],
    np.var: [
        case(np.var, M),
        case(lambda x: np.var(x, (0, 2), ddof=1, keepdims=True), C),
        case(lambda x: np.var(x, -1, None, None, 1), M),
        case(lambda x: np.var(x, axis=0, correction=1), M, exact=lambda x: np.var(x, axis=0, ddof=1)),
        case(lambda x: np.var(x, axis=1, where=MASK), M, exact=_exact_masked_variance),
        case(lambda x: np.var(x, axis=1, mean=np.mean(x, axis=1, keepdims=True)), M),
    ],
    np.std: [
        case(np.std, M),
        case(lambda x: np.std(x, -1, keepdims=True), C),
        case(lambda x: x.std(axis=0, ddof=1), M),
        case(lambda x: np.std(x, axis=1, where=MASK), M, exact=lambda x: np.sqrt(_exact_masked_variance(x))),
    ],
    np.ptp: [case(np.ptp, M, make=_apart), case(lambda x: np.ptp(x, -1, keepdims=True), C, make=_close_together)],
    np.average: [
        case(np.average, M),
        case(lambda x, w: np.average(x, weights=w), M, M, make=_positive),
        case(lambda x, w: np.average(x, -2, w), C, (3,), make=_positive),
        case(lambda x, w: np.average(x, (2, 0), w), C, (4, 2), make=_positive),
        case(lambda x, w: np.average(x, axis=0, weights=w, returned=True), M, M, make=_positive),
        case(lambda x: np.average(x, axis=1, keepdims=True), M),
        case(lambda w: np.average(np.arange(12.0).reshape(M), axis=0, weights=w), (3,), make=_positive),
    ],
    np.cumsum: [
        case(np.cumsum, M),
        case(lambda x: np.cumsum(x, -2), C),
        case(np.cumsum, ()),
    ],
    np.cumprod: [case(np.cumprod, M), case(lambda x: np.cumprod(x, -1), (2, 7)), case(lambda x: np.cumprod(x, 0), C)],
    np.argmax: [
        case(lambda x: np.argmax(x, -1), C, make=_apart),
        case(lambda x: np.argmax(x, axis=0, keepdims=True), (9, 3), make=_close_together, decides=True),
        case(np.argmax, M, make=_apart),
    ],
    np.argmin: [
        case(lambda x: np.argmin(x, -1), C, make=_apart),
        case(lambda x: np.argmin(x, axis=-1), (2, 12), make=_close_together, decides=True),
    ],
    np.diff: [
        case(np.diff, M),
        case(lambda x: np.diff(x, 2, 0), M),
        case(lambda x: np.diff(x, 0), M),
        case(lambda x, y: np.diff(x, prepend=y, append=2.0), M, (3, 1)),
        case(lambda x, y, z: np.diff(x, axis=0, prepend=y, append=z), M, (2, 4), ()),
    ],
    np.reshape: [
        case(lambda x: np.reshape(x, (-1, 2)), C),
        case(lambda x: np.reshape(x, (4, 6), order="F"), C),
        case(lambda x: np.reshape(x.T, -1, order="A"), M),
        case(lambda x: x.reshape(2, -1, order="F"), M),
        case(lambda x: x.reshape(1), ()),
        case(lambda x: x[:1, :1].reshape(()), M),
    ],
    np.ravel: [
        case(np.ravel, C),
        case(lambda x: np.ravel(x, order="F"), C),
        case(lambda x: np.ravel(x.T, order="K"), M),
        case(lambda x: np.ravel(x.T, order="A"), M),
        case(lambda x: x.flatten("F"), M),
    ],
    np.squeeze: [case(np.squeeze, (1, 3, 1)), case(lambda x: np.squeeze(x, -1), (1, 3, 1)), case(lambda x: x.squeeze(0), (1, 3))],
    np.expand_dims: [case(lambda x: np.expand_dims(x, (0, -1)), M), case(lambda x: np.expand_dims(x, 1), M)],
    np.atleast_1d: [case(np.atleast_1d, ()), case(lambda x, y: np.atleast_1d(x, y), (), M)],
    np.atleast_2d: [case(np.atleast_2d, (3,)), case(np.atleast_2d, ())],
    np.atleast_3d: [case(np.atleast_3d, (3,)), case(np.atleast_3d, M), case(np.atleast_3d, ())],
    np.transpose: [
        case(np.transpose, C),
        case(lambda x: np.transpose(x, (1, -1, 0)), C),
        case(lambda x: x.transpose(2, 0, 1), C),
        case(lambda x: x.T, M),
        case(lambda x: x.mT, C),
    ],
    np.swapaxes: [case(lambda x: np.swapaxes(x, 0, -1), C)],
    np.moveaxis: [case(lambda x: np.moveaxis(x, -1, 0), C), case(lambda x: np.moveaxis(x, [0, 1], [-1, 0]), C)],
    np.rollaxis: [case(lambda x: np.rollaxis(x, 2, 1), C)],
    np.matrix_transpose: [case(np.matrix_transpose, C)],
    np.broadcast_to: [
        case(lambda x: np.broadcast_to(x, (2, 3, 4)), (3, 1)),
        case(lambda x: np.broadcast_to(x, 3), ()),
        case(lambda x: np.broadcast_to(x, (3, 4)) * np.arange(12.0).reshape(M), (4,)),
    ],
    np.broadcast_arrays: [case(lambda x, y: np.broadcast_arrays(x, y, np.ones(4)), (3, 1), (4,))],
    np.concatenate: [
        case(lambda x, y: np.concatenate((x, y, np.ones((1, 4)))), M, (2, 4)),
        case(lambda x, y: np.concatenate([x, y], axis=-1), M, (3, 2)),
        case(lambda x, y: np.concatenate((x, y), axis=None), M, (2,)),
    ],
    np.stack: [case(lambda x, y: np.stack((x, y, np.zeros(M)), -1), M, M), case(lambda x, y: np.stack([x, y]), (), ())],
    np.append: [case(np.append, M, (2,)), case(lambda x, y: np.append(x, y, axis=0), M, (1, 4))],
    np.column_stack: [case(lambda x, y: np.column_stack((x, y, np.ones((3, 2)))), (3,), M)],
    np.full_like: [
        case(lambda x, y: np.full_like(x, y), M, (), fills=True),
        case(lambda y: np.full_like(np.zeros(M), y), (4,), fills=True, exact=lambda y: np.broadcast_to(y, M)),
        case(lambda x: np.full_like(x, 2.0) * x, M),
        case(lambda x, y: np.full_like(x, y, shape=(2,)), M, (), fills=True),
    ],
    np.pad: [
        case(lambda x: np.pad(x, 1), M),
        case(lambda x: np.pad(x, ((0, 1), (2, 0)), constant_values=3.0), M),
        *(case(lambda x, mode=mode: np.pad(x, (1, 2), mode=mode), M) for mode in ("edge", "reflect", "symmetric", "wrap")),
    ],
    np.lib.stride_tricks.sliding_window_view: [
        case(lambda x: np.lib.stride_tricks.sliding_window_view(x, 2, axis=-1), M),
        case(lambda x: np.lib.stride_tricks.sliding_window_view(x, (2, 3)), M),
    ],
    np.roll: [case(lambda x: np.roll(x, 1), M), case(lambda x: np.roll(x, (1, -1), (0, -1)), C)],
    np.flip: [case(np.flip, M), case(lambda x: np.flip(x, -1), C)],
    np.fliplr: [case(np.fliplr, M)],
    np.flipud: [case(np.flipud, M)],
    np.rot90: [case(lambda x: np.rot90(x, 3, (-1, 0)), C)],
    np.repeat: [case(lambda x: np.repeat(x, 2), M), case(lambda x: x.repeat([1, 0, 3], axis=0), M)],
    np.tile: [case(lambda x: np.tile(x, (2, 1, 2)), M)],
    np.diagonal: [case(np.diagonal, M), case(lambda x: np.diagonal(x, -1, 1, 2), C)],
    np.delete: [case(lambda x: np.delete(x, [0, 2], -1), M)],
    np.resize: [case(lambda x: np.resize(x, (2, 9)), M)],
    np.diag: [case(np.diag, (4,)), case(lambda x: np.diag(x, -1), (3,)), case(np.diag, M), case(lambda x: np.diag(x, 1), M)],
    np.diagflat: [case(np.diagflat, (2, 2))],
    np.tril: [case(np.tril, C), case(lambda x: np.tril(x, -1), M)],
    np.triu: [case(lambda x: np.triu(x, 1), M)],
    np.where: [
        case(lambda x, y: np.where(MASK, x, y), M, (4,)),
        case(lambda x: np.where(x > 0.0, x, -2.0), M, make=_apart),
        case(lambda x: np.where(MASK, 1.0, x), ()),
        case(lambda x: np.where(x > 0.0), M, make=_apart),
    ],
    np.select: [case(lambda x, y: np.select([x > 9.5, x > 5.5], [x, y * x], -y), M, M, make=_apart)],
    np.clip: [
        case(lambda x: np.clip(x, 2.5, 7.5), M, make=_apart),
        case(lambda x, y: np.clip(x, None, y), M, (4,), make=_apart),
        case(lambda x: x.clip(2.5), M, make=_apart),
        case(lambda x: np.clip(x, min=-0.21, max=0.7), M, make=_close_together),
        case(lambda y: np.clip(np.arange(4), y, 9), (4,), make=_positive),
    ],
    np.take: [
        case(lambda x: np.take(x, [[0, 3], [2, 2]]), M),
        case(lambda x: np.take(x, [1, -1], axis=-1), C),
        case(lambda x: np.take(x, [9], 0, None, "clip"), M),
    ],
    np.compress: [case(lambda x: np.compress([True, False, True], x, axis=0), M), case(lambda x: x.compress([0, 1, 1]), M)],
    np.extract: [case(lambda x: np.extract(MASK, x), M)],
    np.copy: [case(np.copy, M), case(lambda x: np.copy(x, order="F"), M)],
    np.dot: [
        case(np.dot, M, (4, 2)),
        case(np.dot, (4,), (4,)),
        case(np.dot, M, (4,)),
        case(np.dot, (3,), M),
        case(np.dot, C, (4, 2)),
        case(np.dot, C, (2, 4, 3)),
        case(np.dot, (4,), (2, 4, 3)),
        case(np.dot, (), M),
        case(lambda x: np.dot(x, x.T), M),
        case(lambda x: x.dot(np.arange(4)), M),
        case(np.dot, (0, 3), (3, 2)),
        case(np.dot, (2, 0), (0, 3)),
    ],
    np.inner: [case(np.inner, M, (2, 4)), case(np.inner, (4,), (4,)), case(np.inner, M, ()), case(np.inner, C, (4,))],
    np.outer: [case(np.outer, (3,), (4,)), case(np.outer, M, (2,)), case(np.outer, (), (3,))],
    np.vdot: [case(np.vdot, M, M), case(lambda x: np.vdot(x * (1.0 + 2.0j), x * 1.0j), (3,))],
    np.tensordot: [
        case(np.tensordot, C, (3, 4, 2)),
        case(lambda x, y: np.tensordot(x, y, 0), (2,), M),
        case(lambda x, y: np.tensordot(x, y, ([-1, 0], [0, -1])), C, (4, 2)),
        case(lambda x, y: np.tensordot(x, y, (1, 0)), M, (4, 2)),
        case(lambda x: np.tensordot(x, x, ((0, 1), (0, 1))), M),
        case(lambda x, y: np.tensordot(x, y, 1), (2, 0), (0, 3)),
    ],
    np.einsum: [
        case(lambda x, y: np.einsum("ij,jk->ik", x, y), M, (4, 2)),
        case(lambda x, y: np.einsum("ij,jk", x, y), M, (4, 2)),
        case(lambda x: np.einsum("ii->i", x), (3, 3)),
        case(lambda x: np.einsum("ii", x), (3, 3)),
        case(lambda x: np.einsum("ji", x), M),
        case(lambda x: np.einsum("ij,ij->", x, x), M),
        case(lambda x, y: np.einsum("i,j,ij->", x, x, y), (3,), (3, 3)),
        case(lambda x, y: np.einsum("...ij,...jk->...ik", x, y), C, (4, 2)),
        case(lambda x, y: np.einsum("...i,i", x, y), C, (4,)),
        case(lambda x, y: np.einsum("i...,...->i...", x, y), C, (1, 4)),
        case(lambda x, y: np.einsum(x, [0, 1], y, [1, 2], [2, 0]), M, (4, 2)),
        case(lambda x, y: np.einsum(x, [Ellipsis, 1], y, [1]), C, (4,)),
        case(lambda x, y: np.einsum("bij,jk->bik", x, y, optimize=True), C, (4, 2)),
        case(lambda x: np.einsum("ij->j", x), M),
        case(lambda x, y: np.einsum("ij, jk -> ik", x, y), M, (4, 2)),
    ],
    np.trace: [case(np.trace, M), case(lambda x: np.trace(x, -1, 2, 0), C), case(lambda x: x.trace(offset=1), M)],
    np.round: [
        case(np.round, M, make=_close_together, exact=_unknown),
        case(lambda x: np.round(x + 0.2, -1), M, make=_apart, exact=_unknown),
    ],
    np.around: [case(lambda x: np.around(x, 1), M, make=_apart, exact=_unknown)],
    np.real: [case(np.real, M), case(lambda x: np.real(x * (1.0 + 2.0j)), M, exact=lambda x: x)],
    np.imag: [case(lambda x: np.imag(x * (1.0 + 2.0j)), M, exact=lambda x: 2 * x), case(lambda x: x.imag + x, M)],
    np.angle: [case(lambda x: np.angle(x + 2.0j), M, make=_positive, exact=lambda x: _each(lambda z: mpmath.atan2(2, z))(x))],
    np.isclose: [case(lambda x, y: np.isclose(x, y, atol=0.061), (6,), (6,), make=_close_together, decides=True, exact=_unknown)],
    np.allclose: [case(np.allclose, M, M, make=_apart, exact=_unknown)],
    np.array_equal: [case(np.array_equal, M, M, make=(_apart, _normal))],
    np.nonzero: [case(np.nonzero, M)],
    np.flatnonzero: [case(np.flatnonzero, M)],
    np.argwhere: [case(np.argwhere, M)],
    np.count_nonzero: [case(np.count_nonzero, M), case(lambda x: np.count_nonzero(x, axis=-1, keepdims=True), M)],
    np.shape: [case(np.shape, M)],
    np.ndim: [case(np.ndim, M)],
    np.size: [case(lambda x: np.size(x, 1), M)],
    np.iscomplexobj: [case(np.iscomplexobj, M)],
    np.isrealobj: [case(np.isrealobj, M)],
    np.iscomplex: [case(np.iscomplex, M, exact=_unknown)],
    np.isreal: [case(np.isreal, M, exact=_unknown)],
    np.tril_indices_from: [case(np.tril_indices_from, M)],
    np.triu_indices_from: [case(lambda x: np.triu_indices_from(x, 1), M)],
    np.diag_indices_from: [case(np.diag_indices_from, (3, 3))],
    np.common_type: [case(lambda x: np.common_type(x) is np.float64, M, exact=_unknown)],
    np.array_repr: [case(lambda x: len(np.array_repr(x)) > 9, M)],
    np.array_str: [case(lambda x: len(np.array_str(x)) > 9, M)],
    np.array2string: [case(lambda x: len(np.array2string(x)) > 9, M)],
    np.result_type: [case(lambda x: np.result_type(x, 1.0) == np.float64, M, exact=_unknown)],
    np.shares_memory: [case(lambda x: np.shares_memory(x, np.ones(2)), M)],
    np.may_share_memory: [case(lambda x: np.may_share_memory(x, np.ones(2)), M)],
    np.zeros_like: [case(_filled_up("zeros_like"), M, (4,), fills=True)],
    np.ones_like: [case(_filled_up("ones_like"), M, (4,), fills=True)],
    np.empty_like: [case(_filled_up("empty_like"), M, (4,), fills=True)],
    np.vstack: [case(lambda x, y: np.vstack((x, y)), M, (4,))],
    np.hstack: [case(lambda x, y: np.hstack((x, y, np.ones(1))), (2,), ()), case(lambda x, y: np.hstack([x, y]), M, (3, 1))],
    np.dstack: [case(lambda x, y: np.dstack((x, y)), M, M)],
    np.split: [case(lambda x: np.split(x, 2, axis=-1), M), case(lambda x: np.split(x, [1, 2]), M)],
    np.array_split: [case(lambda x: np.array_split(x, 3, axis=1), M)],
    np.hsplit: [case(lambda x: np.hsplit(x, 2), M)],
    np.vsplit: [case(lambda x: np.vsplit(x, 3), M)],
    np.dsplit: [case(lambda x: np.dsplit(x, 2), C)],
    np.take_along_axis: [
        case(lambda x: np.take_along_axis(x, np.array([[0], [3], [1]]), axis=-1), M),
        case(lambda x: np.take_along_axis(x, np.argsort(x, axis=0), axis=0), M, make=_apart),
    ],
    # linear algebra
    np.linalg.norm: [
        case(np.linalg.norm, M),
        case(np.linalg.norm, C),
        case(lambda x: np.linalg.norm(x, axis=-1, keepdims=True), C),
        case(lambda x: np.linalg.norm(x, 2), (5,)),
        case(lambda x: np.linalg.norm(x, 1, 0), M),
        case(lambda x: np.linalg.norm(x, 3.5), (5,), exact=_exact_norm(3.5)),
        case(lambda x: np.linalg.norm(x, -2.0), (5,), make=_positive, exact=_exact_norm(-2.0)),
        case(lambda x: np.linalg.norm(x, np.inf, axis=1), M, make=_apart),
        case(lambda x: np.linalg.norm(x, -np.inf), (5,), make=_apart),
        case(lambda x: np.linalg.norm(x, 0, axis=1), M, exact=_unknown),
        case(lambda x: np.linalg.norm(x, "fro", axis=(0, -1), keepdims=True), C),
        case(lambda x: np.linalg.norm(x, "fro"), M),
        *(case(lambda x, order=order: np.linalg.norm(x, order), M, make=_apart) for order in (1, -1, np.inf, -np.inf)),
        case(lambda x: np.linalg.norm(x, 1, axis=(2, 0), keepdims=True), C),
        case(lambda x: np.linalg.norm(x, np.inf, axis=(2, 0)), C),
    ],
    np.linalg.vector_norm: [
        case(lambda x: np.linalg.vector_norm(x), C),
        case(lambda x: np.linalg.vector_norm(x, axis=(0, -1), keepdims=True, ord=1), C),
        case(lambda x: np.linalg.vector_norm(x, axis=-1), M),
    ],
    np.linalg.matrix_norm: [
        case(lambda x: np.linalg.matrix_norm(x, keepdims=True), C),
        case(lambda x: np.linalg.matrix_norm(x, ord=1), C, make=_apart),
    ],
    np.linalg.solve: [
        case(np.linalg.solve, (4, 4), (4,), make=(_regular, _normal), exact=_exact_solution),
        case(np.linalg.solve, (4, 4), (4, 2), make=(_regular, _normal), exact=_exact_solution),
        case(np.linalg.solve, (2, 3, 3), (2, 3, 2), make=(_regular, _normal), exact=_exact_solution),
        case(np.linalg.solve, (2, 3, 3), (3, 2), make=(_regular, _normal), exact=_exact_solution),
        case(np.linalg.solve, (3, 3), (2, 3, 2), make=(_regular, _normal), exact=_exact_solution),
        case(np.linalg.solve, (2, 3, 3), (3,), make=(_regular, _normal), exact=_exact_solution),
        case(lambda a: np.linalg.solve(a, np.arange(3)), (3, 3), make=_regular, exact=lambda a: _exact_inverse(a) @ np.arange(3)),
    ],
    np.linalg.inv: [
        case(np.linalg.inv, (4, 4), make=_regular, exact=_exact_inverse),
        case(np.linalg.inv, (2, 3, 3), make=_regular, exact=_exact_inverse),
    ],
    np.linalg.det: [
        case(np.linalg.det, (4, 4), make=_regular, exact=_exact_determinant),
        case(np.linalg.det, (2, 3, 3), make=_regular, exact=_exact_determinant),
        case(np.linalg.det, (1, 1), make=_regular, exact=_exact_determinant),
        case(lambda x: np.linalg.det(np.outer(x, [1.0, 2.0, 3.0]) + np.diag(x)), (3,), make=_positive, exact=_unknown),
    ],
    np.linalg.slogdet: [
        case(np.linalg.slogdet, (4, 4), make=_regular, exact=_exact_logarithm),
        case(lambda a: np.linalg.slogdet(a), (2, 3, 3), make=_definite, exact=_exact_logarithm),
        case(lambda a: np.linalg.slogdet(a).logabsdet, (3, 3), make=_definite, exact=lambda a: _exact_logarithm(a)[1]),
    ],
    np.linalg.cholesky: [
        case(np.linalg.cholesky, (4, 4), make=_definite, exact=_exact_cholesky),
        case(np.linalg.cholesky, (2, 3, 3), make=_definite, exact=_exact_cholesky),
        case(lambda a: np.linalg.cholesky(a, upper=True), (3, 3), make=_definite, exact=lambda a: _exact_cholesky(a.T).T),
    ],
    np.linalg.multi_dot: [
        case(lambda x, y, z: np.linalg.multi_dot([x, y, z]), (2, 3), M, (4, 5), exact=lambda x, y, z: x @ y @ z),
        case(lambda x, y, z: np.linalg.multi_dot([x, y, z]), (3,), M, (4,), exact=lambda x, y, z: x @ y @ z),
        case(lambda x, y: np.linalg.multi_dot([x, np.ones((4, 3)), y]), M, (3,), exact=lambda x, y: x @ np.ones((4, 3)) @ y),
    ],
    np.linalg.matrix_power: [
        *(case(lambda x, n=n: np.linalg.matrix_power(x, n), (3, 3), make=_regular) for n in (1, 2, 5)),
        case(lambda x: np.linalg.matrix_power(x, 0) + x, (3, 3), exact=lambda x: np.eye(3) + x),
        case(lambda x: np.linalg.matrix_power(x, -3), (3, 3), make=_regular, exact=lambda x: _exact_power(x, -3)),
    ],
    np.linalg.cross: [case(lambda x, y: np.linalg.cross(x, y), (2, 3), (3,))],
    np.linalg.vecdot: [case(lambda x, y: np.linalg.vecdot(x, y), M, M), case(lambda x, y: LINALG_VECDOT(x, y, axis=0), M, M)],
    np.linalg.trace: [case(lambda x: np.linalg.trace(x, offset=1), C)],
    np.linalg.diagonal: [case(lambda x: np.linalg.diagonal(x, offset=-1), C)],
    np.linalg.matmul: [case(np.linalg.matmul, C, (4, 2))],
    np.linalg.outer: [case(np.linalg.outer, (3,), (4,))],
    np.linalg.tensordot: [case(lambda x, y: np.linalg.tensordot(x, y, axes=1), M, (4, 2))],
    np.linalg.matrix_transpose: [case(np.linalg.matrix_transpose, C)],
    np.kron: [case(np.kron, M, (2, 2)), case(np.kron, (2,), M), case(np.kron, C, (2, 3)), case(np.kron, (), M)],
    np.cross: [case(np.cross, (2, 3), (3,)), case(lambda x, y: np.cross(x, y, axis=0), (3, 2), (3, 2)),
               case(lambda x, y: np.cross(x, y, axisa=0, axisb=-1, axisc=0), (3, 2), (2, 3))],
    np.convolve: [
        case(lambda x, y, mode=mode, sizes=sizes: np.convolve(x, y, mode), *sizes)
        for mode in ("full", "same", "valid")
        for sizes in (((6,), (3,)), ((6,), (4,)), ((3,), (6,)), ((4,), (4,)), ((1,), (3,)))
    ],
    np.correlate: [
        *(
            case(lambda x, y, mode=mode, sizes=sizes: np.correlate(x, y, mode), *sizes)
            for mode in ("full", "same", "valid")
            for sizes in (((6,), (3,)), ((6,), (4,)), ((3,), (6,)), ((4,), (6,)), ((4,), (4,)))
        ),
        case(lambda x: np.correlate(x, np.array([1.0, 2.0])), (5,)),
    ],
    np.fft.fft: [
        case(np.fft.fft, (2, 6), exact=_exact_transform),
        case(lambda x: np.abs(np.fft.fft(x, 5, axis=0)), M, exact=_unknown),
        case(lambda x: np.abs(np.fft.fft(x)), (6,), exact=lambda x: np.abs(_exact_transform(x))),
        case(lambda x: np.sum(np.abs(np.fft.fft(x)) ** 2), (6,), exact=lambda x: (np.abs(_exact_transform(x)) ** 2).sum()),
        case(lambda x: np.fft.fft(x, norm="ortho").real, M, exact=_unknown),
        case(lambda x: np.exp(np.fft.fft(x)) / (2.0 + np.fft.fft(x)), (4,), exact=_unknown),
        case(lambda x: np.conj(np.fft.fft(x)) * np.square(-np.fft.fft(x)) - x, (4,), exact=_unknown),
    ],
    np.fft.ifft: [case(lambda x, y: np.fft.ifft(np.fft.fft(x) * np.fft.fft(y)).real, (5,), (5,), exact=_unknown)],
    np.fft.rfft: [case(lambda x: np.fft.rfft(x, axis=0), M, exact=_unknown)],
    np.fft.irfft: [case(lambda x: np.fft.irfft(np.fft.rfft(x), 6), (6,), exact=lambda x: x)],
    np.fft.fft2: [case(np.fft.fft2, C, exact=_unknown), case(lambda x: np.fft.fft2(x, (2, 2), (0, 1)), C, exact=_unknown)],
    np.fft.ifft2: [case(np.fft.ifft2, C, exact=_unknown)],
    np.fft.rfft2: [case(np.fft.rfft2, C, exact=_unknown)],
    np.fft.irfft2: [case(lambda x: np.fft.irfft2(np.fft.rfft2(x)), M, exact=lambda x: x)],
    np.fft.fftn: [case(np.fft.fftn, C, exact=_unknown), case(lambda x: np.fft.fftn(x, axes=(-1, 0)), C, exact=_unknown)],
    np.fft.ifftn: [case(np.fft.ifftn, C, exact=_unknown)],
    np.fft.rfftn: [case(np.fft.rfftn, C, exact=_unknown)],
    np.fft.irfftn: [case(lambda x: np.fft.irfftn(np.fft.rfftn(x)), C, exact=lambda x: x)],
    np.fft.fftshift: [case(np.fft.fftshift, M), case(lambda x: np.fft.fftshift(x, axes=-1), M)],
    np.fft.ifftshift: [case(lambda x: np.fft.ifftshift(x, axes=(0,)), M)],
    # selections
    np.sort: [
        case(np.sort, M, make=_apart),
        case(lambda x: np.sort(x, axis=0), M, make=_close_together),
        case(lambda x: np.sort(x, axis=None), C, make=_close_together),
        case(_in_place("sort", 0), M, make=_apart),
    ],
    np.median: [
        case(np.median, M, make=_apart),
        case(lambda x: np.median(x, axis=-1, keepdims=True), (3, 5), make=_close_together),
        case(lambda x: np.median(x, axis=(0, 2)), C, make=_close_together, exact=_unknown),
    ],
    np.quantile: [
        case(lambda x: np.quantile(x, 0.3), (7,), make=_apart, exact=lambda x: _exact_quantile(x, 0.3)),
        case(lambda x: np.quantile(x, [0.0, 0.25, 1.0], axis=-1, keepdims=True), C, make=_close_together, exact=_unknown),
        case(lambda x: np.quantile(x, [[0.1, 0.9]], axis=0), M, make=_apart, exact=_unknown),
        *(
            case(lambda x, method=method: np.quantile(x, 0.4, method=method), (7,), make=_close_together, exact=_unknown)
            for method in ("lower", "higher", "midpoint", "nearest", "hazen", "weibull", "median_unbiased", "inverted_cdf")
        ),
    ],
    np.percentile: [case(lambda x: np.percentile(x, (10, 50), 1), M, make=_apart, exact=_unknown)],
    np.partition: [
        case(lambda x: np.sort(np.partition(x, 2, axis=-1)[..., :2]), M, make=_apart),
        case(lambda x: np.partition(x, 1, axis=0)[1], M, make=_close_together, decides=True),
        case(lambda x: np.partition(x, (1, -2), axis=None)[[1, -2]], M, make=_apart),
        case(lambda x: _in_place("partition", 1)(x)[:, 1], M, make=_apart),
    ],
    np.unique: [
        case(np.unique, M, make=_apart),
        case(lambda x: np.unique(x, return_index=True, return_inverse=True, return_counts=True), (5,), make=_apart),
        case(lambda x: np.unique(x, return_counts=True)[1], (5,), make=_close_together, exact=_unknown),
    ],
    np.argsort: [
        case(np.argsort, M, make=_apart),
        case(lambda x: x.argsort(axis=0), M, make=_close_together, decides=True),
    ],
    np.argpartition: [case(lambda x: np.argpartition(x, 1, axis=-1)[:, 1], M, make=_apart)],
    np.lexsort: [case(lambda x, y: np.lexsort((x, y)), (5,), (5,), make=_close_together, decides=True, exact=_unknown)],
    np.searchsorted: [
        case(lambda x: np.searchsorted(np.arange(12) + 0.5, x), M, make=_apart, exact=_unknown),
        case(lambda x, y: np.searchsorted(x, y, side="right"), (5,), M, make=(_ascending, _apart), exact=_unknown),
        case(lambda x: np.searchsorted(np.arange(-3, 3) * 0.2 + 0.1, x), M, make=_close_together, decides=True, exact=_unknown),
    ],
    np.digitize: [case(lambda x: np.digitize(x, [0.1, 0.33, 0.5]), M, make=_close_together, decides=True, exact=_unknown)],
    np.isin: [case(lambda x: np.isin(x, [1.0, 2.0]), M, make=_normal)],
    np.nanargmax: [case(lambda x: np.nanargmax(x * NAN, axis=1), M, make=_apart, exact=_unknown)],
    np.nanargmin: [case(lambda x: np.nanargmin(x * NAN), M, make=_apart, exact=_unknown)],
    np.isposinf: [case(np.isposinf, M, exact=_unknown)],
    np.isneginf: [case(np.isneginf, M, exact=_unknown)],
    np.array_equiv: [case(np.array_equiv, M, (4,))],
    np.nansum: [case(lambda x: np.nansum(x * NAN, axis=-1, keepdims=True), M), case(np.nansum, M)],
    np.nanprod: [case(lambda x: np.nanprod(x * NAN, axis=-1), M)],
    np.nanmax: [case(lambda x: np.nanmax(x * NAN, axis=-1), M, make=_apart), case(np.nanmax, M, make=_close_together)],
    np.nanmin: [case(lambda x: np.nanmin(x * NAN, axis=-1, keepdims=True), M, make=_apart, exact=_unknown)],
    np.nancumsum: [case(lambda x: np.nancumsum(x * NAN, axis=-1), M), case(lambda x: np.nancumsum(x), M)],
    np.nancumprod: [case(lambda x: np.nancumprod(x * NAN), M)],
    np.nanmean: [case(lambda x: np.nanmean(x * NAN, axis=1), M), case(lambda x: np.nanmean(x * NAN, keepdims=True), M)],
    np.nanvar: [case(lambda x: np.nanvar(x * NAN, axis=1, ddof=1), M, exact=_unknown), case(np.nanvar, M)],
    np.nanstd: [case(lambda x: np.nanstd(x * NAN, axis=-1, keepdims=True), M, exact=_unknown)],
    np.nan_to_num: [
        case(lambda x: np.nan_to_num(x * NAN, nan=2.0), M, exact=lambda x: np.where(np.isnan(NAN), 2.0, x)),
        case(lambda x: np.nan_to_num(x, posinf=1.0), M, exact=lambda x: x),
    ],
    np.fix: [case(lambda x: np.fix(x + 0.5), M, make=_apart, exact=_unknown)],
    np.sinc: [
        case(np.sinc, M, exact=_each(mpmath.sincpi)),
        case(lambda x: np.sinc(1e-4 * x), M, exact=_each(lambda x: mpmath.sincpi(mpmath.mpf(1e-4) * x))),
        case(lambda x: np.sinc(5.0 * x), M, exact=_each(lambda x: mpmath.sincpi(5 * x))),
        case(lambda x: np.sinc(x - x), M, exact=lambda x: np.ones(M)),
    ],
    np.i0: [case(np.i0, M, exact=_unknown)],
    np.interp: [
        case(np.interp, (9,), (4,), (4,), make=(_normal, _ascending, _normal), exact=_exact_interpolation),
        case(lambda x, f: np.interp(2.0 * x, np.arange(3.0), f), M, (3,),
             exact=lambda x, f: _exact_interpolation(2 * x, np.arange(3), f)),
        case(lambda x: np.interp(x, [0.0, 1.0, 3.0], [1.0, -1.0, 2.0], left=-5.0, right=7.0), M, make=_positive, exact=_unknown),
        case(lambda f: np.interp([0.5, 0.0, 2.0], [0.0, 1.0, 2.0], f), (3,),
             exact=lambda f: np.array([(f[0] + f[1]) / 2, f[0], f[2]])),
    ],
    np.trapezoid: [
        case(np.trapezoid, M),
        case(lambda y: np.trapezoid(y, dx=0.5, axis=0), M),
        case(lambda y, x: np.trapezoid(y, x), M, (4,), make=(_normal, _ascending)),
        case(lambda y, x: np.trapezoid(y, x, axis=0), M, (3,), make=(_normal, _ascending)),
        case(lambda y, x: np.trapezoid(y, x, axis=-2), C, (3,)),
        case(lambda y, x: np.trapezoid(y, x, axis=1), M, M),
    ],
    np.ediff1d: [case(np.ediff1d, M), case(lambda x, y: np.ediff1d(x, to_end=y, to_begin=[1.0, 2.0]), (5,), (2,))],
    np.gradient: [
        case(np.gradient, (5,), exact=lambda x: _slopes(5) @ x),
        case(np.gradient, M, exact=lambda x: (_slopes(3) @ x, x @ _slopes(4).T)),
        case(lambda x: np.gradient(x, 0.5, edge_order=2), (5,), exact=lambda x: _slopes(5, 0.5, edge_order=2) @ x),
        case(lambda x: np.gradient(x, [0.0, 1.0, 3.0], axis=0), M, exact=lambda x: _slopes(3, [0.0, 1.0, 3.0]) @ x),
        case(lambda x: np.gradient(x, 2.0, axis=(-1, 0)), C, exact=_unknown),
    ],
    np.bincount: [
        case(lambda w: np.bincount([0, 2, 2, 5], w, minlength=8), (4,),
             exact=lambda w: np.array([w[0], 0, w[1] + w[2], 0, 0, w[3], 0, 0])),
    ],
    np.cov: [
        case(np.cov, M, exact=_exact_covariance),
        case(lambda x: np.cov(x, rowvar=False, bias=True), M, exact=lambda x: _exact_covariance(x.T) * 2 / 3),
        case(lambda x, y: np.cov(x, y, ddof=0), (5,), (5,), exact=lambda x, y: _exact_covariance(np.stack((x, y))) * 4 / 5),
        case(lambda x: np.cov(x), (5,), exact=lambda x: _exact_covariance(x[None])[0, 0]),
        case(lambda x: np.cov(x, fweights=[1, 2, 3, 1], aweights=[0.5, 1.0, 2.0, 1.0]), M, exact=_unknown),
    ],
    np.corrcoef: [
        case(np.corrcoef, M, exact=_exact_correlation),
        case(lambda x, y: np.corrcoef(x, y), (5,), (5,), exact=lambda x, y: _exact_correlation(np.stack((x, y)))),
        case(lambda x: np.corrcoef(x, rowvar=False), (5, 3), exact=lambda x: _exact_correlation(x.T)),
    ],
    np.insert: [
        case(lambda x, y: np.insert(x, [1, 2], y), (4,), (2,)),
        case(lambda x, y: np.insert(x, 1, y, axis=-1), M, (3,)),
        case(lambda x: np.insert(x, 0, 5.0, axis=0), M),
    ],
    np.block: [case(lambda x, y: np.block([[x, np.zeros((3, 1))], [y, np.ones((2, 1))]]), M, (2, 4)),
               case(lambda x, y: np.block([x, y]), (2,), (3,))],
    np.choose: [case(lambda x, y: np.choose([0, 1, 1, 0], [x, y]), (4,), (4,)),
                case(lambda x: np.choose([[1], [0]], [x, -x]), (3,))],
    np.meshgrid: [
        case(np.meshgrid, (2,), (3,)),
        case(lambda x: np.meshgrid(x, np.arange(3.0), indexing="ij", sparse=True), (2,)),
    ],
    np.vander: [case(np.vander, (3,)), case(lambda x: np.vander(x, 5, increasing=True), (3,))],
    np.polyval: [case(np.polyval, (4,), M), case(lambda x: np.polyval([1.0, -2.0, 3.0], x), ())],
    np.linspace: [
        case(lambda x, y: np.linspace(x, y, 5, endpoint=False), (), (), exact=_unknown),
        case(lambda x: np.linspace(0.0, x, 4, axis=-1, retstep=True), (3,), exact=_unknown),
    ],
    np.logspace: [case(lambda x, y: np.logspace(x, y, 4), (), (), exact=_unknown)],
    # those that write, and those that call
    np.copyto: [case(_writes(np.copyto, VALUES), M, (4,), fills=True),
                case(_writes(np.copyto, VALUES, where=MASK), M, M, fills=True)],
    np.put: [case(_writes(np.put, [0, -1, 5], VALUES), M, (2,), fills=True),
             case(_writes(np.put, [99, 1], VALUES, mode="clip"), M, (), fills=True)],
    np.place: [case(_writes(np.place, MASK, VALUES), M, (3,), fills=True)],
    np.putmask: [case(_writes(np.putmask, MASK, VALUES), M, (5,), fills=True),
                 case(_writes(np.putmask, MASK, VALUES), M, (), fills=True)],
    np.put_along_axis: [
        case(_writes(np.put_along_axis, np.array([[1], [0], [3]]), VALUES, axis=-1), M, (3, 1), fills=True),
        case(_writes(np.put_along_axis, np.array([1, 7]), VALUES, axis=None), M, (2,), fills=True),
    ],
    np.fill_diagonal: [
        case(_writes(np.fill_diagonal, VALUES), M, (), fills=True),
        case(_writes(np.fill_diagonal, VALUES), (4, 3), (2,), fills=True),
        case(_writes(np.fill_diagonal, VALUES, wrap=True), (6, 2), (), fills=True),
    ],
    np.apply_along_axis: [
        case(lambda x: np.apply_along_axis(np.sum, 0, x), C),
        case(lambda x: np.apply_along_axis(lambda row: row * row[0], -1, x), C),
        case(lambda x: np.apply_along_axis(np.outer, 1, x, np.arange(2.0)), C),
    ],
    np.apply_over_axes: [case(lambda x: np.apply_over_axes(np.sum, x, [0, -1]), C)],
    np.piecewise: [
        case(lambda x: np.piecewise(x, [x < 4.5, x > 8.5], [lambda v: -v, lambda v: v * v, 0.5]), M, make=_apart, exact=_unknown),
        case(lambda x: np.piecewise(x, x > 4.5, [np.square, np.negative]), (6,), make=_apart, exact=_unknown),
    ],
}  # fmt: skip

if hasattr(np, "cumulative_sum"):
    CASES[np.cumulative_sum] = [case(lambda x: np.cumulative_sum(x, axis=1, include_initial=True), M)]
    CASES[np.cumulative_prod] = [case(lambda x: np.cumulative_prod(x), (5,))]
    CASES[np.unstack] = [case(lambda x: np.unstack(x, axis=-1), M)]
for _old, _new in (("in1d", "isin"), ("trapz", "trapezoid")):
    if hasattr(np, _old):
        CASES[getattr(np, _old)] = CASES[getattr(np, _new)][:1]

#: Entries that say only why they have no difference form.
DEPARTING: dict[Any, Callable[..., Any]] = {
    **{getattr(np.linalg, name): getattr(np.linalg, name) for name in (
        "svd", "svdvals", "eig", "eigh", "eigvals", "eigvalsh", "qr", "cond", "matrix_rank", "tensorinv", "pinv",
    )},
    np.linalg.tensorsolve: lambda x: np.linalg.tensorsolve(x, np.ones(3)),
    np.linalg.lstsq: lambda x: np.linalg.lstsq(x, np.ones(3)),
    np.histogram: np.histogram,
    np.histogram2d: lambda x: np.histogram2d(x[0], x[1]),
    np.histogramdd: np.histogramdd,
    np.nanmedian: np.nanmedian,
    np.nanquantile: lambda x: np.nanquantile(x, 0.5),
    np.nanpercentile: lambda x: np.nanpercentile(x, 50),
    np.polyfit: lambda x: np.polyfit(np.arange(3), x, 1),
    np.unwrap: np.unwrap,
    np.geomspace: lambda x: np.geomspace(x, 2.0),
    np.intersect1d: lambda x: np.intersect1d(x, x),
    np.union1d: lambda x: np.union1d(x, x),
    np.setdiff1d: lambda x: np.setdiff1d(x, x),
    np.setxor1d: lambda x: np.setxor1d(x, x),
}  # fmt: skip

#: Ufuncs and their methods.
UFUNCS: dict[str, list[Case]] = {
    "call": [
        case(lambda x, y: x @ y, C, (2, 4, 3)),
        case(lambda x, y: x @ y, M, (2, 4, 3)),
        case(lambda x, y: x @ y, C, (4,)),
        case(lambda x, y: np.vecdot(x, y), M, (4,)),
        case(lambda x, y: np.vecdot(x, y), (4,), C),
        case(lambda x, y: VECDOT(x, y, axis=0), M, M),
        case(lambda x, y: x + y, M, (4,)),
        case(lambda x, y: x * y, (3, 1), (2, 1, 4)),
        case(lambda x: x * np.arange(4), M),
        case(lambda x: 2**x, M, exact=_each(lambda z: 2**z)),
        case(lambda x, y: np.heaviside(x, y), M, M, exact=_unknown),
        case(lambda x, y: np.heaviside(x - x, y), M, M, exact=_unknown),
        case(lambda x, y: np.copysign(x, y), M, M, make=_close_together, decides=True, exact=_unknown),
        case(lambda x: np.copysign(x, -1.0), M, exact=_unknown),
        case(lambda x: np.copysign(2.0, x), M, exact=_unknown),
        case(lambda x: np.ldexp(x, 3), M, exact=lambda x: 8 * x),
        case(lambda x: np.remainder(x, 0.7), M, make=_positive, exact=_unknown),
        case(lambda x, y: x % y, M, (4,), make=(_apart, _positive), exact=_unknown),
        case(lambda x, y: np.fmod(-x, y), M, (4,), make=(_apart, _positive), exact=_unknown),
        case(lambda x: x // 0.7, M, make=_positive, exact=_unknown),
        case(lambda x: np.divmod(x, 0.7), M, make=_positive, exact=_unknown),
        case(lambda x: np.modf(x + 0.5), M, make=_apart, exact=_unknown),
        case(lambda x: np.sign(x) + np.floor(x), M, make=_close_together, exact=_unknown),
        case(lambda x: np.absolute(x), M, make=_close_together),
        case(lambda x, y: np.maximum(x, y) - np.minimum(x, 0.1), M, M, make=_close_together),
        case(
            lambda x: np.divide(1.0, x, out=np.zeros_like(x), where=MASK),
            M,
            make=_positive,
            exact=lambda x: np.where(MASK, 1 / x, 0),
        ),
        case(lambda x, y: np.add(x, y, out=np.zeros_like(x)), M, (4,), fills=True),
        case(lambda x: np.logical_and(x > 0.0, x < 9.5), M, make=_apart),
        case(lambda x: np.isnan(x), M, exact=_unknown),
    ],
    "reduce": [
        case(lambda x: np.add.reduce(x), M),
        case(lambda x: np.add.reduce(x, axis=None), M),
        case(lambda x: np.multiply.reduce(x, axis=-1, keepdims=True), (3, 9)),
        case(lambda x: np.multiply.reduce(x, axis=(0, 1)), C),
        case(lambda x: np.logaddexp.reduce(x, axis=-1), (3, 7), exact=_exact_log_sum),
        case(lambda x: np.logaddexp.reduce(x), (4,), exact=_exact_log_sum),
        case(lambda x: np.logaddexp2.reduce(x), (4,), exact=_unknown),
        case(lambda x: np.hypot.reduce(x), (5,), exact=lambda x: np.sqrt((x * x).sum())),
        case(lambda x: np.subtract.reduce(x, axis=-1), M),
        case(lambda x: np.divide.reduce(x, axis=0), M, make=_positive),
        case(lambda x: np.subtract.reduce(x, axis=0, initial=3.0), M),
        case(lambda x: np.maximum.reduce(x, axis=-1, initial=0.1), M, make=_close_together),
        case(lambda x: np.minimum.reduce(x, axis=(0, 1)), C, make=_apart),
        case(lambda x: np.fmax.reduce(x * NAN, axis=-1), M, make=_apart, exact=_unknown),
        case(lambda x: np.fmin.reduce(x * NAN, axis=-1, keepdims=True), M, make=_apart, exact=_unknown),
        case(lambda x: np.logical_or.reduce(x > 3.5, axis=-1), M, make=_apart),
        case(lambda x: np.logical_and.reduce(x), M, exact=_unknown),
        case(lambda x: np.power.reduce(x, axis=0), (4, 3), make=_positive, exact=_unknown),
    ],
    "accumulate": [
        case(lambda x: np.add.accumulate(x, axis=-1), M),
        case(lambda x: np.multiply.accumulate(x, 1), (2, 9)),
        case(
            lambda x: np.logaddexp.accumulate(x),
            (5,),
            exact=lambda x: np.array([_exact_log_sum(x[: k + 1])[()] for k in range(5)]),
        ),
        case(lambda x: np.maximum.accumulate(x, axis=-1), M, make=_close_together),
        case(lambda x: np.subtract.accumulate(x, axis=0), C),
        case(lambda x: np.multiply.accumulate(x), (0, 3)),
        case(lambda x: np.subtract.accumulate(x), (0, 3)),
    ],
    "outer": [
        case(lambda x, y: np.add.outer(x, y), (3,), M),
        case(lambda x, y: np.multiply.outer(x, y), M, (2,)),
        case(lambda x: np.subtract.outer(x, x), (4,)),
        case(lambda x: np.maximum.outer(x, np.arange(3.0)), (4,), make=_apart),
        case(lambda x, y: np.greater.outer(x, y - 0.5), (4,), (4,), make=_apart),
        case(lambda x: np.remainder.outer(x, np.array([0.7, 0.9])), (3,), make=_positive, exact=_unknown),
    ],
    "reduceat": [
        case(lambda x: np.add.reduceat(x, [0, 2, 1, 4]), (6,)),
        case(lambda x: np.multiply.reduceat(x, [0, 2], axis=-1), M),
        case(lambda x: np.maximum.reduceat(x, [1, 0, 3], axis=1), M, make=_apart),
    ],
}
if hasattr(np, "matvec"):
    UFUNCS["call"] += [
        case(lambda x, y: np.matvec(x, y), C, (4,), exact=lambda x, y: x @ y),
        case(lambda x, y: np.vecmat(x, y), (3,), C, exact=lambda x, y: np.einsum("j,ijk->ik", x, y)),
        case(lambda x, y: np.matvec(x, y), M, (2, 4), exact=lambda x, y: np.einsum("jk,ik->ij", x, y)),
    ]


# ---- running ------------------------------------------------------------------------------------------------------------


def _leaves(result: Any) -> Iterator[Any]:
    if isinstance(result, list | tuple):
        for each in result:
            yield from _leaves(each)
    else:
        yield result


def _run(each: Case, values: list[Any], changes: list[Any], lanes: Lanes) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Base and change of all results; an argument whose change is None stays plain."""
    arguments = [
        value if change is None else DifferenceArray(Varying(value.copy(), change, lanes))
        for value, change in zip(values, changes, strict=True)
    ]
    with np.errstate(all="ignore"), intercepted(lanes) if each.fills else contextlib.nullcontext():
        result = each.call(*arguments)
    for argument, value in zip(arguments, values, strict=True):
        assert type(argument) is not DifferenceArray or np.array_equal(argument.plain, value), "an argument was written to"
    pairs = []
    for leaf in _leaves(result):
        if type(leaf) is DifferenceArray:
            pairs.append((leaf.plain, leaf.change))
        else:
            plain = np.asarray(leaf)
            pairs.append((plain, np.zeros((*plain.shape, lanes.count))))
    return pairs


def _plain(call: Callable[..., Any], values: list[Any]) -> list[NDArray[Any]]:
    with np.errstate(all="ignore"):
        return [np.asarray(leaf) for leaf in _leaves(call(*values))]


def _number_of(array: NDArray[Any]) -> NDArray[Any]:
    """In a type that can be subtracted."""
    return np.asarray(array, dtype=np.complex128 if array.dtype.kind == "c" else np.float64)


def _named(tables: dict[Any, list[Case]]) -> list[Any]:
    return [
        pytest.param(each, id=f"{getattr(function, '__name__', function)}-{number}")
        for function, cases in tables.items()
        for number, each in enumerate(cases)
    ]


ALL = [*_named(CASES), *_named(UFUNCS)]


def test_every_rule_has_a_case() -> None:
    rules = set(FUNCTIONS) | PASSED_ON | set(ASSIGNMENTS) | set(CALLERS) | BUFFERS
    assert {function.__name__ for function in rules - set(CASES) - set(DEPARTING)} == set()
    assert set(CASES) & set(DEPARTING) == set()


@pytest.mark.parametrize("each", ALL)
def test_agrees_with_the_plain_function_at_each_perturbed_point(each: Case) -> None:
    values, changes, lanes = each.values(), each.changes(0.1), Lanes(LANES)
    pairs = _run(each, values, changes, lanes)
    plain = _plain(each.call, values)
    assert len(pairs) == len(plain)
    for (base, _), expected in zip(pairs, plain, strict=True):
        assert base.shape == expected.shape
        np.testing.assert_allclose(base, expected, rtol=1e-11, atol=1e-11)
    compared = 0
    for lane in range(LANES):
        if each.decides and lanes.crossings[lane]:
            continue
        compared += 1
        moved = _plain(each.call, [value + change[..., lane] for value, change in zip(values, changes, strict=True)])
        for (base, change), expected in zip(pairs, moved, strict=True):
            assert base.shape == expected.shape, "a lane of another shape, which is not counted"
            assert change.shape == (*base.shape, LANES)
            size = max(1.0, float(np.abs(_number_of(expected)).max(initial=0.0, where=np.isfinite(_number_of(expected)))))
            np.testing.assert_allclose(_number_of(base) + change[..., lane], expected, rtol=0.0, atol=1e-11 * size)
    assert compared
    if each.decides:
        assert lanes.crossings.any(), "no lane decides otherwise, so that nothing is shown"


@pytest.mark.parametrize("each", ALL)
def test_one_entry_is_the_same_as_the_whole_change(each: Case) -> None:
    values = each.values()
    rng = np.random.default_rng(2)
    for place, value in enumerate(values):
        if not value.ndim or not value.size:
            continue
        slab = one_hot(value.shape, rng.integers(0, value.size, LANES), 0.1 * rng.uniform(-1.0, 1.0, LANES))
        results = []
        for change in (slab, slab.dense):
            changes: list[Any] = [None] * len(values)
            changes[place] = change
            lanes = Lanes(LANES)
            results.append((_run(each, values, changes, lanes), lanes.crossings))
        (thin, crossed), (full, expected) = results
        np.testing.assert_array_equal(crossed, expected)
        for (base, change), (own, whole) in zip(thin, full, strict=True):
            np.testing.assert_array_equal(base, own)
            size = max(1e-3, float(np.abs(whole).max(initial=0.0, where=np.isfinite(whole))))
            np.testing.assert_allclose(change, whole, rtol=0.0, atol=1e-13 * size)


@pytest.mark.parametrize("each", ALL)
def test_each_argument_alone(each: Case) -> None:
    values, changes = each.values(), each.changes(0.1)
    for place in range(len(values)):
        lanes = Lanes(LANES)
        own: list[Any] = [change if other == place else None for other, change in enumerate(changes)]
        pairs = _run(each, values, own, lanes)
        for lane in range(LANES):
            if each.decides and lanes.crossings[lane]:
                continue
            moved = [value + own[other][..., lane] if other == place else value for other, value in enumerate(values)]
            for (base, change), expected in zip(pairs, _plain(each.call, moved), strict=True):
                size = max(1.0, float(np.abs(_number_of(expected)).max(initial=0.0, where=np.isfinite(_number_of(expected)))))
                np.testing.assert_allclose(_number_of(base) + change[..., lane], expected, rtol=0.0, atol=1e-11 * size)


def _precisely(array: NDArray[Any]) -> NDArray[Any]:
    return np.array([mpmath.mpf(float(each)) for each in array.ravel()], dtype=object).reshape(array.shape)


@pytest.mark.parametrize("each", [one for one in ALL if one.values[0].exact is not _unknown])
def test_tiny_changes_keep_all_their_digits(each: Case) -> None:
    values, changes, lanes = each.values(), each.changes(1e-9), Lanes(LANES)
    pairs = _run(each, values, changes, lanes)
    reference = each.exact or each.call
    with mpmath.workdps(50), np.errstate(all="ignore"):
        before = [np.asarray(leaf) for leaf in _leaves(reference(*(_precisely(value) for value in values)))]
        differences = []
        for lane in range(LANES):
            moved = [
                np.asarray(_precisely(value) + _precisely(change[..., lane]))
                for value, change in zip(values, changes, strict=True)
            ]
            after = [np.asarray(leaf) for leaf in _leaves(reference(*moved))]
            differences.append([_subtracted(one, other) for one, other in zip(after, before, strict=True)])
    for place, (_, change) in enumerate(pairs):
        expected = np.stack([difference[place] for difference in differences], axis=-1)
        scale = np.abs(expected).max(axis=tuple(range(expected.ndim - 1)), initial=0.0)
        np.testing.assert_array_less(np.abs(change - expected), np.broadcast_to(1e-12 * scale + 1e-40, expected.shape))


def _subtracted(after: NDArray[Any], before: NDArray[Any]) -> NDArray[Any]:
    if after.dtype.kind == "b":
        return np.asarray(after != before, dtype=np.float64)
    differences = [complex(one - other) for one, other in zip(after.ravel(), before.ravel(), strict=True)]
    return np.array(differences, dtype=np.complex128).reshape(after.shape)


@pytest.mark.parametrize("each", ALL)
def test_jitter_changes_no_more_than_it_says(each: Case) -> None:
    values, changes = each.values(), each.changes(0.01)
    pairs = _run(each, values, changes, Lanes(LANES))
    for (base, change), (own, moved) in zip(pairs, _run(each, values, changes, Lanes(LANES, jitter=1e-12)), strict=True):
        assert base.shape == own.shape
        assert change.shape == moved.shape
        finite = np.isfinite(change) & np.isfinite(base)[..., np.newaxis] if base.dtype.kind in "fc" else np.isfinite(change)
        size = max(1.0, float(np.abs(_number_of(base)).max(initial=0.0, where=np.isfinite(_number_of(base)))))
        np.testing.assert_allclose(np.where(finite, moved, 0.0), np.where(finite, change, 0.0), rtol=0.0, atol=1e-8 * size)


@pytest.mark.parametrize("each", [one for one in ALL if one.values[0].make is _close_together])
def test_a_single_lane_that_decides_follows_itself(each: Case) -> None:
    values, changes = each.values(), each.changes(0.1)
    for lane in range(LANES):
        own = [change[..., lane : lane + 1] for change in changes]
        pairs = _run(each, values, own, Lanes(1, decide=True))
        expected = _plain(each.call, [value + change[..., 0] for value, change in zip(values, own, strict=True)])
        for (base, change), whole in zip(pairs, expected, strict=True):
            np.testing.assert_allclose(_number_of(base) + change[..., 0], whole, rtol=0.0, atol=1e-11)


@pytest.mark.parametrize(("function", "call"), DEPARTING.items(), ids=lambda each: getattr(each, "__name__", ""))
def test_what_has_no_form_says_so(function: Any, call: Callable[..., Any]) -> None:
    lanes = Lanes(2)
    argument = DifferenceArray(Varying(np.eye(3), np.full((3, 3, 2), 1e-3), lanes))
    with pytest.raises(Departure, match=rf"np\.(linalg\.)?{function.__name__}.* has no difference form"):
        call(argument)
    assert lanes.crossings.sum() == 0


@pytest.mark.parametrize("function", [np.quantile, np.percentile], ids=["quantile", "percentile"])
def test_quantiles_with_weights_have_no_form(function: Any) -> None:
    """They are other ones than those without."""
    argument = DifferenceArray(Varying(np.arange(4.0), np.full((4, 2), 1e-3), Lanes(2)))
    with pytest.raises(Departure, match=r"weights.* has no difference form"):
        function(argument, 0.4, weights=np.array([1.0, 2.0, 3.0, 40.0]), method="inverted_cdf")


# ---- what is counted -----------------------------------------------------------------------------------------------------


def _counted(call: Callable[..., Any], values: Any, *moves: Any, **options: Any) -> NDArray[np.bool_]:
    """Crossings of lanes that each add a vector to the values."""
    lanes = Lanes(len(moves), **options)
    call(DifferenceArray(Varying(np.asarray(values, dtype=np.float64), np.stack(moves, axis=-1) * 1.0, lanes)))
    return np.asarray(lanes.crossings > 0)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (np.sort, [False, True, True]),
        (np.argsort, [False, True, True]),
        (np.median, [False, True, True]),
        (lambda x: np.quantile(x, 1.0), [False, False, True]),
        (np.max, [False, False, True]),
        (np.argmax, [False, False, True]),
        (np.argmin, [False, False, False]),
        (lambda x: np.partition(x, 0), [False, False, False]),
        (lambda x: np.partition(x, 2), [False, True, True]),
        (lambda x: np.searchsorted([2.5], x), [False, True, True]),
        (lambda x: np.searchsorted(x, 2.5), [False, True, True]),
        (lambda x: np.digitize(x, [2.5]), [False, True, True]),
        (lambda x: x > 3.5, [False, False, True]),
        (lambda x: np.interp(x, np.arange(9.0) - 0.5, np.zeros(9)), [False, True, True]),
        (lambda x: np.unique(x, return_inverse=True), [False, True, True]),
        (lambda x: np.isin(x, [4.0]), [True, False, True]),
        (lambda x: np.linalg.norm(x, np.inf), [False, False, True]),
        (lambda x: np.heaviside(x - 2.5, 0.5), [False, True, True]),
    ],
)
def test_lanes_that_decide_otherwise_are_counted(call: Callable[..., Any], expected: list[bool]) -> None:
    # The last lane puts the largest first; the second one swaps two in the middle; the first keeps all in order.
    moves = [0.0, 0.1, 0.0, 0.1, 0.2], [0.0, 1.5, -0.9, 0.0, 0.0], [0.0, 2.5, 2.6, 0.0, -1.0]
    counted = _counted(call, [0.0, 1.0, 3.0, 4.0, 5.0], *moves)
    np.testing.assert_array_equal(counted, expected)


def test_equal_values_are_a_tie_only_where_they_change_apart() -> None:
    together, apart = [0.1, 0.1, 0.0], [0.1, -0.1, 0.0]
    for call in (np.sort, np.max, np.median, np.unique, lambda x: np.quantile(x, 0.9)):
        np.testing.assert_array_equal(_counted(call, [2.0, 2.0, 1.0], together, apart), [False, True])


@pytest.mark.parametrize(("ties", "expected"), [("first", [0.3, -0.1]), ("second", [-0.1, 0.3]), ("mean", [0.1, 0.1])])
def test_ties_take_one_side_in_all_lanes(ties: Any, expected: list[float]) -> None:
    lanes = Lanes(2, ties=ties)
    change = np.array([[0.3, 0.3], [-0.1, -0.1], [0.2, 0.2]])
    ordered: Any = np.sort(DifferenceArray(Varying(np.array([2.0, 2.0, 1.0]), change, lanes)))
    np.testing.assert_allclose(ordered.change[:, 0], [0.2, *expected])
    assert not lanes.crossings.any()


def test_an_ill_conditioned_or_singular_determinant_is_subtracted() -> None:
    rng = np.random.default_rng(0)
    base = np.outer([1.0, 2.0, 3.0], [1.0, -1.0, 2.0])
    change = 1e-3 * rng.normal(size=(3, 3, 5))
    result: Any = np.linalg.det(DifferenceArray(Varying(base, change, Lanes(5))))
    for lane in range(5):
        np.testing.assert_allclose(result.change[..., lane], np.linalg.det(base + change[..., lane]), rtol=0.0, atol=1e-14)
    lanes = Lanes(5)
    sign, size = np.linalg.slogdet(DifferenceArray(Varying(np.diag([1.0, 1e-4, 2.0]), change, lanes)))
    for lane in range(5):
        own_sign, own = np.linalg.slogdet(np.diag([1.0, 1e-4, 2.0]) + change[..., lane])
        np.testing.assert_allclose(size.plain + size.change[..., lane], own, rtol=1e-12)
        assert (own_sign != sign) == (lanes.crossings[lane] > 0)
    assert lanes.crossings.any()
    assert not lanes.crossings.all()


@pytest.mark.parametrize("count", [1, 63, 64, 65, 4096, 10_001])
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1), (0, 2), (0, 1, 2)])
def test_many_equal_changes_are_added_up_to_the_last_digits(axes: tuple[int, ...], keepdims: bool, count: int) -> None:
    """One after the other, ten thousand of them would lose some thousand."""
    change = np.broadcast_to(np.array([0.1, 0.7, 1e-9]), (count, 2, 3, 3))
    found = summed(change, axes, keepdims=keepdims)
    terms = np.prod([change.shape[axis] for axis in axes])
    assert found.shape == np.sum(change, axis=axes, keepdims=keepdims).shape
    assert np.abs(found / (terms * change[0, 0, 0]) - 1.0).max() < 32 * np.finfo(np.float64).eps


def test_many_changes_are_added_up_along_their_axis() -> None:
    change = np.random.default_rng(0).standard_normal((3, 200, 2, 5))
    for axes in ((0,), (1,), (0, 1), (1, 2)):
        assert np.allclose(summed(change, axes, keepdims=False), np.sum(change, axis=axes), rtol=0.0, atol=1e-13)


def test_many_numbers_are_folded_at_once() -> None:
    """A thousand numbers take as many steps as a thousand has binary digits, and lose no digit of a tiny change."""
    rng = np.random.default_rng(0)
    values, change = rng.normal(size=1000), 1e-9 * rng.normal(size=(1000, 3))
    x = DifferenceArray(Varying(values, change, Lanes(3)))
    total: Any = np.logaddexp.reduce(x)
    running: Any = np.logaddexp.accumulate(x)
    with mpmath.workdps(40):
        exact = _precisely(values)
        for lane in range(3):
            moved = exact + _precisely(change[:, lane])
            expected = float(mpmath.log(mpmath.fsum(map(mpmath.exp, moved)) / mpmath.fsum(map(mpmath.exp, exact))))
            np.testing.assert_allclose(total.change[lane], expected, rtol=1e-12)
            np.testing.assert_allclose(running.change[-1, lane], expected, rtol=1e-12)


# ---- whatever shape ------------------------------------------------------------------------------------------------------


def _assert_follows(call: Callable[..., Any], *values: NDArray[np.float64]) -> None:
    lanes = Lanes(LANES)
    changes = [0.1 * np.random.default_rng(place).normal(size=(*value.shape, LANES)) for place, value in enumerate(values)]
    result = call(*(DifferenceArray(Varying(value, change, lanes)) for value, change in zip(values, changes, strict=True)))
    np.testing.assert_allclose(result.plain, call(*values), rtol=1e-12, atol=1e-12)
    for lane in range(LANES):
        expected = call(*(value + change[..., lane] for value, change in zip(values, changes, strict=True)))
        np.testing.assert_allclose(result.plain + result.change[..., lane], expected, rtol=1e-11, atol=1e-11)


@given(shapes=mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=3))
@settings(max_examples=60, deadline=None)
def test_any_shapes_that_broadcast(shapes: Any) -> None:
    first, second = (np.random.default_rng(3).normal(size=shape) for shape in shapes.input_shapes)
    _assert_follows(lambda x, y: x * y + np.maximum(x, y) - np.where(first > 0.0, x, y), first, second)


@given(shapes=mutually_broadcastable_shapes(signature="(m,n),(n,p)->(m,p)", max_dims=3, max_side=3))
@settings(max_examples=60, deadline=None)
def test_any_stacks_of_matrices(shapes: Any) -> None:
    first, second = (np.random.default_rng(3).normal(size=shape) for shape in shapes.input_shapes)
    _assert_follows(np.matmul, first, second)


@given(data=st.data(), shape=broadcastable_shapes((3, 1, 4, 2), min_dims=1))
@settings(max_examples=80, deadline=None)
def test_any_index_reads_and_writes(data: Any, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(3).normal(size=shape)
    index = data.draw(basic_indices(shape, allow_newaxis=True) | st.just(values > 0.0) | st.just(([0, -1, 0],)))
    _assert_follows(lambda x: x[index] * 2.0, values)

    def write(x: Any) -> Any:
        target = np.copy(x)
        target[index] = 3.0 * x[index]
        return target

    _assert_follows(write, values)


@st.composite
def _subscripts(draw: Any) -> tuple[str, list[tuple[int, ...]]]:
    """Terms of one to three operands, with indices that repeat, and a result of some of them in some order."""
    terms = draw(st.lists(st.text("ijkl", min_size=0, max_size=3), min_size=1, max_size=3))
    sizes = {"i": 2, "j": 3, "k": 1, "l": 2}
    letters = sorted(set("".join(terms)))
    text = ",".join(terms)
    if draw(st.booleans()):
        chosen = draw(st.permutations(letters))
        text += "->" + "".join(chosen[: draw(st.integers(0, len(chosen)))])
    return text, [tuple(sizes[letter] for letter in term) for term in terms]


@given(drawn=_subscripts())
@settings(max_examples=120, deadline=None)
def test_any_subscripts_of_einsum(drawn: tuple[str, list[tuple[int, ...]]]) -> None:
    text, shapes = drawn
    rng = np.random.default_rng(3)
    _assert_follows(lambda *operands: np.einsum(text, *operands), *(rng.normal(size=shape) for shape in shapes))


@given(axes=st.lists(st.integers(-3, 2), min_size=0, max_size=3, unique_by=lambda axis: axis % 3), keepdims=st.booleans())
@settings(max_examples=60, deadline=None)
def test_any_axes_of_reductions(axes: list[int], keepdims: bool) -> None:
    values = np.random.default_rng(3).normal(size=(2, 3, 4)) + 3.0
    axis = tuple(axes)
    for function in (np.sum, np.mean, np.var, np.max, np.min, np.prod, np.median, np.nansum, np.linalg.vector_norm):
        if function in (np.median, np.linalg.vector_norm) and not axis:
            continue
        _assert_follows(lambda x, function=function: function(x, axis=axis, keepdims=keepdims), values)
