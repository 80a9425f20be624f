"""The array that a user's function is run on: it looks like a NumPy array, and carries the changes of all lanes along."""

import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy import asarray  # whose own name may be stood in for while a function runs
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import NDArray

from gradsweep._differences import _structure
from gradsweep._differences._assignments import ASSIGNMENTS, CALLERS
from gradsweep._differences._cast import is_narrow
from gradsweep._differences._departure import Departure, describe, doing, is_users, users_frame
from gradsweep._differences._factor import Factor
from gradsweep._differences._functions import BUFFERS, FUNCTIONS, PASSED_ON
from gradsweep._differences._lanes import Lanes, Number
from gradsweep._differences._linear import linear
from gradsweep._differences._memory import Memory, is_shared
from gradsweep._differences._slab import Slab
from gradsweep._differences._ufuncs import call_ufunc
from gradsweep._differences._varying import Varying, rounded_to
from gradsweep._types import Array

# Bound here, since NumPy's own name may be stood in for while a function runs.
_stack = FUNCTIONS[np.stack]

# How ufuncs are called where they take an axis together.
_REDUCTIONS = {("add", "reduce"): "sum", ("maximum", "reduce"): "max", ("minimum", "reduce"): "min"}

# Their results are views in NumPy, while their rules gather entries.
_VIEWS = (np.flip, np.fliplr, np.flipud, np.rot90, np.diagonal)

# The same, where NumPy makes a view if it can.
_VIEWS_OR_COPIES = (np.ravel, np.reshape)

ADVICE_BUFFER = "make the array by np.zeros, np.empty or np.array, under these names, where the cost is computed"


