"""Problem files: what is read, in which layouts, and what is refused."""

import pathlib
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
import pytest

import gradsweep
from gradsweep import problems
from gradsweep._errors import DataError, InputError

LAYERS = [4, 3, 2, 1]


class Made:
    """A network with its data, its parameters and its gradient, by columns."""

    def __init__(self, layers: list[int] = LAYERS, seed: int = 0, **options: Any) -> None:
        self.network = gradsweep.Network(layers, **options)
        generator = np.random.default_rng(seed)
        self.X = generator.standard_normal((layers[0], 6))
        self.Y = (generator.random((layers[-1], 6)) < 0.5).astype(float)
        if self.network.output == "softmax":
            self.Y = np.eye(layers[-1])[:, generator.integers(layers[-1], size=6)]
        self.params = self.network.initialize(seed)
        self.gradient = self.network.gradient(self.params, self.X, self.Y)

    def write(
        self, path: pathlib.Path, turn: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]] = np.asarray
    ) -> pathlib.Path:
        """Write a problem file without gradsweep, every array through `turn`."""
        with h5py.File(path, "w") as file:
            file["X"], file["Y"] = turn(self.X), turn(self.Y)
            for name, value in self.params.items():
                file[f"parameters/{name}"] = turn(value)
                file[f"gradients/d{name}"] = turn(self.gradient[f"d{name}"])
            file.attrs["hidden"] = ",".join(self.network.hidden)
            file.attrs["output"] = self.network.output
            file.attrs["l2"] = self.network.l2
        return path


