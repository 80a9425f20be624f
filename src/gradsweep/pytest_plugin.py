"""Plugin of pytest: the fixture ``gradsweep``, failures that show a report in the place of a traceback, and a summary.

======================== ===========================================================================
``--gradsweep-seed N``   seed of the fixture's functions, 0 by default; the head of the run shows it
``--gradsweep-report D`` a page ``D/NAME-OF-THE-TEST.html`` for each gradient that fails a test, and ``.json`` beside it
======================== ===========================================================================

It is loaded in every run of pytest wherever gradsweep is installed. So nothing of gradsweep that needs NumPy is imported before
a test uses it. PYTEST_DONT_REWRITE: there are no assertions here.
"""

import argparse
import hashlib
import pathlib
import re
from collections import Counter
from collections.abc import Generator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Unpack

import pytest

from gradsweep._errors import DataError, GradientError
from gradsweep._watching import watch

if TYPE_CHECKING:
    from gradsweep import _checking, testing
    from gradsweep._report import Report

# Characters of the name of a test that stand in the name of its file, and digits of what tells like names apart.
_READABLE, _DIGITS = 120, 8

# What is written of a gradient that fails a test: for people, and for programs.
_SUFFIXES = ".html", ".json"

# Under which name workers of pytest-xdist send what they have counted.
_KEY = "gradsweep"


@dataclass(frozen=True)
class Gradsweep:
    """The module ``gradsweep``, with the seed of the session for what takes a seed. The fixture of that name.

    Attributes
    ----------
    seed : int
        What ``--gradsweep-seed`` says.
    """

    seed: int

    def check(self, cost: Any, params: Any, gradient: Any, **options: Unpack["_checking.Options"]) -> "Report":
        """As :func:`gradsweep.check`."""
        from gradsweep import check

        options.setdefault("seed", self.seed)
        return check(cost, params, gradient, **options)

    def assert_gradient(self, cost: Any, params: Any, gradient: Any, **options: Unpack["_checking.Options"]) -> "Report":
        """As :func:`gradsweep.assert_gradient`."""
        __tracebackhide__ = True
        from gradsweep import assert_gradient

        options.setdefault("seed", self.seed)
        return assert_gradient(cost, params, gradient, **options)

    def numerical_gradient(self, cost: Any, params: Any, **options: Any) -> Any:
        """As :func:`gradsweep.numerical_gradient`."""
        from gradsweep import numerical_gradient

        return numerical_gradient(cost, params, **{"seed": self.seed, **options})

    def check_backward(
        self, forward: Any, backward: Any, inputs: Any, **options: Unpack["testing.Options"]
    ) -> "testing.Contract":
        """As :func:`gradsweep.testing.check_backward`."""
        from gradsweep.testing import check_backward

        options.setdefault("seed", self.seed)
        return check_backward(forward, backward, inputs, **options)

    def assert_backward(
        self, forward: Any, backward: Any, inputs: Any, **options: Unpack["testing.Options"]
    ) -> "testing.Contract":
        """As :func:`gradsweep.testing.assert_backward`."""
        __tracebackhide__ = True
        from gradsweep.testing import assert_backward

        options.setdefault("seed", self.seed)
        return assert_backward(forward, backward, inputs, **options)

    def __getattr__(self, name: str) -> Any:
        """What else the module has."""
        import gradsweep

        return getattr(gradsweep, name)


