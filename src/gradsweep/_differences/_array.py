"""The array that a user's function is run on: it looks like a NumPy array, and carries the changes of all lanes along."""

import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import NDArray

from gradsweep._differences import _structure
from gradsweep._differences._assignments import ASSIGNMENTS, CALLERS
from gradsweep._differences._departure import Departure, describe, doing, users_frame
from gradsweep._differences._functions import BUFFERS, FUNCTIONS, PASSED_ON
from gradsweep._differences._lanes import Lanes
from gradsweep._differences._ufuncs import call_ufunc
from gradsweep._differences._varying import Varying
from gradsweep._types import Array

# The largest matrix that is given to `ndarray.dot` together with an identity of its height, by which the other factor comes back.
_LARGEST_FACTOR = 2048

# Bound here, since NumPy's own names may be stood in for while a function runs.
_stack, _dot = FUNCTIONS[np.stack], FUNCTIONS[np.dot]

_ADVICE_BUFFER = "make the array by np.zeros, np.empty or np.array, under these names, where the cost is computed"


class _Memory:
    """Memory that is written to: values, and their changes from the first one on that is assigned."""

    def __init__(self, base: Array, lanes: Lanes, change: Array | None = None) -> None:
        self.base, self.lanes, self.change = base, lanes, change

    def touch(self) -> Array:
        """The changes, zero at first."""
        if self.change is None:
            self.change = np.zeros((*self.base.shape, self.lanes.count), dtype=self.base.dtype)
        return self.change

    def view(self, base: Array) -> Array:
        """The changes of a view of the values: laid out as the values are, each with its lanes behind it."""
        change = self.touch()
        count = self.lanes.count
        offset = (_address(base) - _address(self.base)) // self.base.itemsize
        start = change.reshape(-1)[offset * count :] if base.size else change.reshape(-1)[:0]
        strides = (*(stride * count for stride in base.strides), change.itemsize)
        return np.lib.stride_tricks.as_strided(start, (*base.shape, count), strides)


def _own_copy(base: NDArray[Any]) -> NDArray[Any]:
    return np.array(base, dtype=np.complex128 if base.dtype.kind == "c" else np.float64, order="C")


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


