"""Tests of parameter trees: what is read, how it is named, given back and matched, and what is refused."""

import copy
import functools
import math
import pickle
import re
from collections import ChainMap, Counter, OrderedDict, UserDict, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from gradsweep import InputError, _trees
from gradsweep._parameters import read_array
from gradsweep._trees import Leaf, Tree, read_tree

Array: TypeAlias = NDArray[np.float64]

thorough = settings(deadline=None, derandomize=True, max_examples=300)


class Dense(NamedTuple):
    """A layer as somebody might keep it."""

    W: Any
    b: Any


class Slopes(NamedTuple):
    """Its gradient, in another order."""

    db: Any
    dW: Any


class AttributeDict(dict[str, Any]):
    """A dict whose items are its attributes, too."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.__dict__ = self


class Weights(list[Any]):
    """A list of somebody's own."""


@dataclass
class Model:
    """An object with parameters inside."""

    params: Any


class Tensor:
    """What another library calls an array; one that refuses to become one of NumPy's if it says why."""

    def __init__(self, values: Any, refusal: Exception | None = None) -> None:
        self.values = values
        self.refusal = refusal

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        del copy
        if self.refusal:
            raise self.refusal
        return np.array(self.values, dtype=dtype)


def numbered(*shape: int) -> Array:
    """Numbers that tell every entry from every other."""
    return np.arange(1.0, 1.0 + math.prod(shape)).reshape(shape)


def with_default(items: Mapping[str, Any]) -> dict[str, Any]:
    """A dict that makes lists for other keys."""
    return defaultdict(list, items)


def names(params: Any) -> list[str]:
    """Names of the blocks."""
    return [leaf.name for leaf in read_tree(params).blocks]


def rebuilt(tree: Tree) -> Any:
    """The structure with the values that it was read with."""
    return tree.build(tree.arrays(tree.values.copy()))


def same(one: Any, other: Any) -> bool:
    """Whether two nestings are equal in types and in every bit."""
    if isinstance(one, np.ndarray):
        return (
            type(one) is type(other) and one.dtype == other.dtype and one.shape == other.shape and one.tolist() == other.tolist()
        )
    if type(one) is not type(other):
        return False
    if isinstance(one, Mapping):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


class TestNames:
    """Blocks are named as somebody would say it, in the order in which they stand."""

    @pytest.mark.parametrize(
        ("params", "expected"),
        [
            (numbered(2), ["params"]),
            (3.0, ["params"]),
            (np.float32(3.0), ["params"]),
            (np.array(3.0), ["params"]),
            ([1.0, 2.0], ["params"]),
            ({"W1": numbered(1), "b1": 0.5}, ["W1", "b1"]),
            ({"b1": 0.5, "W1": numbered(1)}, ["b1", "W1"]),
            ({"layers": [{"W": 1.0, "b": 2.0}, {"W": 3.0}]}, ["layers[0].W", "layers[0].b", "layers[1].W"]),
            ([numbered(1), numbered(2)], ["[0]", "[1]"]),
            ((1.0, 2.0), ["[0]", "[1]"]),
            ([{"W": 1.0}, [numbered(1), 2.0]], ["[0].W", "[1][0]", "[1][1]"]),
            ({"my key": {"b": 1.0}}, ["['my key'].b"]),
            ({"a.b": 1.0, "a": {"b": 1.0}}, ["['a.b']", "a.b"]),
            ({"": 1.0, "it's": 2.0, "0": 3.0, 0: 4.0}, ["['']", '["it\'s"]', "['0']", "[0]"]),
            ({3: 1.0, -1: {"W": 1.0}, np.int64(7): 1.0}, ["[3]", "[-1].W", "[7]"]),
            ({"θ": 1.0}, ["θ"]),
            ({"params": 1.0}, ["params"]),
            (Dense(1.0, 2.0), ["W", "b"]),
            ({"layers": [Dense(1.0, 2.0)]}, ["layers[0].W", "layers[0].b"]),
            ({np.str_("W"): 1.0, np.str_("a b"): 2.0}, ["W", "['a b']"]),
        ],
        ids=repr,
    )
    def test_blocks(self, params: Any, expected: list[str]) -> None:
        """Identifiers after a dot, all else between brackets."""
        assert names(params) == expected

    def test_lone_array_of_another_argument(self) -> None:
        """It has no name but that of the argument."""
        assert [leaf.name for leaf in read_tree(numbered(2), "x0").blocks] == ["x0"]

    def test_entries(self) -> None:
        """Entries are numbered in C order; what has no dimensions has no brackets."""
        tree = read_tree({"a": np.asfortranarray(numbered(2, 3)), "layers": [{"s": 1.0, "z": np.array(2.0)}], "v": numbered(2)})
        assert [tree.describe(index) for index in range(len(tree.values))] == [
            *("a[0, 0]", "a[0, 1]", "a[0, 2]", "a[1, 0]", "a[1, 1]", "a[1, 2]"),
            *("layers[0].s", "layers[0].z", "v[0]", "v[1]"),
        ]

    def test_where_an_entry_is(self) -> None:
        """Leaf and index, in plain integers."""
        tree = read_tree((numbered(2, 3), numbered(4)))
        leaf, place = tree.locate(5)
        assert (leaf, place) == (tree.blocks[0], (1, 2))
        assert all(type(i) is int for i in place)
        assert tree.locate(6) == (tree.blocks[1], (0,))
        assert tree.locate(np.int64(9)) == (tree.blocks[1], (3,))  # type: ignore[arg-type]

    @pytest.mark.parametrize("index", [-1, 5, 100])
    def test_no_such_entry(self, index: int) -> None:
        """Nothing is counted from the end."""
        with pytest.raises(IndexError, match=f"entry {index} of 5"):
            read_tree(numbered(5)).locate(index)

    def test_empty_arrays_have_no_entries(self) -> None:
        """An entry belongs to the array that has it, wherever empty ones stand."""
        none = [np.zeros((0, 3)) for _ in range(3)]
        tree = read_tree([none[0], numbered(2), none[1], numbered(1), none[2]])
        assert [tree.describe(index) for index in range(3)] == ["[1][0]", "[1][1]", "[3][0]"]
        assert [(leaf.start, leaf.stop, leaf.size) for leaf in tree.blocks] == [
            (0, 0, 0),
            (0, 2, 2),
            (2, 2, 0),
            (2, 3, 1),
            (3, 3, 0),
        ]


TYPES = ["f2", "f4", "f8", "g", "i1", "i4", "i8", "u1", "u8", ">f8", ">f4", ">i2"]


