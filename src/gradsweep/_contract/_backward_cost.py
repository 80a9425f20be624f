"""The cost whose gradient a backward pass is: the sum of its outputs, each entry times that of a fixed cotangent."""

import copy
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gradsweep._checking import check
from gradsweep._contract._layers import Layer, copy_of, like
from gradsweep._errors import InputError
from gradsweep._report import Report
from gradsweep._second_point import DISPLACEMENTS, displaced_tree
from gradsweep._trees import read_tree
from gradsweep.functions import in_place

# Where parameters that the layer holds stand beside its inputs, and inputs that have no names.
_HELD, _POSITIONAL = "parameters", "inputs"

_NEARBY = " at a second point, near the given one, where it is the same as there"


class BackwardCost:
    """Such a cost of some of a layer's inputs, and its gradient by the backward pass.

    Parameters
    ----------
    layer : Layer
        Which.
    cotangents : sequence
        One for each output.
    names : sequence of str
        Of inputs, and of parameters that are held: of others there is no gradient.
    """

    def __init__(self, layer: Layer, cotangents: Sequence[Any], names: Sequence[str]) -> None:
        self._layer, self._cotangents = layer, cotangents
        self._places = [place for place, each in enumerate(layer.inputs) if each.name in names]

    def check(self, seed: int, *, with_held: bool) -> tuple[Report, str]:
        """Check the backward pass; with what the layer holds, that is written into its arrays.

        Parameters
        ----------
        seed : int
            As of `gradsweep.check`.
        with_held : bool
            Whether parameters that the layer holds are checked, too.

        Returns
        -------
        report : Report
            The report. Blocks are called as the inputs are, and ``parameters.w``.
        where : str
            Empty, or that it is of a second point.

        Raises
        ------
        InputError, OracleError
            As of `gradsweep.check`.
        """
        point = self._structure(self._layer.copies())
        cost: Callable[[Any], Any] = self._cost
        gradient: Callable[[Any], Any] = self._gradient
        if with_held:
            if _HELD in point:
                raise InputError(f"inputs: {_HELD!r} cannot be the name of an input where parameters are held, too")
            # The layer reads its parameters where they are, and the inputs are put beside them to be changed alike.
            point[_HELD] = self._layer.held.live
            cost = in_place(functools.partial(self._cost, point), point)
            gradient = in_place(functools.partial(self._gradient_with_held, point), point)
        report = check(cost, point, gradient, seed=seed)
        if not report.ok or report.displaced is not None:
            return report, ""
        # A gradient that is the same elsewhere is not looked at there: that of a linear layer, or of one that kept an old state.
        elsewhere = _check_nearby(cost, point, gradient, seed)
        return (report, "") if elsewhere is None or elsewhere.verdict != "fail" else (elsewhere, _NEARBY)

    def _structure(self, values: Sequence[Any]) -> dict[str, Any]:
        """Something of each input, in the structure of the parameters of the cost."""
        if self._layer.named:
            return {self._layer.inputs[place].name: values[place] for place in self._places}
        own = [values[place] if place in self._places else None for place in range(len(values))]
        return {_POSITIONAL: own} if self._places else {}

    def _inputs(self, params: Any) -> list[Any]:
        """Inputs of the layer, those that are no parameters as they were given."""
        result = self._layer.copies()
        for place in self._places:
            value = params[self._layer.inputs[place].name] if self._layer.named else params[_POSITIONAL][place]
            # That a pass writes into its inputs is for another clause to say.
            result[place] = copy_of(value)
        return result

    def _cost(self, params: Any) -> Any:
        outputs, _, _ = self._layer.calling.outputs(self._layer.call_forward(self._inputs(params)))
        terms = [np.sum(cotangent * output) for cotangent, output in zip(self._cotangents, outputs, strict=True)]
        return functools.reduce(lambda one, other: one + other, terms)

    def _gradient(self, params: Any) -> Any:
        self._layer.held.fill(np.zeros)
        inputs = self._inputs(params)
        outputs, cache, nested = self._layer.calling.outputs(self._layer.call_forward(inputs))
        cotangents = [like(cotangent, output) for cotangent, output in zip(self._cotangents, outputs, strict=True)]
        result = self._layer.call_backward(inputs, cache, cotangents, nested=nested)
        returned, _ = self._layer.read_gradients(result)
        return self._structure([returned.get(each.name) for each in self._layer.inputs])

    def _gradient_with_held(self, params: Any) -> Any:
        return {**self._gradient(params), _HELD: self._layer.held.buffers()}


def _check_nearby(cost: Callable[[Any], Any], point: Any, gradient: Callable[[Any], Any], seed: int) -> Report | None:
    """Check a gradient at a point so near that it should be one of its domain; None if it is not."""
    tree = displaced_tree(read_tree(point), DISPLACEMENTS[-1], np.random.default_rng(seed))
    other = tree.build(tree.typed_arrays())
    try:
        cost(other)
        values = copy.deepcopy(gradient(other))
    except Exception:  # whatever a user's code says of inputs that it does not take
        return None
    try:
        return check(cost, other, values, seed=seed)
    except InputError:  # no finite number
        return None