class DifferenceArray(NDArrayOperatorsMixin):
    """A NumPy duck array: a value, and its change in every lane.

    It answers to NumPy's functions, operators and methods. Decisions, as in ``if x > 0``, are those of the value. What it cannot
    follow raises `Departure`.

    Parameters
    ----------
    value : Varying, optional
        What it holds.
    memory : tuple of (memory, array), optional
        In the place of `value`: memory that can be written to, and the view of it that this array is.
    parent : tuple of (DifferenceArray, index), optional
        The array that this one is a part of, if it is to be written through to it.
    """

    # Above that of arrays and matrices, which then leave operators to this class.
    __array_priority__ = 1000.0

    def __init__(
        self,
        value: Varying | None = None,
        memory: tuple[_Memory, Array] | None = None,
        parent: "tuple[DifferenceArray, Any] | None" = None,
    ) -> None:
        self._value, self._memory, self._parent = value, memory, parent

    # ---- what it holds

    @classmethod
    def buffer(cls, base: NDArray[Any], lanes: Lanes) -> "DifferenceArray":
        """An array that is filled later; it counts as plain until a change is assigned."""
        own = _own_copy(base)
        return cls(memory=(_Memory(own, lanes), own))

    @property
    def operand(self) -> Varying | NDArray[Any]:
        """What functions compute with: value and change, or a plain array where nothing was assigned that changes."""
        if self._value is not None:
            return self._value
        assert self._memory is not None
        memory, base = self._memory
        if memory.change is None:
            return base
        return Varying(base, memory.view(base), memory.lanes)

    @property
    def lanes(self) -> Lanes:
        """The perturbations."""
        if self._value is not None:
            return self._value.lanes
        assert self._memory is not None
        return self._memory[0].lanes

    @property
    def base(self) -> NDArray[Any]:
        """The value."""
        if self._value is not None:
            return self._value.base
        assert self._memory is not None
        return self._memory[1]

    @property
    def change(self) -> Array:
        """What is added to the value in each lane: array of shape (*shape, lanes)."""
        held = self.operand
        return held.dense if isinstance(held, Varying) else np.zeros((*held.shape, self.lanes.count))

    def _writable(self) -> tuple[_Memory, Array]:
        """Memory of its own, which it has from the first time on that it is written to."""
        if self._memory is None:
            assert self._value is not None
            base = _own_copy(self._value.base)
            self._memory = _Memory(base, self._value.lanes, np.array(self._value.dense, order="C")), base
            self._value = None
        return self._memory

    # ---- indexing

    def __getitem__(self, index: Any) -> Any:
        index = _plain_index(index)
        if self._memory is None:
            assert self._value is not None
            return DifferenceArray(_structure.take(self._value, index), parent=(self, index))
        memory, base = self._memory
        part = base[index]
        if isinstance(part, np.ndarray) and np.may_share_memory(part, memory.base):
            return DifferenceArray(memory=(memory, part))
        if memory.change is None:
            return part
        return DifferenceArray(_structure.take(Varying(base, memory.view(base), memory.lanes), index))

    def __setitem__(self, index: Any, value: Any) -> None:
        index = _plain_index(index)
        value = operand_of(value)
        memory, base = self._writable()
        if isinstance(value, Varying):
            base[index] = value.base
            memory.view(base)[_structure.index_with_lanes(index)] = value.dense
        else:
            base[index] = value
            if memory.change is not None:
                memory.view(base)[_structure.index_with_lanes(index)] = 0.0
        if self._parent is not None:
            # A part of an array that had no memory of its own yet.
            whole, place = self._parent
            whole[place] = self

    def assign(self, value: Any) -> None:
        """Write a value over the whole array, as an operator in place does."""
        self[...] = value

    def __len__(self) -> int:
        return len(self.base)

    def __iter__(self) -> Iterator[Any]:
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[place] for place in range(len(self)))

    # ---- NumPy's protocols

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        outputs = options.pop("out", None)
        if method == "at":
            target, index, *values = inputs
            if type(target) is not DifferenceArray:
                raise Departure(f"np.{ufunc.__name__}.at adds to a plain array", _ADVICE_BUFFER)
            return _at(ufunc, target, _plain_index(index), values)
        if options.get("where", True) is not True and method == "__call__":
            options, kept = {**options}, outputs[0] if outputs else None
            return self._write_where(ufunc, inputs, options, kept)
        result = _wrap(call_ufunc(ufunc, method, [operand_of(each) for each in inputs], options))
        if outputs is None or outputs[0] is None:
            return result
        (target,) = outputs
        if type(target) is DifferenceArray:
            target.assign(result)
            return target
        caller = sys._getframe(1)
        if doing(caller).operation == "operator":
            # `a += x` binds a to what is returned here, so that a plain array becomes one of these.
            return result
        raise Departure(f"np.{ufunc.__name__} writes into a plain array by out=", _ADVICE_BUFFER)

    def _write_where(self, ufunc: np.ufunc, inputs: Any, options: dict[str, Any], target: Any) -> Any:
        """A function of elements that leaves what is in its output where a condition is false."""
        name = ufunc.__name__
        if target is None:
            raise Departure(
                f"np.{name}(…, where=…) leaves entries undefined", "give it out=…, or write np.where(condition, …, …)"
            )
        if type(target) is not DifferenceArray:
            raise Departure(f"np.{name} writes into a plain array by out=", _ADVICE_BUFFER)
        condition = operand_of(options.pop("where"))
        with np.errstate(all="ignore"):  # of entries that are not taken
            result = _wrap(call_ufunc(ufunc, "__call__", [operand_of(each) for each in inputs], options))
        target.assign(np.where(condition, result, target))
        return target

    def __array_function__(self, function: Callable[..., Any], types: Any, args: Any, options: Any) -> Any:
        if function in PASSED_ON:
            return function._implementation(*args, **options)  # type: ignore[attr-defined]
        if function in ASSIGNMENTS:
            target = args[0] if args else next(iter(options.values()))
            if type(target) is not DifferenceArray:
                raise Departure(f"{_name(function)} writes into a plain array", _ADVICE_BUFFER)
            return ASSIGNMENTS[function](*args, **options)
        if function in CALLERS:
            return CALLERS[function](*args, **options)
        rule = FUNCTIONS.get(function)
        if rule is None:
            if not _varies((args, options)):
                return function(*_unwrapped(args), **_unwrapped(options))
            raise Departure(f"{_name(function)} has no difference form", "")
        place = _place_of_out(function) if len(args) > 2 else None
        if place is not None and len(args) > place:
            args, options = (*args[:place], None, *args[place + 1 :]), {"out": args[place], **options}
        target = options.get("out")
        plain = _unwrapped(args), {name: _unwrapped(value) for name, value in options.items() if name != "out"}
        result = (rule if _varies((args, options)) else function)(*plain[0], **plain[1])
        if function in BUFFERS and type(result) is np.ndarray and result.dtype.kind == "f":
            return DifferenceArray.buffer(result, self.lanes)
        if target is None:
            return _wrap(result)
        if type(target) is DifferenceArray:
            target.assign(_wrap(result))
            return target
        raise Departure(f"{_name(function)} writes into a plain array by out=", _ADVICE_BUFFER)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        held = self.operand
        if not isinstance(held, Varying):
            return np.array(held, dtype=dtype)
        what = doing(sys._getframe(1))
        if what == ("call", "dot") and self.ndim in (1, 2):
            return _Factor.of(held)
        if what.operation == "assignment":
            raise Departure("a value that changes is assigned into a plain array", _ADVICE_BUFFER)
        name = f"{what.name}(...)" if what.name else "a function"
        raise Departure(
            f"{name} makes a plain array of a value that changes", "use functions of NumPy that take arrays as they are"
        )

    # ---- numbers

    def __bool__(self) -> bool:
        return bool(operand_of(self != 0.0)) if self.size == 1 else bool(self.base)

    def __float__(self) -> float:
        held = self.operand
        number = float(self.base)
        if isinstance(held, Varying):
            held.lanes.note_number(number, held, describe(users_frame()))
        return number

    def __complex__(self) -> complex:
        raise Departure("complex(...) makes a plain number of a value that changes")

    def __int__(self) -> int:
        return int(operand_of(np.trunc(self)).base) if isinstance(self.operand, Varying) else int(self.base)

    def __index__(self) -> int:
        raise TypeError("only integer arrays can be used as an index")

    def item(self, *index: Any) -> Any:
        """The number itself, which is an array here, too: else its change were lost."""
        flat = self.reshape(-1)
        return (
            flat[index[0]]
            if len(index) == 1 and not isinstance(index[0], tuple)
            else self[index]
            if index
            else flat[0].reshape(())
        )

    def tolist(self) -> Any:
        """Nested lists of the numbers, each of them an array here."""
        return [each.tolist() if each.ndim else each for each in self] if self.ndim else self.item()

    # ---- attributes

    @property
    def __class__(self) -> Any:
        """What ``isinstance(x, np.ndarray)`` asks for: code that checks its arguments takes this for an array."""
        return np.ndarray

    @__class__.setter
    def __class__(self, value: Any) -> None:
        raise TypeError("the class of a difference array cannot be changed")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the value."""
        return self.base.shape

    @shape.setter
    def shape(self, value: Any) -> None:
        reshaped = self.reshape(value)
        self._value, self._memory = reshaped._value, reshaped._memory

    @property
    def ndim(self) -> int:
        """Axes of the value."""
        return self.base.ndim

    @property
    def size(self) -> int:
        """Entries of the value."""
        return self.base.size

    @property
    def dtype(self) -> Any:
        """Type of the value."""
        return self.base.dtype

    @property
    def itemsize(self) -> int:
        """Bytes of an entry of the value."""
        return self.base.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of the value."""
        return self.base.nbytes

    @property
    def flags(self) -> Any:
        """Flags of the value."""
        return self.base.flags

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
    def flat(self) -> Iterator[Any]:
        """The entries, one after the other."""
        return iter(self.reshape(-1))

    # ---- methods

    def _shaped(self, make: Callable[[Any], Any], rule: Callable[[Varying], Varying]) -> "DifferenceArray":
        """Another view of the same entries."""
        if self._memory is None:
            assert self._value is not None
            return DifferenceArray(rule(self._value))
        memory, base = self._memory
        view = make(base)
        if np.may_share_memory(view, base) or not view.size:
            return DifferenceArray(memory=(memory, view))
        held = self.operand
        return DifferenceArray(rule(held)) if isinstance(held, Varying) else DifferenceArray.buffer(view, memory.lanes)

    def reshape(self, *shape: Any, order: str = "C", copy: bool | None = None) -> "DifferenceArray":
        """``ndarray.reshape``."""
        new = shape[0] if len(shape) == 1 else shape
        return self._shaped(lambda base: base.reshape(new, order=order), lambda x: _structure.reshape(x, new, order))

    def transpose(self, *axes: Any) -> "DifferenceArray":
        """``ndarray.transpose``."""
        order = None if not axes or axes == (None,) else axes[0] if isinstance(axes[0], tuple | list) else axes
        return self._shaped(lambda base: base.transpose(order), lambda x: _structure.transpose(x, order))

    def astype(self, dtype: Any, *args: Any, **options: Any) -> Any:
        """The same for any floating type, since all is computed in float64; what it rounds to else is decided by the value."""
        kind = np.dtype(dtype)
        if kind.kind == "f":
            return self.copy()
        if kind.kind == "b":
            return self != 0.0
        if kind.kind in "iu":
            return operand_of(np.trunc(self)).base.astype(kind)
        raise Departure(f"astype({kind}) of a value that changes")

    def view(self, *args: Any) -> "DifferenceArray":
        """The array itself; other types have no differences."""
        if args and args[0] not in (np.ndarray, np.float64):
            raise Departure("view(...) of a value that changes")
        return self[...]  # type: ignore[no-any-return]

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

    def fill(self, value: Any) -> None:
        """``ndarray.fill``."""
        self.assign(value)

    def flatten(self, order: str = "C") -> "DifferenceArray":
        """``ndarray.flatten``."""
        return self.reshape(-1, order=order).copy()  # type: ignore[no-any-return]

    def copy(self, order: str = "C") -> Any:
        """``ndarray.copy``: memory of its own."""
        held = self.operand
        if not isinstance(held, Varying):
            return DifferenceArray.buffer(held, self.lanes)
        return DifferenceArray(Varying(held.base.copy(), held.change, held.lanes))

    def __copy__(self) -> Any:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> Any:
        return self.copy()

    def __repr__(self) -> str:
        return f"DifferenceArray({self.base!r}, lanes={self.lanes.count})"

    __hash__ = None  # type: ignore[assignment]


