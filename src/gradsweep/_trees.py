"""Parameter trees: arrays and numbers, alone or in any nesting of dicts, lists and tuples, as one flat vector and back.

A *leaf* is one array or number of the caller's. Its entries lie in the flat vector one after the other in C order, whatever the
layout of the array; leaves follow each other as the caller's containers are iterated. Nothing here writes to what was given.
"""

import functools
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.lib.array_utils import byte_bounds
from numpy.typing import NDArray

from gradsweep._errors import InputError
from gradsweep._parameters import (
    format_entry,
    match_names,
    read_array,
    read_numbers,
    require_names,
    require_shape,
    without_intermediates,
)
from gradsweep._types import Array

# How deep containers may be nested: far beyond any model, far below what the interpreter's stack allows.
_DEEPEST = 100

# NumPy's limit on dimensions, and so on lists of lists that stand for one array.
_MOST_DIMENSIONS = 64

# Candidates that are tried for a byte that two interleaved arrays share. Slices of one array are told apart by a few. Any, for
# NumPy's stubs know of no number but 0 and -1.
_MOST_WORK: Any = 10**5

_SUPPORTED = "parameters are arrays and numbers, alone or in dicts, lists and tuples"


@dataclass(frozen=True, eq=False)
class Leaf:
    """One array or number among the parameters, and where its entries are in the flat vector.

    Attributes
    ----------
    name : str
        ``W1``, ``layers[0].W``, ``['my key'].b``, ``[0]``; of a lone array or number, the name of the argument.
    aliases : tuple of str
        Further places that hold the very same array. Its gradient is that with respect to all of them together.
    shape : tuple of int
        Its shape, empty for a number.
    dtype : numpy.dtype
        Its type as the caller gave it.
    start, stop : int
        Its entries in the flat vector, in C order.
    scalar : type, optional
        What a number is given back as: ``float``, or ``numpy.float64`` if it was a NumPy scalar. None for an array, be it
        one of no dimensions.
    """

    name: str
    aliases: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    start: int
    stop: int
    scalar: type[float] | None = None

    @property
    def is_scalar(self) -> bool:
        """Whether it is a number, not an array."""
        return self.scalar is not None

    @property
    def size(self) -> int:
        """Number of entries."""
        return self.stop - self.start


