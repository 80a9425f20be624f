"""Tests of what a check accepts and refuses: a clear error that names the argument, and nothing of the caller's modified."""

import contextlib
import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

import gradsweep
from gradsweep import InputError, Network, Report

Array: TypeAlias = NDArray[np.float64]
Change = Callable[["Setting"], None]

LAYERS = [4, 3, 3, 2]
EXAMPLES = 5
SHAPES = {"W1": (3, 4), "b1": (3, 1), "W2": (3, 3), "b2": (3, 1), "W3": (2, 3), "b3": (2, 1)}


@dataclass
class Setting:
    """All arguments of a sound check, to be spoilt one at a time."""

    network: Any
    params: Any
    X: Any
    Y: Any
    gradient: Any

    def check(self, **options: Any) -> Report:
        """Run the check.

        Parameters
        ----------
        **options : Any
            As of ``check``.

        Returns
        -------
        Report
            What it says.
        """
        return gradsweep.check(self.network.cost(self.X, self.Y), self.params, self.gradient, **options)


@pytest.fixture
def setting() -> Setting:
    """Make a small network with a right gradient.

    Returns
    -------
    Setting
        A fresh one for each test.
    """
    generator = np.random.default_rng(11)
    network = Network(LAYERS)
    params = {name: generator.standard_normal(shape) for name, shape in SHAPES.items()}
    X = generator.standard_normal((LAYERS[0], EXAMPLES))
    Y = np.array([[0.0, 1.0, 1.0, 0.0, 0.25], [1.0, 0.0, 0.5, 0.0, 1.0]])
    return Setting(network, params, X, Y, network.gradient(params, X, Y))


def same(one: Any, other: Any) -> bool:
    """Whether two nestings of arrays are equal bit for bit, types included.

    Parameters
    ----------
    one, other : Any
        Arrays, dicts, or anything that compares.

    Returns
    -------
    bool
        Whether they are; a NaN equals a NaN.
    """
    if isinstance(one, Mapping):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, np.ndarray):
        if one.dtype == object:
            return one.shape == other.shape and bool(np.all(one == other))
        return one.dtype == other.dtype and one.shape == other.shape and bool(one.tobytes() == other.tobytes())
    return one is other or bool(one == other)


def assert_refused(setting: Setting, argument: str, words: str, **options: Any) -> None:
    """Check that a setting is refused, by the right argument, and left as it was.

    Parameters
    ----------
    setting : Setting
        A spoilt setting.
    argument : str
        How the message must begin.
    words : str
        Regular expression that must be found in the message.
    **options : Any
        As of ``check``.
    """
    before = {name: copy.deepcopy(getattr(setting, name)) for name in ("params", "X", "Y")}
    gradient_before = setting.gradient if callable(setting.gradient) else copy.deepcopy(setting.gradient)
    with pytest.raises(InputError, match=words) as caught:
        setting.check(**options)
    assert isinstance(caught.value, ValueError)
    assert str(caught.value).startswith(argument)
    for name, value in before.items():
        assert same(value, getattr(setting, name)), f"{name} was modified"
    assert same(gradient_before, setting.gradient)


def test_the_setting_itself_passes(setting: Setting) -> None:
    """Without this every refusal below would prove nothing."""
    assert setting.check().verdict == "pass"


def put(name: str, value: Any) -> Change:
    """Replace an argument.

    Parameters
    ----------
    name : str
        Field of the setting.
    value : Any
        New value.

    Returns
    -------
    callable
        Does it.
    """
    return lambda setting: setattr(setting, name, value)


def put_in(name: str, key: Any, value: Any) -> Change:
    """Replace or add an item of a dict.

    Parameters
    ----------
    name : str
        Field of the setting.
    key : Any
        Key.
    value : Any
        New value, or a function of the old one.

    Returns
    -------
    callable
        Does it.
    """

    def change(setting: Setting) -> None:
        items = getattr(setting, name)
        items[key] = value(items[key]) if callable(value) else value

    return change


def drop(name: str, *keys: str) -> Change:
    """Remove items of a dict.

    Parameters
    ----------
    name : str
        Field of the setting.
    *keys : str
        Keys.

    Returns
    -------
    callable
        Does it.
    """

    def change(setting: Setting) -> None:
        for key in keys:
            del getattr(setting, name)[key]

    return change


def at(index: tuple[int, int], value: float) -> Callable[[Array], Array]:
    """Make a function that replaces an entry in a copy.

    Parameters
    ----------
    index : tuple of int
        Which entry.
    value : float
        Its new value.

    Returns
    -------
    callable
        The function.
    """

    def replaced(array: Array) -> Array:
        result = array.copy()
        result[index] = value
        return result

    return replaced


def change_array(name: str, function: Callable[[Array], Any]) -> Change:
    """Replace X or Y by a function of it.

    Parameters
    ----------
    name : str
        Field of the setting.
    function : callable
        Of the old array.

    Returns
    -------
    callable
        Does it.
    """
    return lambda setting: setattr(setting, name, function(getattr(setting, name)))


