"""Which mistakes a check finds, and how often it rejects what is right, beside other checkers: python benchmarks/mistakes.py.

The models and labelled mistakes of tests/mutations: each mistake once, each right version ten times, with other shapes and
numbers. A check accepts a gradient or does not. A mistake that is accepted is a miss, a right version that is not accepted a
false alarm. All checkers are at their default settings and given the same cost and gradient in NumPy.

That gradsweep misses none is no estimate of anything: its tests demand it of these very mistakes. And what torch and jax let pass
of the kinds "guard" and "precision" is mostly within the tolerances that they choose.
"""

import hardware

if __name__ == "__main__":
    hardware.take_one_core()

import importlib.util
import os
import pathlib
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

# The models are the tests' own: they are written down once. As a program this file finds them nowhere else, and before itself.
sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests"))

import numpy as np
from models._model import Case
from mutations import MODELS
from mutations._mistake import Model
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

import gradsweep
from gradsweep._trees import read_tree

Array = NDArray[np.float64]

# Draws of each right version.
RIGHT = 10

# The post's step and limit.
_STEP, _LIMIT = 1e-7, 1e-7

# What scipy's number, the norm of the difference, may be of the gradient's norm. It leaves a limit to its caller, and an absolute
# one would ask for another precision of each cost.
_SCIPY_LIMIT = 1e-6


class _Blocks:
    """A case whose parameters and gradient are lists of arrays, as given, without a look at shapes."""

    def __init__(self, case: Case) -> None:
        self._case, self._tree = case, read_tree(case.params)
        self.params = [np.array(block) for block in self._tree.arrays(self._tree.values)]

    def cost(self, blocks: Sequence[Any]) -> float:
        return float(np.asarray(self._case.cost(self._build(blocks))).item())

    def gradient(self, blocks: Sequence[Any]) -> list[Array]:
        return list(_along(self._case.params, self._case.gradient(self._build(blocks))))

    def _build(self, blocks: Sequence[Any]) -> Any:
        return self._tree.build([np.array(block, dtype=np.float64) for block in blocks])

    # What takes a vector gets all parameters as one.

    @property
    def vector(self) -> Array:
        return _joined(self.params)

    def cost_of_vector(self, vector: Array) -> float:
        return self.cost(self._split(vector))

    def gradient_of_vector(self, vector: Array) -> Array:
        return _joined(self.gradient(self._split(vector)))

    def _split(self, vector: Array) -> list[Array]:
        ends = np.cumsum([block.size for block in self.params])[:-1]
        return [part.reshape(block.shape) for part, block in zip(np.split(vector, ends), self.params, strict=True)]


def _along(params: Any, gradient: Any) -> Iterable[Array]:
    """The arrays of a gradient in the order of the parameters' structure, copied, since they may be buffers."""
    if isinstance(params, dict):
        for name, value in params.items():
            yield from _along(value, gradient[name])
    elif isinstance(params, list | tuple):
        for value, own in zip(params, gradient, strict=True):
            yield from _along(value, own)
    else:
        yield np.array(gradient, dtype=np.float64)


def _joined(blocks: Sequence[Array]) -> Array:
    return np.concatenate([block.ravel() for block in blocks])


# Checkers ----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Checker:
    """A way to check a gradient.

    Attributes
    ----------
    name : str
        As a table shows it.
    accepts : callable
        Case in, whether it says that the gradient is right out. May raise whatever it raises of what is no gradient.
    needs : str
        Module that must be installed.
    """

    name: str
    accepts: Callable[[Case], bool]
    needs: str

    @property
    def installed(self) -> bool:
        """Whether it can be used here."""
        return importlib.util.find_spec(self.needs) is not None


def _gradsweep_accepts(case: Case) -> bool:
    # What is inconclusive is not accepted, and of a right version a false alarm.
    return gradsweep.check(case.cost, case.params, case.gradient).ok