@dataclass(frozen=True, eq=False)
class Tree:
    """Parameters as the caller nested them, beside the flat vector of all their entries.

    Made by `read_tree`.

    Attributes
    ----------
    blocks : tuple of Leaf
        Every array and number, tied ones once.
    values : array of shape (parameters,)
        A copy of all entries; read-only.
    root : _Node
        How they are nested.
    """

    blocks: tuple[Leaf, ...]
    values: Array
    root: "_Node" = field(repr=False)

    def build(self, leaves: Sequence[Any]) -> Any:
        """The caller's structure with other leaves.

        Parameters
        ----------
        leaves : sequence
            What to put in the place of each block: anything.

        Returns
        -------
        Any
            Containers of the caller's types, all of them new. Tied places get the same object.
        """
        if len(leaves) != len(self.blocks):
            raise ValueError(f"{len(leaves)} leaves for {len(self.blocks)} blocks")
        return self.root.build(leaves)

    def arrays(self, values: Array) -> list[Any]:
        """The blocks of a flat vector, ready for `build`.

        Parameters
        ----------
        values : array of shape (parameters,)
            Entries of all blocks.

        Returns
        -------
        list of (array of float64, or float)
            Arrays, also those of no dimensions, are views: who writes to `values` changes them. Numbers are copies.
        """
        require_shape(values, "values", self.values.shape)
        return [
            values[leaf.start : leaf.stop].reshape(leaf.shape) if leaf.scalar is None else leaf.scalar(values[leaf.start])
            for leaf in self.blocks
        ]

    def typed_arrays(self) -> list[Any]:
        """The blocks once more, in the types in which they were given where those are floating: copies, ready for `build`."""
        arrays = self.arrays(self.values.copy())
        return [
            array.astype(leaf.dtype) if leaf.scalar is None and leaf.dtype.kind == "f" else array
            for leaf, array in zip(self.blocks, arrays, strict=True)
        ]

    def locate(self, index: int) -> tuple[Leaf, tuple[int, ...]]:
        """Where an entry of the flat vector belongs.

        Parameters
        ----------
        index : int
            At least 0.

        Returns
        -------
        leaf : Leaf
            Whose entry it is.
        place : tuple of int
            Its index there.

        Raises
        ------
        IndexError
            There is no such entry.
        """
        if not 0 <= index < len(self.values):
            raise IndexError(f"entry {index} of {len(self.values)}")
        # Of several that start here, all but the last are empty.
        leaf = self.blocks[bisect_right(self._starts, index) - 1]
        return leaf, tuple(int(i) for i in np.unravel_index(index - leaf.start, leaf.shape))

    def describe(self, index: int) -> str:
        """Name of an entry of the flat vector: ``layers[0].W[3, 5]``, or the block's where that is all there is."""
        leaf, place = self.locate(index)
        return format_entry(leaf.name, place)

    def match(self, gradient: Any, argument: str = "gradient") -> list[NDArray[Any]]:
        """A gradient of the same structure, by blocks.

        Lists and tuples are matched by position, either in the place of the other. Dicts are matched by name, never by order:
        in the place of ``W1`` there may be ``W1``, ``dW1``, ``grad_W1`` or ``W1_grad``, at every level. A named tuple is matched
        by name with a dict or another named tuple, and by position with a list or tuple. In the outermost dict, gradients with
        respect to activations and pre-activations (``dA1``, ``dZ1``) may stand beside the others and are left alone. What
        holds no parameters, as None or an empty list, may be there or not, but must be empty.

        The gradient of a tied array is the sum of all that is given for its names; one and the same array at each of them is the
        whole gradient already, and counts once, and so does what is given for one of the names only. Numbers always add up.

        Parameters
        ----------
        gradient : Any
            What the caller gave. Entries may be non-finite: that is for the verdict to say.
        argument : str, default: "gradient"
            How to name it in an error.

        Returns
        -------
        list of array
            One for each block, of its shape, in the dtype it was given; not copied. A sum is formed in float64, and has the
            dtype of its least precise part.

        Raises
        ------
        InputError
            Another structure or shape, a name that is missing, surplus or ambiguous, or not real numbers.
        """
        matching = _Matching(self.blocks, argument)
        matching.visit(self.root, gradient, argument)
        return matching.totals()

    @functools.cached_property
    def _starts(self) -> list[int]:
        return [leaf.start for leaf in self.blocks]


def read_tree(params: Any, argument: str = "params") -> Tree:
    """Read parameters in any nesting.

    Parameters
    ----------
    params : array, number, or nesting of dicts, lists and tuples
        Arrays may have any real floating or integer type, layout and strides. Numbers are Python's or NumPy's. Subclasses of
        mappings, lists and tuples, named tuples among them, will do if they can be made from their items alone. Keys of dicts are
        text or integers. A list of nothing but numbers, or of such lists of equal lengths, is one array; a list that holds
        anything else, and every tuple, is a container. None and empty containers hold no parameters, and are given back as they
        are. The same array at several places is one block.
    argument : str, default: "params"
        How to name it in an error.

    Returns
    -------
    Tree
        Its values are a copy.

    Raises
    ------
    InputError
        Something else is among them, an entry is not finite, two arrays overlap in memory, a container holds itself or cannot be
        made anew, or there are no parameters at all.

    Examples
    --------
    >>> import numpy as np
    >>> tree = read_tree({"layers": [{"W": np.eye(2), "b": np.zeros(2)}], "scale": 0.5})
    >>> [leaf.name for leaf in tree.blocks]
    ['layers[0].W', 'layers[0].b', 'scale']
    >>> tree.values
    array([1. , 0. , 0. , 1. , 0. , 0. , 0.5])
    >>> tree.describe(1)
    'layers[0].W[0, 1]'
    >>> values = tree.values.copy()
    >>> built = tree.build(tree.arrays(values))
    >>> values[1] = 7.0
    >>> built["layers"][0]["W"]
    array([[1., 7.],
           [0., 1.]])
    >>> [block.shape for block in tree.match({"dlayers": [{"db": np.zeros(2), "dW": np.eye(2)}], "dscale": 1.0})]
    [(2, 2), (2,), ()]
    """
    reader = _Reader(argument)
    root = reader.read(params, "", argument)
    if not any(each.array.size for each in reader.found):
        raise InputError(f"{argument} has no parameters")
    _require_apart(reader.found)
    blocks: list[Leaf] = []
    for each in reader.found:
        start = blocks[-1].stop if blocks else 0
        name, *aliases = each.names
        shape, dtype = each.array.shape, each.array.dtype
        blocks.append(Leaf(name, tuple(aliases), shape, dtype, start, start + each.array.size, each.scalar))
    values = np.empty(blocks[-1].stop)
    for each, leaf in zip(reader.found, blocks, strict=True):
        values[leaf.start : leaf.stop] = read_array(each.array, each.path, leaf.shape).ravel()
    values.flags.writeable = False
    return Tree(tuple(blocks), values, root)