class TestShapes:
    """Shapes must be exactly right: nothing is broadcast, transposed or squeezed to the rescue."""

    @pytest.mark.parametrize(
        ("change", "argument", "words"),
        [
            (put_in("params", "W1", np.transpose), "params['W1']", r"\(4, 3\).*\(3, 4\)"),
            (put_in("params", "W3", np.transpose), "params['W3']", r"\(3, 2\).*\(2, 3\)"),
            (put_in("params", "W2", lambda w: w[:2]), "params['W2']", r"\(2, 3\).*\(3, 3\)"),
            (put_in("params", "W2", lambda w: w[np.newaxis]), "params['W2']", r"\(1, 3, 3\).*\(3, 3\)"),
            (put_in("params", "W1", np.ravel), "params['W1']", r"\(12,\).*\(3, 4\)"),
            (put_in("params", "W1", 0.5), "params['W1']", r"\(\).*\(3, 4\)"),
            (put_in("params", "b1", np.ravel), "params['b1']", r"\(3,\).*\(3, 1\)"),
            (put_in("params", "b1", np.transpose), "params['b1']", r"\(1, 3\).*\(3, 1\)"),
            (put_in("params", "b3", np.zeros((1, 1))), "params['b3']", r"\(1, 1\).*\(2, 1\)"),
            (put_in("params", "b2", np.zeros((3, EXAMPLES))), "params['b2']", r"\(3, 5\).*\(3, 1\)"),
            (change_array("X", np.transpose), "X", "5 features.*4 inputs"),
            (change_array("X", lambda x: x[:3]), "X", "3 features.*4 inputs"),
            (change_array("X", np.ravel), "X", r"\(20,\).*\(features, examples\)"),
            (change_array("X", lambda x: x[:, 0]), "X", r"\(4,\).*\(features, examples\)"),
            (change_array("X", lambda x: x[np.newaxis]), "X", r"\(1, 4, 5\)"),
            (put("X", 1.0), "X", r"\(\)"),
            (change_array("X", lambda x: x[:, :0]), "X", "no examples"),
            (change_array("X", lambda x: x[:, :3]), "Y", r"\(2, 5\).*\(2, 3\)"),
            (change_array("Y", np.transpose), "Y", r"\(5, 2\).*\(2, 5\)"),
            (change_array("Y", lambda y: y[:1]), "Y", r"\(1, 5\).*\(2, 5\)"),
            (change_array("Y", lambda y: y[0]), "Y", r"\(5,\).*\(2, 5\)"),
            (change_array("Y", lambda y: y[:, :1]), "Y", r"\(2, 1\).*\(2, 5\)"),
            (change_array("Y", lambda y: y[:, :0]), "Y", r"\(2, 0\).*\(2, 5\)"),
            (put("Y", 1), "Y", r"\(\).*\(2, 5\)"),
            (put_in("gradient", "dW1", np.transpose), "gradient['dW1']", r"\(4, 3\).*\(3, 4\)"),
            (put_in("gradient", "dW1", np.ravel), "gradient['dW1']", r"\(12,\).*\(3, 4\)"),
            (put_in("gradient", "dW2", lambda g: g[:1]), "gradient['dW2']", r"\(1, 3\).*\(3, 3\)"),
            (put_in("gradient", "dW2", 0.0), "gradient['dW2']", r"\(\).*\(3, 3\)"),
            (put_in("gradient", "db1", np.ravel), "gradient['db1']", r"\(3,\).*\(3, 1\)"),
            (put_in("gradient", "db1", np.transpose), "gradient['db1']", r"\(1, 3\).*\(3, 1\)"),
            (put_in("gradient", "db3", lambda g: g[:1]), "gradient['db3']", r"\(1, 1\).*\(2, 1\)"),
            (put_in("gradient", "db3", np.zeros((2, EXAMPLES))), "gradient['db3']", r"\(2, 5\).*\(2, 1\)"),
        ],
    )
    def test_refused(self, setting: Setting, change: Change, argument: str, words: str) -> None:
        """Both shapes are named: the given one and the one that is needed."""
        change(setting)
        assert_refused(setting, argument, words)

    def test_zero_examples_on_both_sides(self, setting: Setting) -> None:
        """A mean over no examples is not a cost, even where the shapes fit."""
        setting.X, setting.Y = setting.X[:, :0], setting.Y[:, :0]
        assert_refused(setting, "X", "no examples")

    def test_parameters_of_another_network(self, setting: Setting) -> None:
        """The first block that does not fit is named, not one behind it."""
        setting.network = Network([4, 6, 3, 2])
        assert_refused(setting, "params['W1']", r"\(3, 4\).*\(6, 4\)")

    @pytest.mark.parametrize("method", ["forward", "gradient"])
    def test_methods_of_the_network_refuse_alike(self, setting: Setting, method: str) -> None:
        """Forward pass and backpropagation of the network broadcast nothing either."""
        call = getattr(setting.network, method)
        labels = [setting.Y] if method == "gradient" else []
        with pytest.raises(InputError, match=r"^X has 5 features"):
            call(setting.params, setting.X.T, *labels)
        setting.params["b1"] = setting.params["b1"].ravel()
        with pytest.raises(InputError, match=r"^params\['b1'\] has shape \(3,\)"):
            call(setting.params, setting.X, *labels)