class DifferenceArray(NDArrayOperatorsMixin):
    """A NumPy duck array: a value, and its change in every lane.

    It answers to NumPy's functions, operators and methods. Decisions, as in ``if x > 0``, are those of the value. What it cannot
    follow raises `Departure`.

    Parameters
    ----------
    held : Varying, optional
        What it holds, at least until its memory is written to; None if that is plain.
    memory : Memory, optional
        What it is a view of. Without one it has memory of its own from the first time on that it is written to or viewed; if it
        has no axes, it is a number, as NumPy's results are, and is never written to.
    base : array, optional
        The view of the memory's values.
    """

    __slots__ = ("_base", "_held", "_memory", "_of")

    # Above that of arrays and matrices, which then leave operators to this class.
    __array_priority__ = 1000.0

    def __init__(self, held: Varying | None = None, memory: Memory | None = None, base: NDArray[Any] | None = None) -> None:
        self._held, self._memory = held, memory
        if base is None:
            assert held is not None
            base = held.base
        self._base: NDArray[Any] = base
        # The changes that `_held` is a view of, if they have been written to.
        self._of: Array | None = None

    # ---- what it holds

    @classmethod
    def buffer(cls, base: NDArray[Any], lanes: Lanes, kind: np.dtype[Any] | None = None) -> "DifferenceArray":
        """An array that is filled later, and owns `base` if that is of float64; plain until a change is assigned.

        What is assigned is rounded to `kind`, if that is given, or to the type of `base`.
        """
        if base.dtype in (np.float64, np.complex128):
            return cls(None, Memory(base, lanes, None, kind), base)
        own = np.array(base, dtype=np.float64)
        return cls(None, Memory(own, lanes, None, base.dtype if is_narrow(base.dtype) else kind), own)

    @property
    def operand(self) -> Varying | NDArray[Any]:
        """What functions compute with: value and change, or a plain array where nothing was assigned that changes."""
        memory = self._memory
        if memory is not None and memory.change is not None:
            recording = memory.lanes.recording
            if self._of is not memory.change or recording is not None:
                self._held, self._of = Varying(self._base, memory.view(self._base), memory.lanes), memory.change
            if recording is not None:
                recording.look(memory, self._held)
        held = self._held
        if held is None or held.lanes.finished:
            # Without changes it is computed with as NumPy does.
            return self._base if memory is None or memory.kind is None else self._base.astype(memory.kind)
        return held

    @property
    def is_written(self) -> bool:
        """Whether it has been written to since it was computed."""
        return self._memory is not None and self._memory.change is not None

    @property
    def lanes(self) -> Lanes:
        """The perturbations."""
        if self._memory is not None:
            return self._memory.lanes
        assert self._held is not None
        return self._held.lanes

    @property
    def plain(self) -> NDArray[Any]:
        """The value where nothing is perturbed."""
        return self._base

    @property
    def change(self) -> Array:
        """What is added to the value in each lane: array of shape (*shape, lanes)."""
        held = self.operand
        return held.dense if isinstance(held, Varying) else np.zeros((*held.shape, self.lanes.count))

    @property
    def is_number(self) -> bool:
        """Whether it is what is a number in NumPy, and not an array without axes."""
        return self._memory is None and not self._base.ndim

    def shared_memory(self) -> Memory:
        """Memory that can be viewed and written to."""
        if self._memory is None:
            assert self._held is not None
            self._memory = Memory(self._base, self._held.lanes, self._held)
        return self._memory

    # ---- indexing

    def __getitem__(self, index: Any) -> Any:
        if type(index) is not int and type(index) is not slice:
            index = _plain_index(index)
        part = self._base[index]
        if self.is_written and type(part) is np.ndarray and _is_view(part, self._base):
            # A record would keep the whole array each time that a row of it is read.
            return self.linked(part, None)
        held, result = self.operand, None
        if type(part) is np.ndarray and _is_view(part, self._base):
            # If this array has been written to, the view gets its change from the memory when it is asked for.
            if type(held) is Varying and self._of is None:
                result = _noted("take", _structure.take, (held, index, part), {}, _structure.take(held, index, part))
            return self.linked(part, result)
        if type(held) is Varying:
            part = np.asarray(part)
            result = _noted("take", _structure.take, (held, index, part), {}, _structure.take(held, index, part))
            return DifferenceArray(self.apart(result))
        if type(part) is not np.ndarray:
            return part
        return DifferenceArray.buffer(part, self.lanes, None if self._memory is None else self._memory.kind)

    def linked(self, view: NDArray[Any], result: Varying | None) -> Any:
        """A view of this array; `result` is what it holds as long as nothing is written, None for plain values."""
        memory = self._memory
        if memory is None:
            if self.is_number:
                # It has no memory that could be seen elsewhere.
                own = view.copy()
                return own if result is None else DifferenceArray(replace(result, base=own))
            memory = self.shared_memory()
        return DifferenceArray(result if memory.change is None else None, memory, view)

    def apart(self, result: Varying) -> Varying:
        """A result whose change does not follow what is written to this array later."""
        if self._of is None or isinstance(result.change, Slab) or not np.may_share_memory(result.change, self._of):
            return result
        copied: Varying = _noted("copy", _copied, (result,), {}, _copied(result))
        return copied

    def __setitem__(self, index: Any, value: Any) -> None:
        index = _plain_index(index)
        if self.is_number:
            raise TypeError("'numpy.float64' object does not support item assignment")
        value = operand_of(value)
        memory = self.opened(value)
        if memory.kind is not None:
            value = _cast(value, memory.kind) if isinstance(value, Varying) else np.asarray(value).astype(memory.kind)
        self._base[index] = value.base if isinstance(value, Varying) else value
        if memory.lanes.recording is not None and memory.change is not None:
            memory.lanes.recording.write(memory, self._base, index, value)
        if memory.change is not None:
            change = value.dense if isinstance(value, Varying) else 0.0
            view = memory.view(self._base)
            if memory.lanes.watch is not None and not isinstance(value, Varying):
                memory.lanes.watch.overwrites(view, lambda: view.__setitem__(_structure.index_with_lanes(index), change))
            else:
                view[_structure.index_with_lanes(index)] = change

    def opened(self, value: Varying | NDArray[Any]) -> Memory:
        """Its memory, such that a value can be written to it."""
        memory = self.shared_memory()
        recording = value.lanes.recording if isinstance(value, Varying) else memory.lanes.recording
        if recording is not None:
            recording.about_to_write(memory)
        if isinstance(value, Varying):
            if memory.lanes is not value.lanes:
                if not memory.lanes.finished:
                    raise Departure("values of two runs that are not finished meet")
                memory.renew(value.lanes)
            if value.base.dtype.kind == "c" and self._base.dtype.kind != "c":
                raise Departure("a complex value that changes is assigned into an array of real numbers")
            memory.touch()
        elif isinstance(self.operand, Varying):
            # Part of it becomes plain, and the rest stays as it is.
            memory.touch()
        return memory

    def assign(self, value: Any) -> None:
        """Write a value over the whole array, as an operator in place does."""
        self[...] = value

    def __len__(self) -> int:
        return len(self._base)

    def __iter__(self) -> Iterator[Any]:
        if not self._base.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[place] for place in range(len(self._base)))

    def __contains__(self, value: Any) -> bool:
        return bool(np.any(self == value))

    # ---- NumPy's protocols

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if "out" not in options and method == "__call__":
            operands = [operand_of(each) for each in inputs]
            lanes = self.lanes
            result: Any = linear(ufunc, operands) if not (options or lanes.jitter) and len(inputs) <= 2 else None
            if result is None:
                result = call_ufunc(ufunc, method, operands, options)
            if lanes.recording is not None:
                _note_ufunc(ufunc, method, operands, options, result)
            if type(result) is not Varying:
                return _wrapped(result)
            if result.lanes.watch is not None:
                result = _watched(ufunc, method, operands, result, {})
            if options and _narrow(options):
                return DifferenceArray(_cast(result, np.dtype(options["dtype"])))
            for each in inputs:
                # The change of a sum may be that of a term, which is written to later.
                if type(each) is DifferenceArray and each._of is not None:
                    result = each.apart(result)
            return DifferenceArray(result)
        shared = type(options.get("out", (None,))[0]) is np.ndarray and is_shared(options["out"])
        return self.answer(ufunc, method, inputs, options, shared=shared)

    def answer(self, ufunc: np.ufunc, method: str, inputs: Sequence[Any], options: dict[str, Any], *, shared: bool) -> Any:
        """Answer to a ufunc; `shared` tells whether a plain array that it is to write into is seen by others, too."""
        (target,) = options.pop("out", (None,))
        target = target.resolve() if type(target) is Factor else target
        if method == "at":
            return _at(ufunc, *inputs)
        operands = [operand_of(each) for each in inputs]
        if target is not None and type(target) is not DifferenceArray and not varies((inputs, options)):
            return getattr(ufunc, method)(*operands, out=target, **options)
        where = options.pop("where", True) if method == "__call__" and target is not None else True
        result = call_ufunc(ufunc, method, operands, options)
        _note_ufunc(ufunc, method, operands, options, result)
        if type(result) is Varying and result.lanes.watch is not None:
            result = _watched(ufunc, method, operands, result, options)
        if type(result) is Varying and _narrow(options):
            result = _cast(result, np.dtype(options["dtype"]))
        result = _result(result, [each for each in inputs if type(each) is DifferenceArray])
        if target is None:
            return result
        if where is not True:
            result = np.where(operand_of(where), result, target)
        if type(target) is DifferenceArray and not target.is_number:
            target.assign(result)
            return target
        if doing(users_frame()).operation == "operator" and not shared:
            # `a += x` binds a to what is returned here, so that a plain array becomes one of these, and a number another one.
            return result
        raise Departure(f"np.{ufunc.__name__} writes a value that changes into a plain array", ADVICE_BUFFER)

    def __array_function__(self, function: Callable[..., Any], types: Any, args: Any, options: Any) -> Any:
        if function in PASSED_ON:
            return function._implementation(*args, **options)  # type: ignore[attr-defined]
        if function in ASSIGNMENTS:
            return _assign_by(function, args, options)
        if function in _ON_ARRAYS:
            return _ON_ARRAYS[function](*args, **options)
        place = _place_of("out", function) if len(args) > 2 else None
        if place is not None and len(args) > place:
            args, options = (*args[:place], None, *args[place + 1 :]), {"out": args[place], **options}
        target = options.get("out")
        options = {name: value for name, value in options.items() if name != "out"}
        if target is not None:
            (target,) = target if type(target) is tuple else (target,)
        sources: list[DifferenceArray] = []
        plain, given = _unwrapped(args, sources), _unwrapped(options, sources)
        varies = any(isinstance(source.operand, Varying) for source in sources)
        rule = FUNCTIONS.get(function)
        if rule is None and varies:
            raise Departure(f"{_name(function)} has no difference form")
        result = (rule if rule is not None and varies else function)(*plain, **given)
        if varies and rule is not None and function not in BUFFERS:
            _noted(function, rule, plain, given, result)
        if function in BUFFERS and type(result) is np.ndarray and result.dtype.kind in "fc":
            return DifferenceArray.buffer(result, self.lanes)
        if function in _VIEWS and varies:
            view = function(sources[0].plain, *plain[1:], **given)
            return sources[0].linked(view, replace(result, base=view))
        if function in _VIEWS_OR_COPIES and type(result) is Varying and type(args[0]) is DifferenceArray:
            result = replace(result, base=function(args[0].plain, *plain[1:], **given))
        if type(result) is Varying and result.lanes.watch is not None and not _shares(result, sources):
            result = _watched_function(function, plain, given, result)
        if type(result) is Varying and (len(args) > 2 or _narrow(options)):
            kind = _type_of_result(function, args, options)
            result = result if kind is None else _cast(result, kind)
        result = _result(result, sources)
        if target is None:
            return result
        target = target.resolve() if type(target) is Factor else target
        if type(target) is DifferenceArray:
            target.assign(result)
        elif varies:
            raise Departure(f"{_name(function)} writes a value that changes into a plain array", ADVICE_BUFFER)
        else:
            np.copyto(target, operand_of(result))
        return target

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        held = self.operand
        if not isinstance(held, Varying):
            if copy is False:
                raise ValueError("a plain array cannot be made without a copy")
            plain = np.array(held, dtype=dtype)
            # Whoever does not ask for a copy may write, and expect to find it here.
            plain.flags.writeable = bool(copy)
            return plain
        caller = sys._getframe(1)
        if self.ndim in (1, 2) and dtype in (None, np.float64) and is_users(caller.f_code) and doing(caller) == ("call", "dot"):
            return Factor.of(held, DifferenceArray)
        what = doing(users_frame())
        if what.operation == "assignment":
            raise Departure("a value that changes is assigned into a plain array", ADVICE_BUFFER)
        name = f"{what.name}(...)" if what.operation == "call" and what.name else "a function"
        if dtype is not None and is_narrow(np.dtype(dtype)):
            held.lanes.note_cast(np.dtype(dtype))
            raise Departure(
                f"{name} makes a plain array of {np.dtype(dtype)} of a value that changes",
                f"write x.astype(np.{np.dtype(dtype)})",
            )
        raise Departure(
            f"{name} makes a plain array of a value that changes", "use functions of NumPy that take arrays as they are"
        )

    # ---- numbers

    def __bool__(self) -> bool:
        return bool(operand_of(self != 0.0)) if self.size == 1 else bool(self._base)

    def __float__(self) -> float:
        held = self.operand
        number = float(self._base)
        if isinstance(held, Varying):
            frame = users_frame()
            what = doing(frame)
            if what.operation == "assignment":
                raise Departure("a value that changes is assigned into a plain array", ADVICE_BUFFER)
            if what != ("operator", "%"):  # which writes it into a text
                held.lanes.note_number(Number(number, self.apart(held), what.name or "float", describe(frame)))
        return number

    def __complex__(self) -> complex:
        if isinstance(self.operand, Varying):
            raise Departure("complex(...) makes a plain number of a value that changes")
        return complex(self._base)

    def __int__(self) -> int:
        return int(self._whole(np.trunc))

    def __trunc__(self) -> int:
        return int(self._whole(np.trunc))

    def __floor__(self) -> int:
        return int(self._whole(np.floor))

    def __ceil__(self) -> int:
        return int(self._whole(np.ceil))

    def __round__(self, digits: int | None = None) -> Any:
        return int(self._whole(np.rint)) if digits is None else np.round(self, digits)

    def _whole(self, step: np.ufunc) -> NDArray[Any]:
        """Whole numbers by a function that is constant but for jumps, so that they are plain; lanes that jump are counted."""
        held = operand_of(step(self))
        if not isinstance(held, Varying):
            return np.asarray(held)
        return np.asarray(held.base + held.dense[..., 0]) if held.lanes.decide else held.base

    def __index__(self) -> int:
        raise TypeError("only integer arrays can be used as an index")

    def item(self, *index: Any) -> Any:
        """The number itself, which is an array here, too: else its change were lost."""
        if not index:
            if self.size != 1:
                raise ValueError("can only convert an array of size 1 to a Python scalar")
            return self[(0,) * self.ndim]
        place = index[0] if len(index) == 1 else index
        return self[place if isinstance(place, tuple) else tuple(np.unravel_index(place, self.shape))]

    def tolist(self) -> Any:
        """Nested lists of the numbers, each of them an array here."""
        return [each.tolist() for each in self] if self.ndim else self.item()

    def __eq__(self, other: Any) -> Any:
        return self._base == other if other is None or isinstance(other, str) else np.equal(self, other)

    def __ne__(self, other: Any) -> Any:
        return self._base != other if other is None or isinstance(other, str) else np.not_equal(self, other)

    __hash__ = None  # type: ignore[assignment]

    # ---- attributes

    @property
    def __class__(self) -> Any:
        """What ``isinstance(x, np.ndarray)`` asks for: code that checks its arguments takes this for what NumPy has."""
        return self._base.dtype.type if self.is_number else np.ndarray

    @__class__.setter
    def __class__(self, value: Any) -> None:
        raise TypeError("the class of a difference array cannot be changed")

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and (hasattr(np.ndarray, name) or hasattr(np.float64, name)):
            raise Departure(f".{name} of a value that changes cannot be followed")
        raise AttributeError(f"'numpy.ndarray' object has no attribute {name!r}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the value."""
        return self._base.shape

    @shape.setter
    def shape(self, value: Any) -> None:
        reshaped = self.reshape(value)
        if not np.may_share_memory(reshaped.plain, self._base):
            raise AttributeError("incompatible shape for in-place modification")
        self._held, self._memory, self._base, self._of = reshaped._held, reshaped._memory, reshaped._base, reshaped._of

    @property
    def base(self) -> Any:
        """None for an array that is no view."""
        if self._memory is None or self._base is self._memory.base:
            return None
        raise Departure(".base of a view of a value that changes cannot be followed")

    @property
    def ndim(self) -> int:
        """Axes of the value."""
        return self._base.ndim

    @property
    def size(self) -> int:
        """Entries of the value."""
        return self._base.size

    @property
    def dtype(self) -> Any:
        """Type of the value, as far as it was asked for: what is computed of arrays of single precision is in float64."""
        memory = self._memory
        return self._base.dtype if memory is None or memory.kind is None else memory.kind

    @property
    def itemsize(self) -> int:
        """Bytes of an entry of the value."""
        return self._base.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of the value."""
        return self._base.nbytes

    @property
    def strides(self) -> tuple[int, ...]:
        """Strides of the value."""
        return self._base.strides

    @property
    def flags(self) -> Any:
        """Flags of the value."""
        return self._base.flags

    @property
    def T(self) -> Any:
        """The transpose."""
        return self.transpose()

    @property
    def mT(self) -> Any:
        """The transpose of each matrix."""
        return np.swapaxes(self, -1, -2)

    @property
    def real(self) -> Any:
        """The real part."""
        return np.real(self)

    @property
    def imag(self) -> Any:
        """The imaginary part."""
        return np.imag(self)

    @property
    def flat(self) -> "FlatEntries":
        """The entries, one after the other."""
        return FlatEntries(self)

    @flat.setter
    def flat(self, value: Any) -> None:
        FlatEntries(self)[:] = value

    # ---- methods

    def reshape(self, *shape: Any, order: Any = "C", copy: bool | None = None) -> Any:
        """``ndarray.reshape``."""
        new = shape[0] if len(shape) == 1 else shape
        held = self.operand
        view = np.reshape(self._base, new, order=order)
        if not isinstance(held, Varying):
            result = _result(view, [self])
        else:
            made = _noted("reshape", _structure.reshape, (held, new, order), {}, _structure.reshape(held, new, order))
            result = _result(replace(made, base=view), [self])
        return result.copy() if copy else result

    def transpose(self, *axes: Any) -> Any:
        """``ndarray.transpose``."""
        order = None if not axes or axes == (None,) else axes[0] if isinstance(axes[0], tuple | list) else axes
        held = self.operand
        if not isinstance(held, Varying):
            return self.linked(held.transpose(order), None)
        result = _noted("transpose", _structure.transpose, (held, order), {}, _structure.transpose(held, order))
        return self.linked(result.base, result)

    def astype(self, dtype: Any, *args: Any, **options: Any) -> Any:
        """Its value rounded to the type, whose change stays as it is for floating types: what follows is in float64."""
        kind = np.dtype(dtype)
        if kind.kind == "f":
            return self._rounded(kind) if is_narrow(kind) and self._base.dtype.kind != "c" else self.copy()
        if kind.kind == "b":
            return self != 0.0
        if kind.kind in "iu":
            return self._whole(np.trunc).astype(kind)
        raise Departure(f"astype({kind}) of a value that changes cannot be followed")

    def _rounded(self, kind: np.dtype[Any]) -> Any:
        """A copy of a type that is less precise than float64."""
        held = self.operand
        if not isinstance(held, Varying):
            return DifferenceArray.buffer(held.astype(kind), self.lanes)
        made = DifferenceArray(_cast(self.apart(held), kind))
        if not self.is_number:
            made.shared_memory().kind = kind
        return made

    def view(self, *args: Any) -> Any:
        """The array itself; other types have no differences."""
        if args and args[0] not in (np.ndarray, np.float64):
            raise Departure("view(...) of a value that changes as another type cannot be followed")
        return self[...]

    def fill(self, value: Any) -> None:
        """``ndarray.fill``."""
        self.assign(value)

    def sort(self, axis: int = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> None:
        """``ndarray.sort``, in place."""
        self.assign(np.sort(self, axis=axis))

    def partition(self, kth: Any, axis: int = -1, kind: str = "introselect", order: Any = None) -> None:
        """``ndarray.partition``, in place."""
        self.assign(np.partition(self, kth, axis=axis))

    def compress(self, condition: Any, axis: int | None = None) -> Any:
        """``ndarray.compress``."""
        return np.compress(condition, self, axis=axis)

    def put(self, indices: Any, values: Any, mode: str = "raise") -> None:
        """``ndarray.put``."""
        ASSIGNMENTS[np.put](self, indices, values, mode)

    def flatten(self, order: str = "C") -> Any:
        """``ndarray.flatten``."""
        return self.reshape(-1, order=order).copy()

    def copy(self, order: str = "C") -> Any:
        """``ndarray.copy``: memory of its own."""
        held = self.operand
        if not isinstance(held, Varying):
            return DifferenceArray.buffer(held.copy(), self.lanes)
        made = DifferenceArray(replace(self.apart(held), base=held.base.copy()))
        if not self.is_number:
            made.shared_memory()
        return made

    def __copy__(self) -> Any:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> Any:
        return self.copy()

    def __reduce_ex__(self, protocol: Any) -> Any:
        if self.lanes.finished:
            # A model has kept it, as its best cost or last output: from then on it is what its value is.
            return (self._base[()] if self.is_number else self._base.copy()).__reduce_ex__(protocol)
        raise Departure("a value that changes is pickled")

    def __repr__(self) -> str:
        return f"DifferenceArray({self._base!r}, lanes={self.lanes.count})"

    def __str__(self) -> str:
        return str(self._base)

    def __format__(self, specification: str) -> str:
        return format(self._base, specification)


def _method(name: str) -> Callable[..., Any]:
    """A method that is the NumPy function of its name."""
    function = getattr(np, name)

    def method(self: DifferenceArray, *args: Any, **options: Any) -> Any:
        return function(self, *args, **options)

    method.__name__ = name
    method.__doc__ = f"``ndarray.{name}``."
    return method


for _name_of_method in (
    "all any argmax argmin argpartition argsort choose clip conj conjugate cumprod cumsum diagonal dot max mean min "
    "nonzero prod ptp ravel repeat round searchsorted squeeze std sum swapaxes take trace var"
).split():
    setattr(DifferenceArray, _name_of_method, _method(_name_of_method))


class FlatEntries:
    """The entries of an array one after the other, as ``ndarray.flat`` has them."""

    def __init__(self, array: DifferenceArray) -> None:
        self._array = array

    def __len__(self) -> int:
        return self._array.size

    def __iter__(self) -> Iterator[Any]:
        return iter(self._array.reshape(-1))

    def __getitem__(self, index: Any) -> Any:
        part = self._array.reshape(-1)[_plain_index(index)]
        return part.copy() if isinstance(part, np.ndarray) else part

    def __setitem__(self, index: Any, value: Any) -> None:
        places = np.arange(self._array.size)[_plain_index(index)]
        entries = _wrapped(operand_of(value))
        if np.size(entries) not in (1, places.size):
            raise Departure("entries of .flat are set to values that are not as many")
        self._array[np.unravel_index(places, self._array.shape)] = np.reshape(entries, -1 if np.size(entries) > 1 else ())

    def copy(self) -> Any:
        """All of them as a new array."""
        return self._array.flatten()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return self._array.reshape(-1).__array__(dtype, copy)


# ---- to and from what functions compute with -----------------------------------------------------------------------------


def operand_of(value: Any) -> Any:
    """What functions compute with: a `Varying` for what changes, else the value as NumPy has it."""
    kind = type(value)
    if kind is DifferenceArray:
        return value.operand
    if kind is np.ndarray:
        return value
    if kind is float or kind is int:
        return asarray(value)
    if kind is Factor:
        return value.resolve().operand
    if isinstance(value, list | tuple) and varies(value):
        operands = [operand_of(each) for each in value]
        return _noted(np.stack, _stack, (operands,), {}, _stack(operands))
    _refuse(value)
    return np.asarray(value)


def _refuse(value: Any) -> None:
    """Arrays whose class gives operators another meaning cannot be followed."""
    if isinstance(value, np.matrix | np.ma.MaskedArray):
        raise Departure(f"an array of class {type(value).__name__} meets a value that changes", "use plain arrays")


def varies(value: Any) -> bool:
    """Whether there is anything in it that changes."""
    kind = type(value)
    if kind is DifferenceArray:
        return isinstance(value.operand, Varying)
    if isinstance(value, list | tuple):
        return any(varies(each) for each in value)
    if isinstance(value, dict):
        return any(varies(each) for each in value.values())
    return kind is Factor


def _unwrapped(value: Any, sources: list[DifferenceArray]) -> Any:
    """The arguments of a function, with `Varying` in the place of difference arrays, which are collected."""
    kind = type(value)
    if kind is Factor:
        value = value.resolve()
        kind = type(value)
    if kind is DifferenceArray:
        sources.append(value)
        return value.operand
    if isinstance(value, list | tuple):
        return _rebuilt(value, [_unwrapped(each, sources) for each in value])
    if kind is dict:
        return {key: _unwrapped(each, sources) for key, each in value.items()}
    if isinstance(value, np.ndarray):
        _refuse(value)
    return value


def _wrapped(result: Any) -> Any:
    """The result of a ufunc, as a user's code gets it."""
    if isinstance(result, Varying):
        return DifferenceArray(result)
    if type(result) is tuple:
        return tuple(_wrapped(each) for each in result)
    # Without axes it is a number.
    return result[()] if type(result) is np.ndarray and not result.ndim else result


def _result(result: Any, sources: Sequence[DifferenceArray]) -> Any:
    """The result of a function, as a user's code gets it: a view of one of its arguments where NumPy makes one."""
    if isinstance(result, list | tuple):
        return _rebuilt(result, [_result(each, sources) for each in result])
    if isinstance(result, Varying):
        for source in sources:
            if np.may_share_memory(result.base, source.plain):
                return source.linked(result.base, result)
            result = source.apart(result)
        return DifferenceArray(result)
    if type(result) is np.ndarray and result.dtype.kind in "fc":
        for source in sources:
            if np.may_share_memory(result, source.plain):
                return source.linked(result, None)
    return result


def _noted(key: Any, call: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any], result: Any) -> Any:
    """The result of an operation, which is written down if the run is recorded."""
    lanes = _lanes_in((args, options))
    if lanes is not None and lanes.recording is not None:
        lanes.recording.note(key, call, args, options, result)
    return result