def _formula_3_accepts(case: Case) -> bool:
    """The post's loop: formula 3 over all parameters as one vector."""
    blocks = _Blocks(case)
    point = blocks.vector
    numeric = np.zeros_like(point)
    for place in range(len(point)):
        costs = []
        for step in (_STEP, -_STEP):
            moved = point.copy()
            moved[place] += step
            costs.append(blocks.cost_of_vector(moved))
        numeric[place] = (costs[0] - costs[1]) / (2 * _STEP)
    gradient = blocks.gradient_of_vector(point)
    difference = np.linalg.norm(gradient - numeric) / (np.linalg.norm(gradient) + np.linalg.norm(numeric))
    # As the post asks, so that NaN is accepted.
    return not difference > _LIMIT


def _scipy_accepts(case: Case) -> bool:
    from scipy import optimize

    blocks = _Blocks(case)
    error = optimize.check_grad(blocks.cost_of_vector, blocks.gradient_of_vector, blocks.vector)
    return bool(error <= _SCIPY_LIMIT * np.linalg.norm(blocks.gradient_of_vector(blocks.vector)))


def _torch_accepts(case: Case) -> bool:
    import torch
    from torch.autograd.gradcheck import GradcheckError

    torch.set_num_threads(1)
    blocks = _Blocks(case)

    def forward(context: Any, *tensors: Any) -> Any:
        context.save_for_backward(*tensors)
        return torch.tensor(blocks.cost([tensor.detach().numpy() for tensor in tensors]), dtype=torch.float64)

    def backward(context: Any, error: Any) -> Any:
        gradient = blocks.gradient([tensor.detach().numpy() for tensor in context.saved_tensors])
        return tuple(error * torch.tensor(block) for block in gradient)

    # Not a class statement, which type checkers refuse: without torch its base has no type.
    methods = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    function: Any = type("HandWritten", (torch.autograd.Function,), methods)
    tensors = tuple(torch.tensor(block, requires_grad=True) for block in blocks.params)
    try:
        return bool(torch.autograd.gradcheck(function.apply, tensors, fast_mode=True))
    except GradcheckError:
        return False


def _jax_accepts(case: Case) -> bool:
    # Read when XLA starts.
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
    import jax
    from jax.test_util import check_grads

    jax.config.update("jax_enable_x64", True)
    # A callback that reads its arguments waits for the only thread, which waits for the callback.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    blocks = _Blocks(case)
    number = jax.ShapeDtypeStruct((), np.float64)
    shapes = tuple(jax.ShapeDtypeStruct(block.shape, np.float64) for block in blocks.params)

    def value(*arrays: Any) -> Any:
        return jax.pure_callback(lambda *given: np.float64(blocks.cost(given)), number, *arrays)

    def forward(*arrays: Any) -> Any:
        return value(*arrays), arrays

    def backward(arrays: Any, error: Any) -> Any:
        gradient = jax.pure_callback(lambda *given: tuple(blocks.gradient(given)), shapes, *arrays)
        return tuple(error * block for block in gradient)

    function = jax.custom_vjp(value)
    function.defvjp(forward, backward)
    try:
        check_grads(function, tuple(blocks.params), order=1, modes=["rev"])
    except AssertionError:
        return False
    return True


CHECKERS = (
    Checker("gradsweep", _gradsweep_accepts, "gradsweep"),
    Checker("torch gradcheck, fast mode", _torch_accepts, "torch"),
    Checker("jax check_grads", _jax_accepts, "jax"),
    Checker("textbook, formula 3", _formula_3_accepts, "numpy"),
    Checker("scipy check_grad", _scipy_accepts, "scipy"),
)


# Counting ----------------------------------------------------------------------------------------------------------------------