@dataclass(frozen=True, eq=False)
class _Nothing:
    """A place of None.

    Attributes
    ----------
    path : str
        Where it is, as Python would write it: ``params['layers'][0]``.
    """

    path: str

    def build(self, leaves: Sequence[Any]) -> Any:
        """None."""
        del leaves

    def places(self) -> Iterator["_Place"]:
        """Nowhere are there parameters."""
        return iter(())


@dataclass(frozen=True, eq=False)
class _Place:
    """A place of an array or number.

    Attributes
    ----------
    path : str
        As of `_Nothing`.
    kind : str
        Name of the type that stands there.
    block : int
        Which block it is.
    """

    path: str
    kind: str
    block: int

    def build(self, leaves: Sequence[Any]) -> Any:
        """The leaf."""
        return leaves[self.block]

    def places(self) -> Iterator["_Place"]:
        """Itself."""
        yield self


@dataclass(frozen=True, eq=False)
class _Container:
    """A dict, list or tuple.

    Attributes
    ----------
    path : str
        As of `_Nothing`.
    kind : str
        Name of its type.
    keys : tuple
        Of a dict its keys, of a named tuple its fields, else positions.
    children : tuple of _Node
        What it holds, in the same order.
    make : callable
        Makes a new one, of a dict's items or of a list of what it holds.
    named, ordered : bool
        Whether a gradient may be matched with it by name, and by position; with a named tuple both.
    """

    path: str
    kind: str
    keys: tuple[Any, ...]
    children: tuple["_Node", ...]
    make: Callable[[Any], Any]
    named: bool
    ordered: bool

    def build(self, leaves: Sequence[Any]) -> Any:
        """A new container."""
        return self.assemble([child.build(leaves) for child in self.children])

    def assemble(self, items: list[Any]) -> Any:
        """A new container of these items."""
        return self.make(items if self.ordered else dict(zip(self.keys, items, strict=True)))

    def places(self) -> Iterator[_Place]:
        """All places of arrays and numbers below."""
        for child in self.children:
            yield from child.places()


_Node: TypeAlias = _Nothing | _Place | _Container


@dataclass
class _Found:
    """An array or number as it was found.

    Attributes
    ----------
    given : array, number or list
        What the caller put there: kept, so that its identity remains its own.
    path : str
        Where it was found first, as Python would write it.
    names : list of str
        Names of all places that hold it.
    array : array
        What NumPy reads it as.
    scalar : type, optional
        As of `Leaf`.
    """

    given: Any
    path: str
    names: list[str]
    array: NDArray[Any]
    scalar: type[float] | None