class TestValues:
    """The flat vector holds what the arrays hold, in float64, whatever their type and layout."""

    @pytest.mark.parametrize("dtype", TYPES)
    def test_types(self, dtype: str) -> None:
        """Any real type; the leaf remembers which."""
        array = numbered(2, 3).astype(dtype)
        tree = read_tree({"W": array})
        assert tree.values.dtype == np.float64
        assert tree.values.tolist() == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
        assert tree.blocks[0].dtype == np.dtype(dtype)
        assert tree.arrays(tree.values)[0].dtype == np.float64

    LAYOUTS: tuple[Callable[[Array], Array], ...] = (
        np.asfortranarray,
        lambda a: np.repeat(a, 2, axis=1)[:, ::2],
        lambda a: a[::-1, ::-1].copy()[::-1, ::-1],
        lambda a: a.T.copy().T,
        lambda a: np.vstack([a, a])[: len(a)],
        lambda a: np.broadcast_to(a[:, :1], a.shape),
    )

    @pytest.mark.parametrize("layout", LAYOUTS)
    @pytest.mark.parametrize("writeable", [True, False])
    def test_layouts(self, layout: Callable[[Array], Array], writeable: bool) -> None:
        """C order of the entries, not of the memory."""
        array = layout(numbered(3, 4))
        if not writeable:
            array.flags.writeable = False
        tree = read_tree(array)
        assert tree.values.tolist() == [array[i, j] for i in range(3) for j in range(4)]
        assert same(rebuilt(tree), np.array(array))

    def test_copy(self) -> None:
        """Neither side sees what the other does later, and the copy is not to be written."""
        params = {"W": numbered(3)}
        tree = read_tree(params)
        assert not tree.values.flags.writeable
        params["W"][0] = 9.0
        assert tree.values[0] == 1.0

    def test_memory_map(self, tmp_path: Any) -> None:
        """Arrays in a file are arrays."""
        path = tmp_path / "weights.npy"
        np.save(path, numbered(2, 2))
        assert read_tree({"W": np.load(path, mmap_mode="r")}).values.tolist() == [1.0, 2.0, 3.0, 4.0]

    @pytest.mark.parametrize(
        ("value", "kind"),
        [(2, float), (2.0, float), (np.float64(2), np.float64), (np.float32(2), np.float64), (np.int8(2), np.float64)],
        ids=repr,
    )
    def test_numbers(self, value: Any, kind: type) -> None:
        """Python's come back as floats, NumPy's as NumPy's, for a cost may call their methods."""
        tree = read_tree({"s": value})
        leaf = tree.blocks[0]
        assert leaf.is_scalar
        assert leaf.shape == ()
        assert type(rebuilt(tree)["s"]) is kind
        assert rebuilt(tree)["s"] == 2.0

    def test_array_of_no_dimensions(self) -> None:
        """It is no number, and comes back as the array that it is."""
        tree = read_tree({"s": np.array(2.0)})
        assert not tree.blocks[0].is_scalar
        assert same(rebuilt(tree), {"s": np.array(2.0)})

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ([1, 2.5], {"params": (2,)}),
            ([np.float32(1), 2], {"params": (2,)}),
            ([[1, 2, 3], [4, 5, 6]], {"params": (2, 3)}),
            ([[[1.0]], [[2.0]]], {"params": (2, 1, 1)}),
            ([[1.0, 2.0], [3.0]], {"[0]": (2,), "[1]": (1,)}),
            ([1.0, [2.0, 3.0]], {"[0]": (), "[1]": (2,)}),
            ([[1.0, 2.0], None], {"[0]": (2,)}),
            ([[1.0], []], {"[0]": (1,)}),
            ([np.array(1.0), np.array(2.0)], {"[0]": (), "[1]": ()}),
            ([[1.0, 2.0], numbered(2)], {"[0]": (2,), "[1]": (2,)}),
            ([(1.0, 2.0), (3.0, 4.0)], {"[0][0]": (), "[0][1]": (), "[1][0]": (), "[1][1]": ()}),
            ({"w": [1.0, 2.0], "b": (1.0, 2.0)}, {"w": (2,), "b[0]": (), "b[1]": ()}),
        ],
        ids=repr,
    )
    def test_lists_of_numbers(self, value: Any, expected: dict[str, tuple[int, ...]]) -> None:
        """A list of nothing but numbers is one array, if it is a rectangle; a tuple never is."""
        assert {leaf.name: leaf.shape for leaf in read_tree(value).blocks} == expected

    def test_list_of_numbers_comes_back_as_an_array(self) -> None:
        """Since it stands for one."""
        assert same(rebuilt(read_tree({"w": [[1, 2], [3, 4]]})), {"w": np.array([[1.0, 2.0], [3.0, 4.0]])})


