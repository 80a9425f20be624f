"""The pytest plugin, in runs of pytest within this one."""

import json
import os
import pathlib
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from importlib import metadata, util

import numpy as np
import pytest

import gradsweep
from gradsweep import testing
from gradsweep.pytest_plugin import Gradsweep, Tally, file_name

SUITE = """
import numpy as np
import pytest

import gradsweep as module
from gradsweep.testing import assert_backward

w = np.array([1.0, 2.0])


def cost(w):
    return np.sum(w**3)


def test_right(gradsweep):
    assert gradsweep.assert_gradient(cost, w, 3 * w**2).ok


def test_wrong(gradsweep):
    gradsweep.assert_gradient(cost, w, 2 * w**2)


def test_wrong_directly():
    module.assert_gradient(cost, w, 2 * w**2)


@pytest.mark.parametrize("step", [0.5])
def test_inconclusive(gradsweep, step):
    gradsweep.assert_gradient(cost, w, 3 * w**2, step=step)


def test_another_failure():
    assert module.check(cost, w, 3 * w**2).verdict == "fail"
"""

# Factor, of which 3 is right, and step of the checks in it.
CHECKS: list[tuple[float, float | None]] = [(3, None), (2, None), (2, None), (3, 0.5), (3, None)]

# An editable install of before the plugin does not know it.
INSTALLED = any(entry.value == "gradsweep.pytest_plugin" for entry in metadata.entry_points(group="pytest11"))
XDIST = util.find_spec("xdist") is not None

Run = Callable[..., pytest.RunResult]