class _Reader:
    """Reads a structure from the outside in.

    Parameters
    ----------
    argument : str
        How the caller's argument is named.
    """

    def __init__(self, argument: str) -> None:
        self._argument = argument
        self._open: dict[int, str] = {}  # containers that are being read, by identity
        self._known: dict[int, int] = {}  # blocks of arrays, by identity
        self.found: list[_Found] = []

    def read(self, value: Any, name: str, path: str) -> _Node:
        """Read what stands at a place.

        Parameters
        ----------
        value : Any
            What stands there.
        name : str
            Name of the place, empty for the outermost, else as ``.layers[0]``.
        path : str
            Where it is, as Python would write it.

        Returns
        -------
        _Node
            Its structure; arrays and numbers are added to those that were found.
        """
        if value is None:
            return _Nothing(path)
        if isinstance(value, np.ndarray | np.generic | complex | float | int) or _rectangle(value) is not None:
            return self._read_leaf(value, name.removeprefix(".") or self._argument, path)
        if not isinstance(value, Mapping | list | tuple):
            raise InputError(f"{path} is of type {type(value).__name__}{_remedy(value)}")
        if id(value) in self._open:
            raise InputError(f"{path} is {self._open[id(value)]} itself; a structure cannot hold itself")
        if len(self._open) == _DEEPEST:
            raise InputError(f"{self._argument} is nested more than {_DEEPEST} containers deep")
        self._open[id(value)] = path
        container = self._read_container(value, name, path)
        del self._open[id(value)]
        return container

    def _read_leaf(self, value: Any, name: str, path: str) -> _Place:
        number = not isinstance(value, np.ndarray | list)
        place = _Place(path, type(value).__name__, self._known.get(id(value), len(self.found)))
        if place.block < len(self.found):
            self.found[place.block].names.append(name)
            return place
        if isinstance(value, np.matrix):
            raise InputError(f"{path} is an np.matrix, where * is another product; make it an array, as the cost will be given")
        array = read_numbers(value, path)
        if array.dtype.kind == "b":
            raise InputError(f"{path} has dtype bool; a cost has no derivative with respect to what is only true or false")
        if not number:  # equal numbers may be one object without being one parameter
            self._known[id(value)] = place.block
        scalar = (np.float64 if isinstance(value, np.generic) else float) if number else None
        self.found.append(_Found(value, path, [name], array, scalar))
        return place

    def _read_container(self, value: Any, name: str, path: str) -> _Container:
        named, ordered = isinstance(value, Mapping) or _is_record(value), not isinstance(value, Mapping)
        keys: tuple[Any, ...] = value._fields if named and ordered else tuple(range(len(value)) if ordered else value)
        items = list(value) if ordered else [value[key] for key in keys]
        nodes = []
        for key, item in zip(keys, items, strict=True):
            step, shown = _steps(key, path, field=named and ordered)
            nodes.append(self.read(item, name + step, path + shown))
        container = _Container(path, type(value).__name__, keys, tuple(nodes), _maker(value), named, ordered)
        if type(value) not in (dict, list, tuple):
            _require_made(container, value, items)
        return container


def _rectangle(value: Any, dimensions: int = _MOST_DIMENSIONS) -> tuple[int, ...] | None:
    """Shape of the array that a number, or a list of numbers or of such lists, stands for; None if it stands for none."""
    if _is_number(value):
        return ()
    if not isinstance(value, list) or not value or not dimensions:
        return None
    first = _rectangle(value[0], dimensions - 1)
    # A list that holds itself ends here, since it is None at the innermost.
    if first is None or any(_rectangle(item, dimensions - 1) != first for item in value[1:]):
        return None
    return (len(value), *first)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _is_record(value: Any) -> bool:
    """Whether it is a named tuple."""
    return isinstance(value, tuple) and hasattr(value, "_fields") and hasattr(value, "_make")


def _remedy(value: Any) -> str:
    """What to do about a value that is no parameter."""
    if hasattr(value, "__array__"):
        return ", which is no NumPy array; make it one with np.asarray"
    # Of types that come with Python none has parameters inside.
    inside = "" if type(value).__module__ == "builtins" else "; of an object, give those that it holds, as in model.params"
    return f"; {_SUPPORTED}{inside}"


def _steps(key: Any, path: str, *, field: bool) -> tuple[str, str]:
    """What a key or position adds to a name, and to a path."""
    if isinstance(key, str):
        item = f"[{str(key)!r}]"
        return f".{key}" if key.isidentifier() else item, f".{key}" if field else item
    if isinstance(key, bool) or not isinstance(key, int | np.integer):
        raise InputError(f"{path} has the key {key!r}, but keys must be text or integers")
    return f"[{int(key)}]", f"[{int(key)}]"


