"""What a cost must offer to be checked."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradsweep._matrices import BlockMatrix, Matrix
from gradsweep._parameters import Precision
from gradsweep._schemes import Scheme
from gradsweep._types import Array

# Neighbouring parameters that are looked at again together, even if some between them need not be.
_GAP = 64


@dataclass(frozen=True)
class Run:
    """Neighbouring parameters of a layer.

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

    @property
    def size(self) -> int:
        """Number of parameters."""
        return self.stop - self.start


@dataclass(frozen=True)
class Chunk:
    """The unit of work: some stacks of perturbations.

    Attributes
    ----------
    stacks : tuple of tuple of Run
        The runs of each stack, by layer; what is perturbed in one stack goes through the network together.
    examples : tuple of int, optional
        If given, each unit's pre-activation is perturbed in the place of parameters, for each example on its own, from the first
        of these on to the second, which is not included. Units are counted as parameters are.
    """

    stacks: tuple[tuple[Run, ...], ...]
    examples: tuple[int, int] | None = None

    @property
    def runs(self) -> Iterator[Run]:
        """All runs, in order."""
        return itertools.chain.from_iterable(self.stacks)

    @property
    def size(self) -> int:
        """Number of parameters."""
        return sum(run.size for run in self.runs)

    def narrow(self, positions: NDArray[np.int64]) -> tuple["Chunk", NDArray[np.int64]]:
        """A chunk of some of the parameters, and of few between them.

        Parameters
        ----------
        positions : array of int of shape (parameters,)
            Which, counted through all runs; ascending, at least one.

        Returns
        -------
        chunk : Chunk
            A stack for each stretch.
        positions : array of int
            Where its parameters are in this chunk.
        """
        stacks, places = [], []
        begin = 0
        for run in self.runs:
            own = positions[(positions >= begin) & (positions < begin + run.size)]
            if len(own):
                breaks = np.flatnonzero(np.diff(own) > _GAP)
                starts = own[np.concatenate([[0], breaks + 1])]
                stops = own[np.concatenate([breaks, [len(own) - 1]])] + 1
                for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
                    offset = run.start - begin
                    stacks.append((Run(run.layer, start + offset, stop + offset),))
                    places.append(np.arange(start, stop))
            begin += run.size
        return Chunk(tuple(stacks), self.examples), np.concatenate(places)


@dataclass(frozen=True)
class Quotients:
    """Difference quotients of the parameters of a chunk.

    Attributes
    ----------
    values : array of shape (rows, parameters)
        The scheme's quotient: in one row, or for each of the chunk's examples.
    crossings : array of the same shape
        How many kinks each parameter's steps crossed.
    """

    values: Array
    crossings: Array


@dataclass(frozen=True)
class Workload:
    """How much work a mode is, counted in what it does over and over.

    Attributes
    ----------
    changes : float
        Changes of an activation, or of a loss.
    products : float
        Multiplications and additions of matrix products over lanes.
    rows : float
        Rows of lanes, each of which is some overhead however short it is.
    chunks : float
        Calls of a kernel.
    comparisons : float
        Entries of the gradient times the terms of the products that they are compared with.
    weights : float
        Weights of the network: each is read by some plain passes, in any mode.
    layers : int
        Layers.
    """

    changes: float
    products: float
    rows: float
    chunks: float
    comparisons: float
    weights: float
    layers: int


class Problem(Protocol):
    """A cost with its parameters: what `_checking` works with."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, int]]:
        """Name and shape of every block, in order."""

    @property
    def precision(self) -> Precision:
        """Of the least precise of the parameters."""

    @property
    def largest_input(self) -> float:
        """Largest absolute value that a parameter is multiplied with."""

    @property
    def examples(self) -> int:
        """Number of examples."""

    @property
    def layer_shapes(self) -> Sequence[tuple[int, int]]:
        """Shape of each layer's array: its weights with the bias as last column."""

    def layer_of(self, name: str) -> int:
        """Layer that a block belongs to."""

    def parameter(self, name: str) -> Array:
        """The parameters of a block: an array of its shape, not to be written to."""

    def chunks(self, steps: int, layers: Iterable[int], *, stacked: bool = False, units: bool = False) -> Iterator[Chunk]:
        """Chunks that cover every parameter, or every unit, of some layers once, generated in order."""

    def workload(self, steps: int, step: float, *, stacked: bool = False, units: bool = False) -> Workload:
        """How much work these chunks are."""

    def work(self, layer: int) -> float:
        """How much work a perturbed parameter, or unit, of a layer is for each example, in any unit."""

    def chunk_of(self, name: str, index: tuple[int, int]) -> Chunk:
        """The chunk that holds just one entry of a block."""

    def quotients(self, chunk: Chunk, scheme: Scheme, step: float) -> Quotients:
        """Difference quotients of a chunk; may run in another thread or process."""

    def along(self, products: Sequence[tuple[int, Array]], scheme: Scheme, step: float) -> Quotients:
        """Difference quotients along directions, given by layer and by their products with its inputs; without the penalty."""

    def penalty_along(self, name: str, scheme: Scheme, step: float, product: Callable[[Array], float]) -> float:
        """Quotient of the penalty along a direction in a block, of which its product with the weights is asked for."""

    def block(self, name: str, matrix: Matrix) -> BlockMatrix:
        """The part of a layer's array that is one block."""

    def penalised(self, name: str, matrix: Matrix, scheme: Scheme, step: float) -> BlockMatrix:
        """The same with the quotient of the penalty added, which quotients of single units lack."""

    def inputs(self, layer: int) -> Array:
        """What a layer's parameters are multiplied with: array of shape (examples, inputs + 1)."""

    def split_inputs(self, layer: int) -> Array:
        """The same, positive inputs of all examples first, then negative ones: array of shape (2 * examples, inputs + 1)."""

    def rounding(self, name: str, precision: Precision, least: float) -> BlockMatrix:
        """Rounding that a gradient computed in this precision, and the quotients, may carry in a block."""

    def subgradients(self, name: str) -> tuple[BlockMatrix, BlockMatrix]:
        """Bounds on a block's gradient, whatever a backward pass takes for the slope at each kink."""

    def conventions(self, name: str) -> list[BlockMatrix]:
        """What the usual backward passes give for a block, which take the same slope at all kinks."""


#: A cost of the parameters of a network, as a caller writes it.
CostFunction: TypeAlias = Callable[[dict[str, Any]], Any]