class TestStructure:
    """What is given back has the caller's structure, in new containers."""

    @pytest.mark.parametrize(
        "params",
        [
            {"W": numbered(2), "b": None},
            {"layers": [{"W": numbered(2)}, {}, [], (), None]},
            (numbered(2), (numbered(1), [numbered(3)])),
            Dense(numbered(2), 1.0),
            [Dense(numbered(2), {"c": 1.0}), Slopes(1.0, None)],
            OrderedDict(b=numbered(2), a=1.0),
            MappingProxyType({"b": numbered(2)}),
            UserDict({"b": numbered(2), "a": {"c": 1.0}}),
            ChainMap({"b": numbered(2)}),
            Counter({"b": 2.0, "a": 1.0}),
            with_default({"W": numbered(2)}),
            AttributeDict({"W": numbered(2)}),
            Weights([numbered(2), 1.0]),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_given_back(self, params: Any) -> None:
        """Types, order, and what holds no parameters."""
        tree = read_tree(params)
        assert same(rebuilt(tree), params)
        assert rebuilt(tree) is not params

    def test_new_containers(self) -> None:
        """Who changes them changes nothing of the caller's, nor of what is built next."""
        params: Any = {"layers": [{"W": numbered(2)}, {}]}
        tree = read_tree(params)
        one, other = rebuilt(tree), rebuilt(tree)
        for built in (one, other):
            assert built["layers"] is not params["layers"]
            for layer, given_layer in zip(built["layers"], params["layers"], strict=True):
                assert layer is not given_layer
        assert one["layers"][0] is not other["layers"][0]

    def test_attributes_follow_items(self) -> None:
        """A dict that is made by its own constructor is whole."""
        built = read_tree(AttributeDict({"W": numbered(2)})).build(["new"])
        assert built.W == "new"

    def test_default_of_a_dict(self) -> None:
        """A default dict keeps its default."""
        built = rebuilt(read_tree({"d": with_default({"W": numbered(2)})}))
        assert built["d"]["other"] == []

    def test_other_leaves(self) -> None:
        """Leaves may be anything: duck arrays, names."""
        tree = read_tree({"layers": [Dense(numbered(2), 1.0)], "s": 2.0})
        assert tree.build(["x", None, ("y",)]) == {"layers": [Dense("x", None)], "s": ("y",)}

    @pytest.mark.parametrize("count", [0, 1, 3])
    def test_number_of_leaves(self, count: int) -> None:
        """None is left out in silence."""
        with pytest.raises(ValueError, match=f"{count} leaves for 2 blocks"):
            read_tree((1.0, 2.0)).build([0.0] * count)

    @pytest.mark.parametrize("stride", [1, 2, -1])
    def test_views(self, stride: int) -> None:
        """What is written to the vector is seen in the arrays and the other way round, also where entries are apart."""
        tree = read_tree({"W": numbered(2, 3), "z": np.array(4.0), "s": 5.0, "e": np.zeros((2, 0)), "b": numbered(2)})
        values = np.zeros(10 * abs(stride))[::stride][:10]
        values[:] = 1.0
        built = tree.build(tree.arrays(values))
        values[:] = np.arange(10.0)
        assert built["W"].tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
        assert built["z"] == 6.0
        assert built["s"] == 1.0
        assert built["b"].tolist() == [8.0, 9.0]
        built["W"][1, 0], built["z"][()] = -1.0, -2.0
        assert values.tolist() == [0.0, 1.0, 2.0, -1.0, 4.0, 5.0, -2.0, 7.0, 8.0, 9.0]

    @pytest.mark.parametrize("shape", [(), (4,), (6,), (5, 1)])
    def test_values_of_another_shape(self, shape: tuple[int, ...]) -> None:
        """A vector must be that of these parameters."""
        with pytest.raises(InputError, match=re.escape(f"values has shape {shape}, but (5,) is needed")):
            read_tree(numbered(5)).arrays(np.zeros(shape))

    def test_pickle(self) -> None:
        """A tree can be sent to another process."""
        params = {"layers": [Dense(numbered(2), 1.0), None], "d": with_default({"W": (numbered(1), [2.0])})}
        tree = read_tree(params)
        sent: Tree = pickle.loads(pickle.dumps(tree))
        assert same(rebuilt(sent), rebuilt(tree))
        assert [vars(leaf) for leaf in sent.blocks] == [vars(leaf) for leaf in tree.blocks]
        assert [block.tolist() for block in sent.match(params)] == [[1.0, 2.0], 1.0, [1.0], [2.0]]


class Secretive(Mapping[str, Any]):
    """A mapping that can be read, and not made."""

    def __init__(self, path: str, mode: str) -> None:
        self.where = (path, mode)

    def __getitem__(self, key: str) -> Any:
        return {"W": numbered(2)}[key]

    def __iter__(self) -> Iterator[str]:
        return iter(["W"])

    def __len__(self) -> int:
        return 1


class Copying(UserDict[str, Any]):
    """A dict that copies what it is given."""

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, np.array(value))


class Sorting(dict[str, Any]):
    """A dict that brings its keys into an order of its own."""

    def __init__(self, items: Mapping[str, Any], *, ordered: bool = True) -> None:
        super().__init__(sorted(items.items()) if ordered else items)


class Clearing(list[Any]):
    """A list that begins empty, whatever it is made of."""

    def __init__(self, items: Any) -> None:
        del items
        super().__init__()


class Changing(dict[str, Any]):
    """A dict that becomes an ordinary one."""

    def __new__(cls, *args: Any) -> Any:
        return dict(*args) if args else super().__new__(cls)


def changing() -> Any:
    """One that holds something."""
    result = Changing()
    result["W"] = numbered(2)
    return result


def clearing() -> Any:
    """One that holds something."""
    result = Clearing(())
    result.append(numbered(2))
    return result


def holding_itself(kind: str) -> Any:
    """A structure with a circle in it."""
    inner: Any
    if kind == "list":
        inner = [numbered(2)]
        inner.append(inner)
    elif kind == "list of numbers":
        inner = [1.0]
        inner.append(inner)
    elif kind == "nothing else":
        inner = []
        inner.append(inner)
    elif kind == "twice":
        inner = []
        inner += [inner, inner]
    else:
        inner = {"W": numbered(2), "b": {"c": ()}}
        inner["b"]["c"] = (1.0, inner["b"])
    return inner


def nested(depth: int, value: Any) -> Any:
    """A value inside so many dicts."""
    return functools.reduce(lambda inner, _: {"a": inner}, range(depth), value)


class TestRefused:
    """What is no parameter is refused, and the message says where it is."""

    @pytest.mark.parametrize("where", ["params", "params['layers'][1]", "params[0]['my key']"])
    @pytest.mark.parametrize(
        ("value", "words"),
        [
            (numbered(1, 1).view(np.matrix), r"is an np.matrix, where \* is another product"),
            (np.ma.masked_array([1.0, 2.0], [True, False]), "is a masked array; fill or compress it first"),
            (np.array([True, False]), "has dtype bool; a cost has no derivative"),
            (True, "has dtype bool; a cost has no derivative"),
            (np.False_, "has dtype bool; a cost has no derivative"),
            (np.ones(2, dtype=complex), "has dtype complex128, but real numbers are needed"),
            (1j, "has dtype complex128, but real numbers are needed"),
            (np.complex64(1), "has dtype complex64, but real numbers are needed"),
            (np.array([1.0, None]), "has dtype object, but real numbers are needed"),
            (10**400, "has dtype object, but real numbers are needed"),
            (np.array(["a"]), "has dtype <U1, but real numbers are needed"),
            (np.str_("a"), "has dtype <U1, but real numbers are needed"),
            (np.array(["2020-01-01"], dtype="M8[D]"), r"has dtype datetime64\[D\], but real numbers are needed"),
            (np.zeros(1, dtype=[("W", float)]), r"has dtype \[.*\], but real numbers are needed"),
            ("tanh", "is of type str; parameters are arrays and numbers, alone or in dicts, lists and tuples$"),
            (b"tanh", "is of type bytes; parameters are"),
            ({1.0, 2.0}, "is of type set; parameters are"),
            (range(3), "is of type range; parameters are"),
            (np.tanh, "is of type ufunc; parameters are"),
            (len, "is of type builtin_function_or_method; parameters are"),
            (
                Model({"W": 1.0}),
                r"is of type Model; parameters are .*; of an object, give those that it holds, as in model\.params$",
            ),
            (Model, "is of type type; parameters are"),
            (Tensor([1.0]), r"is of type Tensor, which is no NumPy array; make it one with np\.asarray$"),
            (np.array([[1.0, 2.0], [3.0, np.nan]]), "nan; all entries must be finite"),
            (np.array([np.inf]), "inf; all entries must be finite"),
            (math.nan, "is nan; all entries must be finite"),
            (np.array(-math.inf), "is -inf; all entries must be finite"),
            ({1.5: 1.0}, r"has the key 1\.5, but keys must be text or integers"),
            ({("W", 1): 1.0}, r"has the key \('W', 1\), but keys must be text or integers"),
            ({None: 1.0}, "has the key None, but keys must be text or integers"),
            ({True: 1.0}, "has the key True, but keys must be text or integers"),
            (Secretive("a", "r"), "is of type Secretive, which cannot be made from a plain dict: .*argument"),
            (Copying({"W": numbered(2)}), "is of type Copying, which cannot be made from a plain dict: what comes out differs"),
            (
                Sorting({"b": 1.0, "a": 2.0}, ordered=False),
                "is of type Sorting, which cannot be made from a plain dict: what comes out differs",
            ),
            (changing(), "is of type Changing, which cannot be made from a plain dict: what comes out differs"),
            (clearing(), "is of type Clearing, which cannot be made from a list of what it holds: what comes out differs"),
        ],
        ids=lambda value: value[:30] if isinstance(value, str) else type(value).__name__,
    )
    def test_values(self, where: str, value: Any, words: str) -> None:
        """The message begins with the place, as Python would write it."""
        other = numbered(2)
        params = {
            "params": value,
            "params['layers'][1]": {"layers": [{"W": other}, value]},
            "params[0]['my key']": ({"b": other, "my key": value}, 1.0),
        }[where]
        with pytest.raises(InputError, match=words) as caught:
            read_tree(params)
        assert str(caught.value).startswith((f"{where} ", f"{where}["))

    @pytest.mark.parametrize(
        ("params", "message"),
        [
            ({"W": np.array([[1.0, 2.0], [np.nan, 1.0]])}, "params['W'][1, 0] is nan; all entries must be finite"),
            ([{"s": math.inf}], "params[0]['s'] is inf; all entries must be finite"),
            ([[1.0, 2.0], [3.0, math.nan]], "params[1, 1] is nan; all entries must be finite"),
            (Dense(numbered(2), np.array([np.inf])), "params.b[0] is inf; all entries must be finite"),
            ({"l": (Dense(1.0, "x"),)}, "params['l'][0].b is of type str; parameters are arrays and numbers"),
            ([1.0, [2.0, "x"]], "params[1][1] is of type str"),
            ([1.0, True], "params[1] has dtype bool"),
            ({3: {"s": "x"}}, "params[3]['s'] is of type str"),
        ],
        ids=repr,
    )
    def test_places(self, params: Any, message: str) -> None:
        """Index and fields are part of the place."""
        with pytest.raises(InputError, match="^" + re.escape(message)):
            read_tree(params)

    def test_other_argument(self) -> None:
        """The message begins with the name that the caller knows."""
        with pytest.raises(InputError, match=r"^x0\['a'\] is of type str"):
            read_tree({"a": "b"}, "x0")

    def test_beyond_float64(self) -> None:
        """A number that float64 cannot hold is refused as infinite, without a warning on the side."""
        if np.finfo(np.longdouble).max == np.finfo(np.float64).max:
            pytest.skip("long double is float64 here")
        with pytest.raises(InputError, match=r"^params\['a'\]\[1\] is .*; all entries must be finite"):
            read_tree({"a": np.array([1.0, np.longdouble("1e4000")])})

    @pytest.mark.parametrize(
        "params", [None, {}, [], (), [None, {}], {"a": [[], {}]}, np.zeros((0, 3)), {"a": np.zeros(0)}], ids=repr
    )
    def test_no_parameters(self, params: Any) -> None:
        """There must be an entry somewhere."""
        with pytest.raises(InputError, match=r"^params has no parameters$"):
            read_tree(params)

    @pytest.mark.parametrize(
        ("kind", "message"),
        [
            ("list", "params[1] is params itself"),
            ("list of numbers", "params[1] is params itself"),
            ("nothing else", "params[0] is params itself"),
            ("twice", "params[0] is params itself"),
            ("dict", "params['b']['c'][1] is params['b'] itself"),
        ],
    )
    def test_circles(self, kind: str, message: str) -> None:
        """Both ends of the circle are named."""
        with pytest.raises(InputError, match="^" + re.escape(f"{message}; a structure cannot hold itself")):
            read_tree(holding_itself(kind))

    def test_depth(self) -> None:
        """What is nested beyond reason is an input error, too, not one of recursion."""
        assert names(nested(100, numbered(1))) == [".".join("a" * 100)]
        with pytest.raises(InputError, match=r"^params is nested more than 100 containers deep$"):
            read_tree(nested(101, numbered(1)))
        with pytest.raises(InputError, match=r"^params is nested more than 100 containers deep$"):
            read_tree(nested(100_000, numbered(1)))

    def test_depth_of_lists(self) -> None:
        """Lists are looked into for numbers first; that does not recurse without end either."""
        deep: Any = [numbered(1)]
        for _ in range(100_000):
            deep = [deep]
        with pytest.raises(InputError, match="containers deep"):
            read_tree(deep)


class TestShared:
    """One array at several places is one block; arrays that overlap are refused."""

    def test_tied(self) -> None:
        """First name, further names, entries once; the same object at each place."""
        W = numbered(2, 2)
        tree = read_tree({"encoder": {"W": W}, "b": numbered(1), "decoder": [W, {"again": W}]})
        leaf = tree.blocks[0]
        assert (leaf.name, leaf.aliases) == ("encoder.W", ("decoder[0]", "decoder[1].again"))
        assert [other.aliases for other in tree.blocks[1:]] == [()]
        assert len(tree.values) == 5
        built = rebuilt(tree)
        assert built["encoder"]["W"] is built["decoder"][0] is built["decoder"][1]["again"]

    def test_tied_layers(self) -> None:
        """A container at two places ties what it holds; new ones are made for each."""
        layer = {"W": numbered(2), "b": [1.0, 2.0], "z": np.array(1.0)}
        tree = read_tree([layer, layer])
        assert [(leaf.name, leaf.aliases) for leaf in tree.blocks] == [
            ("[0].W", ("[1].W",)),
            ("[0].b", ("[1].b",)),
            ("[0].z", ("[1].z",)),
        ]
        built = rebuilt(tree)
        assert built[0] is not built[1]
        assert all(built[0][key] is built[1][key] for key in layer)

    @pytest.mark.parametrize("value", [1.5, 1, np.float64(1.5), np.float32(1.5)], ids=repr)
    def test_numbers_are_not_tied(self, value: Any) -> None:
        """Numbers cannot be changed, so it means nothing that they are one object."""
        assert names({"a": value, "b": value}) == ["a", "b"]

    def test_equal_arrays_are_not_tied(self) -> None:
        """Copies are parameters of their own."""
        assert names({"a": numbered(2), "b": numbered(2)}) == ["a", "b"]

    OVERLAPS: tuple[Callable[[Array], Array], ...] = (
        lambda a: a.T,
        lambda a: a[:],
        lambda a: a[1:2, 1:2],
        lambda a: a[::-1],
        lambda a: a.reshape(-1)[3:],
        lambda a: np.broadcast_to(a[:1, :1], (2, 2)),
    )

    @pytest.mark.parametrize("view", OVERLAPS)
    @pytest.mark.parametrize("swapped", [False, True])
    def test_overlap(self, view: Callable[[Array], Array], swapped: bool) -> None:
        """Both are named, in the order in which they stand."""
        whole = numbered(3, 3)
        pair = (view(whole), whole) if swapped else (whole, view(whole))
        params = {"a": numbered(2), "W": pair[0], "b": [1.0, numbered(3)], "layers": [{"V": pair[1]}]}
        with pytest.raises(InputError, match=r"^params\['W'\] and params\['layers'\]\[0\]\['V'\] overlap in memory"):
            read_tree(params)

    def test_overlap_behind_others(self) -> None:
        """One that reaches far is compared with all that lie in it, not with its neighbour only."""
        base = numbered(12)
        params = [base[::11], base[1:3], base[4:6], base[8:10], base[11:12]]
        with pytest.raises(InputError, match=r"^params\[0\] and params\[4\] overlap"):
            read_tree(params)
        assert names(params[:4]) == ["[0]", "[1]", "[2]", "[3]"]

    def test_parts_of_one_array(self) -> None:
        """Views into one vector or matrix that share no entry are fine, though they interleave."""
        base = numbered(4, 6)
        params = {"left": base[:, :3], "odd": base[:2, 3::2], "even": base[:2, 4::2], "rest": base[2:, 3:], "none": base[1:1]}
        tree = read_tree(params)
        assert sorted(tree.values.tolist()) == list(range(1, 25))
        assert same(rebuilt(tree), {name: np.array(value) for name, value in params.items()})

    def test_too_hard_to_tell(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where it would take too long to find a shared byte, one is assumed."""
        base = np.zeros(1000)
        one = np.lib.stride_tricks.as_strided(base, (3, 5, 7), (56, 176, 312))
        other = np.lib.stride_tricks.as_strided(base[3:], (3, 5, 7), (112, 176, 208))
        little: Any = 1
        monkeypatch.setattr(_trees, "_MOST_WORK", little)
        with pytest.raises(np.exceptions.TooHardError):
            np.shares_memory(one, other, max_work=little)
        with pytest.raises(InputError, match=r"^params\[0\] and params\[1\] overlap"):
            read_tree((one, other))


def setting() -> dict[str, Any]:
    """Parameters of several kinds."""
    return {
        "layers": [{"W": numbered(2, 3), "b": numbered(2)}, {"W": numbered(1, 2), "b": numbered(1)}],
        "head": Dense(numbered(2), 0.5),
        "pair": (numbered(2), np.array(1.0)),
        "my key": {3: numbered(1)},
        "off": None,
        "relu": [{}],
    }


def gradient_of(spelling: str = "d{}") -> dict[str, Any]:
    """A gradient of these parameters, in another order and with lists for tuples."""
    name = spelling.format
    return {
        name("my key"): {3: -numbered(1)},
        name("pair"): [-numbered(2), -1.0],
        name("head"): {name("b"): np.float32(-0.5), name("W"): -numbered(2)},
        name("layers"): (
            {name("b"): -numbered(2), name("W"): -numbered(2, 3)},
            {name("W"): -numbered(1, 2), name("b"): [-1.0]},
        ),
    }


class TestMatching:
    """Gradients are brought into the order of the blocks, by name where there are names."""

    @pytest.mark.parametrize("spelling", ["{}", "d{}", "grad_{}", "{}_grad"])
    def test_spellings(self, spelling: str) -> None:
        """At every level."""
        tree = read_tree(setting())
        blocks = tree.match(gradient_of(spelling))
        assert np.concatenate([block.ravel() for block in blocks]).tolist() == (-tree.values).tolist()
        assert [block.shape for block in blocks] == [leaf.shape for leaf in tree.blocks]

    def test_params_themselves(self) -> None:
        """The very structure of the parameters will do, with and without what holds none."""
        params = setting()
        tree = read_tree(params)
        assert np.concatenate([block.ravel() for block in tree.match(params)]).tolist() == tree.values.tolist()

    @pytest.mark.parametrize("dtype", [*TYPES, "?"])
    def test_types_are_kept(self, dtype: str) -> None:
        """How precise a gradient is, its type tells; arrays are not copied."""
        array = np.ones((2, 3), dtype=dtype)
        (block,) = read_tree(numbered(2, 3)).match(array)
        assert block is array

    def test_non_finite(self) -> None:
        """That is for the verdict to say."""
        (block,) = read_tree(numbered(2)).match(np.array([np.nan, np.inf]))
        assert block.tolist()[1] == math.inf

    @pytest.mark.parametrize(
        "value", [2.0, 2, np.float32(2), np.array(2.0), np.int8(2), Tensor(2.0)], ids=lambda v: type(v).__name__
    )
    @pytest.mark.parametrize("params", [1.0, np.array(1.0), np.float64(1.0)], ids=lambda v: type(v).__name__)
    def test_numbers(self, value: Any, params: Any) -> None:
        """Python's, NumPy's, and arrays of no dimensions alike."""
        for structure, gradient in ((params, value), ({"s": params}, {"ds": value}), ((params,), [value])):
            (block,) = read_tree(structure).match(gradient)
            assert block.shape == ()
            assert block == 2.0

    @pytest.mark.parametrize("value", [[1.0, 2.0], (1, 2), Tensor([1.0, 2.0]), numbered(4)[:2], np.array([1, 2], dtype="u1")])
    def test_array_like(self, value: Any) -> None:
        """An array may be anything that NumPy reads as one of its shape."""
        (block,) = read_tree(numbered(2)).match(value)
        assert block.tolist() == [1.0, 2.0]

    def test_matrix(self) -> None:
        """A gradient is only read, so that its * does not matter."""
        (block,) = read_tree(numbered(1, 2)).match(numbered(1, 2).view(np.matrix))
        assert type(block) is np.ndarray
        assert block.tolist() == [[1.0, 2.0]]

    @pytest.mark.parametrize(
        "gradient",
        [
            Dense(numbered(2), 3.0),
            Slopes(3.0, numbered(2)),
            (numbered(2), 3.0),
            [numbered(2), 3.0],
            {"db": 3.0, "W": numbered(2)},
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_named_tuples(self, gradient: Any) -> None:
        """By name if the gradient has names, whatever their order, else by position."""
        blocks = read_tree(Dense(numbered(2), 1.0)).match(gradient)
        assert [block.tolist() for block in blocks] == [[1.0, 2.0], 3.0]

    def test_named_tuple_for_others(self) -> None:
        """By name for a dict, by position for a tuple."""
        assert read_tree({"W": 1.0, "b": 2.0}).match(Slopes(3.0, 4.0)) == [4.0, 3.0]
        assert read_tree((1.0, 2.0)).match(Slopes(3.0, 4.0)) == [3.0, 4.0]

    def test_intermediates(self) -> None:
        """Gradients of activations may stand beside the others, outside only."""
        tree = read_tree({"W1": numbered(2), "A1": 1.0})
        blocks = tree.match({"dA0": None, "dZ1": "x", "dA1": 3.0, "dA2": np.zeros((3, 3)), "dW1": numbered(2)})
        assert [block.tolist() for block in blocks] == [[1.0, 2.0], 3.0]

    def test_default_dict_is_not_filled(self) -> None:
        """To look a key up must not make it."""
        gradient: dict[str, Any] = defaultdict(lambda: numbered(2))
        gradient["dW"] = numbered(2)
        with pytest.raises(InputError, match="lacks 'b'"):
            read_tree({"W": numbered(2), "b": numbered(2)}).match(gradient)
        assert list(gradient) == ["dW"]

    @pytest.mark.parametrize("nothing", [None, {}, [], ()], ids=repr)
    @pytest.mark.parametrize("absent", [None, {}, [], (), "left out"], ids=repr)
    def test_no_parameters_below(self, nothing: Any, absent: Any) -> None:
        """None and empty containers may be missing, or hold nothing."""
        gradient = {"dW": 2.0} | ({} if absent == "left out" else {"db": absent})
        assert read_tree({"W": 1.0, "b": nothing}).match(gradient) == [2.0]
        if absent != "left out":
            assert read_tree([numbered(1), nothing]).match([numbered(1), absent])[0].tolist() == [1.0]

    @pytest.mark.parametrize(
        ("keys", "expected"),
        [
            (["x", "dx"], ["x", "dx"]),
            (["dx", "x"], ["x", "dx"]),
            (["dx", "ddx"], ["dx", "ddx"]),
            (["x", "grad_dx"], ["x", "grad_dx"]),
            (["x_grad", "dx"], ["x_grad", "dx"]),
            (["grad_x", "dx_grad"], ["grad_x", "dx_grad"]),
            (["x", "dx", "ddx"], None),
            (["dx"], None),
            (["x", "x_grad", "ddx"], None),
        ],
    )
    def test_names_that_are_spellings_of_others(self, keys: list[str], expected: list[str] | None) -> None:
        """Beside x a parameter dx: a key is taken as what it must be, and refused where it may be either."""
        tree = read_tree({"x": 1.0, "dx": 2.0})
        gradient = {key: 10.0 + number for number, key in enumerate(keys)}
        if expected is None:
            with pytest.raises(
                InputError, match=r"^gradient is ambiguous: '.*' (all stand for '|may stand for 'x' and for 'dx')"
            ):
                tree.match(gradient)
        else:
            assert tree.match(gradient) == [gradient[key] for key in expected]

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda g: [g], "gradient is of type list with 1 item, but params is of type dict with 18 parameters"),
            (
                lambda g: np.zeros(18),
                "gradient is of type ndarray with shape (18,), but params is of type dict with 18 parameters",
            ),
            (lambda g: 3.0, "gradient is of type float, but params is of type dict with 18 parameters"),
            (
                lambda g: None,
                "gradient is None, but params is of type dict with 18 parameters, and a gradient must be nested alike",
            ),
            (lambda g: Model(g), "gradient is of type Model, but params is of type dict"),
            (
                lambda g: {},
                "gradient lacks 'layers', 'head', 'pair', 'my key' (layers may also be called dlayers, grad_layers or",
            ),
            (
                lambda g: g | {"dlayers": {}},
                "gradient['dlayers'] is of type dict with 0 items, but params['layers'] is of type list",
            ),
            (lambda g: g | {"dlayers": g["dlayers"][:1]}, "gradient['dlayers'] has 1 item, but params['layers'] has 2"),
            (lambda g: g | {"dlayers": [*g["dlayers"], {}]}, "gradient['dlayers'] has 3 items, but params['layers'] has 2"),
            (
                lambda g: g | {"dlayers": iter(g["dlayers"])},
                "gradient['dlayers'] is of type tuple_iterator, but params['layers'] is",
            ),
            (
                lambda g: g | {"dlayers": None},
                "gradient['dlayers'] is None, but params['layers'] is of type list with 11 parameters",
            ),
            (
                lambda g: g | {"dlayers": [g["dlayers"][0], {"dW": None, "db": [1.0]}]},
                "gradient['dlayers'][1]['dW'] is None, but params['layers'][1]['W'] is of type ndarray with shape (1, 2)",
            ),
            (
                lambda g: g | {"dlayers": [g["dlayers"][0], {"dW": numbered(1, 2)}]},
                "gradient['dlayers'][1] lacks 'b' (b may also be called db, grad_b or b_grad)",
            ),
            (
                lambda g: g | {"dlayers": [g["dlayers"][0], {"dW": numbered(1, 2), "dB": 1.0}]},
                "gradient['dlayers'][1] lacks 'b' (b may also be called db, grad_b or b_grad) and has 'dB', which belongs to no",
            ),
            (
                lambda g: g | {"dlayers": [g["dlayers"][0], g["dlayers"][1] | {"dA1": 1.0}]},
                "gradient['dlayers'][1] has 'dA1', which belongs to no parameter",
            ),
            (
                lambda g: g | {"dlayers": [g["dlayers"][0] | {"W": numbered(2, 3)}, g["dlayers"][1]]},
                "gradient['dlayers'][0] is ambiguous: 'W', 'dW' all stand for 'W'",
            ),
            (
                lambda g: g | {"dlayers": [g["dlayers"][0] | {"dW": {"a": 1.0}}, g["dlayers"][1]]},
                "gradient['dlayers'][0]['dW'] is of type dict with 1 item, but params['layers'][0]['W'] is of type ndarray with",
            ),
            (
                lambda g: g | {"dlayers": [g["dlayers"][0] | {"db": numbered(2, 1)}, g["dlayers"][1]]},
                "gradient['dlayers'][0]['db'] has shape (2, 1), but (2,) is needed",
            ),
            (lambda g: g | {"dhead": Slopes(numbered(1), numbered(2))}, "gradient['dhead'].db has shape (1,), but () is needed"),
            (lambda g: g | {"dhead": {"dW": numbered(2)}}, "gradient['dhead'] lacks 'b'"),
            (
                lambda g: g | {"dhead": numbered(2)},
                "gradient['dhead'] is of type ndarray with shape (2,), but params['head'] is of type Dense",
            ),
            (lambda g: g | {"dhead": [numbered(2)]}, "gradient['dhead'] has 1 item, but params['head'] has 2"),
            (
                lambda g: g | {"dhead": (numbered(2), {"x": 1.0})},
                "gradient['dhead'][1] is of type dict with 1 item, but params['head'].b is of type float",
            ),
            (
                lambda g: g | {"dpair": {0: numbered(2), 1: 1.0}},
                "gradient['dpair'] is of type dict with 2 items, but params['pair'] is of type tuple",
            ),
            (lambda g: g | {"dpair": (1.0, 1.0)}, "gradient['dpair'][0] has shape (), but (2,) is needed"),
            (lambda g: g | {"dmy key": {}}, "gradient['dmy key'] lacks 3"),
            (lambda g: g | {"dmy key": {3: numbered(1), 4: 1.0}}, "gradient['dmy key'] has 4, which belongs to no parameter"),
            (
                lambda g: g | {"dmy key": {"d3": numbered(1)}},
                "gradient['dmy key'] lacks 3 and has 'd3', which belongs to no parameter",
            ),
            (lambda g: g | {"dmy key": {3: "x"}}, "gradient['dmy key'][3] has dtype <U1, but real numbers are needed"),
            (
                lambda g: g | {"doff": numbered(3)},
                "gradient['doff'] is of type ndarray with shape (3,), but params['off'] is None",
            ),
            (lambda g: g | {"relu": [{"W": 1.0}]}, "gradient['relu'][0] has 'W', which belongs to no parameter"),
            (
                lambda g: g | {"relu": 0.0},
                "gradient['relu'] is of type float, but params['relu'] is of type list with 0 parameters",
            ),
            (lambda g: g | {1.5: 0.0}, "gradient has 1.5, which belongs to no parameter"),
        ],
    )
    def test_refused(self, change: Callable[[Any], Any], message: str) -> None:
        """Both sides are named, with the caller's own keys."""
        params, gradient = setting(), gradient_of()
        tree = read_tree(params)
        assert tree.match(gradient)
        with pytest.raises(InputError, match="^" + re.escape(message)):
            tree.match(change(gradient))

    @pytest.mark.parametrize(
        ("params", "gradient", "message"),
        [
            (
                numbered(2),
                {"params": numbered(2)},
                "gradient is of type dict with 1 item, but params is of type ndarray with shape (2,)",
            ),
            (numbered(2), numbered(2, 1), "gradient has shape (2, 1), but (2,) is needed"),
            (numbered(2, 1), numbered(2), "gradient has shape (2,), but (2, 1) is needed"),
            (numbered(2, 1), numbered(1, 2), "gradient has shape (1, 2), but (2, 1) is needed"),
            (numbered(2), 1.0, "gradient has shape (), but (2,) is needed"),
            (numbered(2), None, "gradient is None, but params is of type ndarray with shape (2,)"),
            (numbered(1), 1.0, "gradient has shape (), but (1,) is needed"),
            (1.0, numbered(1), "gradient has shape (1,), but () is needed"),
            (np.float64(1.0), {}, "gradient is of type dict with 0 items, but params is of type float64"),
            ([1.0, 2.0], {"a": 1.0}, "gradient is of type dict with 1 item, but params is of type list with shape (2,)"),
            (numbered(2), [1.0, [2.0]], "gradient is not an array of numbers"),
            (numbered(2), np.array([1j, 2]), "gradient has dtype complex128, but real numbers are needed"),
            (numbered(2), np.ma.masked_array([1.0, 2.0], [False, True]), "gradient is a masked array"),
            (numbered(2), Tensor(0, RuntimeError("it requires grad")), "gradient is not an array of numbers: it requires grad"),
            (np.zeros((2, 0)), np.zeros((0, 2)), "gradient[1] has shape (0, 2), but (2, 0) is needed"),
            (
                (0.5, 1.0),
                numbered(2),
                "gradient is of type ndarray with shape (2,), but params is of type tuple with 2 parameters",
            ),
        ],
    )
    def test_lone(self, params: Any, gradient: Any, message: str) -> None:
        """Nothing is broadcast, ravelled or squeezed."""
        if isinstance(params, np.ndarray) and not params.size:
            params, gradient = [1.0, params], [1.0, gradient]
        with pytest.raises(InputError, match="^" + re.escape(message)):
            read_tree(params).match(gradient)

    def test_whole_messages(self) -> None:
        """A number has no shape, and tied parameters count once."""
        with pytest.raises(InputError, match=r"^gradient is of type dict with 0 items, but params is of type float64$"):
            read_tree(np.float64(1.0)).match({})
        W = numbered(2)
        with pytest.raises(InputError, match=r"^gradient is of type float, but params is of type list with 3 parameters, and a"):
            read_tree([W, W, numbered(1)]).match(1.0)

    def test_other_arguments(self) -> None:
        """The message has the names that the caller knows."""
        with pytest.raises(InputError, match=r"^second\['a'\] is None, but x0\['a'\] is of type ndarray"):
            read_tree({"a": numbered(2)}, "x0").match({"a": None}, "second")


class TestTiedGradients:
    """The gradient of a tied array is the sum of what is given for its names."""

    @staticmethod
    def tree(value: Any = None) -> Tree:
        W = numbered(2) if value is None else value
        return read_tree({"a": W, "b": numbered(1), "c": [W, W]})

    def test_sum(self) -> None:
        """Parts add up, in any order."""
        parts = [numbered(2) * factor for factor in (1.0, 10.0, 100.0)]
        blocks = self.tree().match({"c": parts[:2], "a": parts[2], "b": [7.0]})
        assert [block.tolist() for block in blocks] == [[111.0, 222.0], [7.0]]
        assert [part.tolist() for part in parts] == [[1.0, 2.0], [10.0, 20.0], [100.0, 200.0]]

    def test_equal_parts_add_up(self) -> None:
        """Equal numbers in arrays of their own are parts."""
        blocks = self.tree().match({"a": numbered(2), "b": [7.0], "c": [numbered(2), numbered(2)]})
        assert blocks[0].tolist() == [3.0, 6.0]

    @pytest.mark.parametrize("again", [lambda a: a, lambda a: a[:], np.asarray, lambda a: a.reshape(2)])
    def test_one_array_for_all(self, again: Callable[[Any], Any]) -> None:
        """One array, or a view of the very same entries, is the whole gradient."""
        whole = numbered(2)
        blocks = self.tree().match({"a": whole, "b": [7.0], "c": [again(whole), again(whole)]})
        assert blocks[0] is whole

    def test_transposed_view_is_a_part(self) -> None:
        """It begins at the same entry, and yet is another array."""
        W, whole = numbered(2, 2), numbered(2, 2)
        assert read_tree((W, W)).match((whole, whole.T))[0].tolist() == [[2.0, 5.0], [5.0, 8.0]]

    def test_views_of_a_column(self) -> None:
        """Steps along an axis of one entry are never taken, so they may differ."""
        W, whole = numbered(2, 1), numbered(2, 3)
        column, same_column = whole[:, :1], whole.T[0].reshape(2, 1)
        assert column.strides != same_column.strides
        assert read_tree((W, W)).match((column, same_column))[0] is column

    def test_one_list_for_all(self) -> None:
        """So is one list."""
        whole = [1.0, 2.0]
        assert self.tree().match({"a": whole, "b": [7.0], "c": [whole, whole]})[0].tolist() == [1.0, 2.0]

    @pytest.mark.parametrize("other", [lambda a: a[::-1], lambda a: a.astype("f4"), lambda a: a.view("i8")])
    def test_other_views_are_parts(self, other: Callable[[Any], Any]) -> None:
        """Other entries, or the same bytes read as something else, are another array."""
        whole, W = numbered(2), numbered(2)
        tree = read_tree((W, W))
        expected = whole + other(whole)
        assert tree.match([whole, other(whole)])[0].tolist() == expected.tolist()

    @pytest.mark.parametrize(
        "gradient",
        [
            {"a": [1.0, 2.0], "b": [7.0]},
            {"b": [7.0], "dc": [None, [1.0, 2.0]]},
            {"a": None, "b": [7.0], "c": [[1.0, 2.0], None]},
            {"a": [1.0, 2.0], "b": [7.0], "c": None},
        ],
        ids=repr,
    )
    def test_one_name_is_enough(self, gradient: Any) -> None:
        """What is given for one name is the whole gradient if nothing is given for the others."""
        assert [block.tolist() for block in self.tree().match(gradient)] == [[1.0, 2.0], [7.0]]

    @pytest.mark.parametrize(
        ("gradient", "message"),
        [
            ({"b": [7.0]}, "gradient lacks 'a', 'c' (a may also be called da, grad_a or a_grad)"),
            ({"a": [1.0, 2.0]}, "gradient lacks 'b' (b may also be called db, grad_b or b_grad)"),
            ({"a": None, "b": [7.0]}, "gradient['a'] is None, but params['a'] is of type ndarray with shape (2,)"),
            ({"b": [7.0], "c": [None, None]}, "gradient['c'][0] is None, but params['c'][0] is of type ndarray with shape (2,)"),
            ({"a": [1.0, 2.0], "b": [7.0], "c": [[1.0, 2.0]]}, "gradient['c'] has 1 item, but params['c'] has 2"),
            ({"a": [1.0, 2.0], "b": [7.0], "c": [[1.0, 2.0], 3.0]}, "gradient['c'][1] has shape (), but (2,) is needed"),
            (
                {"a": [1.0, 2.0], "b": [7.0], "d": 1.0},
                "gradient lacks 'c' (c may also be called dc, grad_c or c_grad) and has 'd'",
            ),
        ],
        ids=repr,
    )
    def test_refused(self, gradient: Any, message: str) -> None:
        """One of the names at least must have it, and all that have it must have its shape."""
        with pytest.raises(InputError, match="^" + re.escape(message)):
            self.tree().match(gradient)

    @pytest.mark.parametrize("order", [(0, 0, 1), (0, 1, 0), (1, 0, 0)])
    def test_neither_whole_nor_parts(self, order: tuple[int, int, int]) -> None:
        """One array twice, and another: whether that is two parts or three cannot be known."""
        arrays = [numbered(2), numbered(2)]
        places = ["gradient['a']", "gradient['c'][0]", "gradient['c'][1]"]
        a, *c = (arrays[number] for number in order)
        one, two = (place for place, number in zip(places, order, strict=True) if number == 0)
        other = places[order.index(1)]
        with pytest.raises(
            InputError, match="^" + re.escape(f"{one} and {two} are one array, but {other}, of the same parameters,")
        ):
            self.tree().match({"a": a, "b": [7.0], "c": c})

    def test_numbers_add_up(self) -> None:
        """That two equal numbers are one object means nothing."""
        tree, value = self.tree(np.array(1.0)), 0.5
        assert tree.match({"a": value, "b": [7.0], "c": [value, value]})[0] == 1.5
        for scalar in (np.float64(0.5), np.float32(0.5)):
            assert tree.match({"a": scalar, "b": [7.0], "c": [scalar, scalar]})[0] == 1.5
        whole = np.array(0.5)
        assert tree.match({"a": whole, "b": [7.0], "c": [whole, whole]})[0] == 0.5

    @pytest.mark.parametrize(
        ("types", "expected"),
        [
            (("f4", "f4", "f4"), "f4"),
            (("f8", "f4", "f8"), "f4"),
            (("f8", "f8", "f2"), "f2"),
            (("i8", "i8", "u1"), "f8"),
            (("i8", "f4", "i8"), "f4"),
            (("g", "g", "g"), "f8"),
        ],
    )
    def test_type_of_a_sum(self, types: tuple[str, str, str], expected: str) -> None:
        """A sum is no more precise than the least precise of its parts."""
        a, *c = (np.array([1, 2], dtype=each) for each in types)
        block = self.tree().match({"a": a, "b": [7.0], "c": c})[0]
        assert block.dtype == np.dtype(expected)
        assert block.tolist() == [3.0, 6.0]

    def test_sum_in_float64(self) -> None:
        """Parts that cancel but for what float32 would lose."""
        a, b, c = (np.array([each, 1.0], dtype="f4") for each in (2.0**24, 1.0, -(2.0**24)))
        assert self.tree().match({"a": a, "b": [7.0], "c": [b, c]})[0].tolist() == [1.0, 3.0]

    def test_non_finite_sum(self) -> None:
        """Infinities of both signs are NaN, without a warning."""
        block = self.tree().match({"a": [np.inf, np.inf], "b": [7.0], "c": [[-np.inf, 1.0], [1.7e308, 1.7e308]]})[0]
        assert math.isnan(block[0])
        assert block[1] == math.inf


class TestUntouched:
    """Nothing that the caller gave is modified."""

    def test_params_and_gradient(self) -> None:
        """Also not by who writes to all that comes out."""
        params, gradient = setting(), gradient_of()
        before = copy.deepcopy((params, gradient))
        tree = read_tree(params)
        tree.match(gradient)
        values = tree.values.copy()
        built = tree.build(tree.arrays(values))
        values[:] = 0.0
        built["layers"].clear()
        built.clear()
        assert same((params, gradient), before)

    def test_when_refused(self) -> None:
        """An error leaves things as they were."""
        params = setting() | {"last": "text"}
        before = copy.deepcopy(params)
        with pytest.raises(InputError):
            read_tree(params)
        assert same(params, before)


def test_read_array_of_no_dimensions() -> None:
    """It keeps its shape, and an entry that is not finite is named without brackets; others are in C order."""
    assert read_array(2, "x", ()).shape == ()
    assert read_array(np.asfortranarray(numbered(2, 3)), "x", (2, 3)).flags.c_contiguous
    with pytest.raises(InputError, match=r"^x is nan; all entries must be finite"):
        read_array(np.float32("nan"), "x", ())


FINITE = st.floats(-1e4, 1e4, width=16)
DTYPES = st.sampled_from([np.dtype(each) for each in ("f2", "f4", "f8", ">f8", "i4", "u1")])


@st.composite
def arrays(draw: st.DrawFn) -> NDArray[Any]:
    """Arrays of any real type and layout."""
    dtype = draw(DTYPES)
    elements = FINITE if dtype.kind == "f" else st.integers(0, 200)
    array: NDArray[Any] = draw(
        npst.arrays(dtype, npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3), elements=elements)
    )
    if array.ndim:
        layout = draw(st.sampled_from(["C", "F", "reversed", "apart"]))
        if layout == "F":
            array = np.asfortranarray(array)
        elif layout == "reversed":
            array = array[::-1]
        elif layout == "apart":
            array = np.repeat(array, 2, axis=-1)[..., ::2]
    array.flags.writeable = draw(st.booleans())
    return array


KEYS = st.one_of(st.sampled_from(["W", "b", "layers", "my key", "0", "θ", ""]), st.integers(-2, 3))
LEAVES = st.one_of(
    arrays(), FINITE, st.integers(-9, 9), FINITE.map(np.float32), st.none(), st.lists(FINITE, min_size=1, max_size=3)
)


def containers(inside: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Every kind of container of what is inside, some of it twice."""
    several = st.lists(inside, max_size=3)
    items = st.dictionaries(KEYS, inside, max_size=3)
    return st.one_of(
        several,
        several.map(tuple),
        items,
        items.map(OrderedDict),
        items.map(UserDict),
        st.builds(Dense, inside, inside),
        inside.map(lambda each: [each, {"again": each}]),
    )


STRUCTURES = st.recursive(LEAVES, containers, max_leaves=8)


def is_array_of_numbers(value: Any) -> bool:
    """Whether a list is one array: told from what NumPy makes of it, and what it is made of."""

    def only_numbers(item: Any) -> bool:
        return all(map(only_numbers, item)) if isinstance(item, list) else isinstance(item, int | float | np.number)

    def empty(item: Any) -> bool:
        return isinstance(item, list) and (not item or any(map(empty, item)))

    if not isinstance(value, list) or not only_numbers(value) or empty(value):
        return False
    try:
        np.array(value)
    except ValueError:
        return False
    return True


def places(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every array and number, with where it stands in Python's own words."""
    if value is None:
        return
    if isinstance(value, Dense):
        for name in value._fields:
            yield from places(getattr(value, name), f"{path}.{name}")
    elif isinstance(value, Mapping):
        for key in value:
            yield from places(value[key], f"{path}[{key!r}]")
    elif isinstance(value, list | tuple) and not is_array_of_numbers(value):
        for position, item in enumerate(value):
            yield from places(item, f"{path}[{position}]")
    else:
        yield path, value


def expected_back(value: Any) -> Any:
    """The structure with every leaf in float64."""
    if isinstance(value, Dense):
        return Dense(*map(expected_back, value))
    if isinstance(value, Mapping):
        return type(value)({key: expected_back(item) for key, item in value.items()})  # type: ignore[call-arg]
    if isinstance(value, list | tuple) and not is_array_of_numbers(value):
        return type(value)(map(expected_back, value))
    if isinstance(value, np.ndarray | list):
        return np.array(value, dtype=np.float64, order="C")
    return value if value is None else (np.float64 if isinstance(value, np.generic) else float)(value)


@thorough
@given(STRUCTURES)
def test_any_structure(params: Any) -> None:
    """Names, entries, structure and gradient of whatever can be nested."""
    before = copy.deepcopy(params)
    found = list(places(params, "params"))
    if not any(np.size(value) for _, value in found):
        with pytest.raises(InputError, match=r"^params has no parameters$"):
            read_tree(params)
        return
    tree = read_tree(params)
    # Names are the places, once arrays that stand at several are brought together.
    first: dict[int, str] = {}
    expected: dict[str, tuple[Any, list[str]]] = {}
    for path, value in found:
        at = first.setdefault(id(value), path) if isinstance(value, np.ndarray | list) else path
        expected.setdefault(at, (value, []))[1].append(path)
    assert len(expected) == len(tree.blocks)
    assert [each for leaf in tree.blocks for each in (leaf.name, *leaf.aliases)] == [
        as_name(path) for _, paths in expected.values() for path in paths
    ]
    entries = [float(entry) for value, _ in expected.values() for entry in np.asarray(value).ravel()]
    assert tree.values.tolist() == entries
    check_back(tree, params)
    check_gradient(tree, params, entries)
    assert same(params, before)


def as_name(path: str) -> str:
    """A place as a block's name: text between brackets that is an identifier goes behind a dot."""

    def dotted(found: re.Match[str]) -> str:
        return f".{found[1]}" if found[1].isidentifier() else found[0]

    return re.sub(r"\['([^']*)'\]", dotted, path.removeprefix("params")).removeprefix(".") or "params"


def check_back(tree: Tree, params: Any) -> None:
    """What is built equals what was read, and every entry of the vector is the one that it is called."""
    values = tree.values.copy()
    leaves = tree.arrays(values)
    assert same(tree.build(leaves), expected_back(params))
    for index in range(len(values)):
        leaf, place = tree.locate(index)
        number = tree.blocks.index(leaf)
        assert tree.describe(index) == leaf.name + (f"[{', '.join(map(str, place))}]" if leaf.shape else "")
        values[index] += 1.0
        after = tree.arrays(values)[number] if leaf.is_scalar else leaves[number]
        changed = np.argwhere(np.asarray(after) != tree.values[leaf.start : leaf.stop].reshape(leaf.shape))
        assert changed.tolist() == [list(place)]
        values[index] = tree.values[index]


def check_gradient(tree: Tree, params: Any, entries: list[float]) -> None:
    """The parameters are a gradient of their own structure, and so is what is built, with every key under another name."""
    assert [entry for block in tree.match(params) for entry in np.asarray(block, dtype=np.float64).ravel()] == entries

    def renamed(value: Any) -> Any:
        if isinstance(value, Dense):
            return Slopes(dW=renamed(value.W), db=renamed(value.b))
        if isinstance(value, Mapping):
            items = [(f"grad_{key}" if isinstance(key, str) else key, renamed(item)) for key, item in value.items()]
            return dict(reversed(items))
        if isinstance(value, list | tuple):
            return (list if isinstance(value, tuple) else tuple)(map(renamed, value))
        return value

    blocks = tree.match(renamed(rebuilt(tree)))
    assert [entry for block in blocks for entry in block.ravel()] == entries


@thorough
@given(st.lists(st.integers(0, 4), min_size=1, max_size=6).filter(any), st.data())
def test_every_entry_has_its_leaf(sizes: list[int], data: st.DataObject) -> None:
    """Whatever sizes follow each other, empty ones among them."""
    tree = read_tree({f"a{number}": np.zeros(size) for number, size in enumerate(sizes)})
    index = data.draw(st.integers(0, sum(sizes) - 1))
    expected = [(f"a{number}", (place,)) for number, size in enumerate(sizes) for place in range(size)]
    leaf, place = tree.locate(index)
    assert (leaf.name, place) == expected[index]
    assert isinstance(leaf, Leaf)