class TestNames:
    """Blocks are matched by name: complete, unambiguous, text."""

    @pytest.mark.parametrize(
        ("change", "argument", "words"),
        [
            (drop("params", "W2"), "params", "lacks 'W2'"),
            (drop("params", "b1", "b3"), "params", "lacks 'b1', 'b3'"),
            (drop("params", *SHAPES), "params", "lacks 'W1'"),
            (put_in("params", "W4", np.zeros((1, 2))), "params", "'W4'"),
            (put_in("params", "dW1", np.zeros((3, 4))), "params", "'dW1'"),
            (put_in("params", "w1", np.zeros((3, 4))), "params", "'w1'"),
            (drop("gradient", "dW2"), "gradient", "lacks 'W2'.*dW2"),
            (drop("gradient", "dW1", "db3"), "gradient", "lacks 'W1', 'b3'"),
            (put("gradient", {}), "gradient", "lacks 'W1'"),
            (put_in("gradient", "dW4", np.zeros((1, 2))), "gradient", "'dW4'"),
            (put_in("gradient", "loss", 0.3), "gradient", "'loss'"),
            (put_in("gradient", "grad_W1", np.zeros((3, 4))), "gradient", "ambiguous.*'dW1'.*'grad_W1'.*'W1'"),
            (put_in("gradient", "W1", np.zeros((3, 4))), "gradient", "ambiguous.*'W1'.*'dW1'"),
            (put_in("gradient", "b2_grad", np.zeros((3, 1))), "gradient", "ambiguous.*'db2'.*'b2_grad'"),
        ],
    )
    def test_refused(self, setting: Setting, change: Change, argument: str, words: str) -> None:
        """The message names the block."""
        change(setting)
        assert_refused(setting, argument, words)

    def test_ambiguous_even_if_equal(self, setting: Setting) -> None:
        """Two equal gradients of one name are refused too: which is meant must not depend on luck."""
        setting.gradient["grad_W1"] = setting.gradient["dW1"].copy()
        assert_refused(setting, "gradient", "ambiguous")

    @pytest.mark.parametrize("name", ["params", "gradient"])
    @pytest.mark.parametrize("key", [1, ("W", 1), None, b"W1", 1.5])
    def test_keys_must_be_text(self, setting: Setting, name: str, key: Any) -> None:
        """A key that is no text is shown as it is."""
        getattr(setting, name)[key] = np.zeros((3, 4))
        with pytest.raises(InputError) as caught:
            setting.check()
        assert str(caught.value).startswith(name)
        assert repr(key) in str(caught.value)

    @pytest.mark.parametrize("name", ["params", "gradient"])
    @pytest.mark.parametrize("value", [None, 3, "W1", [np.zeros((3, 4))], np.zeros(3), {"W1"}], ids=lambda v: type(v).__name__)
    def test_not_a_dict(self, setting: Setting, name: str, value: Any) -> None:
        """Anything but a mapping is refused by its type."""
        setattr(setting, name, value)
        assert_refused(setting, name, type(value).__name__)

    @pytest.mark.parametrize("value", [None, 3, [np.zeros((3, 4))], {"W1"}], ids=lambda v: type(v).__name__)
    def test_parameters_that_are_no_dict_beside_a_callable(self, setting: Setting, value: Any) -> None:
        """The callable is not even asked."""
        asked = []
        setting.gradient, setting.params = lambda params: asked.append(params), value
        assert_refused(setting, "params", type(value).__name__)
        assert asked == []


class TestNetwork:
    """Layers and activations."""

    @pytest.mark.parametrize(
        "layers",
        [[], [4], (7,), 4, None, "4,1", ["4", "1"], [[4, 3], [3, 1]], [[4, 1]], {4: 1}, [4, [3], 1], [4, None], object()],
        ids=lambda layers: repr(layers).partition(" at ")[0],  # without the address
    )
    def test_not_a_list_of_two_sizes(self, layers: Any) -> None:
        """Inputs and outputs at least are needed, in a flat list."""
        with pytest.raises(InputError, match=r"^layers"):
            Network(layers)

    @pytest.mark.parametrize(
        "layers",
        [
            [4, 0, 1],
            [0, 1],
            [4, 0],
            [4, -3, 1],
            [-1, -1],
            [4.0, 1.0],
            [4, 2.5, 1],
            [4, np.nan],
            [4, np.inf],
            [4, 1j],
            [True, True],
            np.array([True, True]),
            [4, 10**30],
        ],
        ids=repr,
    )
    def test_sizes_that_are_none(self, layers: Any) -> None:
        """Sizes are whole numbers of at least 1; a float is refused even if it is whole."""
        with pytest.raises(InputError, match=r"^layers"):
            Network(layers)

    def test_bool_among_sizes(self) -> None:
        """NumPy reads [4, True, 1] as integers; a layer of True units is a slip all the same."""
        with pytest.raises(InputError, match=r"^layers"):
            Network([4, True, 1])

    @pytest.mark.parametrize("layers", [[4, 1], (4, 1), range(4, 0, -1), np.array([4, 1], dtype=np.uint8), [np.int64(4), 1]])
    def test_sizes_that_are_fine(self, layers: Any) -> None:
        """Any sequence of integers will do."""
        assert Network(layers).layers == tuple(int(size) for size in layers)
        assert all(type(size) is int for size in Network(layers).layers)

    @pytest.mark.parametrize("hidden", ["foo", "", "TANH", " tanh", "tanh,relu", ["tanh", "foo"], ["tanh", None], ["tanh", 1]])
    def test_unknown_activation(self, hidden: Any) -> None:
        """The message shows the unknown one and lists the known ones."""
        with pytest.raises(InputError) as caught:
            Network(LAYERS, hidden)
        message = str(caught.value)
        assert message.startswith("hidden")
        unknown = hidden if isinstance(hidden, str) else hidden[1]
        assert repr(unknown) in message
        for name in ("tanh", "relu", "sigmoid", "identity"):
            assert repr(name) in message

    def test_unknown_activation_without_a_hidden_layer(self) -> None:
        """A name nobody uses is checked as well."""
        with pytest.raises(InputError, match=r"^hidden: activation 'foo'"):
            Network([4, 1], "foo")

    @pytest.mark.parametrize("hidden", [[], ["tanh"], ["tanh"] * 3])
    def test_number_of_activations(self, hidden: list[str]) -> None:
        """One for each hidden layer."""
        with pytest.raises(InputError, match=rf"^hidden.*{len(hidden)} activations.*2 hidden layers"):
            Network(LAYERS, hidden)

    @pytest.mark.parametrize("hidden", [None, 5, np.tanh, [["tanh"], "relu"], [{}, "relu"]], ids=repr)
    def test_activations_of_a_wrong_kind(self, hidden: Any) -> None:
        """What is no name is an input error, too, not a TypeError from the depths."""
        with pytest.raises(InputError, match=r"^hidden"):
            Network(LAYERS, hidden)

    def test_text_that_makes_the_network(self) -> None:
        """The repr shows layers and activations, however they were given."""
        network = Network(np.array(LAYERS), np.array(["tanh", "relu"]))  # type: ignore[arg-type]
        assert repr(network) == "Network([4, 3, 3, 2], hidden=['tanh', 'relu'])"