def _note_ufunc(ufunc: np.ufunc, method: str, operands: Sequence[Any], options: dict[str, Any], result: Any) -> None:
    """The same of a ufunc or one of its methods."""
    lanes = _lanes_in(operands)
    if lanes is not None and lanes.recording is not None:
        key = ufunc if method == "__call__" and not options else (ufunc, method)
        lanes.recording.note(key, functools.partial(call_ufunc, ufunc, method), (list(operands), options), {}, result)


def _lanes_in(value: Any) -> Lanes | None:
    """The lanes of the first value that changes, if there is one."""
    if type(value) is Varying:
        return value.lanes
    if isinstance(value, list | tuple | dict):
        for each in value.values() if isinstance(value, dict) else value:
            lanes = _lanes_in(each)
            if lanes is not None:
                return lanes
    return None


def _cast(value: Varying, kind: np.dtype[Any]) -> Varying:
    """A value rounded to a type that is less precise than float64; to the record it is a copy."""
    value.lanes.note_cast(kind)
    made: Varying = _noted("copy", rounded_to, (value, kind), {}, rounded_to(value, kind))
    return made


def _narrow(options: dict[str, Any]) -> bool:
    """Whether a function is asked for a result of a type that is less precise than float64."""
    dtype = options.get("dtype")
    return dtype is not None and _rounds(np.dtype(dtype))