def _method(name: str) -> Callable[..., Any]:
    """A method that is the NumPy function of its name."""
    function = getattr(np, name)

    def method(self: DifferenceArray, *args: Any, **options: Any) -> Any:
        return function(self, *args, **options)

    method.__name__ = name
    method.__doc__ = f"``ndarray.{name}``."
    return method


for _name_of_method in (
    "all any argmax argmin argpartition argsort choose clip cumprod cumsum diagonal dot max mean min nonzero prod ravel repeat "
    "round searchsorted squeeze std sum swapaxes take trace var"
).split():
    setattr(DifferenceArray, _name_of_method, _method(_name_of_method))


class _Factor(np.ndarray[Any, np.dtype[np.float64]]):
    """What ``x.dot(w)`` gets for a w that changes, where x is a plain array; and what it returns.

    The method is compiled and asks nobody. It is given w with an identity matrix beside it, so that its result holds x·w and,
    with it, x itself. From these the product is formed once more, with its change, when anything is asked of the result.
    """

    __array_priority__ = 2000.0
    _right: Varying | None = None
    _product: DifferenceArray | None = None

    @classmethod
    def of(cls, right: Varying) -> "_Factor":
        """The matrix w with the identity beside it."""
        height = right.shape[0]
        if height > _LARGEST_FACTOR:
            raise Departure(f"x.dot(w) with {height} rows of w, which change", "write np.dot(x, w) or x @ w")
        matrix = right.base.reshape(height, -1)
        factor = np.hstack([matrix, np.eye(height)]).view(cls)
        factor._right = right
        return factor

    def __array_finalize__(self, given: Any) -> None:
        if given is not None:
            self._right = getattr(given, "_right", None)

    def resolve(self) -> DifferenceArray:
        """The product, as a difference array."""
        if self._product is None:
            assert self._right is not None
            height = self._right.shape[0]
            whole = self.view(np.ndarray)
            left = whole[..., whole.shape[-1] - height :]
            product = _dot(np.ascontiguousarray(left), self._right)
            self._product = DifferenceArray(product)
        return self._product

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        resolved = [each.resolve() if type(each) is _Factor else each for each in inputs]
        return self.resolve().__array_ufunc__(ufunc, method, *resolved, **options)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return self.resolve().__array_function__(function, types, args, kwargs)


