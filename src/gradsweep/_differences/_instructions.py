"""What a program does: the steps of a record that its result depends on, each ready to be done on changes alone."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from gradsweep._differences._few_entries import selection
from gradsweep._differences._known_elements import Change
from gradsweep._differences._lanes import Lanes
from gradsweep._differences._recording import ADD, RESET, VIEW, WRITE, Extent, Node, Recording, Slot, Step
from gradsweep._differences._shortcuts import CALM, shortcut
from gradsweep._differences._slab import Slab
from gradsweep._differences._structure import index_with_lanes
from gradsweep._differences._varying import Varying
from gradsweep._types import Array

# What memory is: changes of its own, or, as long as it was not written to in part, those of the value that it holds.
_Held: TypeAlias = "Written | Array | Slab | None"


class Written:
    """Memory that was written to in part: changes of all of its numbers."""

    __slots__ = ("numbers",)

    def __init__(self, numbers: Array) -> None:
        self.numbers = numbers

    def view(self, extent: Extent) -> Array:
        """The changes of a view, written through to them."""
        size = self.numbers.itemsize * self.numbers.shape[1]
        strides = (*(stride * size for stride in extent.strides), self.numbers.itemsize)
        shape = (*extent.shape, self.numbers.shape[1])
        return np.ndarray(shape, self.numbers.dtype, self.numbers, extent.offset * size, strides)


@dataclass(eq=False)
class Instruction:
    """A step, ready to be done.

    Attributes
    ----------
    step : Step
        As it was recorded.
    run : callable
        ``run(lanes, changes) -> change``, of the nodes in `inputs`; of memory ``run(lanes, held, changes)``.
    inputs, outputs : list of int
        Numbers of nodes.
    is_selection : bool
        Whether it stands for functions of elements as well, of which it takes few entries.
    """

    step: Step
    run: Callable[..., Any]
    inputs: list[int]
    outputs: list[int]
    is_selection: bool = False

    @property
    def reads(self) -> list[int]:
        """Numbers of all nodes that it needs, what memory held first among them."""
        slot = self.step.slot
        return [*self.inputs, *([slot.first.number] if slot is not None and slot.first is not None else [])]


# ---- what is needed ------------------------------------------------------------------------------------------------------


def needed(recording: Recording, result: Node | None) -> list[Step]:
    """The steps that the result depends on, or that may count a crossing."""
    made = {node.number: step for step in recording.steps for node in step.made}
    writes: dict[int, list[Step]] = {}
    for step in recording.steps:
        if step.slot is not None and step.key != VIEW:
            writes.setdefault(step.slot.number, []).append(step)
    open_steps = [step for step in recording.steps if step.slot is None and step.key not in CALM]
    if result is not None and result.number in made:
        open_steps.append(made[result.number])
    needed: set[int] = set()
    while open_steps:
        step = open_steps.pop()
        if id(step) in needed:
            continue
        needed.add(id(step))
        for node in step.taken:
            if node.number in made:
                open_steps.append(made[node.number])
        if step.slot is not None:
            open_steps += writes.pop(step.slot.number, [])
            if step.slot.first is not None and step.slot.first.number in made:
                open_steps.append(made[step.slot.first.number])
    return [step for step in recording.steps if id(step) in needed]


# ---- instructions --------------------------------------------------------------------------------------------------------


def instructions(steps: Sequence[Step], result: Node | None) -> list[Instruction]:
    """What is done, in order; functions of elements of which few are taken are computed where these are taken."""
    makers = {node.number: step for step in steps for node in step.made}
    uses = Counter(number for step in steps for number in {node.number for node in step.taken})
    uses.update([] if result is None else [result.number])
    # Memory that is written to in part may hold something else by then.
    may_move = all(step.key not in (WRITE, ADD) for step in steps)
    done: set[int] = set()
    ready = []
    for step in reversed(steps):
        found = selection(step, makers, uses) if may_move and step.key == "take" else None
        if id(step) not in done and found is not None:
            done.update(id(each) for each in found.steps)
            numbers = [node.number for node in found.nodes]
            outputs = [node.number for node in step.made]
            ready.append(Instruction(step, found.run, numbers, outputs, is_selection=True))
        elif id(step) not in done:
            ready.append(_instruction(step))
    return ready[::-1]


def _instruction(step: Step) -> Instruction:
    nodes = list({node.number: node for node in step.taken}.values())
    outputs = [node.number for node in step.made]
    if step.slot is not None:
        return Instruction(step, _ON_MEMORY[step.key](step, step.slot), [node.number for node in nodes], outputs)
    run = shortcut(step, nodes) or _again(step, nodes)
    return Instruction(step, run, [node.number for node in nodes], outputs)


def _again(step: Step, nodes: Sequence[Node]) -> Callable[[Lanes, Sequence[Change]], Any]:
    """Do a step as it was done, values and all."""
    places = {node.number: place for place, node in enumerate(nodes)}
    single = type(step.result) is Node

    def run(lanes: Lanes, changes: Sequence[Change]) -> Any:
        own = {number: changes[place] for number, place in places.items()}
        result = step.call(*_given(step.args, own, lanes), **_given(step.options, own, lanes))
        if single:
            return result.change if isinstance(result, Varying) else None
        return list(_changes(step.result, result))

    return run


def _given(value: Any, changes: Mapping[int, Change], lanes: Lanes) -> Any:
    """Arguments with values that change in the place of nodes."""
    # No function within `run`: one that calls itself would hold the changes until garbage is collected.
    if type(value) is Node:
        change = changes[value.number]
        return value.base if change is None else Varying(value.base, change, lanes)
    if type(value) is list or type(value) is tuple:
        return type(value)(_given(each, changes, lanes) for each in value)
    if type(value) is dict:
        return {name: _given(each, changes, lanes) for name, each in value.items()}
    return value


def _changes(recorded: Any, result: Any) -> Iterator[Change]:
    """Changes of what was a node in a recorded result."""
    if type(recorded) is Node:
        yield result.change if isinstance(result, Varying) else None
    elif type(recorded) is list:
        for one, other in zip(recorded, result, strict=True):
            yield from _changes(one, other)


# ---- memory --------------------------------------------------------------------------------------------------------------


def _opened(slot: Slot, held: dict[int, Any], lanes: Lanes) -> Written:
    """Memory as it is when it is written to in part."""
    known = held[slot.number]
    if type(known) is not Written:
        before, known = known, Written(np.zeros((slot.size, lanes.count)))
        if before is not None:
            known.view(slot.whole)[...] = before.dense if isinstance(before, Slab) else before
        held[slot.number] = known
    return known


def settled(change: Change, held: Mapping[int, Any]) -> Change:
    """A change, copied if it is a view of memory: what is written there later is not what it was when it was computed."""
    if isinstance(change, np.ndarray) and change.base is not None:
        written = (each.numbers for each in held.values() if type(each) is Written)
        return change.copy() if any(np.may_share_memory(change, each) for each in written) else change
    return change


def _reset(step: Step, slot: Slot) -> Callable[..., Any]:
    """All of it becomes a value, which is copied if it is a view of memory: other changes are never written to."""

    def run(lanes: Lanes, held: dict[int, Any], changes: Sequence[Change]) -> None:
        held[slot.number] = settled(changes[0] if changes else None, held)

    return run


def _write(step: Step, slot: Slot) -> Callable[..., Any]:
    """Some entries become those of a value."""
    _, extent, index = step.args

    def run(lanes: Lanes, held: dict[int, Any], changes: Sequence[Change]) -> None:
        change = changes[0] if changes else None
        if change is None and held[slot.number] is None:
            return
        view = _opened(slot, held, lanes).view(extent)
        view[index_with_lanes(index)] = 0.0 if change is None else change.dense if isinstance(change, Slab) else change

    return run


def _add(step: Step, slot: Slot) -> Callable[..., Any]:
    """Values are added to entries, as often as they are named."""
    _, extent, index, ufunc = step.args

    def run(lanes: Lanes, held: dict[int, Any], changes: Sequence[Change]) -> None:
        change = changes[0]
        if change is not None:
            dense = change.dense if isinstance(change, Slab) else change
            ufunc.at(_opened(slot, held, lanes).view(extent), index_with_lanes(index), dense)

    return run


def _view(step: Step, slot: Slot) -> Callable[..., Any]:
    """What a view of it holds now."""
    (extent,) = step.args

    def run(lanes: Lanes, held: dict[int, Any], changes: Sequence[Change]) -> Change:
        known = held[slot.number]
        if known is None or (type(known) is not Written and extent == slot.whole):
            whole: Change = known
            return whole
        return _opened(slot, held, lanes).view(extent)

    return run


_ON_MEMORY: dict[str, Callable[[Step, Slot], Callable[..., Any]]] = {RESET: _reset, WRITE: _write, ADD: _add, VIEW: _view}