def _rounds(kind: np.dtype[Any]) -> bool:
    """Whether a type is less precise than float64; a departure if it has whole numbers alone."""
    if kind.kind in "biu":
        raise Departure(f"dtype={kind} makes whole numbers of a value that changes", f"write x.astype({kind})")
    return is_narrow(kind)


def _type_of_result(function: Callable[..., Any], args: Sequence[Any], options: dict[str, Any]) -> np.dtype[Any] | None:
    """The type that a function is asked for, by name or by place; None if it is not less precise than float64."""
    place = _place_of("dtype", function)
    dtype = args[place] if place is not None and place < len(args) else options.get("dtype")
    return np.dtype(dtype) if dtype is not None and _rounds(np.dtype(dtype)) else None


def _copied(value: Varying) -> Varying:
    """The same value, whose change is its own."""
    return value if isinstance(value.change, Slab) else replace(value, change=value.change.copy())


def _watched(ufunc: np.ufunc, method: str, operands: Sequence[Any], result: Varying, options: dict[str, Any]) -> Varying:
    """The result of a ufunc, as whoever watches passes it on."""
    called = method == "__call__"
    name = ufunc.__name__ if called else _REDUCTIONS.get((ufunc.__name__, method), ufunc.__name__)
    watched: Varying = result.lanes.watch(
        name, operands, result, lambda others: call_ufunc(ufunc, method, list(others), dict(options)), of_ufunc=called
    )
    return watched


