"""Runs that are watched: which operations a function of the user's is made of, and what comes of mistakes at some of them.

Each lane of a run may make a mistake of its own, so that one run tries as many of them as it has lanes.
"""

import itertools
import sys
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import CodeType, FrameType
from typing import Any, NamedTuple, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from gradsweep._differences._departure import Departure, describe, is_users
from gradsweep._differences._mistakes import Kind, Mistake, Step, altered, beside, is_by_elements, possible
from gradsweep._differences._varying import Operand, Varying, base_of
from gradsweep._types import Array

#: Where an operation stands in the user's code: its function, and the instruction of each frame, the innermost first. In a loop
#: it is the same one at each turn.
Place: TypeAlias = tuple[str, tuple[tuple[CodeType, int], ...]]

# Values that an operand was made of, element by element or not, of which each is remembered.
_ANCESTORS = 4

# Operations of a run, and frames of the user's around one, that are told from each other, at most.
_OPERATIONS, _FRAMES = 20_000, 32

# Functions that an activation is made of, at most, as far as they are compared; and how many arrays it may be a function of.
_LONGEST_RECIPE, _ROOTS = 12, 6

# Numbers of a value by which it is known again, at most; and of all values of a run that are held for that: 64 MB.
_COMPARED, _HELD = 2**12, 2**23


@dataclass(frozen=True)
class Trial:
    """A mistake that is tried.

    Attributes
    ----------
    mistake : Mistake
        Which.
    places : tuple of Place
        Where it is made.
    visit : int, optional
        The one time at which it is made there, from 0; None: each time.
    """

    mistake: Mistake
    places: tuple[Place, ...]
    visit: int | None = None


@dataclass(eq=False)
class Site:
    """An operation of the forward pass.

    Attributes
    ----------
    place : Place
        Where it stands.
    where, caller : str
        File, line, function and text of the line; the same of what called that function, if it is the user's, too.
    mistakes : dict of Mistake to None
        What can be wrong with its way back, at any of its visits.
    bases : list of list of array
        The values of its operands, by visits; empty lists if there are too many of them in all.
    results : list of array
        The values that came of it; zeros of their shapes if there are too many.
    is_part : bool
        Whether it is a part of a function of elements of one array, as of an activation.
    recipe : tuple of str
        By which functions of NumPy the result is made of that array, so that the same activation is known at another place.
    """

    place: Place
    where: str
    caller: str
    mistakes: dict[Mistake, None] = field(default_factory=dict)
    bases: list[list[NDArray[Any]]] = field(default_factory=list)
    results: list[NDArray[Any]] = field(default_factory=list)
    is_part: bool = False
    recipe: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Of NumPy's function."""
        return self.place[0]

    @property
    def innermost(self) -> Hashable:
        """Where it stands in its function, whoever called that."""
        return self.name, self.place[1][:1]


class _Origin(NamedTuple):
    """How a value came about.

    Attributes
    ----------
    roots : tuple of Varying
        Arrays from each of which alone it is computed by elements, the nearest first.
    recipe : tuple of str
        By which functions, from the last of these on.
    ancestors : mapping
        Values of its shape that it was made of, by how they came about.
    place : Place
        The operation that it came of.
    """

    roots: tuple[Varying, ...]
    recipe: tuple[str, ...]
    ancestors: Mapping[Hashable, Array]
    place: Place