def transposed(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return array.T


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "problem.h5"


def verdict(problem: problems.Problem) -> str:
    return gradsweep.check(problem.cost, problem.params, problem.gradient).verdict


class TestLoad:
    def test_by_columns(self, path: pathlib.Path) -> None:
        made = Made(hidden=["relu", "tanh"], l2=0.5)
        problem = problems.load(made.write(path))
        assert repr(problem.network) == repr(made.network)
        assert np.array_equal(problem.X, made.X)
        assert np.array_equal(problem.Y, made.Y)
        assert list(problem.params) == list(made.params)
        for name, value in made.params.items():
            assert np.array_equal(problem.params[name], value)
            assert np.array_equal(problem.gradient[name], made.gradient[f"d{name}"])
        assert verdict(problem) == "pass"

    def test_by_rows(self, path: pathlib.Path) -> None:
        """As a language writes it that stores arrays by columns: all axes in reverse."""
        made = Made(hidden="sigmoid")
        with h5py.File(made.write(path, transposed), "a") as file:
            file.attrs["layout"] = "rows"
        problem = problems.load(path)
        assert np.array_equal(problem.X, made.X)
        assert problem.X.flags.c_contiguous
        assert np.array_equal(problem.params["W1"], made.params["W1"])
        assert problem.params["b1"].shape == (3, 1)
        assert verdict(problem) == "pass"

    def test_a_wrong_gradient_is_found(self, path: pathlib.Path) -> None:
        made = Made()
        made.gradient["dW2"] *= -1
        problem = problems.load(made.write(path))
        report = gradsweep.check(problem.cost, problem.params, problem.gradient)
        assert [block.name for block in report.blocks if block.differing] == ["W2"]

    @pytest.mark.parametrize("kind", [np.float32, np.dtype(">f4")])
    def test_float32_stays_float32(self, path: pathlib.Path, kind: Any) -> None:
        """And so its tolerance is that of float32."""
        problem = problems.load(Made().write(path, lambda array: array.astype(kind)))
        assert {value.dtype for value in problem.params.values()} == {np.dtype(np.float32)}
        assert {value.dtype for value in problem.gradient.values()} == {np.dtype(np.float32)}
        report = gradsweep.check(problem.cost, problem.params, problem.gradient)
        assert (report.verdict, report.precision) == ("pass", float(np.finfo(np.float32).eps))

    @pytest.mark.parametrize("layout", ["columns", "rows"])
    def test_vectors_may_have_one_axis(self, path: pathlib.Path, layout: str) -> None:
        """Biases, and the labels of a single output."""
        made = Made()
        turn = transposed if layout == "rows" else np.asarray
        with h5py.File(made.write(path, turn), "a") as file:
            file.attrs["layout"] = layout
            for group, values in (("parameters/", made.params), ("gradients/", made.gradient)):
                for name, value in values.items():
                    if name[-2] == "b":
                        del file[group + name]
                        file[group + name] = value[:, 0]
            del file["Y"]
            file["Y"] = made.Y[0]
        problem = problems.load(path)
        assert problem.Y.shape == (1, 6)
        assert problem.gradient["b2"].shape == (2, 1)
        assert verdict(problem) == "pass"

    @pytest.mark.parametrize("spelling", ["{}", "d{}", "grad_{}", "{}_grad"])
    def test_spellings_of_gradients(self, path: pathlib.Path, spelling: str) -> None:
        """Beside them those with respect to activations, which are not even looked at."""
        made = Made()
        with h5py.File(made.write(path), "a") as file:
            for name in made.params:
                file.move(f"gradients/d{name}", "gradients/" + spelling.format(name))
            file["gradients/dA1"] = "no numbers"
        assert verdict(problems.load(path)) == "pass"

    @pytest.mark.parametrize(
        "hidden",
        [
            "relu,tanh",
            " relu, tanh ",
            np.bytes_(b"relu,tanh"),
            ["relu", "tanh"],
            np.array([b"relu  ", b"tanh  "]),
            np.array(["relu,tanh"], dtype=h5py.string_dtype()),
        ],
    )
    def test_hidden_as_languages_write_it(self, path: pathlib.Path, hidden: Any) -> None:
        with h5py.File(Made(hidden=["relu", "tanh"]).write(path), "a") as file:
            file.attrs["hidden"] = hidden
        assert problems.load(path).network.hidden == ("relu", "tanh")

    def test_arguments_override_attributes(self, path: pathlib.Path) -> None:
        Made(hidden="tanh", l2=0.25).write(path)
        network = problems.load(path, hidden=["relu", "silu"], loss="squared_error", l2=0.0).network
        assert (network.hidden, network.output, network.loss, network.l2) == (("relu", "silu"), "identity", "squared_error", 0.0)
        assert problems.load(path, output="identity").network.loss == "squared_error"
        assert problems.load(path).network.l2 == 0.25

    def test_arguments_supply_attributes(self, path: pathlib.Path) -> None:
        with h5py.File(Made(hidden="relu").write(path), "a") as file:
            for name in list(file.attrs):
                del file.attrs[name]
            file.attrs["title"] = "written by somebody"
        assert verdict(problems.load(path, hidden="relu", output="sigmoid")) == "pass"

    def test_an_argument_of_no_use_is_the_callers(self, path: pathlib.Path) -> None:
        Made().write(path)
        with pytest.raises(InputError, match=r"^hidden: activation 'swish' is not known") as raised:
            problems.load(path, hidden="swish")
        assert not isinstance(raised.value, DataError)

    @pytest.mark.parametrize("chunks", [None, (300, 7), (7, 900), (64, 64), (1, 1)])
    @pytest.mark.parametrize("layout", ["columns", "rows"])
    def test_every_chunk_is_read_once(
        self, path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, chunks: tuple[int, int] | None, layout: str
    ) -> None:
        """In parts of bounded size, of which no two touch one chunk."""
        made = Made([300 if chunks != (1, 1) else 30, 1])
        generator = np.random.default_rng(0)
        examples = 900 if chunks != (1, 1) else 90
        made.X = generator.standard_normal((made.X.shape[0], examples))
        made.Y = np.ones((1, examples))
        made.gradient = made.network.gradient(made.params, made.X, made.Y)
        turn = transposed if layout == "rows" else np.asarray
        with h5py.File(made.write(path, turn), "a") as file:
            file.attrs["layout"] = layout
            del file["X"]
            file.create_dataset("X", data=turn(made.X), chunks=chunks and (chunks if layout == "columns" else chunks[::-1]))
            stored = file["X"].chunks
        monkeypatch.setattr(problems, "_BLOCK", 2**12)
        touched: list[tuple[int, int]] = []
        sizes = []
        parts = problems._parts

        def note(data_set: Any) -> Any:
            for part in parts(data_set):
                if data_set.name == "/X":
                    spans = [range(*each.indices(length)) for each, length in zip(part, data_set.shape, strict=True)]
                    sizes.append(len(spans[0]) * len(spans[1]))
                    sides = stored or (1, data_set.shape[1])
                    rows, columns = ({i // side for i in span} for span, side in zip(spans, sides, strict=True))
                    touched.extend((row, column) for row in rows for column in columns)
                yield part

        monkeypatch.setattr(problems, "_parts", note)
        problem = problems.load(path)
        assert np.array_equal(problem.X, made.X)
        assert len(touched) == len(set(touched))
        assert max(sizes) <= 2**13 if stored != (64, 64) else max(sizes) <= 64 * 900
        assert len(sizes) > 1 or made.X.size < 2**12


def remove(name: str) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]

    return change


def put(name: str, value: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        if name in file:
            del file[name]
        file[name] = value

    return change


def attribute(name: str, value: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file.attrs[name] = value

    return change


def without(*names: str) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        for name in names:
            del file.attrs[name]

    return change


def spoil(name: str, index: Any, value: float) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file[name][index] = value

    return change


def declare(name: str) -> Callable[[h5py.File], None]:
    """A data set of enormous shape that stores nothing."""

    def change(file: h5py.File) -> None:
        del file[name]
        file.create_dataset(name, (2**20, 2**20), dtype="f8", chunks=(1, 1024))

    return change


class TestDefects:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (remove("X"), "X is missing, the file holds 'Y', 'gradients', 'parameters'"),
            (remove("parameters"), "parameters is missing"),
            (remove("gradients"), "gradients is missing"),
            (remove("parameters/b2"), "parameters lacks 'b2'"),
            (remove("gradients/db2"), "gradients lacks 'b2' (b2 may also be called db2, grad_b2 or b2_grad)"),
            (put("parameters", 3.0), "parameters must be a group"),
            (put("extra", 3.0), "holds 'extra', which belongs to no problem file"),
            (put("parameters/gamma", [1.0]), "parameters/gamma is none of W1, b1, W2"),
            (put("parameters/W5", np.ones((1, 1))), "parameters lacks 'W4', 'b4'"),
            (put("gradients/dgamma", [1.0]), "gradients has 'dgamma', which belongs to no parameter"),
            (put("gradients/W1", np.ones((3, 4))), "gradients is ambiguous: 'W1', 'dW1'"),
            (put("X", np.ones((5, 6))), "X has 5 features, but W1 is for 4 inputs; if matrices are stored transposed, set"),
            (put("X", np.ones((4, 0))), "X has shape (4, 0), but a matrix is needed"),
            (put("X", np.ones(4)), "X has shape (4,), but a matrix is needed"),
            (put("X", np.full((4, 6), b"x")), "X must hold real numbers, found |S1"),
            (put("X", np.ones((4, 6), dtype=complex)), "X must hold real numbers, found complex128"),
            (put("Y", np.ones((1, 5))), "Y has shape (1, 5), but (1, 6) is needed"),
            (put("Y", np.full((1, 6), 3.0)), "Y[0, 0] is 3.0; labels must lie in [0, 1]"),
            (put("parameters/W2", np.ones((2, 7))), "parameters/W2 is for 7 inputs, but W1 has 3 units"),
            (put("parameters/b1", np.ones(4)), "parameters/b1 has shape (4,), but (3, 1) is needed"),
            (put("gradients/dW2", np.ones((3, 2))), "gradients/dW2 has shape (3, 2), but (2, 3) is needed"),
            (put("gradients/db3", "text"), "gradients/db3 must hold real numbers"),
            (spoil("X", (2, 5), np.nan), "X[2, 5] is nan; all entries must be finite"),
            (spoil("Y", (0, 3), np.inf), "Y[0, 3] is inf; all entries must be finite"),
            (spoil("parameters/W1", (1, 2), np.nan), "parameters/W1[1, 2] is nan; all entries must be finite"),
            (declare("X"), "X has 1099511627776 numbers by its shape, but stores next to none"),
            (attribute("hidden", "swish"), "attribute hidden: activation 'swish' is not known"),
            (attribute("hidden", "tanh,tanh,tanh"), "attribute hidden names 3 activations, but the network has 2"),
            (attribute("hidden", 3), "attribute 'hidden' must be text, found"),
            (attribute("output", ["sigmoid", "softmax"]), "attribute 'output' must be one text, found 2"),
            (attribute("loss", "hinge"), "attribute loss: 'hinge' is not known"),
            (attribute("loss", "squared_error"), "attribute loss: 'squared_error' belongs to the output 'identity'"),
            (attribute("l2", "much"), "attribute 'l2' must be a number, found 'much'"),
            (attribute("l2", -1.0), "attribute l2 must be a finite number of at least 0"),
            (attribute("layout", "diagonal"), "attribute 'layout' must be 'columns' or 'rows', found 'diagonal'"),
            (attribute("Hidden", "relu"), "attribute 'Hidden' is not known; if 'hidden' is meant"),
            (attribute("L2", 0.5), "attribute 'L2' is not known; if 'l2' is meant"),
            (without("output"), "attribute 'output' or 'loss' is missing"),
            (without("hidden"), "attribute 'hidden' is missing"),
            (put("X", h5py.ExternalLink("other.h5", "/X")), "X is an external link, which is refused"),
            (put("parameters/W1", h5py.SoftLink("/nowhere")), "parameters/W1 is a soft link that dangles"),
        ],
    )
    def test_path_first(self, path: pathlib.Path, change: Callable[[h5py.File], None], message: str) -> None:
        with h5py.File(Made().write(path), "a") as file:
            change(file)
        with pytest.raises(DataError) as raised:
            problems.load(path)
        assert str(raised.value).startswith(f"{path}: ")
        assert message in str(raised.value)
        assert "\n" not in str(raised.value)

    def test_no_such_file(self, path: pathlib.Path) -> None:
        with pytest.raises(DataError, match="no such file"):
            problems.load(path)

    def test_a_gradient_that_is_not_finite_is_for_the_verdict(self, path: pathlib.Path) -> None:
        with h5py.File(Made().write(path), "a") as file:
            file["gradients/dW1"][0, 0] = np.nan
        assert verdict(problems.load(path)) == "fail"


class TestSave:
    @pytest.mark.parametrize(
        "options", [{}, {"hidden": ["gelu", "leaky_relu"], "l2": 0.125}, {"output": "identity"}, {"hidden": "silu"}]
    )
    def test_what_is_saved_is_loaded(self, path: pathlib.Path, options: dict[str, Any]) -> None:
        made = Made(**options)
        made.params["W2"] = made.params["W2"].astype(np.float32)
        problems.save(path, made.network, made.X, made.Y, made.params, made.gradient)
        problem = problems.load(path)
        assert repr(problem.network) == repr(made.network)
        assert np.array_equal(problem.X, made.X)
        assert problem.params["W2"].dtype == np.float32
        for name in made.params:
            assert np.array_equal(problem.params[name], made.params[name])
            assert np.array_equal(problem.gradient[name], made.gradient[f"d{name}"])

    def test_without_hidden_layers(self, path: pathlib.Path) -> None:
        made = Made([3, 2], output="softmax")
        problems.save(path, made.network, made.X, made.Y, made.params, made.gradient)
        assert verdict(problems.load(path)) == "pass"

    def test_refuses(self, path: pathlib.Path) -> None:
        """Nothing is written then."""
        made = Made()
        masked = gradsweep.Network(LAYERS, dropout_masks=[np.ones((3, 6)), None])
        with pytest.raises(InputError, match=r"^network has dropout masks"):
            problems.save(path, masked, made.X, made.Y, made.params, made.gradient)
        with pytest.raises(InputError, match=r"^gradient lacks 'b3'"):
            problems.save(path, made.network, made.X, made.Y, made.params, {k: v for k, v in made.gradient.items() if k != "db3"})
        with pytest.raises(InputError, match=r"^params\['W1'\] has shape"):
            problems.save(path, made.network, made.X, made.Y, {**made.params, "W1": np.ones((2, 2))}, made.gradient)
        assert not path.exists()

    def test_where_nothing_can_be_written(self, tmp_path: pathlib.Path) -> None:
        made = Made()
        with pytest.raises(DataError) as raised:
            problems.save(tmp_path, made.network, made.X, made.Y, made.params, made.gradient)
        assert str(raised.value).startswith(f"{tmp_path}: is a directory")
