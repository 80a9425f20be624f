"""The numeric gradient, by whichever mode was chosen; and the guard of the mode that does not perturb parameters."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gradsweep._costs._protocol import Chunk, Problem, Run
from gradsweep._errors import InputError, OracleError
from gradsweep._lazy_blocks import LazyBlocks
from gradsweep._matrices import BlockMatrix
from gradsweep._monitor import current
from gradsweep._parameters import format_index
from gradsweep._planning import Plan
from gradsweep._schemes import BACKWARD, FORWARD
from gradsweep._sweep import LayerQuotients, Steps, UnitQuotients, sweep, sweep_units
from gradsweep._types import Array

# Entries of each block that are perturbed on their own where the others are products: enough to see a layer that is wrong.
_GUARDED = 3

# What a product and a quotient of its own may differ by, relative to the terms of the product.
_AGREEMENT = 1e-9


class NumericGradient(LazyBlocks):
    """The numeric gradient by the names of the parameters: read-only arrays, formed when they are asked for.

    Parameters
    ----------
    blocks : mapping of str to BlockMatrix
        Values, or the factors of products.
    """

    def __init__(self, blocks: Mapping[str, BlockMatrix]) -> None:
        super().__init__(blocks)
        self._blocks = dict(blocks)
        self._formed: dict[str, Array] = {}
        # Weights are the caller's, and a product with a penalty needs them once more.
        self._digests = {name: _digest(block.weights) for name, block in blocks.items() if block.weights is not None}

    def __getitem__(self, name: str) -> Array:
        """The block's numeric gradient; InputError if it takes weights that were changed after the check."""
        if name not in self._formed:
            block = self._unchanged(name)
            dense = block.matrix.dense
            columns = slice(block.first_column, block.first_column + block.columns)
            values = dense[:, columns] if dense is not None and block.weights is None else block.rows(slice(None))
            values.flags.writeable = False
            self._formed[name] = values
        return self._formed[name]

    def by_rows(self, name: str) -> Callable[[slice], Array]:
        """A block of which some rows can be had without the others being formed; InputError as above."""
        if name in self._formed:
            return self._formed[name].__getitem__
        return self._unchanged(name).rows

    def _unchanged(self, name: str) -> BlockMatrix:
        """The block, unless it takes weights that were changed after the check."""
        block = self._blocks[name]
        if block.weights is not None and not np.isclose(_digest(block.weights), self._digests[name], rtol=1e-9, atol=0.0):
            raise InputError(f"{name} has been changed since the check: its penalty's part of the numeric gradient is lost")
        return block


def _digest(weights: Array) -> float:
    """A number that tells one matrix from another: its product with random vectors on both sides."""
    generator = np.random.default_rng(0)
    left, right = generator.standard_normal(weights.shape[0]), generator.standard_normal(weights.shape[1])
    return float(left @ (weights @ right))


def count_pre_activations(problem: Problem) -> int:
    """Those of all units, of each example."""
    return problem.examples * sum(units for units, _ in problem.layer_shapes)


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


def differentiate(
    problem: Problem, plan: Plan, steps: Steps, jobs: int | None, seed: int
) -> tuple[Mapping[int, LayerQuotients], int]:
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
    quotients : mapping of int to ParameterQuotients or UnitQuotients
        By layer.
    evaluations : int
        Changes of the cost that were computed.

    Raises
    ------
    OracleError
        An entry of a product is not what it is when that parameter is perturbed on its own.
    """
    layers = range(len(problem.layer_shapes))
    workers = jobs if plan.worth_workers else 1
    if plan.mode != "neurons":
        # Of parameters some are of use without the others, when there is an interrupt; of units none.
        with current().counting(sum(rows * columns for rows, columns in problem.layer_shapes)):
            numeric = quotients_of(problem, plan.mode, steps, workers, layers)
        return numeric, sum(layer.evaluations for layer in numeric.values())
    with current().counting(count_pre_activations(problem), partly=False):
        units = sweep_units(problem, steps, workers, layers)
    guarded = _guard(problem, units, steps, seed)
    return units, sum(layer.evaluations for layer in units.values()) + guarded


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

    def terms(self, block: BlockMatrix, slopes: Array) -> tuple[Array, float]:
        """What its quotient is made of: that of its unit times the input, for each example, and that of the penalty."""
        assert block.matrix.right is not None
        penalty = float(block.slope * block.weights[self.index] + block.constant) if block.weights is not None else 0.0
        result: Array = slopes * block.matrix.right[:, block.first_column + self.index[1]]
        return result, penalty


def _guard(problem: Problem, numeric: Mapping[int, UnitQuotients], steps: Steps, seed: int) -> int:
    """Raise OracleError unless some entries of each block are what they are when their parameter is perturbed on its own.

    Returns how many changes of the cost that took.
    """
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
        terms, penalty = entry.terms(blocks[entry.name], slopes)
        gap = abs(float(terms.sum()) + penalty - quotient)
        if gap > _allowed(terms, penalty, quotient, steps):
            _guard_finely(problem, entry, blocks[entry.name], steps, gap)
    return len(entries) * len(steps.scheme.offsets)


def _allowed(terms: Array, penalty: float, own: float, steps: Steps) -> float:
    """How far a quotient may be from the sum of these terms; what underflows is no disagreement."""
    size = float(np.abs(terms).sum()) + abs(penalty)
    return _AGREEMENT * max(size, abs(own)) + float(np.finfo(np.float64).tiny) / steps.step


def _guard_finely(problem: Problem, entry: _Guarded, block: BlockMatrix, steps: Steps, gap: float) -> None:
    """The same for one entry with a step so small that it does not matter whether a parameter takes it or a pre-activation.

    At a kink the two may still take different sides, so there the quotient is held against both of each example. And what
    vanishes with the step, as the coarse `gap` does, is no disagreement.
    """
    finer = steps.shrunk()
    row = entry.index[0]
    unit = Chunk(((Run(problem.layer_of(entry.name), row, row + 1),),), examples=(0, problem.examples))
    own = float(problem.quotients(problem.chunk_of(entry.name, entry.index), finer.scheme, finer.step).values[0, 0])
    penalised = problem.penalised(entry.name, block.matrix, finer.scheme, finer.step)
    sides = []
    for scheme in (finer.scheme, FORWARD, BACKWARD):
        terms, penalty = entry.terms(penalised, problem.quotients(unit, scheme, finer.step).values[:, 0])
        sides.append(terms)
    low, high = (float(side(sides, axis=0).sum()) + penalty for side in (np.min, np.max))
    slack = _allowed(np.max(np.abs(sides), axis=0), penalty, own, finer) + 4.0 * finer.step / steps.step * gap
    if not low - slack <= own <= high + slack:
        raise OracleError(
            f"the quotient of {entry.name}[{format_index(entry.index)}] is {own!r} when it is perturbed on its own, but "
            f"{float(sides[0].sum()) + penalty!r} from its unit's pre-activations; the check would compare with the wrong one"
        )
