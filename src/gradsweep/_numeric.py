"""The numeric gradient, by whichever mode was chosen; and the guard of the mode that does not perturb parameters."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gradsweep._costs._protocol import Chunk, Problem, Run
from gradsweep._errors import InputError, OracleError
from gradsweep._matrices import BlockMatrix
from gradsweep._parameters import format_index
from gradsweep._planning import Plan
from gradsweep._sweep import LayerQuotients, Steps, UnitQuotients, sweep, sweep_units
from gradsweep._types import Array

# Entries of each block that are perturbed on their own where the others are products: enough to see a layer that is wrong.
_GUARDED = 3

# What a product and a quotient of its own may differ by, relative to the terms of the product.
_AGREEMENT = 1e-9


class NumericGradient(Mapping[str, Array]):
    """The numeric gradient by the names of the parameters: read-only arrays, formed when they are asked for.

    Parameters
    ----------
    blocks : mapping of str to BlockMatrix
        Values, or the factors of products.
    """

    def __init__(self, blocks: Mapping[str, BlockMatrix]) -> None:
        self._blocks = dict(blocks)
        self._formed: dict[str, Array] = {}
        # Weights are the caller's, and a product with a penalty needs them once more.
        self._sums = {name: float(block.weights.sum()) for name, block in blocks.items() if block.weights is not None}

    def __getitem__(self, name: str) -> Array:
        """The block's numeric gradient; InputError if it takes weights that were changed after the check."""
        if name not in self._formed:
            block = self._blocks[name]
            if block.weights is not None and float(block.weights.sum()) != self._sums[name]:
                raise InputError(f"{name} has been changed since the check: its penalty's part of the numeric gradient is lost")
            dense = block.matrix.dense
            columns = slice(block.first_column, block.first_column + block.columns)
            values = dense[:, columns] if dense is not None and block.weights is None else block.rows(slice(None))
            values.flags.writeable = False
            self._formed[name] = values
        return self._formed[name]

    def __iter__(self) -> Iterator[str]:
        """Names, in the order of the parameters."""
        return iter(self._blocks)

    def __len__(self) -> int:
        """Number of blocks."""
        return len(self._blocks)

    def __repr__(self) -> str:
        """Names and shapes: the values may not have been formed."""
        return f"NumericGradient({', '.join(self._blocks)})"


def quotients_of(
    problem: Problem, mode: str, steps: Steps, jobs: int | None, layers: Sequence[int]
) -> Mapping[int, LayerQuotients]:
    """Numeric gradient of some layers.

    Parameters
    ----------
    problem : Problem
        The cost.
    mode : str
        ``"sweep"``, ``"batched"`` or ``"neurons"``.
    steps : Steps
        Scheme and steps.
    jobs : int or None
        Workers.
    layers : sequence of int
        Which layers.

    Returns
    -------
    mapping of int to ParameterQuotients or UnitQuotients
        The same bits for any number of workers.
    """
    if mode == "neurons":
        return sweep_units(problem, steps, jobs, layers)
    return sweep(problem, steps, jobs, layers, stacked=mode == "batched")


def differentiate(problem: Problem, plan: Plan, steps: Steps, jobs: int | None, seed: int) -> Mapping[int, LayerQuotients]:
    """Numeric gradient of all layers, by plan.

    Parameters
    ----------
    problem : Problem
        The cost.
    plan : Plan
        The mode, and whether it is worth workers.
    steps : Steps
        Scheme and steps.
    jobs : int or None
        Workers, if so.
    seed : int
        Chooses the entries that guard products.

    Returns
    -------
    mapping of int to ParameterQuotients or UnitQuotients
        By layer.

    Raises
    ------
    OracleError
        An entry of a product is not what it is when that parameter is perturbed on its own.
    """
    layers = range(len(problem.layer_shapes))
    workers = jobs if plan.worth_workers else 1
    if plan.mode != "neurons":
        return quotients_of(problem, plan.mode, steps, workers, layers)
    numeric = sweep_units(problem, steps, workers, layers)
    _guard(problem, numeric, steps, seed)
    return numeric


@dataclass(frozen=True)
class _Guarded:
    """An entry that is perturbed on its own.

    Attributes
    ----------
    name : str
        Name of its block.
    index : tuple of int
        Row and column.
    """

    name: str
    index: tuple[int, int]

    def disagreement(self, block: BlockMatrix, slopes: Array, own: float, steps: Steps) -> str | None:
        """What is to be said if its quotient is not that of its unit for each example, times inputs; else None."""
        assert block.matrix.right is not None
        terms = slopes * block.matrix.right[:, block.first_column + self.index[1]]
        penalty = float(block.slope * block.weights[self.index] + block.constant) if block.weights is not None else 0.0
        product, size = float(terms.sum()) + penalty, float(np.abs(terms).sum()) + abs(penalty)
        # What underflows is no disagreement.
        if abs(product - own) <= _AGREEMENT * max(size, abs(own)) + np.finfo(np.float64).tiny / steps.step:
            return None
        return (
            f"the quotient of {self.name}[{format_index(self.index)}] is {own!r} when it is perturbed on its own, but "
            f"{product!r} from its unit's pre-activations; the check would compare with the wrong gradient"
        )


def _guard(problem: Problem, numeric: Mapping[int, UnitQuotients], steps: Steps, seed: int) -> None:
    """Raise OracleError unless some entries of each block are what they are when their parameter is perturbed on its own."""
    generator = np.random.default_rng(seed)
    blocks = {name: numeric[problem.layer_of(name)].block(name) for name in problem.shapes}
    # One of each layer's weights go through the network together, or of its biases: single lanes would be mostly overhead.
    together: dict[tuple[str, int], list[_Guarded]] = {}
    for name, (rows, columns) in problem.shapes.items():
        for number in range(min(_GUARDED, rows * columns)):
            index = int(generator.integers(rows)), int(generator.integers(columns))
            together.setdefault((name[0], number), []).append(_Guarded(name, index))
    entries = list(itertools.chain.from_iterable(together.values()))
    stacks = (
        itertools.chain.from_iterable(problem.chunk_of(entry.name, entry.index).runs for entry in group)
        for group in together.values()
    )
    own = problem.quotients(Chunk(tuple(map(tuple, stacks))), steps.scheme, steps.step).values[0]
    for entry, quotient in zip(entries, own.tolist(), strict=True):
        slopes = numeric[problem.layer_of(entry.name)].of_unit(entry.index[0])
        if entry.disagreement(blocks[entry.name], slopes, quotient, steps) is not None:
            _guard_finely(problem, entry, blocks[entry.name], steps.shrunk())


def _guard_finely(problem: Problem, entry: _Guarded, block: BlockMatrix, steps: Steps) -> None:
    """The same for one entry with a step so small that it does not matter whether a parameter takes it or a pre-activation.

    Nor is a kink crossed by one and not by the other, but for a kink at the very point, where the two may take different sides.
    """
    row = entry.index[0]
    unit = Chunk(((Run(problem.layer_of(entry.name), row, row + 1),),), examples=(0, problem.examples))
    of_unit = problem.quotients(unit, steps.scheme, steps.step)
    own = problem.quotients(problem.chunk_of(entry.name, entry.index), steps.scheme, steps.step)
    if of_unit.crossings.any() or own.crossings.any():
        return
    finer = problem.penalised(entry.name, block.matrix, steps.scheme, steps.step)
    disagreement = entry.disagreement(finer, of_unit.values[:, 0], float(own.values[0, 0]), steps)
    if disagreement:
        raise OracleError(disagreement)