class Watch:
    """Sees every operation of a run, and alters some of them in some of its lanes.

    Parameters
    ----------
    trials : sequence of Trial
        Mistakes; none in a first run, which shows what there is.
    width : int
        How many lanes in a row each of them has.
    survey : Watch, optional
        The first run, for mistakes that take a value of another turn of a loop.

    Attributes
    ----------
    sites : dict of Place to Site
        The operations that were met, by their places; of a first run alone.
    """

    def __init__(self, trials: Sequence[Trial] = (), width: int = 1, survey: "Watch | None" = None) -> None:
        self.sites: dict[Place, Site] = {}
        self._survey = survey
        self._trials: dict[Place, list[tuple[Trial, slice]]] = defaultdict(list)
        for number, trial in enumerate(trials):
            for place in trial.places:
                self._trials[place].append((trial, slice(number * width, (number + 1) * width)))
        self._count = self._held = 0
        self._visits: dict[Place, int] = defaultdict(int)
        # Held weakly: nothing lives longer for being watched, and no key is mistaken for another one's memory.
        self._origins: WeakKeyDictionary[Varying, _Origin] = WeakKeyDictionary()
        self._users: dict[CodeType, bool] = {}
        self._results: dict[tuple[tuple[int, ...], bytes], set[tuple[Place, int]]] | None = None
        self._sources: dict[tuple[Place, int], Site | None] = {}

    def __call__(
        self,
        name: str,
        operands: Sequence[Operand],
        result: Varying,
        again: Callable[[Sequence[Operand]], Any],
        *,
        of_ufunc: bool,
    ) -> Varying:
        """The result of an operation, with the changes that are passed on.

        Parameters
        ----------
        name : str
            Of NumPy's function.
        operands : sequence of Varying or array
            What it was given.
        result : Varying
            What came of it.
        again : callable
            Calls it with other operands.
        of_ufunc : bool
            Whether it is a ufunc, called as such.

        Returns
        -------
        Varying
            The same, or altered.
        """
        self._count += 1
        if self._count > _OPERATIONS:
            raise Departure(f"more than {_OPERATIONS:,} operations are too many to be told from each other")
        changing = [operand for operand in operands if isinstance(operand, Varying)]
        roots, recipe = self._roots(name, changing, result) if is_by_elements(name, of_ufunc=of_ufunc) else ((), ())
        ancestors = [self._ancestors(operand) for operand in operands]
        frames = self._users_frames()
        place = (name, tuple((frame.f_code, frame.f_lasti) for frame in frames))
        visit = self._visits[place]
        self._visits[place] += 1
        step = Step(name, operands, result, again, roots)
        if self._survey is None:
            self._note(place, frames, step, ancestors).recipe = recipe
        else:
            result = self._altered(place, visit, step, ancestors)
        self._origins[result] = _Origin(roots, recipe, self._made_of(place, result, operands, ancestors), place)
        return result

    def anew(self) -> "Watch":
        """The same for another run; sites are noted of the last one alone."""
        self._count = self._held = 0
        self._visits.clear()
        self.sites.clear()
        self._results = None
        self._sources.clear()
        return self

    def overwrites(self, view: Array, write: Callable[[], None]) -> None:
        """Write plain values over some that change, or leave their changes as they were.

        Parameters
        ----------
        view : array of shape (…, lanes)
            The changes that `write` writes to.
        write : callable
            Makes zeros of them.
        """
        frames = self._users_frames()
        place = ("assignment", tuple((frame.f_code, frame.f_lasti) for frame in frames))
        visit = self._visits[place]
        self._visits[place] += 1
        if self._survey is None:
            site = self._site(place, frames)
            site.mistakes[Mistake(Kind.OVERWRITTEN)] = None
            site.results.append(np.empty(0))
        spared = [lanes for trial, lanes in self._trials.get(place, ()) if trial.visit in (None, visit)]
        before = [view[..., lanes].copy() for lanes in spared]
        write()
        for lanes, change in zip(spared, before, strict=True):
            view[..., lanes] = change

    def carried(self) -> Trial | None:
        """The mistake of passing nothing back from a turn of a loop to the one before; None if no loop carries anything."""
        carried = {}
        for site in self.sites.values():
            numbers = tuple(number for number in range(min(map(len, site.bases), default=0)) if self._source(site, number))
            if numbers:
                carried[site.place] = numbers
        return Trial(Mistake(Kind.CARRIED, 0, tuple(carried.items())), tuple(carried)) if carried else None

    def shifted(self, place: Place, operand: int, shift: int, visit: int) -> Array | None:
        """The value of an operand at the next turn of a loop, or at the one before; None if there is none.

        At the last turn the next value is what would have been taken over by one more turn.
        """
        site = self.sites.get(place)
        turn = visit + shift
        if site is None or turn < 0 or visit >= len(site.bases):
            return None
        if turn < len(site.bases):
            return site.bases[turn][operand] if operand < len(site.bases[turn]) else None
        if (place, operand) not in self._sources:
            self._sources[place, operand] = self._source(site, operand)
        source = self._sources[place, operand]
        return source.results[-1] if source else None

    def _source(self, site: Site, operand: int) -> Site | None:
        """The operation whose result an operand is at the next turn of a loop, by the values."""
        if len(site.bases) < 2:
            return None
        if self._results is None:
            self._results = defaultdict(set)
            for other in self.sites.values():
                keys = [_key(value) for value in other.results]
                # What is the same at each turn is handed on from none to the next.
                if len(set(keys)) > 1:
                    for turn, key in enumerate(keys):
                        self._results[key].add((other.place, turn - len(keys)))
        # Counted from the last turn: at the first ones there may be nothing yet that changes.
        links = [
            {place for place, turn in self._results.get(_key(bases[operand]), ()) if turn == visit - len(site.bases) - 1}
            for visit, bases in enumerate(site.bases)
        ]
        known = links if links and links[0] else links[1:]
        common = set.intersection(*known) if known else set()
        return next((self.sites[place] for place in self.sites if place in common), None)

    def _altered(self, place: Place, visit: int, step: Step, ancestors: Sequence[Mapping[Hashable, Array]]) -> Varying:
        """The result with other changes in some lanes."""
        assert self._survey is not None
        change: Array | None = None
        for trial, lanes in self._trials.get(place, ()):
            if trial.visit not in (None, visit):
                continue
            mistake, other = trial.mistake, None
            if mistake.kind is Kind.CARRIED:
                assert isinstance(mistake.detail, tuple)
                mistake = Mistake(Kind.CARRIED, 0, dict(mistake.detail)[place])
            elif mistake.kind is Kind.OTHER:
                number = beside(step, mistake)
                if isinstance(mistake.detail, int):
                    other = self._survey.shifted(place, number, mistake.detail, visit)
                elif number < len(ancestors):
                    other = ancestors[number].get(mistake.detail)
            found = altered(step.within(lanes), mistake, other)
            if found is not None:
                if change is None:
                    change = np.array(step.result.dense)
                change[..., lanes] = found
        return step.result if change is None else Varying(step.result.base, change, step.result.lanes)

    def _note(self, place: Place, frames: Sequence[FrameType], step: Step, ancestors: Sequence[Mapping[Hashable, Array]]) -> Site:
        site = self._site(place, frames)
        site.mistakes.update(dict.fromkeys(possible(step, ancestors)))
        self._hold(site, step)
        site.is_part |= bool(step.roots)
        return site

    def _hold(self, site: Site, step: Step) -> None:
        """Keep the values of an operation, or forget all that were kept, if they are too many."""
        self._held += step.result.size
        if self._held <= _HELD:
            site.bases.append([base_of(operand) for operand in step.operands])
            site.results.append(step.result.base)
            return
        site.bases.append([])
        site.results.append(_void(step.result.base))
        if self._held - step.result.size <= _HELD:
            for other in self.sites.values():
                other.bases[:] = [[] for _ in other.bases]
                other.results[:] = [_void(value) for value in other.results]

    def _site(self, place: Place, frames: Sequence[FrameType]) -> Site:
        if place not in self.sites:
            own = describe(frames[0] if frames else None)
            self.sites[place] = Site(place, own, describe(frames[1]) if len(frames) > 1 else "")
        return self.sites[place]

    def _roots(self, name: str, changing: Sequence[Varying], result: Varying) -> tuple[tuple[Varying, ...], tuple[str, ...]]:
        """The arrays from each of which alone the result is computed element by element, and by which functions."""
        # What is taken off, or divided by, may be of all entries, as the largest and the sum in a softmax are.
        if name in ("divide", "subtract") and changing[0].shape == result.shape:
            own = [operand for operand in changing if operand.shape == result.shape]
        else:
            own = list(changing)
        origins = [self._origins.get(operand) for operand in own]
        chains = [(operand, *(origin.roots if origin else ())) for operand, origin in zip(own, origins, strict=True)]
        common = tuple(root for root in chains[0] if all(any(root is each for each in chain) for chain in chains[1:]))
        if not common or common[0].shape != result.shape:
            return (), ()
        return common[-_ROOTS:], (*(part for origin in origins if origin for part in origin.recipe), name)[-_LONGEST_RECIPE:]

    def _ancestors(self, operand: Operand) -> Mapping[Hashable, Array]:
        origin = self._origins.get(operand) if isinstance(operand, Varying) else None
        return origin.ancestors if origin else {}

    def _made_of(
        self, place: Place, result: Varying, operands: Sequence[Operand], ancestors: Sequence[Mapping[Hashable, Array]]
    ) -> Mapping[Hashable, Array]:
        """The values of a result's shape that it was made of, the nearest first, to be taken for it.

        Their keys are the operation that they came of; or, of parameters, the one that they went into, and as which operand.
        """
        found: dict[Hashable, Array] = {}
        for number, (operand, further) in enumerate(zip(operands, ancestors, strict=True)):
            if isinstance(operand, Varying) and operand.shape == result.shape:
                origin = self._origins.get(operand)
                found[(origin.place, None) if origin else (place, number)] = operand.base
                found.update((key, value) for key, value in further.items() if key not in found)
        return dict(list(found.items())[:_ANCESTORS])

    def _users_frames(self) -> list[FrameType]:
        """The frames of the user's function, the innermost first, out to where it was called from."""
        return list(itertools.islice(_frames_out_of_here(self._users), _FRAMES))


def _frames_out_of_here(users: dict[CodeType, bool]) -> Iterator[FrameType]:
    """Frames of the user's, up to the one of `gradsweep` that has called the function."""
    frame: FrameType | None = sys._getframe(1)
    met = False
    while frame is not None:
        own = users.get(frame.f_code)
        if own is None:
            own = users[frame.f_code] = is_users(frame.f_code)
        if own:
            met = True
            yield frame
        elif met and frame.f_code.co_name == "propagate":
            return
        frame = frame.f_back


def _void(value: NDArray[Any]) -> NDArray[Any]:
    """An array of this shape that takes no memory."""
    return np.broadcast_to(np.zeros(()), value.shape)


def _key(value: NDArray[Any]) -> tuple[tuple[int, ...], bytes]:
    """What a value is known by: its shape, and some of its numbers."""
    numbers = value.reshape(-1)
    return value.shape, numbers[:: max(numbers.size // _COMPARED, 1)].tobytes()