@pytest.fixture(scope="session")
def gradsweep(request: pytest.FixtureRequest) -> Gradsweep:
    """The functions of gradsweep, with the seed of ``--gradsweep-seed``."""
    return Gradsweep(request.config.getoption("gradsweep_seed"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("gradsweep", "gradient checks")
    group.addoption(
        "--gradsweep-seed", type=_read_seed, default=0, metavar="N", help="Seed of the fixture gradsweep; 0 by default."
    )
    group.addoption(
        "--gradsweep-report",
        metavar="DIR",
        help="Write a page to this folder for each gradient that fails a test, and the same as JSON.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Begin to count."""
    folder = config.getoption("gradsweep_report")
    if folder is not None:
        folder = config.invocation_params.dir / folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise pytest.UsageError(f"--gradsweep-report: {folder}: {error.strerror}") from error
        # Workers of pytest-xdist are given the options, and may run elsewhere.
        config.option.gradsweep_report = str(folder)
    config.pluginmanager.register(_Recorder(config, folder))


def pytest_report_header(config: pytest.Config) -> str:
    """The seed, for the head of the run."""
    return f"gradsweep: seed {config.getoption('gradsweep_seed')}"


@dataclass
class Tally:
    """What was checked, for the summary.

    Attributes
    ----------
    checked, wrong, inconclusive : int
        Gradients.
    evaluations : int
        Of all checks.
    seconds : float
        Of all checks.
    reports : int
        Those that were written.
    """

    checked: int = 0
    wrong: int = 0
    inconclusive: int = 0
    evaluations: int = 0
    seconds: float = 0.0
    reports: int = 0

    def count(self, report: "Report") -> None:
        """Count a check."""
        self.checked += 1
        self.wrong += report.verdict == "fail"
        self.inconclusive += report.verdict == "inconclusive"
        self.evaluations += report.evaluations
        self.seconds += report.seconds

    def add(self, other: Mapping[str, Any]) -> None:
        """Take in what another process counted."""
        for name, value in other.items():
            setattr(self, name, getattr(self, name) + value)

    def __str__(self) -> str:
        """The summary, a line of text."""
        parts = [f"{_counted(self.checked, 'gradient')} checked"]
        parts += [f"{count:,} {what}" for count, what in ((self.wrong, "wrong"), (self.inconclusive, "inconclusive")) if count]
        return f"gradsweep: {', '.join(parts)}, {_counted(self.evaluations, 'evaluation')} in {self.seconds:.2f} s"


class _Recorder:
    """What a run of pytest keeps of its checks.

    Parameters
    ----------
    config : pytest.Config
        Of the run.
    folder : pathlib.Path, optional
        Where to write reports of gradients that fail.
    """

    def __init__(self, config: pytest.Config, folder: pathlib.Path | None) -> None:
        self._tally, self._folder = Tally(), folder
        self._written: Counter[str] = Counter()
        config.add_cleanup(watch(self._tally.count))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Write the report of a gradient that fails a test, and say where it is."""
        outcome = yield
        error = call.excinfo.value if call.excinfo is not None else None
        if self._folder is not None and outcome.failed and isinstance(error, GradientError):
            # A contract has a report of its own, if its derivative was checked.
            report = getattr(error.report, "report", error.report)
            if report is not None and not report.ok:
                outcome.sections.append(("gradsweep report", self._write(report, outcome.nodeid, self._folder)))
        return outcome

    def _write(self, report: "Report", test: str, folder: pathlib.Path) -> str:
        """Write a report; its paths, or why there are none, for a test has failed and is to be told of in any case."""
        self._written[test] += 1
        stem = file_name(test, self._written[test])
        paths = [folder / f"{stem}{suffix}" for suffix in _SUFFIXES]
        try:
            for path in paths:
                report.save(path)
        except DataError as error:
            return str(error)
        self._tally.reports += 1
        return "\n".join(map(str, paths))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Send what was counted, if this is a worker of pytest-xdist."""
        sent: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
        if sent is not None:
            sent[_KEY] = asdict(self._tally)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Add what a worker of pytest-xdist has sent; one that crashed has sent nothing."""
        self._tally.add(getattr(node, "workeroutput", {}).get(_KEY, {}))

    # The type is a text, since pytest 7 has no such name, and would fail to load the plugin in every run.
    def pytest_terminal_summary(self, terminalreporter: "pytest.TerminalReporter") -> None:
        """Tell what was checked, if anything was."""
        tally = self._tally
        if tally.checked:
            colour = "red" if tally.wrong else "yellow" if tally.inconclusive else "green"
            terminalreporter.write_line(str(tally), **{colour: True})
        if tally.reports:
            terminalreporter.write_line(f"gradsweep: {_counted(tally.reports, 'report')} in {self._folder}")


def file_name(test: str, number: int = 1) -> str:
    """Name for the file of a test: of letters, digits and ``._=-`` only, and another one for each test.

    Parameters
    ----------
    test : str
        Node id of the test.
    number : int, default: 1
        Which of the files of this test it is.

    Returns
    -------
    str
        The name, without a suffix.

    Examples
    --------
    >>> file_name("tests/test_layers.py::TestDense::test_gradient[relu/3]")
    'tests-test_layers.py-TestDense-test_gradient-relu-3-...'
    """
    readable = re.sub(r"[^\w.=-]+", "-", test, flags=re.ASCII)[-_READABLE:].strip("-.")
    digest = hashlib.sha256(test.encode("utf-8", "backslashreplace")).hexdigest()[:_DIGITS]
    return f"{readable}-{digest}" if number == 1 else f"{readable}-{digest}-{number}"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun if count == 1 else noun + 's'}"


def _read_seed(text: str) -> int:
    seed = int(text) if text.isdecimal() else -1
    if seed < 0:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 0, not {text!r}")
    return seed