class TestValues:
    """Numbers that cannot be used are named with their index."""

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize(("name", "index"), [("W1", (0, 0)), ("W1", (2, 3)), ("b2", (1, 0)), ("W3", (1, 1)), ("b3", (0, 0))])
    def test_parameters(self, setting: Setting, name: str, index: tuple[int, int], value: float) -> None:
        """Block, index and value are in the message."""
        setting.params[name] = at(index, value)(setting.params[name])
        assert_refused(setting, f"params['{name}'][{index[0]}, {index[1]}] is {value}", "finite")

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("index", [(0, 0), (1, 3)])
    @pytest.mark.parametrize("name", ["X", "Y"])
    def test_data(self, setting: Setting, name: str, index: tuple[int, int], value: float) -> None:
        """The same for data."""
        setattr(setting, name, at(index, value)(getattr(setting, name)))
        assert_refused(setting, f"{name}[{index[0]}, {index[1]}] is {value}", "finite")

    def test_the_first_of_several(self, setting: Setting) -> None:
        """Infinities of both signs do not cancel; the first index in memory order is shown."""
        setting.X[1, 2], setting.X[3, 0] = np.inf, -np.inf
        assert_refused(setting, "X[1, 2] is inf", "finite")

    @pytest.mark.parametrize("value", [-1e-9, 1.0 + 1e-9, 2.0, -1.0, 255.0])
    @pytest.mark.parametrize("index", [(0, 0), (1, 4)])
    def test_labels_outside(self, setting: Setting, value: float, index: tuple[int, int]) -> None:
        """Labels are probabilities; −1 and 1, or 0 to 255, are another convention."""
        setting.Y = at(index, value)(setting.Y)
        assert_refused(setting, f"Y[{index[0]}, {index[1]}] is {value}", r"\[0, 1\]")

    @pytest.mark.parametrize(
        "bad",
        [
            np.zeros((3, 3), dtype=complex),
            np.full((3, 3), None),
            np.full((3, 3), 0.5, dtype=object),
            np.full((3, 3), "1.5"),
            np.zeros((3, 3), dtype="datetime64[s]"),
            [[1.0, 2.0, 3.0], [4.0, 5.0], [6.0]],
            [[1.0, 2.0, 3.0], [4.0, 5.0, "six"], [7.0, 8.0, 9.0]],
            "text",
            None,
            {},
            np.zeros((3, 3), dtype=[("a", float)]),
        ],
        ids=["complex", "None", "object", "text", "dates", "ragged", "mixed", "str", "none", "dict", "record"],
    )
    @pytest.mark.parametrize("argument", ["params['W2']", "gradient['dW2']", "X", "Y"])
    def test_no_real_numbers(self, setting: Setting, argument: str, bad: Any) -> None:
        """Complex numbers, objects, text and rows of unequal length are refused wherever they stand."""
        if argument in ("X", "Y"):
            setattr(setting, argument, bad)
        elif argument.startswith("params"):
            setting.params["W2"] = bad
        else:
            setting.gradient["dW2"] = bad
        assert_refused(setting, argument, "number|shape")

    @pytest.mark.parametrize("name", ["params", "X"])
    def test_beyond_float64(self, setting: Setting, name: str) -> None:
        """A number that float64 cannot hold is refused as infinite, without a warning on the side."""
        if np.finfo(np.longdouble).max == np.finfo(np.float64).max:
            pytest.skip("long double is float64 here")
        huge = np.full((4, EXAMPLES) if name == "X" else (3, 3), np.longdouble("1e4000"))
        if name == "X":
            setting.X = huge
        else:
            setting.params["W2"] = huge
        assert_refused(setting, "X[0, 0]" if name == "X" else "params['W2'][0, 0]", "finite")

    @pytest.mark.parametrize("layer", [1, 2, 3])
    @pytest.mark.parametrize("hidden", ["tanh", "identity"])
    def test_overflow(self, setting: Setting, layer: int, hidden: str) -> None:
        """Finite weights whose products are not: an error that says where, and no warning."""
        setting.network = Network(LAYERS, hidden)
        setting.X = np.full((4, EXAMPLES), 10.0)
        setting.params[f"W{layer}"] = np.full(SHAPES[f"W{layer}"], 1.7e308)
        for name in ("b1", "b2", "b3"):
            setting.params[name] = np.ones(SHAPES[name])
        if layer > 1:
            setting.params["W1"] = np.ones(SHAPES["W1"])
        if layer > 2:
            setting.params["W2"] = np.ones(SHAPES["W2"])
        assert_refused(setting, "params", f"layer {layer} overflow")

    @pytest.mark.parametrize("size", [1e155, 1e200, 1e307])
    @pytest.mark.parametrize("name", ["W1", "W3", "X"])
    def test_huge_but_finite(self, setting: Setting, name: str, size: float) -> None:
        """Pre-activations that are just finite: no warning, and a right gradient is not called wrong.

        Squares of such numbers overflow, so whoever estimates rounding from squares gets infinity or NaN.
        """
        if name == "X":
            setting.X = np.full((4, EXAMPLES), size)
            setting.params["W1"] = np.eye(3, 4) / 8
        else:
            setting.X = np.full((4, EXAMPLES), 0.5)
            setting.params[name] = np.eye(*SHAPES[name]) * size
        setting.gradient = right_gradient(setting.params, setting.X, setting.Y)
        verdict = "refused"
        with contextlib.suppress(InputError):
            verdict = setting.check().verdict
        assert verdict != "fail"