def _watched_function(function: Any, args: Any, options: Any, result: Varying) -> Varying:
    """The result of a function with a rule, as whoever watches passes it on."""
    operands: list[Any] = []
    _collect((args, options), operands)

    def again(others: Sequence[Any]) -> Any:
        plain, given = _refilled((args, options), iter(others))
        return FUNCTIONS[function](*plain, **given)

    name = getattr(function, "__name__", "a function")
    watched: Varying = result.lanes.watch(name, operands, result, again, of_ufunc=False)
    return watched


def _collect(value: Any, found: list[Any]) -> None:
    """Arrays, of either kind, in arguments: what is computed with."""
    if isinstance(value, Varying) or (isinstance(value, np.ndarray) and value.dtype.kind in "fiub"):
        found.append(value)
    elif isinstance(value, list | tuple):
        for each in value:
            _collect(each, found)
    elif isinstance(value, dict):
        for each in value.values():
            _collect(each, found)


def _refilled(value: Any, others: Iterator[Any]) -> Any:
    """The arguments with others in the place of what `_collect` finds."""
    if isinstance(value, Varying) or (isinstance(value, np.ndarray) and value.dtype.kind in "fiub"):
        return next(others)
    if isinstance(value, list | tuple):
        return _rebuilt(value, [_refilled(each, others) for each in value])
    if isinstance(value, dict):
        return {key: _refilled(each, others) for key, each in value.items()}
    return value