@pytest.fixture(scope="module", autouse=True)
def _loaded(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What a run within this one is the first to import is forgotten at its end; and NumPy can be loaded only once."""
    for name in dir(gradsweep):
        getattr(gradsweep, name)
    report = gradsweep.check(lambda w: np.sum(w**2), np.ones(2), np.ones(2))
    for suffix in (".html", ".json"):
        report.save(tmp_path_factory.mktemp("reports") / f"report{suffix}")
    testing.check_backward(np.negative, lambda dout, x: -dout, (np.ones(2),), cache="arguments")


@pytest.fixture
def run(pytester: pytest.Pytester) -> Run:
    """Runs pytest on some code, with the plugin."""

    def run_it(code: str, *arguments: str) -> pytest.RunResult:
        pytester.makepyfile(test_suite=code)
        plugins = [] if INSTALLED else ["-p", "gradsweep.pytest_plugin"]
        return pytester.runpytest(*plugins, "-p", "no:cacheprovider", "-p", "no:benchmark", *arguments)

    return run_it


@pytest.fixture
def suite(run: Run) -> Run:
    return lambda *arguments: run(SUITE, *arguments)


def evaluations(factor: float, step: float | None = None) -> int:
    """How many evaluations a check of that code takes."""
    w = np.array([1.0, 2.0])
    return gradsweep.check(lambda w: np.sum(w**3), w, factor * w**2, step=step).evaluations


class TestFailures:
    def test_show_the_line_of_the_test_and_the_report(self, suite: Run) -> None:
        result = suite("-k", "test_wrong")
        result.assert_outcomes(failed=2)
        text = result.stdout.str()
        result.stdout.fnmatch_lines(
            [
                ">       gradsweep.assert_gradient(cost, w, 2 * w?*2)",
                "E       gradsweep._errors.GradientError: FAIL: the gradient of params is wrong",
                "E         params      2 * WRONG: 2 of 2 entries",
                "E         params[[]1[]] * 8.0000000000000000e+00 * 0.6667",
                "E           * evaluations in *",
                "test_suite.py:19: GradientError",
                ">       module.assert_gradient(cost, w, 2 * w?*2)",
                "test_suite.py:23: GradientError",
                "FAILED test_suite.py::test_wrong - *FAIL: *",
            ]
        )
        assert "_checking.py" not in text
        assert "pytest_plugin.py" not in text

    @pytest.mark.parametrize("style", ["short", "line", "long"])
    def test_any_style_of_traceback(self, suite: Run, style: str) -> None:
        text = suite("-k", "test_wrong", f"--tb={style}").stdout.str()
        assert "FAIL: the gradient of params is wrong" in text
        assert "_checking.py" not in text
        assert "pytest_plugin.py" not in text

    def test_of_a_backward_pass(self, run: Run) -> None:
        called = "assert_backward(np.exp, lambda dout, x: dout * x, (w,), cache='arguments')"
        code = SUITE + f"\n\ndef test_back(gradsweep):\n    gradsweep.{called}\n\n\ndef test_back_directly():\n    {called}\n"
        result = run(code, "-k", "back")
        result.assert_outcomes(failed=2)
        result.stdout.fnmatch_lines(2 * ["*FAIL: backward breaks 1 of 9 clauses: derivative", "test_suite.py:*: GradientError"])
        assert "testing.py" not in result.stdout.str()
        assert "pytest_plugin.py" not in result.stdout.str()

    def test_other_errors_keep_their_traceback(self, run: Run) -> None:
        """Of an error in the user's cost the frames between are what tells how it came to be called."""
        result = run(
            "def cost(w):\n    raise KeyError('lost')\n\n\ndef test(gradsweep):\n    gradsweep.assert_gradient(cost, 1.0, 1.0)\n"
        )
        result.stdout.fnmatch_lines(["*_checking.py:*", ">   *raise KeyError('lost')"])


class TestSummary:
    def test_counts_every_check(self, suite: Run) -> None:
        """Those of the fixture, those of the module, and those that pass."""
        result = suite()
        result.assert_outcomes(passed=1, failed=4)
        total = sum(evaluations(*each) for each in CHECKS)
        result.stdout.fnmatch_lines([f"gradsweep: 5 gradients checked, 2 wrong, 1 inconclusive, {total} evaluations in * s"])

    def test_of_what_passes(self, suite: Run) -> None:
        suite("-k", "right").stdout.fnmatch_lines([f"gradsweep: 1 gradient checked, {evaluations(3)} evaluations in * s"])

    def test_there_is_none_without_checks(self, run: Run) -> None:
        result = run("def test():\n    pass\n")
        result.stdout.no_fnmatch_line("gradsweep: * checked*")
        result.stdout.fnmatch_lines(["gradsweep: seed 0"])

    def test_each_run_counts_its_own(self, suite: Run) -> None:
        for _ in range(2):
            suite("-k", "right").stdout.fnmatch_lines(["gradsweep: 1 gradient checked, *"])

    def test_words(self) -> None:
        mixed, right = Tally(12, 2, 1, 9812, 1.234), Tally(1, 0, 0, 1, 0.5)
        assert str(mixed) == "gradsweep: 12 gradients checked, 2 wrong, 1 inconclusive, 9,812 evaluations in 1.23 s"
        assert str(right) == "gradsweep: 1 gradient checked, 1 evaluation in 0.50 s"

    @pytest.mark.skipif(not XDIST, reason="pytest-xdist is not installed")
    def test_over_workers(self, suite: Run, pytester: pytest.Pytester) -> None:
        result = suite("-n", "2", "--gradsweep-report", "reports", "--gradsweep-seed", "3")
        result.assert_outcomes(passed=1, failed=4)
        result.stdout.fnmatch_lines(["gradsweep: seed 3"])
        total = sum(evaluations(*each) for each in CHECKS)
        result.stdout.fnmatch_lines([f"gradsweep: 5 gradients checked, 2 wrong, 1 inconclusive, {total} evaluations in * s"])
        result.stdout.fnmatch_lines([f"gradsweep: 3 reports in {pytester.path}/reports"])
        assert len(os.listdir(pytester.path / "reports")) == 6

    @pytest.mark.skipif(not XDIST, reason="pytest-xdist is not installed")
    def test_without_a_worker_that_crashed(self, run: Run) -> None:
        code = SUITE + "\n\ndef test_crash():\n    import os\n\n    os._exit(1)\n"
        result = run(code, "-n", "1", "-k", "right or crash", "--max-worker-restart", "0")
        result.stdout.fnmatch_lines(["*worker 'gw0' crashed*"])
        result.stdout.no_fnmatch_line("*INTERNALERROR*")


class TestReports:
    def test_a_file_for_each_failure(self, suite: Run, pytester: pytest.Pytester) -> None:
        result = suite("--gradsweep-report", "deep/reports")
        folder = pytester.path / "deep" / "reports"
        result.stdout.fnmatch_lines([f"gradsweep: 3 reports in {folder}"])
        pages, files = (sorted(path.name for path in folder.glob(f"*{suffix}")) for suffix in (".html", ".json"))
        assert [pathlib.Path(page).stem for page in pages] == [pathlib.Path(name).stem for name in files]
        assert [name.rpartition("-")[0] for name in files] == [
            "test_suite.py-test_inconclusive-0.5",
            "test_suite.py-test_wrong",
            "test_suite.py-test_wrong_directly",
        ]
        verdicts = [json.loads((folder / name).read_text(encoding="utf-8"))["verdict"] for name in files]
        assert verdicts == ["inconclusive", "fail", "fail"]
        for page, name, verdict in zip(pages, files, ("INCONCLUSIVE", "FAIL", "FAIL"), strict=True):
            result.stdout.fnmatch_lines([str(folder / page), str(folder / name)])
            assert f"<title>{verdict}: " in (folder / page).read_text(encoding="utf-8")

    def test_of_a_backward_pass_that_of_its_derivative(self, run: Run, pytester: pytest.Pytester) -> None:
        code = (
            SUITE
            + "\n\ndef test_derivative(gradsweep):\n"
            + "    gradsweep.assert_backward(np.exp, lambda dout, x: dout * x, (w,), cache='arguments')\n"
            + "\n\ndef test_memory(gradsweep):\n"
            + "    gradsweep.assert_backward(lambda x: 1.0 * x, lambda dout, x: dout, (w,), cache='arguments')\n"
        )
        run(code, "-k", "derivative or memory", "--gradsweep-report", "reports").assert_outcomes(failed=2)
        names = os.listdir(pytester.path / "reports")
        assert len(names) == 2
        assert all(name.startswith("test_suite.py-test_derivative-") for name in names)

    def test_phases_and_repetitions_of_a_test(self, run: Run, pytester: pytest.Pytester) -> None:
        """Another file for each of them."""
        code = (
            SUITE
            + "\n\n@pytest.fixture\ndef spoilt(gradsweep):\n    yield\n    gradsweep.assert_gradient(cost, w, 2 * w)\n"
            + "\n\ndef test_both(gradsweep, spoilt):\n    gradsweep.assert_gradient(cost, w, w)\n"
        )
        result = run(code, "-k", "both", "--gradsweep-report", "reports")
        result.assert_outcomes(failed=1, errors=1)
        names = sorted((path.name for path in (pytester.path / "reports").glob("*.json")), key=len)
        assert names[1] == names[0].replace(".json", "-2.json")

    def test_expected_failures_leave_none(self, run: Run, pytester: pytest.Pytester) -> None:
        code = (
            SUITE
            + "\n\n@pytest.mark.xfail\ndef test_expected(gradsweep):\n    gradsweep.assert_gradient(cost, w, w)\n"
            + "\n\ndef test_expected_raise():\n"
            + "    with pytest.raises(module.GradientError):\n        module.assert_gradient(cost, w, w)\n"
        )
        run(code, "-k", "expected", "--gradsweep-report", "reports").assert_outcomes(xfailed=1, passed=1)
        assert os.listdir(pytester.path / "reports") == []

    def test_a_folder_that_cannot_be(self, suite: Run, pytester: pytest.Pytester) -> None:
        (pytester.path / "file").write_text("")
        result = suite("--gradsweep-report", "file/reports")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([f"ERROR: --gradsweep-report: {pytester.path}/file/reports: Not a directory"])

    def test_a_folder_that_is_gone(self, run: Run, pytester: pytest.Pytester) -> None:
        """The failure is shown all the same, and why there is no file."""
        code = SUITE + "\n\ndef test_gone():\n    import os\n\n    os.rmdir('reports')\n    module.assert_gradient(cost, w, w)\n"
        result = run(code, "-k", "gone", "--gradsweep-report", "reports")
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["*FAIL: the gradient of params is wrong", "*: no file can be written in its folder: *"])
        result.stdout.no_fnmatch_line("gradsweep: * in */reports")

    def test_names(self) -> None:
        tests = [
            "a/b.py::test[x]",
            "a-b.py::test[x]",
            "a/b.py::test[X]",
            "a/b.py::test[x/..]",
            "a/b.py::test[" + 300 * "é\0/" + "]",
        ]
        names = [file_name(test) for test in tests]
        assert len({name.lower() for name in names}) == len(names)
        assert all(re.fullmatch(r"[\w=][\w.=-]{1,140}", name, re.ASCII) for name in names)
        assert names == [file_name(test) for test in tests]