def right_gradient(params: Mapping[str, Array], X: Array, Y: Array) -> dict[str, Array]:
    """Backpropagation through the tanh network of these tests, for huge numbers, too.

    Parameters
    ----------
    params : mapping of str to array
        W1, b1, W2, …
    X, Y : arrays
        Data.

    Returns
    -------
    dict of str to array
        dW1, db1, …
    """
    A = [X]
    for number in (1, 2):
        A.append(np.tanh(params[f"W{number}"] @ A[-1] + params[f"b{number}"]))
    Z = params["W3"] @ A[2] + params["b3"]
    tail = np.exp(-np.abs(Z))
    dZ = np.where(Z >= 0, 1.0, tail) / (1.0 + tail) - Y
    result: dict[str, Array] = {}
    for number in (3, 2, 1):
        result[f"dW{number}"] = dZ @ A[number - 1].T / X.shape[1]
        result[f"db{number}"] = dZ.sum(axis=1, keepdims=True) / X.shape[1]
        if number > 1:
            dZ = params[f"W{number}"].T @ dZ * (1 - A[number - 1] ** 2)
    return result


NO_POSITIVE_NUMBERS: tuple[Any, ...] = (
    0,
    0.0,
    -1e-7,
    np.nan,
    np.inf,
    -np.inf,
    "1e-7",
    [1e-7],
    1j,
    np.complex128(1),
    {},
    np.bool_(True),
)

WRONG_OPTIONS: dict[str, tuple[Any, ...]] = {
    "mode": (None, "", "screens", "Sweep", 0, [], {}, True),
    "scheme": (None, "", "backward", "Central", 2, True),
    "step": NO_POSITIVE_NUMBERS,
    "tolerance": NO_POSITIVE_NUMBERS,
    "jobs": (0, True, False, 1.0, 1.5, np.nan, "2", [2], {}),
    "seed": (-1, True, None, 0.0, 1.5, np.nan, "0", [0], {}),
}


class TestOptions:
    """Keywords of a wrong kind or value."""

    @pytest.mark.parametrize(
        ("name", "value"), [(name, value) for name, values in WRONG_OPTIONS.items() for value in values], ids=repr
    )
    def test_refused(self, setting: Setting, name: str, value: Any) -> None:
        """The message begins with the keyword and shows the value."""
        assert_refused(setting, name, re.escape(repr(value)), **{name: value})

    @pytest.mark.parametrize("name", ["step", "tolerance"])
    @pytest.mark.parametrize("value", [True, False])
    def test_bool_is_no_number(self, setting: Setting, name: str, value: bool) -> None:
        """True is 1 to Python; as a tolerance it would pass any gradient."""
        assert_refused(setting, name, str(value), **{name: value})

    @pytest.mark.parametrize("name", ["step", "tolerance"])
    def test_beyond_floats(self, setting: Setting, name: str) -> None:
        """An integer that no float can hold is not a finite number."""
        assert_refused(setting, name, "finite", **{name: 10**400})

    @pytest.mark.parametrize("seed", [-1, 1.5, "a", None, True])
    def test_seed_of_parameters(self, seed: Any) -> None:
        """None would be a different network each time."""
        with pytest.raises(InputError, match=r"^seed"):
            Network(LAYERS).initialize(seed)

    @pytest.mark.parametrize("value", [1, 1.0, 7.5, 1e300])
    def test_tolerance_that_accepts_anything(self, setting: Setting, value: float) -> None:
        """|g − ĝ| is never more than |g| + |ĝ|, so that a tolerance of 1 would pass every gradient."""
        assert_refused(setting, "tolerance", "below 1", tolerance=value)

    def test_step_that_underflows(self, setting: Setting) -> None:
        """1/ε must be a number."""
        assert_refused(setting, "step", "at least", step=1e-300)

    @pytest.mark.parametrize("name", ["params", "gradient", "X"])
    def test_masked_arrays(self, setting: Setting, name: str) -> None:
        """A mask would be lost without a word."""
        if name == "X":
            setting.X = np.ma.masked_array(setting.X)
        else:
            key = "W1" if name == "params" else "dW1"
            getattr(setting, name)[key] = np.ma.masked_array(getattr(setting, name)[key])
        assert_refused(setting, name, "masked array")

    @pytest.mark.parametrize("value", [[], {}], ids=repr)
    def test_scheme_that_cannot_be_looked_up(self, setting: Setting, value: Any) -> None:
        """An unhashable value is an unknown scheme like any other."""
        assert_refused(setting, "scheme", "known are", scheme=value)

    @pytest.mark.parametrize(("name", "known"), [("mode", ["auto", "sweep"]), ("scheme", ["central", "forward"])])
    def test_known_names_are_listed(self, setting: Setting, name: str, known: list[str]) -> None:
        """Who mistypes sees what there is."""
        with pytest.raises(InputError) as caught:
            setting.check(**{name: "nonsense"})
        assert "'nonsense'" in str(caught.value)
        for word in known:
            assert repr(word) in str(caught.value)

    @pytest.mark.parametrize(
        "options",
        [
            {"mode": "sweep"},
            {"mode": "auto", "scheme": "forward"},
            {"step": 1e-6},
            {"step": np.float32(1e-7)},
            {"step": np.float64(1e-9)},
            {"tolerance": 1e-5},
            {"tolerance": np.float32(1e-6)},
            {"jobs": None},
            {"jobs": 1},
            {"jobs": 2},
            {"jobs": -1},
            {"seed": 0},
            {"seed": 2**40},
            {"seed": np.int64(3)},
        ],
        ids=repr,
    )
    def test_accepted(self, setting: Setting, options: dict[str, Any]) -> None:
        """Sound values, NumPy's own numbers among them."""
        assert setting.check(**options).verdict == "pass"

    @pytest.mark.parametrize("jobs", [np.int64(1), np.int32(-1)])
    def test_jobs_as_numpy_integer(self, setting: Setting, jobs: Any) -> None:
        """A seed may be a NumPy integer, so a number of workers may."""
        assert setting.check(jobs=jobs).verdict == "pass"

    @pytest.mark.parametrize(
        "cost",
        [None, 3.0, "cost", Network(LAYERS), {}],
        ids=["none", "float", "str", "net", "dict"],
    )
    def test_cost(self, setting: Setting, cost: Any) -> None:
        """What is no cost of a network is refused by its type, with the way to make one."""
        with pytest.raises(InputError, match=rf"^cost is of type {type(cost).__name__}.*Network.*cost\(X, Y\)"):
            gradsweep.check(cost, setting.params, setting.gradient)

    def test_options_have_no_position(self, setting: Setting) -> None:
        """A step in the place of the mode is an error, not a surprise."""
        arguments: list[Any] = [setting.network.cost(setting.X, setting.Y), setting.params, setting.gradient, "auto"]
        with pytest.raises(TypeError, match="positional"):
            gradsweep.check(*arguments)


