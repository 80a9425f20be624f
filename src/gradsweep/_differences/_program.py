"""A recorded run as a program: what is done once more for other changes, and nothing else.

Values are known from the record, so that only changes are computed: no code of the user's is run, no argument is read twice, and
what no result depends on is left out, as the gradients of a function that returns them beside its cost. What depends on the
order of values stays, since it counts the lanes that would have decided otherwise.
"""

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from gradsweep._differences._instructions import Instruction, instructions, needed, settled
from gradsweep._differences._known_elements import Change, reach_of
from gradsweep._differences._lanes import Lanes
from gradsweep._differences._recording import RESET, Node, Recording
from gradsweep._differences._sections import Kinds, Part, Section, divided
from gradsweep._differences._slab import Slab, one_hot
from gradsweep._types import Array

#: Parts, each with the nodes that are not needed after it.
_Plan: TypeAlias = list[tuple[Part, tuple[int, ...]]]

# How often instructions that do not hold at a first trial are taken out of sections before there are none at all.
_TRIALS = 16

#: Lanes that are worth a compiled plan.
SHORTEST = 32

# Numbers in the lists and constants of all plans that are kept: 256 MB.
_KEPT = 2**25


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
        self._instructions = instructions(needed(recording, result), result)
        self._plans: dict[tuple[int, ...], _Plan] = {}
        # By what is perturbed, and by how much; those that were used last come last.
        self._compiled_plans: dict[tuple[Any, ...], _Plan] = {}
        self._planning = threading.Lock()  # threads have one program

    def run(self, arguments: Mapping[int, Array | Slab], lanes: Lanes, *, compiled: bool = False) -> Array:
        """Changes of the result.

        Parameters
        ----------
        arguments : mapping of int to array or Slab
            Changes of the arguments that change, by their places.
        lanes : Lanes
            Perturbations, which neither decide nor are jittered.
        compiled : bool, default: False
            Whether what can be is done by a compiled kernel, where there are `SHORTEST` lanes or more.

        Returns
        -------
        array of shape (lanes,)
            Change of the result in each.
        """
        changes = self._compiled(arguments, lanes) if compiled and lanes.count >= SHORTEST else None
        if changes is None:
            changes = self._given(arguments)
            self._follow(self._usual(tuple(sorted(arguments))), changes, lanes)
        lanes.finished = True
        result = None if self._result is None else changes[self._result]
        if result is None:
            return np.zeros(lanes.count)
        dense = result.dense if isinstance(result, Slab) else result
        return np.array(np.broadcast_to(dense, (*dense.shape[:-1], lanes.count)).reshape(-1), dtype=np.float64)

    def _given(self, arguments: Mapping[int, Array | Slab]) -> list[Any]:
        changes: list[Any] = [None] * len(self._recording.nodes)
        for place, change in arguments.items():
            changes[self._recording.arguments[place].number] = change
        return changes

    def _follow(self, plan: _Plan, changes: list[Any], lanes: Lanes) -> Section | None:
        """Do all parts; the section that gave up, if one did."""
        held: dict[int, Any] = {}
        with np.errstate(all="ignore"):
            for part, done in plan:
                if isinstance(part, Section):
                    if not part.run(lanes, changes):
                        return part
                else:
                    self._do(part, changes, held, lanes)
                for number in done:
                    changes[number] = None
        return None

    def _do(self, instruction: Instruction, changes: list[Any], held: dict[int, Any], lanes: Lanes) -> None:
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
            if held:
                result = [settled(each, held) for each in result] if isinstance(result, list) else settled(result, held)
        if type(instruction.step.result) is Node:
            changes[instruction.outputs[0]] = result
            _count(result, lanes)
        else:
            for number, each in zip(instruction.outputs, result or (), strict=bool(result)):
                changes[number] = each
                _count(each, lanes)

    # ---- plans

    def _usual(self, places: tuple[int, ...]) -> _Plan:
        """What is done if these arguments change, by NumPy alone."""
        plan = self._plans.get(places)
        if plan is None:
            plan = self._plans[places] = self._with_ends(self._affected(places))
        return plan

    def _affected(self, places: tuple[int, ...]) -> list[Instruction]:
        """The instructions that something reaches if these arguments change."""
        reached = {self._recording.arguments[place].number for place in places}
        written: dict[int, bool] = {}
        chosen: list[Instruction] = []
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
        return chosen

    def _with_ends(self, parts: Sequence[Part]) -> _Plan:
        """Parts, and of each the nodes that it is the last to need."""
        last: dict[int, int] = {}
        for position, part in enumerate(parts):
            for number in (*part.reads, *part.outputs):
                last[number] = position
        done: list[list[int]] = [[] for _ in parts]
        for number, position in last.items():
            if number != self._result:
                done[position].append(number)
        return [(part, tuple(numbers)) for part, numbers in zip(parts, done, strict=True)]

    # ---- compiled sections

    def _compiled(self, arguments: Mapping[int, Array | Slab], lanes: Lanes) -> list[Any] | None:
        """All changes, by sections where there are any; None if one of them does not hold for these perturbations."""
        # A plan must follow from what is perturbed alone, not from what was done before: it decides about the last bits.
        kinds = tuple((place, isinstance(arguments[place], Slab)) for place in sorted(arguments))
        largest = max(reach_of(change) for change in arguments.values())
        step = float(2.0 ** np.frexp(largest)[1])
        key = (*kinds, step, lanes.infinite)
        with self._planning:
            plan = self._compiled_plans.pop(key, None) or self._planned(kinds, step, lanes.infinite)
            self._compiled_plans[key] = plan  # the last one now
            while len(self._compiled_plans) > 1 and sum(map(_size, self._compiled_plans.values())) > _KEPT:
                del self._compiled_plans[next(iter(self._compiled_plans))]
        if not any(isinstance(part, Section) for part, _ in plan):
            return None
        trial, changes = Lanes(lanes.count, infinite=lanes.infinite), self._given(arguments)
        if self._follow(plan, changes, trial) is not None:
            return None
        lanes.crossings += trial.crossings
        lanes.total, lanes.largest = lanes.total + trial.total, max(lanes.largest, trial.largest)
        lanes.subtracts = lanes.subtracts or trial.subtracts
        return changes

    def _planned(self, kinds: Sequence[tuple[int, bool]], step: float, infinite: bool) -> _Plan:
        """A plan for perturbations of this size, with sections as a trial shows that they hold."""
        chosen = self._affected(tuple(place for place, _ in kinds))
        affected = {number for each in chosen for number in each.outputs}
        affected |= {self._recording.arguments[place].number for place, _ in kinds}
        arguments, count = self._probes(kinds, step)
        nodes = self._seen(chosen, affected, arguments, Lanes(count, infinite=infinite))
        refused: set[int] = set()
        for _ in range(_TRIALS):
            parts = divided(chosen, nodes, refused, self._result)
            plan = self._with_ends(parts)
            failed = self._follow(plan, self._given(arguments), Lanes(count, infinite=infinite))
            if failed is None:
                return plan
            refused.add(failed.culprit)
        return self._with_ends(chosen)

    def _probes(self, kinds: Sequence[tuple[int, bool]], step: float) -> tuple[dict[int, Array | Slab], int]:
        """Changes like those that come: of the first entry of each argument, both ways."""
        arguments: dict[int, Array | Slab] = {}
        count = 2 * len(kinds)
        for order, (place, is_sparse) in enumerate(kinds):
            shape = self._recording.arguments[place].base.shape
            steps = np.zeros(count)
            steps[2 * order : 2 * order + 2] = step, -step
            arguments[place] = (
                one_hot(shape, np.zeros(count, dtype=np.intp), steps) if is_sparse else np.zeros((*shape, 1)) + steps
            )
        return arguments, count

    def _seen(
        self, chosen: Sequence[Instruction], affected: set[int], arguments: Mapping[int, Array | Slab], lanes: Lanes
    ) -> Kinds:
        """How nodes change, as a trial shows."""
        changes, held = self._given(arguments), dict[int, Any]()
        dense, entries, sizes = set[int](), set[int](), dict[int, int]()

        def note(numbers: Iterable[int]) -> None:
            for number in numbers:
                change = changes[number]
                if isinstance(change, np.ndarray):
                    dense.add(number)
                elif isinstance(change, Slab) and len(change.pattern.axes) == len(change.shape):
                    entries.add(number)
                if change is not None:
                    sizes[number] = (change.values if isinstance(change, Slab) else change).size // lanes.count

        note(range(len(changes)))
        with np.errstate(all="ignore"):
            for instruction, done in self._with_ends(chosen):
                assert isinstance(instruction, Instruction)
                self._do(instruction, changes, held, lanes)
                note(instruction.outputs)
                for number in done:  # all of them together would fill much memory where there are many arguments
                    changes[number] = None
        return Kinds(affected, dense, entries, sizes)


def _size(plan: _Plan) -> int:
    """Numbers that the sections of a plan keep."""
    return sum(part.size for part, _ in plan if isinstance(part, Section))


def _count(change: Change, lanes: Lanes) -> None:
    """Take note of how many numbers a change has in each lane."""
    if change is not None:
        size = (change.values if isinstance(change, Slab) else change).size // lanes.count
        lanes.total += size
        if size > lanes.largest:
            lanes.largest = size