def _shares(result: Varying, sources: Sequence[DifferenceArray]) -> bool:
    """Whether a result is a view of one of the arrays that it was made of."""
    return any(np.may_share_memory(result.base, source.plain) for source in sources)


def _rebuilt(sequence: Any, parts: list[Any]) -> Any:
    """A list or a tuple of other parts; results of linear algebra are tuples with names."""
    return type(sequence)(*parts) if hasattr(sequence, "_fields") else type(sequence)(parts)


def _is_view(part: NDArray[Any], whole: NDArray[Any]) -> bool:
    """Whether what an index took of an array is a view of it: by the owner of the memory, else by the memory itself."""
    owner = part.base
    return owner is not None and (owner is whole or owner is whole.base or np.may_share_memory(part, whole))


def _plain_index(index: Any) -> Any:
    """An index without difference arrays in it: those that are plain are taken as arrays, others cannot be followed."""
    kind = type(index)
    if kind is tuple:
        return tuple(_plain_index(each) for each in index)
    if kind is DifferenceArray or kind is Factor:
        held = operand_of(index)
        if isinstance(held, Varying):
            raise TypeError("only integer arrays can be used as an index")
        return held
    return index


def _at(ufunc: np.ufunc, target: Any, index: Any, *values: Any) -> None:
    """``ufunc.at``: entries that occur several times are treated one after the other."""
    target = target.resolve() if type(target) is Factor else target
    if type(target) is not DifferenceArray:
        raise Departure(f"np.{ufunc.__name__}.at writes a value that changes into a plain array", ADVICE_BUFFER)
    if ufunc not in (np.add, np.subtract):
        raise Departure(f"np.{ufunc.__name__}.at has no difference form", "np.add.at and np.subtract.at have one")
    index, operand = _plain_index(index), operand_of(values[0])
    memory = target.opened(operand)
    if memory.lanes.recording is not None and memory.change is not None:
        memory.lanes.recording.add(memory, target.plain, index, operand, ufunc)
    if isinstance(operand, Varying):
        if memory.kind is not None:
            memory.lanes.note_cast(memory.kind)
        ufunc.at(memory.view(target.plain), _structure.index_with_lanes(index), operand.dense)
        operand = operand.base
    ufunc.at(target.plain, index, operand)