class TestGradientCallable:
    """A gradient given as a function of the parameters."""

    def test_gets_copies(self, setting: Setting) -> None:
        """The caller's arrays survive a callable that overwrites its argument and drops its keys."""
        before = copy.deepcopy(setting.params)
        seen: dict[str, Any] = {}

        def gradient(params: dict[str, Any]) -> Mapping[str, Any]:
            seen.update(params)
            result = setting.network.gradient(params, setting.X, setting.Y)
            for name in list(params):
                params[name][...] = np.nan
                del params[name]
            return result  # type: ignore[no-any-return]

        right, setting.gradient = setting.gradient, gradient
        report = setting.check()
        assert report.verdict == "pass"
        assert same(before, setting.params)
        for name, array in seen.items():
            assert not np.shares_memory(array, setting.params[name])
            assert np.isnan(array).all()
        setting.gradient = right
        assert same(dict(report.numeric), dict(setting.check().numeric))

    def test_gets_names_shapes_and_types(self, setting: Setting) -> None:
        """The copies are writeable arrays, of the type that was given, in the caller's order."""
        setting.params = {name: setting.params[name].astype(np.float32) for name in reversed(SHAPES)}
        setting.params["b1"] = setting.params["b1"].tolist()
        seen = []

        def gradient(params: dict[str, Any]) -> Mapping[str, Any]:
            seen.append(params)
            return setting.network.gradient(params, setting.X, setting.Y)  # type: ignore[no-any-return]

        setting.gradient = gradient
        assert setting.check().verdict == "pass"
        for params in seen:
            assert list(params) == list(reversed(SHAPES))
            for name, array in params.items():
                assert isinstance(array, np.ndarray)
                assert array.shape == SHAPES[name]
                assert array.dtype == (np.float64 if name == "b1" else np.float32)
                assert array.flags.writeable
        assert seen

    def test_wrong_gradient_fails(self, setting: Setting) -> None:
        """What a callable returns is judged as any other gradient."""
        wrong = {**setting.gradient, "db2": -setting.gradient["db2"]}
        setting.gradient = lambda params: wrong
        assert setting.check().verdict == "fail"

    @pytest.mark.parametrize(
        ("value", "words"),
        [
            (None, "NoneType"),
            (1.5, "float"),
            ("dW1", "str"),
            ([np.zeros((3, 4))], "list"),
            ((1, {}), "tuple"),
            ({}, "lacks 'W1'"),
            ({"dW1": np.zeros((3, 4))}, "lacks 'b1'"),
            ({name: None for name in SHAPES}, "dtype object"),
            ({name: np.zeros(1) for name in SHAPES}, r"shape \(1,\)"),
            ({name: np.zeros(shape, dtype=complex) for name, shape in SHAPES.items()}, "complex"),
            (lambda: {}, "function"),
        ],
        ids=["none", "float", "str", "list", "tuple", "empty", "part", "Nones", "shapes", "complex", "function"],
    )
    def test_nonsense(self, setting: Setting, value: Any, words: str) -> None:
        """What it returns is read as strictly as a dict that is given."""
        setting.gradient = lambda params: value
        assert_refused(setting, "gradient", words)

    def test_error_of_the_callable_is_seen(self, setting: Setting) -> None:
        """The user's own error must reach the user, itself or as the cause."""

        def gradient(params: dict[str, Any]) -> Mapping[str, Any]:
            params["W1"][...] = 7.0
            raise ZeroDivisionError("in the backward pass")

        before = copy.deepcopy(setting.params)
        setting.gradient = gradient
        with pytest.raises((ZeroDivisionError, InputError)) as caught:
            setting.check()
        chain = [caught.value, caught.value.__cause__]
        assert any(isinstance(error, ZeroDivisionError) and "in the backward pass" in str(error) for error in chain)
        assert same(before, setting.params)