@dataclass
class Count:
    """What a checker made of some mistakes and right versions.

    Attributes
    ----------
    mistakes, misses, right, alarms : int
        How many there were, and how many of them were misjudged.
    """

    mistakes: int = 0
    misses: int = 0
    right: int = 0
    alarms: int = 0

    def add(self, other: "Count") -> None:
        """Take in another one."""
        self.mistakes += other.mistakes
        self.misses += other.misses
        self.right += other.right
        self.alarms += other.alarms


@dataclass
class Outcome:
    """What a checker made of all models.

    Attributes
    ----------
    families, kinds : dict of str to Count
        By family of the model, and by kind of the mistake.
    missed, alarms : list of str
        Names of the mistakes that were accepted, and of the right versions, with their seeds, that were not.
    """

    families: dict[str, Count] = field(default_factory=dict)
    kinds: dict[str, Count] = field(default_factory=dict)
    missed: list[str] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)

    @property
    def total(self) -> Count:
        """Over all families."""
        total = Count()
        for count in self.families.values():
            total.add(count)
        return total


def judge(checker: Checker, models: Sequence[Model], right: int = RIGHT) -> Outcome:
    """Run a checker on the mistakes of some models, and on so many draws of their right versions."""
    outcome = Outcome()
    with threadpool_limits(limits=1):
        for model in models:
            family = outcome.families.setdefault(model.family, Count())
            for mistake in model.mistakes:
                missed = _accepts(checker, model.write(0, mistake.name), refusable=mistake.raises)
                own = Count(mistakes=1, misses=int(missed))
                family.add(own)
                outcome.kinds.setdefault(mistake.kind, Count()).add(own)
                outcome.missed += [f"{model.name}: {mistake.name}"] if missed else []
            for seed in range(right):
                alarm = not _accepts(checker, model.write(seed, ""), refusable=False)
                family.add(Count(right=1, alarms=int(alarm)))
                outcome.alarms += [f"{model.name}: seed {seed}"] if alarm else []
    return outcome


def _accepts(checker: Checker, case: Case, *, refusable: bool) -> bool:
    """Whether a checker accepts a gradient; of what is no gradient, any error is as good as a verdict."""
    try:
        return checker.accepts(case)
    except Exception:
        if not refusable:
            raise
        return False


def table(title: str, outcomes: dict[str, Outcome], rows: Callable[[Outcome], dict[str, Count]]) -> Table:
    """Misses, and false alarms where right versions are counted, of each checker: a row for each name, and one for all."""
    result = Table(title=title)
    result.add_column("")
    for name in outcomes:
        result.add_column(name, justify="right")
    for name in next(map(rows, outcomes.values())):
        result.add_row(name, *(_cell(rows(outcome)[name]) for outcome in outcomes.values()))
    result.add_section()
    result.add_row("all", *(_cell(outcome.total) for outcome in outcomes.values()))
    return result


def _cell(count: Count) -> str:
    alarms = f"; {count.alarms} of {count.right}" if count.right else ""
    return f"{count.misses} of {count.mistakes}{alarms}"


def main() -> None:
    """Print the tables, and what was misjudged."""
    console = Console(width=160)
    outcomes = {}
    for checker in CHECKERS:
        if checker.installed:
            print(checker.name, file=sys.stderr, flush=True)
            outcomes[checker.name] = judge(checker, MODELS)
    packages = [checker.needs for checker in CHECKERS if checker.needs != "gradsweep"]
    console.print(f"{hardware.processor()}; {hardware.versions(*packages)}.")
    if missing := [checker.name for checker in CHECKERS if not checker.installed]:
        console.print(f"Not installed: {', '.join(missing)}.")
    console.print(table("Misses; false alarms, by family", outcomes, lambda outcome: outcome.families))
    console.print(table("Misses, by kind", outcomes, lambda outcome: outcome.kinds))
    for name, outcome in outcomes.items():
        console.print(
            f"{name} missed: {'; '.join(outcome.missed) or 'none'}. False alarms: {'; '.join(outcome.alarms) or 'none'}."
        )


if __name__ == "__main__":
    main()