class TestFixture:
    def test_fills_in_the_seed(self, run: Run) -> None:
        code = """
            import gradsweep as module
            import numpy as np
            import pytest
            from gradsweep import testing

            w = np.ones(2)


            @pytest.mark.parametrize("given", [None, 7])
            @pytest.mark.parametrize(
                "name", ["check", "assert_gradient", "numerical_gradient", "check_backward", "assert_backward"]
            )
            def test_seed(gradsweep, monkeypatch, name, given):
                home = testing if name.endswith("backward") else module
                getattr(home, name)  # public names are found when they are first used
                seen = {}
                monkeypatch.setattr(home, name, lambda *arguments, **options: seen.update(options))
                arguments = [None] * (2 if name == "numerical_gradient" else 3)
                getattr(gradsweep, name)(*arguments, **({} if given is None else {"seed": given}))
                assert seen == {"seed": 5 if given is None else given}


            def test_the_rest_of_the_module(gradsweep):
                assert gradsweep.seed == 5
                assert gradsweep.Network is module.Network
                assert gradsweep.GradientError is module.GradientError
                with pytest.raises(AttributeError, match="has no attribute 'lost'"):
                    gradsweep.lost


            def test_results(gradsweep):
                assert gradsweep.check(lambda w: np.sum(w**2), w, 2 * w).verdict == "pass"
                assert gradsweep.numerical_gradient(lambda w: np.sum(w**2), w).tolist() == pytest.approx([2.0, 2.0])
                assert gradsweep.check_backward(np.negative, lambda dout, x: -dout, (w,), cache="arguments").ok


            @pytest.fixture(scope="session")
            def checked(gradsweep):
                return gradsweep.assert_gradient(lambda w: np.sum(w**2), w, 2 * w)


            def test_wider_scopes(checked):
                assert checked.ok
            """
        result = run(textwrap.dedent(code), "--gradsweep-seed=5")
        result.assert_outcomes(passed=13)
        result.stdout.fnmatch_lines(["gradsweep: seed 5"])

    @pytest.mark.parametrize("seed", ["-1", "x", "1.5", ""])
    def test_a_seed_that_is_none(self, suite: Run, seed: str) -> None:
        result = suite(f"--gradsweep-seed={seed}")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([f"*--gradsweep-seed: must be a whole number of at least 0, not '{seed}'"])

    def test_has_what_takes_a_seed(self) -> None:
        """All of the module's functions that take one are filled in."""
        import inspect

        takes_seed = {
            name
            for name in dir(gradsweep)
            if inspect.isfunction(getattr(gradsweep, name)) and "seed" in inspect.signature(getattr(gradsweep, name)).parameters
        }
        assert takes_seed | {"assert_gradient"} <= set(vars(Gradsweep))


HEAVY = {"numpy", "numba", "joblib", "h5py", "jinja2", "matplotlib", "rich", "typer"}


class TestImports:
    def test_the_plugin_loads_nothing_heavy(self) -> None:
        program = f"import sys, gradsweep.pytest_plugin\nprint(sorted({HEAVY!r} & set(sys.modules)))"
        assert _output(program) == "[]"

    def test_nor_does_a_run_that_checks_no_gradient(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / "test_plain.py").write_text("def test_plain():\n    pass\n")
        arguments = ["-q", "-p", "no:cacheprovider", "-p", "gradsweep.pytest_plugin", "--gradsweep-report", "reports", "."]
        program = (
            "import os, sys, pytest\n"
            f"os.chdir({str(tmp_path)!r})\n"
            "os.environ['PYTEST_DISABLE_PLUGIN_AUTOLOAD'] = '1'\n"  # those of other plugins are not ours to judge
            f"status = pytest.main({arguments!r})\n"
            f"print(int(status), sorted({HEAVY!r} & set(sys.modules)))"
        )
        assert _output(program).splitlines()[-1] == "0 []"


def _output(program: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", program]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()