class TestLike:
    """A user's own cost that cannot be one."""

    @pytest.mark.parametrize("like", ["cost", 5, {}, np.nan], ids=repr)
    def test_not_callable(self, setting: Setting, like: Any) -> None:
        """It is refused by name, not by a TypeError from the depths."""
        with pytest.raises(InputError, match=r"^like"):
            gradsweep.check(setting.network.cost(setting.X, setting.Y, like=like), setting.params, setting.gradient)

    @pytest.mark.parametrize(
        "value", [np.nan, np.inf, None, "1.0", [0.5, 0.5], np.zeros((1, 5)), 1j, {}], ids=["nan", "inf", *"012345"]
    )
    def test_no_number(self, setting: Setting, value: Any) -> None:
        """A cost is one finite real number; the argument at fault is `like`."""
        cost = setting.network.cost(setting.X, setting.Y, like=lambda params: value)
        with pytest.raises(InputError, match=r"^like"):
            gradsweep.check(cost, setting.params, setting.gradient)


class TestAccepted:
    """Arrays as people have them."""

    def expect(self, setting: Setting, reference: Report) -> Report:
        """Check that a setting passes with the very numbers of a reference, its arrays untouched.

        Parameters
        ----------
        setting : Setting
            The setting.
        reference : Report
            Of the same numbers in plain float64 arrays.

        Returns
        -------
        Report
            Of the setting.
        """
        before = copy.deepcopy(vars(setting))
        report = setting.check()
        for name in ("params", "X", "Y", "gradient"):
            assert same(before[name], vars(setting)[name]), f"{name} was modified"
        assert report.verdict == "pass"
        assert same(dict(report.numeric), dict(reference.numeric))
        return report

    def test_lists(self, setting: Setting) -> None:
        """Nested lists in the place of arrays, all over."""
        reference = setting.check()
        setting.params = {name: value.tolist() for name, value in setting.params.items()}
        setting.gradient = {name: value.tolist() for name, value in setting.gradient.items()}
        setting.X, setting.Y = setting.X.tolist(), setting.Y.tolist()
        self.expect(setting, reference)

    def test_read_only(self, setting: Setting) -> None:
        """Nothing is written, so nothing need be writeable."""
        reference = setting.check()
        for array in [setting.X, setting.Y, *setting.params.values(), *setting.gradient.values()]:
            array.flags.writeable = False
        self.expect(setting, reference)

    @pytest.mark.parametrize("layout", ["fortran", "negative", "slices", "transposed", "big-endian", "unaligned"])
    def test_memory_layouts(self, setting: Setting, layout: str) -> None:
        """Order, strides and byte order of the memory make no difference, not in a single bit."""
        reference = setting.check()

        def relay(array: Array) -> NDArray[Any]:
            if layout == "fortran":
                return np.asfortranarray(array)
            if layout == "negative":
                return np.ascontiguousarray(array[::-1, ::-1])[::-1, ::-1]
            if layout == "slices":
                room = np.full((2 * array.shape[0] + 1, 3 * array.shape[1] + 2), np.nan)
                room[1::2, 2::3] = array
                return room[1::2, 2::3]
            if layout == "transposed":
                return array.T.copy().T
            if layout == "big-endian":
                return array.astype(">f8")
            bytes_ = np.zeros(array.nbytes + 1, dtype=np.uint8)
            shifted = bytes_[1:].view(np.float64).reshape(array.shape)
            shifted[...] = array
            return shifted

        setting.params = {name: relay(value) for name, value in setting.params.items()}
        setting.gradient = {name: relay(value) for name, value in setting.gradient.items()}
        setting.X, setting.Y = relay(setting.X), relay(setting.Y)
        assert np.array_equal(setting.X, np.ascontiguousarray(setting.X))
        self.expect(setting, reference)

    def test_params_in_any_order(self, setting: Setting) -> None:
        """Names decide, and the report keeps the order of the layers."""
        reference = setting.check()
        order = ["b2", "W3", "b1", "W1", "b3", "W2"]
        setting.params = {name: setting.params[name] for name in order}
        setting.gradient = {f"d{name}": setting.gradient[f"d{name}"] for name in reversed(order)}
        report = self.expect(setting, reference)
        assert [block.name for block in report.blocks] == list(SHAPES)

    def test_views_of_one_vector(self, setting: Setting) -> None:
        """Parameters that share a memory block, as of an optimiser, stay as they are."""
        reference = setting.check()
        vector = np.concatenate([setting.params[name].ravel() for name in SHAPES])
        start, views = 0, {}
        for name, shape in SHAPES.items():
            size = shape[0] * shape[1]
            views[name] = vector[start : start + size].reshape(shape)
            start += size
        setting.params = views
        self.expect(setting, reference)

    def test_other_mappings(self, setting: Setting) -> None:
        """Any mapping will do, not only a dict."""
        reference = setting.check()

        class Frozen(Mapping[str, Any]):
            def __init__(self, items: Mapping[str, Any]) -> None:
                self._items = dict(items)

            def __getitem__(self, key: str) -> Any:
                return self._items[key]

            def __iter__(self) -> Any:
                return iter(self._items)

            def __len__(self) -> int:
                return len(self._items)

        setting.params, setting.gradient = Frozen(setting.params), Frozen(setting.gradient)
        self.expect(setting, reference)

    @pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64, np.float16, np.float32, np.bool_], ids=lambda d: d.__name__)
    def test_types_of_data(self, setting: Setting, dtype: Any) -> None:
        """Pixels and labels in a narrow type are exact numbers: same result, same tolerance, as in float64."""
        generator = np.random.default_rng(3)
        pixels = generator.integers(0, 2 if dtype is np.bool_ else 100, (4, EXAMPLES))
        labels = generator.integers(0, 2, (2, EXAMPLES))
        setting.X, setting.Y = pixels / 1.0, labels / 1.0
        setting.params["W1"] /= 100.0
        setting.gradient = setting.network.gradient(setting.params, setting.X, setting.Y)
        reference = setting.check()
        setting.X, setting.Y = pixels.astype(dtype), labels.astype(dtype)
        report = self.expect(setting, reference)
        assert report.tolerance == 1e-7

    def test_unsigned_bytes_are_not_wrapped(self, setting: Setting) -> None:
        """255 + 1 is 0 in unsigned bytes; pixels at both ends are taken for the numbers they are."""
        pixels = np.array([[0, 255, 1, 254, 128]] * 4, dtype=np.uint8)
        setting.params["W1"] /= 300.0
        setting.X = pixels.astype(np.float64)
        setting.gradient = setting.network.gradient(setting.params, setting.X, setting.Y)
        reference = setting.check()
        setting.X = pixels
        self.expect(setting, reference)

    def test_integer_parameters(self, setting: Setting) -> None:
        """Whole weights are fine: the perturbation is not made in their type."""
        setting.params = {name: np.rint(value).astype(np.int64) for name, value in setting.params.items()}
        setting.gradient = setting.network.gradient(setting.params, setting.X, setting.Y)
        report = setting.check()
        assert report.verdict == "pass"
        assert report.precision == np.finfo(np.float64).eps
        assert max(np.abs(block).max() for block in report.numeric.values()) > 1e-3

    @pytest.mark.parametrize("spelling", ["{}", "d{}", "grad_{}", "{}_grad"])
    def test_names_of_gradients(self, setting: Setting, spelling: str) -> None:
        """The four usual spellings."""
        reference = setting.check()
        setting.gradient = {spelling.format(name): setting.gradient[f"d{name}"] for name in SHAPES}
        self.expect(setting, reference)

    def test_mixed_names_of_gradients(self, setting: Setting) -> None:
        """Each block may have its own."""
        reference = setting.check()
        spellings = ["{}", "d{}", "grad_{}", "{}_grad", "d{}", "{}"]
        setting.gradient = {s.format(name): setting.gradient[f"d{name}"] for s, name in zip(spellings, SHAPES, strict=True)}
        self.expect(setting, reference)

    def test_intermediate_gradients_may_stand_beside(self, setting: Setting) -> None:
        """Gradients of activations and pre-activations are left alone, whatever they hold."""
        reference = setting.check()
        setting.gradient |= {"dA0": np.zeros((4, 5)), "dA1": np.full((3, 5), np.nan), "dZ2": np.zeros(1), "dZ3": np.zeros((2, 5))}
        self.expect(setting, reference)


