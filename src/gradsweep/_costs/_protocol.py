"""What a cost must offer to be checked."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gradsweep._parameters import Precision
from gradsweep._schemes import Scheme
from gradsweep._types import Array


@dataclass(frozen=True)
class Chunk:
    """A run of neighbouring parameters: the unit of work.

    A layer's parameters form one array, its weights with the bias as last column, and are counted row by row.

    Attributes
    ----------
    layer : int
        Layer, counted from 0.
    start, stop : int
        The first parameter, and the first that is not included.
    """

    layer: int
    start: int
    stop: int


@dataclass(frozen=True)
class Quotients:
    """Difference quotients of the parameters of a chunk.

    Attributes
    ----------
    values : array of shape (parameters,)
        The scheme's quotient.
    crossings : array of shape (parameters,)
        How many kinks each parameter's steps crossed.
    """

    values: Array
    crossings: Array


class Problem(Protocol):
    """A cost with its parameters: what `_checking` works with."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Name and shape of every block, in order."""

    @property
    def precision(self) -> Precision:
        """Of the least precise of the parameters."""

    @property
    def largest_input(self) -> float:
        """Largest absolute value that a parameter is multiplied with."""

    @property
    def layer_shapes(self) -> Sequence[tuple[int, int]]:
        """Shape of each layer's array."""

    @property
    def work(self) -> int:
        """Changes of an activation that one step of every parameter costs."""

    def chunks(self, work: int, layers: Iterable[int]) -> Iterator[Chunk]:
        """Chunks that cover every parameter of some layers once, each of about this much work, generated in order."""

    def chunk_of(self, name: str, index: tuple[int, int]) -> Chunk:
        """The chunk that holds just one entry of a block."""

    def quotients(self, chunk: Chunk, scheme: Scheme, step: float) -> Quotients:
        """Difference quotients of a chunk; may run in another thread or process."""

    def blocks(self, layer: int, values: Array) -> Mapping[str, Array]:
        """Views of a layer's array by the names of its blocks."""

    def rounding(self, name: str, rows: slice, precision: Precision) -> Array:
        """Rounding that a gradient computed in this precision may carry, for some rows of a block."""

    def subgradients(self, layer: int) -> tuple[Array, Array]:
        """Bounds on a layer's gradient, whatever a backward pass takes for the slope at each kink."""

    def conventions(self, layer: int) -> list[Array]:
        """What the usual backward passes give, which take the same slope at all kinks."""


class Cost(Protocol):
    """What ``Network.cost`` returns: a cost that can be called, and that knows how it is checked."""

    def __call__(self, params: Mapping[str, Any]) -> float:
        """Plain value of the cost."""

    def prepare(self, params: Mapping[str, Any], seed: int) -> Problem:
        """Check the parameters, run the base pass, and hold the fast path against the plain cost."""


PlainCost = Callable[[dict[str, Any]], Any]
