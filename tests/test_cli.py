"""The command line: what it prints, and its exit status."""

import json
import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import h5py
import numpy as np
import pytest

import gradsweep
from gradsweep import _cli, _demo, problems
from gradsweep._errors import InputError


def run(monkeypatch: pytest.MonkeyPatch, arguments: Sequence[str]) -> int:
    """Exit status of the command line, run in this process."""
    monkeypatch.setattr(sys, "argv", ["gradsweep", *arguments])
    # Neither does the terminal of whoever runs the tests count, nor what it is set to, but for typer's help.
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SystemExit) as exit_info:
        _cli.main()
    assert isinstance(exit_info.value.code, int)
    return exit_info.value.code


def unwrapped(text: str) -> str:
    """Text without its line breaks."""
    return " ".join(text.split())


@pytest.fixture
def data(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "data.h5"
    generator = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file["train_set_x"] = generator.integers(0, 256, (6, 4, 2), dtype=np.uint8)
        file["train_set_y"] = np.array([0, 1, 1, 0, 1, 0])
    return path


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, ["--version"]) == 0
    assert capsys.readouterr().out == f"gradsweep {gradsweep.__version__}\n"


class TestDemo:
    def test_passes(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(monkeypatch, ["demo"]) == 0
        printed = capsys.readouterr()
        lines = printed.out.splitlines()
        assert lines[0] == "Network   12288-5-5-1, tanh, 61,481 parameters, as the post initialises it"
        assert "scaled to [0, 1]" in lines[1]
        assert "PASS: all 61,481 entries agree with the numeric gradient" in lines
        assert [line.split()[0] for line in lines if line.endswith("agrees")] == ["W1", "b1", "W2", "b2", "W3", "b3"]
        assert "step 1e-07" in printed.out
        # What the user is to see: an agreement that the loop cannot reach, and the ratio of the times.
        out = unwrapped(printed.out)
        times = re.search(r"difference (\S+) by formula 3; gradsweep (\S+)", out)
        assert times is not None
        loop, own = float(times[1]), float(times[2])
        assert own < 1e-13 < 1e-10 < loop
        assert re.search(r"time .* for each, so .* for all 61,481; gradsweep .*, [\d,]+ times faster", out)

    @pytest.mark.parametrize(
        ("bug", "wrong"),
        [
            ("forgotten-mean", "W1 b1 W2 b2 W3 b3"),
            ("wrong-sign", "W3"),
            ("wrong-derivative", "W1 b1 W2 b2"),
            ("bias-sum", "b2"),
            ("transposed", "W2"),
        ],
    )
    def test_names_the_block_of_a_planted_bug(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], bug: str, wrong: str
    ) -> None:
        assert run(monkeypatch, ["demo", "--bug", bug]) == 1
        out = capsys.readouterr().out
        assert "planted bug: " + _demo.BUGS[bug].description in unwrapped(out)
        assert [line.split()[0] for line in out.splitlines() if "  WRONG: " in line] == wrong.split()
        assert "worst entries" in out

    @pytest.mark.parametrize("bug", _demo.BUGS)
    def test_finds_a_planted_bug_on_raw_pixels(self, bug: str) -> None:
        assert _demo.run_demo(bug, raw=True).report.verdict == "fail"

    @pytest.mark.parametrize("seed", range(12))
    @pytest.mark.parametrize("raw", [False, True])
    def test_a_right_gradient_never_fails(self, seed: int, raw: bool) -> None:
        report = _demo.run_demo(seed=seed, raw=raw).report
        # Raw pixels saturate the first layer; where not all of it is below rounding, rounding is what remains of it.
        assert report.verdict in (("pass", "inconclusive") if raw else ("pass",))

    def test_every_bug_is_tested(self) -> None:
        assert set(_demo.BUGS) == {"forgotten-mean", "wrong-sign", "wrong-derivative", "bias-sum", "transposed"}

    def test_draws_images_by_seed(self) -> None:
        first, again, other = (_demo.run_demo(seed=seed, examples=3) for seed in (1, 1, 2))
        assert first.rows == again.rows
        assert first.rows != other.rows
        assert len(set(first.rows)) == 3

    @pytest.mark.parametrize(("bug", "examples"), [("forgotten-mean", 1), (None, 0), (None, 210), (None, -1)])
    def test_refuses_examples(self, bug: str | None, examples: int) -> None:
        with pytest.raises(InputError, match=r"^examples"):
            _demo.run_demo(bug, examples)

    def test_quiet(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(monkeypatch, ["demo", "--quiet", "--bug", "transposed"]) == 1
        assert capsys.readouterr().out == ""


class TestNetwork:
    @pytest.mark.parametrize(
        "options",
        [[], ["--scheme", "forward"], ["--raw"], ["--jobs", "2"], ["--hidden", "relu,sigmoid"], ["--mode", "neurons"]],
    )
    def test_passes(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], data: pathlib.Path, options: list[str]
    ) -> None:
        assert run(monkeypatch, ["network", str(data), "--layers", "8,5,4,1", "--examples", "3", *options]) == 0
        out = capsys.readouterr().out
        assert "8-5-4-1" in out
        assert f"3 examples of the 6 in {data}" in unwrapped(out)
        assert "PASS" in out
        assert ("neurons, central" if "neurons" in options else "sweep, ") in out

    def test_inconclusive(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], data: pathlib.Path) -> None:
        """A step so large that the quotient itself is off is no reason to call a right gradient wrong."""
        assert run(monkeypatch, ["network", str(data), "--layers", "8,5,4,1", "--step", "0.5"]) == 3
        assert "is too large" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--layers", "8,5,x"], "layers must be whole numbers"),
            (["--layers", "9,1"], "X has 8 features, but the first layer has 9 inputs"),
            (["--layers", "8,0,1"], "layers must be whole numbers of at least 1"),
            (["--layers", "8,2,1", "--hidden", "swish"], "'swish' is not known"),
            (["--layers", "8,2,1", "--examples", "7"], "examples: 7 were asked for"),
            (["--layers", "8,2,1", "--step", "0"], "step must be a positive"),
            (["--layers", "8,2,1", "--jobs", "0"], "jobs must be"),
            (["--layers", "8,2,1", "--examples", "0"], "--examples"),
            (["--layers", "8,2,1", "--scheme", "sideways"], "--scheme"),
            ([], "--layers"),
        ],
    )
    def test_bad_input_is_one_line(
        self,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        data: pathlib.Path,
        options: list[str],
        message: str,
    ) -> None:
        assert run(monkeypatch, ["network", str(data), *options]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.count("\n") == 1
        assert printed.err.startswith("gradsweep: ")
        assert message in printed.err

    def test_a_file_that_is_no_data(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path
    ) -> None:
        path = tmp_path / "notes.txt"
        path.write_text("not HDF5")
        assert run(monkeypatch, ["network", str(path), "--layers", "8,1"]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"gradsweep: {path}")
        assert error.count("\n") == 1


class TestProblem:
    @pytest.fixture
    def file(self, tmp_path: pathlib.Path) -> pathlib.Path:
        network = gradsweep.Network([4, 3, 1], hidden="softplus", l2=0.5)
        params = network.initialize()
        X, Y = np.random.default_rng(0).random((4, 6)), np.array([[0, 1, 1, 0, 1, 0]])
        path = tmp_path / "problem.h5"
        problems.save(path, network, X, Y, params, network.gradient(params, X, Y))
        return path

    @pytest.mark.parametrize("options", [[], ["--scheme", "forward"], ["--mode", "neurons"], ["--jobs", "2"], ["--l2", "0.5"]])
    def test_passes(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], file: pathlib.Path, options: list[str]
    ) -> None:
        assert run(monkeypatch, ["problem", str(file), *options]) == 0
        out = capsys.readouterr().out
        lines = out.splitlines()
        assert lines[0] == "Network   4-3-1, softplus, binary_cross_entropy, l2 0.5, 19 parameters"
        assert f" Data 6 examples in {file} " in unwrapped(out)
        assert "PASS: all 19 entries agree with the numeric gradient" in lines

    def test_options_override_the_file(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], file: pathlib.Path
    ) -> None:
        """And so another network's gradient is found to be wrong."""
        assert run(monkeypatch, ["problem", str(file), "--l2", "0"]) == 1
        assert [line.split()[0] for line in capsys.readouterr().out.splitlines() if "  WRONG: " in line] == ["W1", "W2"]
        assert run(monkeypatch, ["problem", str(file), "--hidden", "tanh", "--quiet"]) == 1
        assert run(monkeypatch, ["problem", str(file), "--output", "identity", "--quiet"]) == 1
        assert capsys.readouterr().out == ""

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--hidden", "swish"], "hidden: activation 'swish' is not known"),
            (["--hidden", "relu,relu"], "hidden names 2 activations, but the network has 1"),
            (["--loss", "hinge"], "loss: 'hinge' is not known"),
            (["--l2", "-1"], "l2 must be"),
            (["--tolerance", "2"], "tolerance must be below 1"),
        ],
    )
    def test_bad_input_is_one_line(
        self,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        file: pathlib.Path,
        options: list[str],
        message: str,
    ) -> None:
        assert run(monkeypatch, ["problem", str(file), *options]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith(f"gradsweep: {message}")
        assert printed.err.count("\n") == 1

    def test_a_defect_names_the_file(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], file: pathlib.Path
    ) -> None:
        with h5py.File(file, "a") as opened:
            del opened["gradients/b2"]
        assert run(monkeypatch, ["problem", str(file)]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"gradsweep: {file}: gradients lacks 'b2'")
        assert error.count("\n") == 1