class TestPrecision:
    """Types less precise than float64: the tolerance follows, and the report says so."""

    EPSILON = float(np.finfo(np.float32).eps)

    @pytest.mark.parametrize("which", ["all", "params", "gradient", "one block"])
    def test_float32(self, setting: Setting, which: str) -> None:
        """The least precise block decides."""
        narrow = np.float32
        if which in ("all", "params"):
            setting.params = {name: value.astype(narrow) for name, value in setting.params.items()}
        if which == "all":
            setting.X, setting.Y = setting.X.astype(narrow), setting.Y.astype(narrow)
        gradient = setting.network.gradient(setting.params, setting.X, setting.Y)
        setting.gradient = gradient
        if which in ("all", "gradient"):
            setting.gradient = {name: value.astype(narrow) for name, value in gradient.items()}
        elif which == "one block":
            setting.gradient["dW2"] = gradient["dW2"].astype(narrow)
        before = copy.deepcopy(vars(setting))
        report = setting.check()
        assert report.verdict == "pass"
        assert report.precision == self.EPSILON
        assert report.tolerance == 1024 * self.EPSILON
        assert "precision" in str(report)
        assert f"{report.tolerance:.1e}" in str(report)
        for name in ("params", "X", "Y", "gradient"):
            assert same(before[name], vars(setting)[name])
        # The numeric side is computed in float64, whatever was given.
        assert all(block.dtype == np.float64 for block in report.numeric.values())

    def test_float64_says_nothing(self, setting: Setting) -> None:
        """Full precision needs no remark, and keeps the tolerance of the post."""
        report = setting.check()
        assert (report.precision, report.tolerance) == (np.finfo(np.float64).eps, 1e-7)
        assert "precision" not in str(report)

    def test_tolerance_that_is_given_stays(self, setting: Setting) -> None:
        """A chosen tolerance is not widened; too narrow a one for the type is inconclusive, not a failure."""
        setting.gradient = {name: value.astype(np.float32) for name, value in setting.gradient.items()}
        report = setting.check(tolerance=1e-9)
        assert report.tolerance == 1e-9
        assert report.verdict == "inconclusive"

    def test_extended_precision(self, setting: Setting) -> None:
        """More than float64 does not narrow the tolerance."""
        setting.gradient = {name: value.astype(np.longdouble) for name, value in setting.gradient.items()}
        report = setting.check()
        assert report.verdict == "pass"
        assert report.tolerance == 1e-7

    def test_integer_gradient_is_judged(self, setting: Setting) -> None:
        """A gradient of zeros in integers is wrong, not unreadable."""
        setting.gradient = {name: np.zeros(shape, dtype=np.int64) for name, shape in SHAPES.items()}
        assert setting.check().verdict == "fail"
