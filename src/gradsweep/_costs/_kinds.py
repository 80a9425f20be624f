"""The kinds of cost that are functions: what the caller gave, and how it is evaluated."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gradsweep._costs._batched_function import BatchedCost, BatchedEvaluator
from gradsweep._costs._compiled_function import CompiledCost, CompiledEvaluator, is_compiled
from gradsweep._costs._evaluation import Evaluator
from gradsweep._costs._functions import Function
from gradsweep._costs._live import LiveFunction
from gradsweep._costs._plain_function import PlainEvaluator
from gradsweep._errors import InputError
from gradsweep._trees import Tree


@dataclass(frozen=True, eq=False)
class PlainCost:
    """What `gradsweep.plain` makes of a function.

    Attributes
    ----------
    function : callable
        The user's.
    """

    function: Callable[[Any], Any]

    def __call__(self, params: Any) -> Any:
        """What the function returns."""
        return self.function(params)


def as_function(cost: Any) -> Function:
    """A cost that is a function of parameters, ready to be looked at; InputError if it is none."""
    if isinstance(cost, Function):
        return cost
    if isinstance(cost, PlainCost):
        if isinstance(cost.function, LiveFunction):
            return Function(cost.function, propagates=False, within=cost.function.within, evaluator=_live)
        return Function(cost.function, propagates=False)
    if isinstance(cost, BatchedCost):
        return Function(cost, propagates=False, evaluator=BatchedEvaluator)
    if isinstance(cost, LiveFunction):
        return Function(cost, traced=cost.rebound, objection=cost.objection, within=cost.within, evaluator=_live)
    if is_compiled(cost):
        return Function(CompiledCost(cost), propagates=False, evaluator=CompiledEvaluator)
    if not callable(cost):
        raise InputError(f"cost is of type {type(cost).__name__}, but must be a function of params, or Network(...).cost(X, Y)")
    return Function(cost)


def _live(cost: LiveFunction, tree: Tree, jobs: int | None) -> Evaluator:
    evaluator = PlainEvaluator(cost, tree, jobs)
    evaluator.types = cost.types()
    return evaluator