def _maker(value: Any) -> Callable[[Any], Any]:
    """What makes a container of the same type."""
    kind: Any = type(value)
    if isinstance(value, defaultdict):
        return functools.partial(kind, value.default_factory)
    make: Callable[[Any], Any] = kind._make if _is_record(value) else kind
    return make


def _require_made(container: _Container, value: Any, items: list[Any]) -> None:
    """Raise InputError unless a container of a caller's own type can be made anew, and then holds the very same arrays."""
    source = "from a list of what it holds" if container.ordered else "from a plain dict"
    problem = f"{container.path} is of type {container.kind}, which cannot be made {source}"
    try:
        made = container.assemble(items)
        held = list(made) if container.ordered else [made[key] for key in made]
        keys = container.keys if container.ordered else tuple(made)
    except Exception as error:  # whatever a foreign constructor raises
        raise InputError(f"{problem}: {error}") from error
    same = type(made) is type(value) and len(held) == len(items) and keys == container.keys
    if not same or any(isinstance(item, np.ndarray) and item is not other for item, other in zip(items, held, strict=True)):
        raise InputError(f"{problem}: what comes out differs")


def _require_apart(found: Sequence[_Found]) -> None:
    """Raise InputError if two arrays overlap in memory."""
    spans = sorted((*byte_bounds(each.array), number) for number, each in enumerate(found))
    reaching: list[tuple[int, int]] = []  # end and number of those that may reach into what follows
    for low, high, number in spans:
        reaching = [(end, other) for end, other in reaching if end > low]
        for _, other in reaching:
            first, second = (found[each] for each in sorted((number, other)))
            if _overlap(first.array, second.array):
                raise InputError(
                    f"{first.path} and {second.path} overlap in memory: who changes one changes the other; give only one of "
                    "them, or a copy"
                )
        reaching.append((high, number))


def _overlap(one: NDArray[Any], other: NDArray[Any]) -> bool:
    try:
        return np.shares_memory(one, other, max_work=_MOST_WORK)
    except np.exceptions.TooHardError:
        return True  # an oracle that might perturb two at once is worse than none


@dataclass(frozen=True, eq=False)
class _Part:
    """What was given for one of a block's names.

    Attributes
    ----------
    path : str
        Where it was, as Python would write it.
    given : Any
        What the caller put there.
    array : array
        What NumPy reads it as.
    """

    path: str
    given: Any
    array: NDArray[Any]

    def is_same(self, other: "_Part") -> bool:
        """Whether the two are one array, or views of the very same entries."""
        if self.given is other.given:
            return not isinstance(self.given, np.generic | float | int)
        one, two = self.array, other.array
        steps = [(a, b) for a, b, length in zip(one.strides, two.strides, one.shape, strict=True) if length > 1]
        return one.ctypes.data == two.ctypes.data and one.dtype == two.dtype and all(a == b for a, b in steps)