def _forwarded(name: str) -> Callable[..., Any]:
    def method(self: _Factor, *args: Any, **options: Any) -> Any:
        return getattr(self.resolve(), name)(*args, **options)

    return method


def _forwarded_attribute(name: str) -> Any:
    return property(lambda self: getattr(self.resolve(), name))


_ATTRIBUTES = [name for name, value in vars(DifferenceArray).items() if isinstance(value, property) and name != "__class__"]
_METHODS = [name for name, value in vars(DifferenceArray).items() if callable(value) and not name.startswith("_")]
for _each in (
    *_METHODS,
    "__getitem__",
    "__setitem__",
    "__len__",
    "__iter__",
    "__bool__",
    "__float__",
    "__int__",
    "__complex__",
    "__array__",
):
    if _each not in ("buffer", "view"):
        setattr(_Factor, _each, _forwarded(_each))
for _each in _ATTRIBUTES:
    setattr(_Factor, _each, _forwarded_attribute(_each))

DifferenceArray.conj = DifferenceArray.conjugate = lambda self: np.conjugate(self)  # type: ignore[attr-defined]


def operand_of(value: Any) -> Any:
    """What functions compute with: a `Varying` for what changes, else the value as NumPy has it."""
    if type(value) is DifferenceArray:
        return value.operand
    if type(value) is _Factor:
        return value.resolve().operand
    if isinstance(value, list | tuple) and _varies(value):
        return _stack([operand_of(each) for each in value])
    return np.asarray(value)


