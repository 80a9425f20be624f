"""What the README shows is what happens: its Python runs, its commands do, and what is shown of their output is theirs."""

import contextlib
import inspect
import io
import os
import pathlib
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
import pytest

import gradsweep
from gradsweep._diagnosis._diagnose import KINDS
from gradsweep.problems import save

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")

# Sections whose commands set up an environment: what continuous integration does before it can run this.
SET_UP = ("Set up", "Contributing")

# Sections whose code needs more than one machine has; tests of clusters do what it shows.
ELSEWHERE = ("On a cluster",)

# Fragments, and the names that each of them needs; all other sections stand for themselves.
FRAGMENTS = {
    "Any cost function": """
import numpy as np
import gradsweep

rng = np.random.default_rng(0)
xs, ys = rng.normal(size=(4, 3)), rng.normal(size=(4, 2))
params = {"Wx": rng.normal(size=(16, 3)), "Wh": rng.normal(size=(16, 16)) / 4, "b": rng.normal(size=16)}
params["out"] = rng.normal(size=(16, 2))


def gradient(p):
    return gradsweep.numerical_gradient(cost, p)
""",
    "From Python": """
import gradsweep

network = gradsweep.Network([3, 2, 1])
params = network.initialize()
X, Y = [[0.0, 1.0], [1.0, 0.0], [1.0, 2.0]], [[0.0, 1.0]]
cost, gradient = network.cost(X, Y), network.gradient(params, X, Y)
""",
    "Pages and plots": """
import gradsweep

report = gradsweep.check(lambda w: (w**3).sum(), [1.0, 2.0], [3.0, 11.0])
""",
}

# Files that commands are given, beside those that blocks before them are or write.
PROBLEM, DATA = "PROBLEM.h5", "DATA.h5"

# Commands that end with another status than 0.
STATUS = {"gradsweep demo --bug transposed": 1, "gradsweep problem p.h5": 1}


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes
    ----------
    section : str
        Its heading.
    language : str
        What stands behind its fence.
    code : str
        What it holds.
    """

    section: str
    language: str
    code: str

    @property
    def file(self) -> str | None:
        """Name of the file that it is, if it says so on its first line."""
        match = re.match(r"# (\w+\.py)\n", self.code)
        return match[1] if match else None


def sections() -> dict[str, list[Block]]:
    """The blocks of each section."""
    found: dict[str, list[Block]] = {}
    heading = ""
    for match in re.finditer(r"^#{1,2} ([^\n]+)\n|^```(\w*)\n(.*?)^```\n", README, re.MULTILINE | re.DOTALL):
        if match[1]:
            heading = match[1]
        else:
            found.setdefault(heading, []).append(Block(heading, match[2], match[3]))
    return found


SECTIONS = sections()


@pytest.fixture
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A folder to run in, in which there are the files that commands are given."""
    monkeypatch.chdir(tmp_path)
    network = gradsweep.Network([3, 2, 1])
    params, X, Y = network.initialize(), np.eye(3), np.array([[0.0, 1.0, 1.0]])
    save(PROBLEM, network, X, Y, params, network.gradient(params, X, Y))
    with h5py.File(DATA, "w") as file:
        file["train_set_x"] = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), dtype=np.uint8)
        file["train_set_y"] = np.arange(8) % 2
    return tmp_path


@pytest.mark.parametrize("section", [name for name in SECTIONS if name not in SET_UP + ELSEWHERE])
def test_section(section: str, folder: pathlib.Path) -> None:
    """The blocks of a section, one after the other; if text follows upon one, that is what it prints."""
    blocks = SECTIONS[section]
    for block in blocks:
        if block.file:
            (folder / block.file).write_text(block.code, encoding="utf-8")
    names: dict[str, Any] = {"__name__": "readme"}
    exec(compile(FRAGMENTS.get(section, ""), "fragment", "exec"), names)
    printed = ""
    for block in blocks:
        if block.language == "python":
            printed = run_python(block, names, folder)
        elif block.language == "sh":
            printed = "".join(run_command(command, folder) for command in commands(block))
        elif block.language == "text":
            assert printed, f"nothing is printed before {block.code}"
            require_shown(block.code, printed)
        else:
            assert block.language == "matlab"  # the one language that cannot be run here


def run_python(block: Block, names: dict[str, Any], folder: pathlib.Path) -> str:
    """What a block prints, the message of an assertion included."""
    if block.file and block.file.startswith("test_"):  # pytest runs it
        return ""
    place = str(folder / block.file) if block.file else "README.md"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            exec(compile(block.code, place, "exec"), names)
        except gradsweep.GradientError as error:
            print(error)
    return printed.getvalue()


def commands(block: Block) -> list[str]:
    """The commands of a block, without their comments."""
    return [" ".join(shlex.split(line, comments=True)) for line in block.code.splitlines() if line.strip()]


def run_command(command: str, folder: pathlib.Path) -> str:
    """What a command prints; a warning is an error."""
    program, *arguments = shlex.split(command)
    assert program in ("gradsweep", "pytest")
    plain = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "PYTEST_ADDOPTS")}
    plain["PYTHONPATH"] = str(pathlib.Path(gradsweep.__file__).parent.parent)  # what is tested here, whatever is installed
    # pytest itself makes errors of warnings; plugins of other packages that it loads first may do as they like.
    begin = (
        [sys.executable, "-m", "pytest", "-W", "error"] if program == "pytest" else [sys.executable, "-W", "error", "-m", program]
    )
    done = subprocess.run([*begin, *arguments], cwd=folder, env=plain, capture_output=True, text=True, check=False)
    assert done.returncode == STATUS.get(command, 0), done.stdout + done.stderr
    return done.stdout