SCRIPT = """
import numpy as np

import helper

A = np.random.default_rng(0).normal(size=(6, 4))


class Cost:
    def __call__(self, params):
        return helper.half(np.sum((A @ params["w"] + params["b"]) ** 2))


def right():
    params = {"w": np.random.default_rng(1).normal(size=4), "b": 0.5}
    residual = A @ params["w"] + params["b"]
    return Cost(), params, {"dw": A.T @ residual, "db": residual.sum()}


def wrong():
    cost, params, gradient = right()
    return cost, params, {**gradient, "dw": -gradient["dw"]}


def coarse():
    return (lambda x: np.sum(np.exp(x))), np.ones(3), np.exp(np.ones(3))


def network():
    import gradsweep

    network = gradsweep.Network([4, 1])
    params, X, Y = network.initialize(), A.T, np.ones((1, 6))
    return [network.cost(X, Y), params, network.gradient(params, X, Y)]


def needs(first, second=1):
    return first


def two():
    return 1, 2


def nothing():
    pass


def raises():
    return helper.half("text")


def leaves():
    raise SystemExit(0)


def cost_raises():
    def cost(params):
        raise RuntimeError("of many" + chr(10) + "lines")

    return cost, np.ones(2), np.ones(2)


def misuses():
    import gradsweep

    gradsweep.Network([4, 1], output="hinge")


def not_a_cost():
    return 3.0, np.ones(2), np.ones(2)


number = 3
if __name__ == "__main__":
    raise RuntimeError("is not a script")
"""