def _varies(value: Any) -> bool:
    """Whether there is anything in it that changes."""
    if type(value) is DifferenceArray:
        return isinstance(value.operand, Varying)
    if isinstance(value, list | tuple):
        return any(_varies(each) for each in value)
    if isinstance(value, dict):
        return any(_varies(each) for each in value.values())
    return type(value) is _Factor


def _unwrapped(value: Any) -> Any:
    """The arguments of a function, with `Varying` in the place of difference arrays."""
    if type(value) in (DifferenceArray, _Factor):
        return operand_of(value)
    if type(value) in (list, tuple):
        return type(value)(_unwrapped(each) for each in value)
    if type(value) is dict:
        return {key: _unwrapped(each) for key, each in value.items()}
    return value


def _wrap(result: Any) -> Any:
    """The result of a rule, as a user's code gets it."""
    if isinstance(result, Varying):
        return DifferenceArray(result)
    if type(result) in (list, tuple):
        return type(result)(_wrap(each) for each in result)
    if isinstance(result, tuple):  # with names
        return type(result)(*(_wrap(each) for each in result))
    return result


def _plain_index(index: Any) -> Any:
    """An index without difference arrays in it: those that are plain are taken as arrays, others cannot be followed."""
    if type(index) is tuple:
        return tuple(_plain_index(each) for each in index)
    if type(index) in (DifferenceArray, _Factor):
        held = operand_of(index)
        if isinstance(held, Varying):
            raise TypeError("only integer arrays can be used as an index")
        return held
    return index


def _at(ufunc: np.ufunc, target: DifferenceArray, index: Any, values: list[Any]) -> None:
    """``ufunc.at``: entries that occur several times are treated one after the other."""
    memory, base = target._writable()
    operands = [operand_of(each) for each in values]
    if ufunc in (np.add, np.subtract) and len(operands) == 1:
        (operand,) = operands
        if isinstance(operand, Varying):
            ufunc.at(memory.view(base), _structure.index_with_lanes(index), operand.dense)
            operand = operand.base
        ufunc.at(base, index, operand)
        return
    raise Departure(f"np.{ufunc.__name__}.at has no difference form", "np.add.at and np.subtract.at have one")


@functools.cache
def _place_of_out(function: Callable[..., Any]) -> int | None:
    """Where a function takes its output by position, if it does."""
    try:
        names = list(inspect.signature(function).parameters.values())
    except ValueError:  # compiled, and says nothing of itself
        return None
    return next(
        (place for place, each in enumerate(names) if each.name == "out" and each.kind is each.POSITIONAL_OR_KEYWORD), None
    )


def _name(function: Callable[..., Any]) -> str:
    module = getattr(function, "__module__", "") or ""
    return f"{module.replace('numpy', 'np', 1)}.{getattr(function, '__name__', function)}"