def _assign_by(function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> None:
    """A function of NumPy that writes into its first argument."""
    rule = ASSIGNMENTS[function]
    given = inspect.signature(rule).bind(*args, **options)
    name = next(iter(given.signature.parameters))
    target = given.arguments[name]
    given.arguments[name] = target = target.resolve() if type(target) is Factor else target
    if type(target) is DifferenceArray:
        rule(*given.args, **given.kwargs)
    elif varies((args, options)):
        raise Departure(f"{_name(function)} writes a value that changes into a plain array", ADVICE_BUFFER)
    else:
        function(*_unwrapped(args, []), **_unwrapped(options, []))


def _full_like(a: Any, fill_value: Any, dtype: Any = None, order: Any = "K", subok: bool = True, shape: Any = None) -> Any:
    """``np.full_like``."""
    plain = np.full_like(_as_plain(a), 0.0, dtype=dtype, order=order, shape=shape)
    if plain.dtype.kind != "f":
        if varies(fill_value):
            raise Departure("np.full_like makes an array of whole numbers of a value that changes")
        plain[...] = operand_of(fill_value)
        return plain
    lanes = next(each.lanes for each in (fill_value, a) if type(each) in (DifferenceArray, Factor))
    buffer = DifferenceArray.buffer(plain, lanes)
    buffer.assign(fill_value)
    return buffer


def _as_plain(value: Any) -> NDArray[Any]:
    operand = operand_of(value)
    return operand.base if isinstance(operand, Varying) else np.asarray(operand)


#: Written in terms of indexing and of NumPy's functions, on arrays as the user's code sees them.
_ON_ARRAYS: dict[Any, Callable[..., Any]] = {**CALLERS, np.full_like: _full_like}


@functools.cache
def _place_of(argument: str, function: Callable[..., Any]) -> int | None:
    """Where a function takes an argument by position, if it does."""
    try:
        names = list(inspect.signature(function).parameters.values())
    except ValueError:  # compiled, and says nothing of itself
        return None
    return next(
        (place for place, each in enumerate(names) if each.name == argument and each.kind is each.POSITIONAL_OR_KEYWORD), None
    )


def _name(function: Callable[..., Any]) -> str:
    module = getattr(function, "__module__", "") or ""
    return f"{module.replace('numpy', 'np', 1)}.{getattr(function, '__name__', function)}"