def require_shown(shown: str, printed: str) -> None:
    """What is shown is what was printed, but for rounding, times and counts; dots stand for any lines."""
    parts = re.split(r"^ *\.\.\.\n", masked(shown), flags=re.MULTILINE)
    pattern = r"(?:.*\n)*?".join(map(re.escape, parts))
    assert re.fullmatch(pattern, masked(printed)), f"shown:\n{shown}\nprinted:\n{printed}"


def masked(text: str) -> str:
    """Text without what differs from run to run: digits of rounding, times, counts of work."""
    lines = [line.rstrip() for line in text.rstrip().splitlines()]
    text = "\n".join(lines) + "\n"
    text = re.sub(r"(\d\.\d\d)\d{6,}(e[+-]\d\d)", r"\1\2", text)
    text = re.sub(r"\b(\d(\.\d)?e-[1-9]\d|0\.0e\+00)\b", "#", text)
    text = re.sub(r"\b\d+(\.\d+)? ?(µs|ms|s|min)\b", "# s", text)
    text = re.sub(r"[\d,]+ (evaluations|calls)", r"# \1", text)
    # How far a check comes before it is interrupted is a matter of time.
    return re.sub(r"[\d,]+ of ([\d,]+ entries( compared|\n))", r"# of \1", text) if "interrupted" in text else text


def test_fragments_are_sections() -> None:
    assert {*FRAGMENTS, *SET_UP, *ELSEWHERE} <= set(SECTIONS)
    assert set(STATUS) <= {
        command for name in SECTIONS for block in SECTIONS[name] if block.language == "sh" for command in commands(block)
    }


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a 1.5e-16 in 3 ms\n", "a 2.5e-15 in 4.5 s\n", True),
        ("a\n...\nd\n", "a\nb\nc\nd\n", True),
        ("a\n...\n", "a\n", True),
        ("a\n", "a\nb\n", False),
        ("a\nb\n", "a\n", False),
        ("  -3.7163854969535454e-04\n", "  -3.7263854969535454e-04\n", False),
        ("factor of 2\n", "factor of 3\n", False),
        ("pass 10 calls\n", "fail 10 calls\n", False),
    ],
)
def test_what_is_shown_is_compared(shown: str, printed: str, same: bool) -> None:
    with contextlib.nullcontext() if same else pytest.raises(AssertionError):
        require_shown(shown, printed)


def test_two_set_up_commands() -> None:
    found = [line for line in README.splitlines() if line.startswith("python3 -m venv")]
    assert len(found) == 2
    assert found[0].endswith("gradsweep demo")
    assert ".venv/bin/pytest" in found[1]


def test_first_screen() -> None:
    """A sentence, an example of a dozen lines that ends in a failure, how to install, a table in which a row is lost."""
    screen, _, rest = README.partition("\n## ")
    code, report = SECTIONS["gradsweep"]
    assert len([line for line in code.code.splitlines() if line.strip()]) <= 12
    assert report.code.startswith("FAIL: ")
    assert screen.index("```python") < screen.index("FAIL: ") < screen.index("pip install") < screen.index("|---|")
    rows = [line for line in screen.splitlines() if line.startswith("| ")]
    assert "AMD EPYC" in rows[0]
    assert "we lose" in rows[-1]
    # Nothing stands there that was not measured: the figures are those of the tables below.
    figures = re.findall(r"~?[\d.]+ (?:ms|s|min|h)\b", "\n".join(rows[1:]))
    assert len(figures) >= 7
    measured = rest[rest.index("## How fast") :]
    assert [figure for figure in figures if figure not in measured] == []


def test_headings_can_be_jumped_to() -> None:
    """Links within the page lead to headings, those to files to files."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    targets = re.findall(r"\]\(([^)\s]+)\)", README)
    assert [target for target in targets if target.startswith("#") and target[1:] not in slugs] == []
    files = [target for target in targets if not target.startswith(("#", "http"))]
    assert [file for file in files if not (ROOT / file).is_file()] == []
    assert len(slugs) == len(headings)


def test_all_there_is_is_told_of() -> None:
    """Every kind of finding, every argument of `check`, every public name but the errors."""
    table = re.findall(r"^\| (`[^|]*`) \| [^|]* \|$", README, re.MULTILINE)
    assert set(KINDS) <= set(re.findall(r"`(\w+)`", " ".join(table)))
    arguments = inspect.signature(gradsweep.check).parameters
    assert [name for name in arguments if not re.search(rf"\b{name}\b", README)] == []
    names = [name for name in gradsweep.__all__ if not name.endswith("Error")]  # type: ignore[attr-defined]
    assert [name for name in names if not re.search(rf"\b{name}\b", README, re.IGNORECASE)] == []


def test_lines_are_short() -> None:
    """Of prose, which people read in terminals, too; samples of output are as wide as reports are."""
    for block in (block for blocks in SECTIONS.values() for block in blocks):
        widest = 80 if block.language == "text" else 135
        assert [line for line in block.code.splitlines() if len(line) > widest] == []
    prose = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
    assert [line for line in prose.splitlines() if len(line) > 135 and not line.startswith("|")] == []


IMPORT_ALL = """
import importlib, pkgutil, gradsweep
names = [module.name for module in pkgutil.walk_packages(gradsweep.__path__, "gradsweep.")]
assert "gradsweep.kernels.dense" in names
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
for name in gradsweep.__all__:
    getattr(gradsweep, name)
"""


def test_no_module_warns() -> None:
    """All of them are imported by a Python for which a warning is an error."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", IMPORT_ALL], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