class _Matching:
    """Brings a gradient into the order of the blocks.

    Parameters
    ----------
    blocks : sequence of Leaf
        The blocks.
    argument : str
        How the gradient is named.
    """

    def __init__(self, blocks: Sequence[Leaf], argument: str) -> None:
        self._blocks = blocks
        self._argument = argument
        self._parts: list[list[_Part]] = [[] for _ in blocks]
        # What is not there is wrong unless it is tied to something that is, which is known at the end.
        self._lacking: list[tuple[str, dict[Any, _Node]]] = []
        self._nones: list[tuple[str, _Node]] = []

    def visit(self, node: _Node, given: Any, path: str) -> None:
        """Take what was given at a place.

        Parameters
        ----------
        node : _Node
            What the parameters have there.
        given : Any
            What the gradient has.
        path : str
            Where that is, as Python would write it.
        """
        if given is None:
            self._nones.append((path, node))
        elif isinstance(node, _Place):
            self._take(node, given, path)
        elif isinstance(given, Mapping | list | tuple) and not given and next(node.places(), None) is None:
            return
        elif isinstance(node, _Nothing):
            raise self._mismatch(node, given, path)
        elif node.named and (isinstance(given, Mapping) or _is_record(given)):
            self._by_name(node, given, path)
        elif node.ordered and isinstance(given, list | tuple):
            if len(given) != len(node.children):
                raise InputError(f"{path} has {_count(len(given), 'item')}, but {node.path} has {len(node.children)}")
            for position, (child, item) in enumerate(zip(node.children, given, strict=True)):
                self.visit(child, item, f"{path}[{position}]")
        else:
            raise self._mismatch(node, given, path)

    def totals(self) -> list[NDArray[Any]]:
        """The gradient of every block; InputError if there is none."""
        for path, node in self._nones:
            if self._unknown(node):
                raise self._mismatch(node, None, path)
        for path, children in self._lacking:
            require_names(path, [key for key, child in children.items() if self._unknown(child)], [], gradient=True)
        return [self._total(parts) for parts in self._parts]

    def _take(self, place: _Place, given: Any, path: str) -> None:
        if isinstance(given, Mapping):
            raise self._mismatch(place, given, path)
        array = read_numbers(given, path)
        require_shape(array, path, self._blocks[place.block].shape)
        self._parts[place.block].append(_Part(path, given, array))

    def _by_name(self, node: _Container, given: Any, path: str) -> None:
        fields = _is_record(given)
        items: Mapping[Any, Any] = given._asdict() if fields else given
        keys = match_names(items, node.keys, path)
        used = set(keys.values())
        surplus = [key for key in items if key not in used]
        if path == self._argument:
            surplus = without_intermediates(surplus)
        lacking = {key: child for key, child in zip(node.keys, node.children, strict=True) if key not in keys}
        if surplus:
            require_names(path, [key for key, child in lacking.items() if any(child.places())], surplus, gradient=True)
        if lacking:
            self._lacking.append((path, lacking))
        for key, child in zip(node.keys, node.children, strict=True):
            if key in keys:
                found = keys[key]
                self.visit(child, items[found], path + _steps(found, path, field=fields)[1])

    def _unknown(self, node: _Node) -> bool:
        """Whether there is a block below for which nothing has been given, under any of its names."""
        return any(not self._parts[place.block] for place in node.places())

    def _total(self, parts: Sequence[_Part]) -> NDArray[Any]:
        distinct: list[_Part] = []
        repeated: tuple[_Part, _Part] | None = None
        for part in parts:
            twin = next((other for other in distinct if part.is_same(other)), None)
            if twin is None:
                distinct.append(part)
            else:
                repeated = (twin, part)
        if len(distinct) == 1:
            return distinct[0].array
        if repeated:
            other = next(part for part in distinct if part is not repeated[0])
            raise InputError(
                f"{repeated[0].path} and {repeated[1].path} are one array, but {other.path}, of the same parameters, is another; "
                "give the whole gradient for each name, or parts that add up"
            )
        return _sum([part.array for part in distinct])

    def _mismatch(self, node: _Node, given: Any, path: str) -> InputError:
        return InputError(f"{path} is {_describe(given)}, but {node.path} is {self._describe_node(node)}")

    def _describe_node(self, node: _Node) -> str:
        if isinstance(node, _Nothing):
            return "None"
        if isinstance(node, _Place):
            return f"of type {node.kind}" + _with_shape(self._blocks[node.block].shape)
        size = sum(self._blocks[block].size for block in {place.block for place in node.places()})
        return f"of type {node.kind} with {_count(size, 'parameter')}, and a gradient must be nested alike"


def _sum(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Sum, formed in float64; in the least precise type, since that is how a verdict knows what precision to expect."""
    types = [np.dtype(np.float64), *(array.dtype for array in arrays if array.dtype.kind == "f")]
    with np.errstate(over="ignore", invalid="ignore"):
        total = np.sum([array.astype(np.float64) for array in arrays], axis=0)
        return np.asarray(total, dtype=max(types, key=lambda each: float(np.finfo(each).eps)))


def _describe(value: Any) -> str:
    """What a gradient has, in an error."""
    if value is None:
        return "None"
    kind = f"of type {type(value).__name__}"
    if isinstance(value, np.ndarray):
        return kind + _with_shape(value.shape)
    return f"{kind} with {_count(len(value), 'item')}" if isinstance(value, Mapping | list | tuple) else kind


def _with_shape(shape: tuple[int, ...]) -> str:
    return f" with shape {shape}" if shape else ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
