"""Entries of what is computed element by element: where few are taken of it, only these are computed.

The probabilities of the labels are all that most losses need of a softmax.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from gradsweep._differences import _structure
from gradsweep._differences._known_elements import SMOOTH, Change, base_of, elements, kept_infinite, spread
from gradsweep._differences._lanes import Lanes
from gradsweep._differences._recording import Node, Step
from gradsweep._differences._slab import Slab
from gradsweep._differences._varying import Varying
from gradsweep._types import Array


@dataclass(eq=False)
class Selection:
    """Entries that are taken of what smooth functions of elements gave, which are then computed of these entries alone.

    Attributes
    ----------
    run : callable
        Changes of the entries, of those of `nodes`.
    nodes : list of Node
        What the functions are computed of.
    steps : list of Step
        The functions, which are not needed apart from this.
    """

    run: Callable[[Lanes, Sequence[Change]], Change]
    nodes: list[Node]
    steps: list[Step]


def selection(step: Step, makers: Mapping[int, Step], uses: Mapping[int, int]) -> Selection | None:
    """The same change of what is taken, if few entries are taken of what smooth functions gave and nobody else needs.

    Parameters
    ----------
    step : Step
        Takes entries of a value.
    makers : mapping of int to Step
        Steps by the numbers of the nodes that they made.
    uses : mapping of int to int
        In how many steps each node is used.

    Returns
    -------
    Selection or None
        None if it is computed as a whole.
    """
    node, index = step.args[0], step.args[1]
    if type(step.result) is not Node or 2 * step.result.base.size > node.base.size:
        return None
    made = Selection(lambda lanes, changes: None, [], [])
    source = _selected(node, node.base.shape, index, (makers, uses), made)
    if not made.steps:
        return None
    made.run = lambda lanes, changes: source(
        lanes, {each.number: change for each, change in zip(made.nodes, changes, strict=True)}
    )
    return made


#: Change of some entries, of the changes of nodes by their numbers.
_OfEntries: TypeAlias = Callable[[Lanes, Mapping[int, Change]], Change]


def _selected(
    node: Node, shape: tuple[int, ...], index: Any, graph: tuple[Mapping[int, Step], Mapping[int, int]], made: Selection
) -> _OfEntries:
    """Change of the entries that an index takes of a value, broadcast to a shape."""
    makers, uses = graph
    maker = makers.get(node.number)
    smooth = maker is not None and maker.key in SMOOTH and maker.slot is None and not maker.args[1]
    if maker is not None and smooth and uses[node.number] == 1 and node.base.shape == shape and node.base.dtype.kind == "f":
        operands = maker.args[0]
        taken = [np.array(np.broadcast_to(base_of(each), shape)[index]) for each in operands]
        value = np.asarray(node.base[index])
        given = [Node(-1, base) if type(each) is Node else base for each, base in zip(operands, taken, strict=True)]
        run = None if any(base.dtype.kind not in "fiub" for base in taken) else elements(maker.key, given, value)
        if run is not None:
            own = kept_infinite(run, value) if np.isinf(value).any() else run
            made.steps.append(maker)
            sources = [_selected(each, shape, index, graph, made) if type(each) is Node else None for each in operands]

            def of_function(lanes: Lanes, changes: Mapping[int, Change]) -> Change:
                parts = [None if source is None else source(lanes, changes) for source in sources]
                return None if all(part is None for part in parts) else own(lanes, parts)

            return of_function
    if all(each is not node for each in made.nodes):
        made.nodes.append(node)
    whole, spelled = np.broadcast_to(node.base, shape), _structure.index_with_lanes(index)

    def of_node(lanes: Lanes, changes: Mapping[int, Change]) -> Change:
        change = changes[node.number]
        if change is None:
            return None
        change = spread(change, shape)
        if isinstance(change, Slab):
            return _structure.take(Varying(whole, change, lanes), index).change
        part: Array = change[spelled]
        return part

    return of_node
