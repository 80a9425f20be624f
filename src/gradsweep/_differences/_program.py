"""A recorded run as a program: what is done once more for other changes, and nothing else.

Values are known from the record, so that only changes are computed: no code of the user's is run, no argument is read twice, and
what no result depends on is left out, as the gradients of a function that returns them beside its cost. What depends on the
order of values stays, since it counts the lanes that would have decided otherwise.
"""

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
_Held: TypeAlias = "_Written | Array | Slab | None"


class _Written:
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
class _Instruction:
    """A step, ready to be done.

    Attributes
    ----------
    step : Step
        As it was recorded.
    run : callable
        ``run(lanes, changes) -> change``, of the nodes in `inputs`; of memory ``run(lanes, held, changes)``.
    inputs, outputs : list of int
        Numbers of nodes.
    """

    step: Step
    run: Callable[..., Any]
    inputs: list[int]
    outputs: list[int]


#: An instruction and what is not needed after it.
_Part: TypeAlias = tuple[_Instruction, tuple[int, ...]]


class Program:
    """What a function does to changes.

    Parameters
    ----------
    recording : Recording
        An intact record.
    result : Node, optional
        What the function returned; None if that does not change.
    base : float
        Its value.

    Attributes
    ----------
    base : float
        As given.
    """

    def __init__(self, recording: Recording, result: Node | None, base: float) -> None:
        self.base = base
        self._recording, self._result = recording, None if result is None else result.number
        self._instructions = _instructions(_needed(recording, result), result)
        self._parts: dict[tuple[int, ...], list[_Part]] = {}

    def run(self, arguments: Mapping[int, Array | Slab], lanes: Lanes) -> Array:
        """Changes of the result.

        Parameters
        ----------
        arguments : mapping of int to array or Slab
            Changes of the arguments that change, by their places.
        lanes : Lanes
            Perturbations, which neither decide nor are jittered.

        Returns
        -------
        array of shape (lanes,)
            Change of the result in each.
        """
        changes: list[Any] = [None] * len(self._recording.nodes)
        for place, change in arguments.items():
            changes[self._recording.arguments[place].number] = change
        held: dict[int, Any] = {}
        places = tuple(sorted(arguments))
        parts = self._parts.get(places)
        if parts is None:
            parts = self._parts[places] = self._affected(places)
        with np.errstate(all="ignore"):
            for instruction, done in parts:
                self._do(instruction, changes, held, lanes)
                for number in done:
                    changes[number] = None
        lanes.finished = True
        result = None if self._result is None else changes[self._result]
        if result is None:
            return np.zeros(lanes.count)
        dense = result.dense if isinstance(result, Slab) else result
        return np.array(np.broadcast_to(dense, (*dense.shape[:-1], lanes.count)).reshape(-1), dtype=np.float64)

    def _do(self, instruction: _Instruction, changes: list[Any], held: dict[int, Any], lanes: Lanes) -> None:
        inputs = [changes[number] for number in instruction.inputs]
        slot = instruction.step.slot
        if slot is not None:
            if slot.number not in held:
                held[slot.number] = None if slot.first is None else changes[slot.first.number]
            result = instruction.run(lanes, held, inputs)
        elif all(each is None for each in inputs):
            return  # memory may hold nothing that changes by then
        else:
            result = instruction.run(lanes, inputs)
        if type(instruction.step.result) is Node:
            changes[instruction.outputs[0]] = result
            _count(result, lanes)
        else:
            for number, each in zip(instruction.outputs, result or (), strict=bool(result)):
                changes[number] = each
                _count(each, lanes)

    def _affected(self, places: tuple[int, ...]) -> list[_Part]:
        """The instructions that something reaches if these arguments change, and what each is the last to need."""
        reached = {self._recording.arguments[place].number for place in places}
        written: dict[int, bool] = {}
        chosen: list[_Instruction] = []
        for instruction in self._instructions:
            step, slot = instruction.step, instruction.step.slot
            own = not reached.isdisjoint(instruction.inputs)
            if slot is not None:
                before = written.setdefault(slot.number, slot.first is not None and slot.first.number in reached)
                written[slot.number] = own if step.key == RESET else own or before
                own = own or before
            if own:
                chosen.append(instruction)
                reached.update(instruction.outputs)
        last: dict[int, int] = {}
        for position, instruction in enumerate(chosen):
            slot = instruction.step.slot
            first = [slot.first.number] if slot is not None and slot.first is not None else []
            for number in (*instruction.inputs, *instruction.outputs, *first):
                last[number] = position
        done: list[list[int]] = [[] for _ in chosen]
        for number, position in last.items():
            if number != self._result:
                done[position].append(number)
        return [(instruction, tuple(numbers)) for instruction, numbers in zip(chosen, done, strict=True)]


