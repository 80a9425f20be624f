"""The command line: what it prints, and its exit status."""

import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Sequence

import h5py
import numpy as np
import pytest

from gradsweep import _cli, _demo
from gradsweep._errors import InputError


def run(monkeypatch: pytest.MonkeyPatch, arguments: Sequence[str]) -> int:
    """Exit status of the command line, run in this process."""
    monkeypatch.setattr(sys, "argv", ["gradsweep", *arguments])
    # Reports are as wide as they are, not as wide as the terminal of whoever runs the tests.
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as exit_info:
        _cli.main()
    assert isinstance(exit_info.value.code, int)
    return exit_info.value.code


@pytest.fixture
def data(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "data.h5"
    generator = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file["train_set_x"] = generator.integers(0, 256, (6, 4, 2), dtype=np.uint8)
        file["train_set_y"] = np.array([0, 1, 1, 0, 1, 0])
    return path


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
        times = re.search(r"difference  (\S+) by formula 3; gradsweep (\S+)", printed.out)
        assert times is not None
        loop, own = float(times[1]), float(times[2])
        assert own < 1e-13 < 1e-10 < loop
        assert re.search(r"time .* for each, so .* for all 61,481; gradsweep .*, [\d,]+ times faster", printed.out)

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
        assert "planted bug: " + _demo.BUGS[bug].description in out
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
        assert f"3 examples of the 6 in {data}" in out
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


@pytest.mark.parametrize("arguments", [[], ["frobnicate"], ["demo", "--bug", "nope"], ["demo", "--frob"]])
def test_wrong_usage(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert run(monkeypatch, arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("gradsweep: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--help"], ["demo", "--help"], ["network", "--help"]])
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