LINES = SCRIPT.splitlines()

QUIET = """
import numpy as np


def right():
    return (lambda w: np.sum(w**3)), np.array([1.0, 2.0]), np.array([3.0, 12.0])
"""

LOUD = """
import ctypes
import os

import numpy as np

print("on import")


def right():
    print("in the function")
    ctypes.CDLL(None).printf(b"from C\\n")
    os.system("echo from a child")

    def cost(w):
        print("in the cost")
        return np.sum(w**3)

    return cost, np.array([1.0, 2.0]), np.array([3.0, 12.0])
"""


def line_of(text: str) -> int:
    """Number of the line of the script that holds a text."""
    return next(number for number, line in enumerate(LINES, start=1) if text in line)


class TestCheck:
    @pytest.fixture(autouse=True)
    def _imports(self) -> Iterator[None]:
        """What is imported here is forgotten."""
        path, modules = sys.path[:], set(sys.modules)
        yield
        sys.path[:] = path
        for name in set(sys.modules) - modules:
            if name.startswith(("checked_", "train", "helper", "deep", "broken", "random", "package", "my-")):
                del sys.modules[name]

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
        monkeypatch.chdir(tmp_path)
        for folder in (tmp_path, tmp_path / "other"):
            folder.mkdir(exist_ok=True)
            (folder / "train.py").write_text(SCRIPT)
            (folder / "helper.py").write_text("def half(x):\n    return x / 2\n")
        return tmp_path

    @pytest.mark.parametrize(
        "function", ["train.py:right", "train:right", "other/train.py:right", "./train.py:right", "train.py:network"]
    )
    def test_passes(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], function: str) -> None:
        assert run(monkeypatch, ["check", function]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == f"Function  {function}, 5 parameters in 2 blocks"
        assert lines[2] == "PASS: all 5 entries agree with the numeric gradient"

    def test_absolute_path(
        self, monkeypatch: pytest.MonkeyPatch, folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir("/")
        assert run(monkeypatch, ["check", f"{folder / 'train.py'}:right"]) == 0
        assert "PASS" in capsys.readouterr().out

    def test_fails(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(monkeypatch, ["check", "train.py:wrong", "--scheme", "forward", "--seed", "3", "--jobs", "1"]) == 1
        printed = capsys.readouterr().out
        assert "FAIL: the gradient of w is wrong; b agrees" in printed
        assert "sweep on difference arrays, forward differences" in printed

    @pytest.mark.parametrize(
        ("scheme", "words"), [("five-point", "five-point differences"), ("complex", "complex step, plain function")]
    )
    def test_schemes(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], scheme: str, words: str) -> None:
        assert run(monkeypatch, ["check", "train.py:coarse", "--scheme", scheme]) == 0
        assert words in capsys.readouterr().out

    def test_inconclusive(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(monkeypatch, ["check", "train.py:coarse", "--step", "0.5"]) == 3
        assert "is too large" in capsys.readouterr().out

    def test_quiet(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(monkeypatch, ["check", "train.py:wrong", "--quiet"]) == 1
        assert capsys.readouterr().out == ""

    @pytest.mark.parametrize("name", ["random", "my-train", "h5py", "gradsweep"])
    def test_a_name_that_is_taken(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: pathlib.Path, name: str
    ) -> None:
        """The file is run all the same, and hides nothing."""
        (folder / "train.py").rename(folder / f"{name}.py")
        before = sys.modules.get(name)
        assert run(monkeypatch, ["check", f"{name}.py:right"]) == 0
        assert sys.modules.get(name) is before
        assert os.path.realpath(sys.path[0]) != str(folder) or before is None
        assert "PASS" in capsys.readouterr().out

    def test_a_package_of_the_same_name(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: pathlib.Path
    ) -> None:
        """An import of the name would find the package; it is the file that was named."""
        (folder / "train").mkdir()
        (folder / "train" / "__init__.py").write_text("raise ValueError('not this one')\n")
        assert run(monkeypatch, ["check", "train.py:right"]) == 0
        assert "PASS" in capsys.readouterr().out

    @pytest.mark.parametrize("name", ["train", "random"])
    def test_workers_understand_its_classes(self, folder: pathlib.Path, name: str) -> None:
        """In processes that have never seen the file."""
        if name != "train":
            (folder / "train.py").rename(folder / f"{name}.py")
        program = (
            "import joblib\n"
            "from gradsweep._user_code import Target\n"
            f"cost, params, _ = Target('../{name}.py:right')()\n"
            "if __name__ == '__main__':\n"
            "    values = joblib.Parallel(2)(joblib.delayed(cost)(params) for _ in range(2))\n"
            "    assert values == [cost(params)] * 2, values\n"
        )
        (folder / "elsewhere").mkdir()
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", program]
        subprocess.run(command, env=environment, cwd=folder / "elsewhere", check=True, capture_output=True, text=True)

    @pytest.mark.parametrize(
        ("function", "message"),
        [
            ("train.py", "train.py: FILE.py:FUNCTION or MODULE:FUNCTION is needed"),
            (":right", ":right: FILE.py:FUNCTION or MODULE:FUNCTION is needed"),
            ("nowhere.py:right", "nowhere.py: no such file"),
            ("other.py:right", "other.py: no such file"),
            ("./other:right", "./other: is not a file"),
            ("./data.txt:right", "./data.txt: must be a file of Python, with a name that ends in .py"),
            ("nowhere:right", "nowhere: no such module (No module named 'nowhere')"),
            ("helper.nowhere:right", "helper.nowhere: no such module"),
            ("a b:right", "a b: is neither the name of a module nor a file of Python"),
            ("train.py:lost", "train.py: has no function 'lost'; there are right, wrong, coarse"),
            ("train.py:number", "train.py: number is an int, not a function"),
            ("train.py:needs", "train.py: needs(first, second=1) needs arguments, but it is called without any"),
            ("train.py:two", "train.py: two returns 2 things, but cost, params and gradient are needed"),
            ("train.py:nothing", "train.py: nothing returns None, but"),
            ("train.py:Cost", "train.py: Cost returns a Cost, but"),
            ("train.py:raises", "train.py, line {half(}, in raises: TypeError: unsupported operand"),
            ("train.py:leaves", "train.py, line {SystemExit}, in leaves: SystemExit: 0"),
            ("train.py:misuses", "train.py, line {hinge}, in misuses: InputError: output: 'hinge' is not known"),
            ("train.py:not_a_cost", "train.py: cost is of type float, but must be a function"),
        ],
    )
    def test_bad_input_is_one_line(
        self,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        folder: pathlib.Path,
        function: str,
        message: str,
    ) -> None:
        (folder / "data.txt").write_text("no code")
        place = {"{half(}": 'helper.half("', "{SystemExit}": "SystemExit(0)", "{hinge}": '"hinge"'}
        for mark, text in place.items():
            message = message.replace(mark, str(line_of(text)))
        assert run(monkeypatch, ["check", function]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith(f"gradsweep: {message}")
        assert printed.err.count("\n") == 1

    def test_a_cost_that_raises_is_told_by_its_line(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(monkeypatch, ["check", "train.py:cost_raises"]) == 2
        error = capsys.readouterr().err
        assert re.match(r"gradsweep: train\.py.*RuntimeError.*of many lines", error)
        assert error.count("\n") == 1

    @pytest.mark.parametrize(
        ("code", "message"),
        [
            ("x = 1\n\ny = [1, 2\nz = 3\n", "broken.py, line 3: SyntaxError: '[' was never closed"),
            ("x = 1\nimport nowhere\n", "broken.py, line 2: ModuleNotFoundError: No module named 'nowhere'"),
            ("import helper\nhelper.half('text')\n", "broken.py, line 2: TypeError: unsupported operand"),
            ("import sys\n\nsys.exit('usage')\n", "broken.py, line 3: SystemExit: usage"),
            ("def f():\n    raise ValueError\nf()\n", "broken.py, line 2, in f: ValueError"),
            ("import deep\n", "broken.py, line 1: SyntaxError: "),
        ],
    )
    @pytest.mark.parametrize("target", ["broken.py:right", "broken:right"])
    def test_what_an_import_raises_is_told_by_its_line(
        self,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        folder: pathlib.Path,
        target: str,
        code: str,
        message: str,
    ) -> None:
        (folder / "broken.py").write_text(code)
        (folder / "deep.py").write_text("1 +\n")
        assert run(monkeypatch, ["check", target]) == 2
        error = capsys.readouterr().err
        if "deep" in code:
            message = "deep.py, line 1: SyntaxError: invalid syntax"
        assert error.startswith(f"gradsweep: {message}")
        assert error.count("\n") == 1

    @pytest.mark.parametrize(
        "option", [["--step", "0"], ["--tolerance", "1"], ["--jobs", "0"], ["--mode", "x"], ["--seed", "-1"]]
    )
    def test_wrong_options_are_told_before_any_code_runs(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], option: list[str]
    ) -> None:
        assert run(monkeypatch, ["check", "train.py:raises", *option]) == 2
        assert option[0].strip("-") in capsys.readouterr().err


class TestFiles:
    """What is for programs: JSON on stdout, and files."""

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, data: pathlib.Path) -> Iterator[pathlib.Path]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "path", sys.path[:])
        network = gradsweep.Network([4, 3, 1])
        params = network.initialize()
        X, Y = np.random.default_rng(0).random((4, 6)), np.array([[0, 1, 1, 0, 1, 0]])
        problems.save("problem.h5", network, X, Y, params, network.gradient(params, X, Y))
        (tmp_path / "quiet.py").write_text(QUIET)
        (tmp_path / "loud.py").write_text(LOUD)
        yield tmp_path
        sys.modules.pop("loud", None)

    COMMANDS = (
        ["demo"],
        ["network", "data.h5", "--layers", "8,3,1"],
        ["problem", "problem.h5"],
        ["check", "loud.py:right"],
    )

    @pytest.mark.parametrize(("command", "status"), [*((each, 0) for each in COMMANDS), (["demo", "--bug", "transposed"], 1)])
    def test_json_is_all_that_is_printed(self, folder: pathlib.Path, command: list[str], status: int) -> None:
        """Whatever a user's own code prints, from Python, from C, from processes; and the exit status is what it ever is."""
        program = [sys.executable, "-m", "gradsweep", *command, "--json", "--report", "report.json"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        done = subprocess.run(program, cwd=folder, env=environment, capture_output=True)
        assert done.returncode == status
        document = json.loads(done.stdout)
        assert (document["schema"], document["verdict"]) == ("gradsweep-report", "fail" if status else "pass")
        assert done.stdout == (folder / "report.json").read_bytes()
        if "check" in command:
            assert {"on import", "in the function", "in the cost", "from C", "from a child"} <= set(
                done.stderr.decode().split("\n")
            )
        else:
            assert done.stderr == b""

    @pytest.mark.parametrize("command", COMMANDS)
    def test_a_file_beside_the_text(
        self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], folder: pathlib.Path, command: list[str]
    ) -> None:
        assert run(monkeypatch, [*command, "--report", "report.h5"]) == 0
        assert "PASS: all" in capfd.readouterr().out
        with h5py.File(folder / "report.h5") as file:
            assert file.attrs["verdict"] == "pass"
            assert all("numeric" in block for block in file["blocks"].values())
        assert run(monkeypatch, [*command, "--report", "report.h5", "--quiet"]) == 0

    @pytest.mark.parametrize("command", COMMANDS)
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--quiet", "--json"], "--quiet and --json: one prints nothing, the other a report; give one of them"),
            (["--report", "report.txt"], "path must end in .html, .json, .h5 or .hdf5, not 'report.txt'"),
            (["--report", "report.htm"], "path must end in .html, .json, .h5 or .hdf5, not 'report.htm'"),
            (["--report", "nowhere/report.html"], "nowhere/report.html: no file can be written in its folder"),
            (["--report", "nowhere/report.json"], "nowhere/report.json: no file can be written in its folder"),
            (["--report", "loud.py/report.h5"], "loud.py/report.h5: no file can be written in its folder"),
        ],
    )
    def test_what_cannot_be_is_told_before_the_check(
        self,
        monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str],
        command: list[str],
        options: list[str],
        message: str,
    ) -> None:
        monkeypatch.setattr(_cli, "check", None)
        monkeypatch.setattr(_demo, "run_demo", None)
        assert run(monkeypatch, [*command, *options]) == 2
        printed = capfd.readouterr()
        assert printed.out == ""
        assert printed.err.startswith(f"gradsweep: {message}")
        assert printed.err.count("\n") == 1

    @pytest.mark.parametrize(
        ("command", "given"), [(["network", "data.h5", "--layers", "8,1"], "data.h5"), (["problem", "problem.h5"], "problem.h5")]
    )
    def test_a_report_never_replaces_what_is_checked(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: list[str], given: str
    ) -> None:
        before = pathlib.Path(given).read_bytes()
        pathlib.Path("link.h5").symlink_to(given)
        for name in (f"./{given}", "link.h5"):
            assert run(monkeypatch, [*command, "--report", name]) == 2
            assert "the report would replace the file that is checked" in capsys.readouterr().err
        assert pathlib.Path(given).read_bytes() == before

    def test_a_folder_that_goes_away_meanwhile(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: pathlib.Path
    ) -> None:
        (folder / "reports").mkdir()

        def check(*arguments: Any, **options: Any) -> gradsweep.Report:
            (folder / "reports").rmdir()
            return gradsweep.check(*arguments, **options)

        monkeypatch.setattr(_cli, "check", check)
        assert run(monkeypatch, ["problem", "problem.h5", "--report", "reports/report.json"]) == 2
        assert capsys.readouterr().err.startswith("gradsweep: reports/report.json: no file can be written in its folder")

    @pytest.mark.parametrize("options", [[], ["--json"]])
    @pytest.mark.parametrize("command", [["problem", "problem.h5"], ["check", "quiet.py:right"]])
    def test_a_reader_who_has_enough(self, folder: pathlib.Path, command: list[str], options: list[str]) -> None:
        """Of a closed pipe the status is that of the signal, never 1, which says that the gradient is wrong."""
        reading, writing = os.pipe()
        os.close(reading)
        program = [sys.executable, "-m", "gradsweep", *command, *options]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        done = subprocess.run(program, cwd=folder, env=environment, stdout=writing, stderr=subprocess.PIPE)
        os.close(writing)
        assert done.returncode == 141
        assert done.stderr == b""


@pytest.mark.parametrize("arguments", [[], ["frobnicate"], ["demo", "--bug", "nope"], ["demo", "--frob"]])
def test_wrong_usage(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert run(monkeypatch, arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("gradsweep: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in ("demo", "network", "problem", "check"))])
def test_help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert run(monkeypatch, arguments) == 0
    assert "Usage: gradsweep" in capsys.readouterr().out


def test_interrupted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_demo, "run_demo", interrupt)
    assert run(monkeypatch, ["demo"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_says_that_it_compiles(tmp_path: pathlib.Path) -> None:
    """With a cold cache a line says why it takes so long; with a warm one there is none."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-W", "error", "-m", "gradsweep", "demo", "--quiet"]
    cold = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert cold.stdout == ""
    assert re.fullmatch(r"gradsweep: compiling the kernels.*\n", cold.stderr)
    warm = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert warm.stderr == ""