def _count(change: Change, lanes: Lanes) -> None:
    """Take note of how many numbers a change has in each lane."""
    if change is not None:
        size = (change.values if isinstance(change, Slab) else change).size // lanes.count
        lanes.total += size
        if size > lanes.largest:
            lanes.largest = size


# ---- what is needed ------------------------------------------------------------------------------------------------------


def _needed(recording: Recording, result: Node | None) -> list[Step]:
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
            open_steps += writes.get(step.slot.number, [])
            if step.slot.first is not None and step.slot.first.number in made:
                open_steps.append(made[step.slot.first.number])
    return [step for step in recording.steps if id(step) in needed]


# ---- instructions --------------------------------------------------------------------------------------------------------


def _instructions(steps: Sequence[Step], result: Node | None) -> list[_Instruction]:
    """What is done, in order; functions of elements of which few are taken are computed where these are taken."""
    makers = {node.number: step for step in steps for node in step.made}
    uses = Counter(number for step in steps for number in {node.number for node in step.taken})
    uses.update([] if result is None else [result.number])
    # Memory that is written to in part may hold something else by then.
    may_move = all(step.key not in (WRITE, ADD) for step in steps)
    done: set[int] = set()
    instructions = []
    for step in reversed(steps):
        found = selection(step, makers, uses) if may_move and step.key == "take" else None
        if id(step) not in done and found is not None:
            done.update(id(each) for each in found.steps)
            numbers = [node.number for node in found.nodes]
            instructions.append(_Instruction(step, found.run, numbers, [node.number for node in step.made]))
        elif id(step) not in done:
            instructions.append(_instruction(step))
    return instructions[::-1]


def _instruction(step: Step) -> _Instruction:
    nodes = list({node.number: node for node in step.taken}.values())
    outputs = [node.number for node in step.made]
    if step.slot is not None:
        return _Instruction(step, _ON_MEMORY[step.key](step, step.slot), [node.number for node in nodes], outputs)
    run = shortcut(step, nodes) or _again(step, nodes)
    return _Instruction(step, run, [node.number for node in nodes], outputs)


def _again(step: Step, nodes: Sequence[Node]) -> Callable[[Lanes, Sequence[Change]], Any]:
    """Do a step as it was done, values and all."""
    places = {node.number: place for place, node in enumerate(nodes)}
    single = type(step.result) is Node

    def run(lanes: Lanes, changes: Sequence[Change]) -> Any:
        def given(value: Any) -> Any:
            if type(value) is Node:
                change = changes[places[value.number]]
                return value.base if change is None else Varying(value.base, change, lanes)
            if type(value) is list or type(value) is tuple:
                return type(value)(given(each) for each in value)
            if type(value) is dict:
                return {name: given(each) for name, each in value.items()}
            return value

        result = step.call(*given(step.args), **given(step.options))
        if single:
            return result.change if isinstance(result, Varying) else None
        return list(_changes(step.result, result))

    return run


def _changes(recorded: Any, result: Any) -> Iterator[Change]:
    """Changes of what was a node in a recorded result."""
    if type(recorded) is Node:
        yield result.change if isinstance(result, Varying) else None
    elif type(recorded) is list:
        for one, other in zip(recorded, result, strict=True):
            yield from _changes(one, other)


# ---- memory --------------------------------------------------------------------------------------------------------------


def _opened(slot: Slot, held: dict[int, Any], lanes: Lanes) -> _Written:
    """Memory as it is when it is written to in part."""
    known = held[slot.number]
    if type(known) is not _Written:
        before, known = known, _Written(np.zeros((slot.size, lanes.count)))
        if before is not None:
            known.view(slot.whole)[...] = before.dense if isinstance(before, Slab) else before
        held[slot.number] = known
    return known


def _reset(step: Step, slot: Slot) -> Callable[..., Any]:
    """All of it becomes a value, which is copied if it is a view of memory: other changes are never written to."""

    def run(lanes: Lanes, held: dict[int, Any], changes: Sequence[Change]) -> None:
        change = changes[0] if changes else None
        if isinstance(change, np.ndarray) and change.base is not None:
            written = (each.numbers for each in held.values() if type(each) is _Written)
            change = change.copy() if any(np.may_share_memory(change, each) for each in written) else change
        held[slot.number] = change

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
        if known is None or (type(known) is not _Written and extent == slot.whole):
            whole: Change = known
            return whole
        return _opened(slot, held, lanes).view(extent)

    return run


_ON_MEMORY: dict[str, Callable[[Step, Slot], Callable[..., Any]]] = {RESET: _reset, WRITE: _write, ADD: _add, VIEW: _view}
