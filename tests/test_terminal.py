"""Reports on a terminal: the words of plain text, with styles; and what is no terminal."""

import io
import os
import pathlib
import re
import subprocess
import sys
from typing import Any

import pytest
from reports import KINDS
from rich.console import Console

from gradsweep._presenting._layout import Role, join
from gradsweep._presenting._terminal import _STYLES, render, width_of
from gradsweep._presenting._text import format_report, lay_out

STYLE = re.compile(r"\x1b\[[\d;]*m")

SCRIPT = """
import numpy as np

A = np.random.default_rng(0).normal(size=(6, 4))


def problem(factor=1.0):
    params = {"重み\\x1b[2J[red]": np.ones(4), **{f"layers[{n}]": np.ones(1) for n in range(40)}}

    def cost(p):
        return sum((0.5 * np.sum((A @ w if w.shape == (4,) else w) ** 2) for w in p.values()), 0.0)

    gradient = {name: factor * (A.T @ (A @ w) if w.shape == (4,) else w) for name, w in params.items()}
    return cost, params, gradient


def wrong():
    return problem(2.0)
"""


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the terminal of whoever runs the tests is."""
    for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


def console(**options: Any) -> Console:
    """As the command line makes one."""
    return Console(file=io.StringIO(), highlight=False, markup=False, emoji=False, soft_wrap=True, **options)


def printed(console: Console, kind: str) -> str:
    """What a console writes of a report."""
    console.print(render(lay_out(KINDS[kind](), width_of(console))))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


class TestSameWords:
    @pytest.mark.parametrize("width", [60, 80, 100])
    @pytest.mark.parametrize("kind", KINDS)
    def test_plain_text_with_styles(self, kind: str, width: int) -> None:
        """Without its styles it is plain text, line by line."""
        text = printed(console(force_terminal=True, width=width), kind)
        assert STYLE.sub("", text) == format_report(KINDS[kind](), width) + "\n"
        assert "\x1b[1;3" in text  # the verdict, bold and in colour

    @pytest.mark.parametrize("kind", KINDS)
    def test_no_terminal(self, kind: str) -> None:
        """Plain, and 80 columns wide, whatever the width is said to be."""
        assert printed(console(force_terminal=False, width=100), kind) == format_report(KINDS[kind]()) + "\n"

    @pytest.mark.parametrize(("columns", "width"), [(20, 60), (60, 60), (72, 72), (100, 100), (250, 100)])
    def test_width(self, columns: int, width: int) -> None:
        assert width_of(console(force_terminal=True, width=columns)) == width
        assert width_of(console(force_terminal=False, width=columns)) == 80

    def test_styles_end_where_lines_do(self) -> None:
        """So that a pager that shows a part of a report shows it right."""
        for line in printed(console(force_terminal=True, width=80), "many blocks, three of them wrong").splitlines():
            assert line.count("\x1b[0m") == len(STYLE.findall(line)) - line.count("\x1b[0m")

    def test_every_role_has_a_style(self) -> None:
        assert set(_STYLES) == set(Role)


class TestStyles:
    def role_of(self, kind: str, text: str) -> set[Role]:
        """Roles of the pieces that are this text."""
        return {piece.role for line in lay_out(KINDS[kind]()) for piece in line if piece.text.strip() == text}

    @pytest.mark.parametrize(
        ("kind", "text", "role"),
        [
            ("pass", "PASS:", Role.PASS),
            ("fail", "FAIL:", Role.FAIL),
            ("inconclusive", "INCONCLUSIVE:", Role.INCONCLUSIVE),
            ("pass", "agrees", Role.AGREES),
            ("fail", "WRONG: 12 of 12 entries", Role.WRONG),
            ("inconclusive", "noisy", Role.UNCLEAR),
            ("some vacuous", "vacuous: all entries are below the noise", Role.UNCLEAR),
            ("fail", "help:", Role.HELP),
            ("fail", "[factor]", Role.LABEL),
            ("inconclusive", "certificate:", Role.LABEL),
            ("pass of a function", "sweep on difference arrays, central differences, step 1e-07", Role.FAINT),
        ],
    )
    def test_roles(self, kind: str, text: str, role: Role) -> None:
        assert self.role_of(kind, text) == {role}

    def test_lines_of_the_users_code(self) -> None:
        places = [piece.text for line in lay_out(KINDS["fail"](), 100) for piece in line if piece.role is Role.PLACE]
        assert " ".join(places) == "model.py, line 10, in forward train.py, line 12, in cost"

    def test_wrong_digits(self) -> None:
        """From the first one on that the numeric value does not share, without an exponent that they do share."""
        line = next(line for line in lay_out(KINDS["wrong by little"]()) if join(line).startswith("  W1[0, 200000]"))
        assert [piece.text for piece in line if piece.role is Role.DIGITS] == ["43333333332"]
        assert "3.3333343333333332e-01  3.3333333333333331e-01" in join(line)

    @pytest.mark.parametrize("digits", ["-1.0000000000000001", "0.0000000000000000e+00"])
    def test_another_sign_or_exponent(self, digits: str) -> None:
        pieces = [piece for line in lay_out(KINDS["odd numbers"]()) for piece in line]
        assert digits in {piece.text.strip() for piece in pieces if piece.role is Role.DIGITS}


class TestEnvironment:
    def test_no_color(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Weight is left, colours are not."""
        monkeypatch.setenv("NO_COLOR", "1")
        text = printed(console(force_terminal=True, width=80), "fail")
        assert set(STYLE.findall(text)) == {"\x1b[1m", "\x1b[2m", "\x1b[0m"}

    def test_force_color(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FORCE_COLOR", "1")
        assert "\x1b[1;31m" in printed(console(), "fail")

    def test_dumb_terminal(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TERM", "dumb")
        assert printed(console(force_terminal=True), "fail") == format_report(KINDS["fail"]()) + "\n"


class TestCommandLine:
    """In a process of its own."""

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: pathlib.Path) -> pathlib.Path:
        (tmp_path / "train.py").write_text(SCRIPT, encoding="utf-8")
        return tmp_path

    def command(self, function: str = "wrong") -> list[str]:
        return [sys.executable, "-m", "gradsweep", "check", f"train.py:{function}"]

    def environment(self, **changes: str) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **changes}

    @pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
    @pytest.mark.parametrize("columns", [60, 90])
    def test_on_a_terminal(self, folder: pathlib.Path, columns: int) -> None:
        """As wide as it is, in colour; nothing that a name holds moves the cursor; and where all blocks can be had."""
        import fcntl
        import pty
        import struct
        import termios

        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        with subprocess.Popen(
            self.command(), cwd=folder, env=self.environment(), stdin=theirs, stdout=theirs, stderr=theirs
        ) as process:
            os.close(theirs)
            text = b""
            while part := _read(ours):
                text += part
        os.close(ours)
        assert process.returncode == 1
        assert b"\x1b[1;31mFAIL:" in text
        plain = STYLE.sub("", text.decode().replace("\r\n", "\n"))
        assert "\x1b" not in plain
        assert "重み\\x1b[2J[red]" in plain
        assert columns - 12 < max(map(len, plain.splitlines())) <= columns
        assert "and 25 more blocks: wrong (--report FILE has all of them)" in plain

    def test_in_a_pipe(self, folder: pathlib.Path) -> None:
        """Plain, in UTF-8 where that is what is written."""
        done = subprocess.run(
            self.command(), cwd=folder, env=self.environment(PYTHONIOENCODING="utf-8"), capture_output=True, encoding="utf-8"
        )
        assert done.returncode == 1
        assert done.stdout.isprintable() or "\x1b" not in done.stdout
        assert max(map(len, done.stdout.splitlines())) <= 80

    def test_where_signs_are_missing(self, folder: pathlib.Path) -> None:
        """What a terminal cannot show is written as Python writes it, and is no error."""
        environment = self.environment(PYTHONIOENCODING="ascii")
        done = subprocess.run(self.command("problem"), cwd=folder, env=environment, capture_output=True, encoding="ascii")
        assert done.returncode == 0
        assert done.stderr == ""
        assert r"\u91cd\u307f" in done.stdout

    def test_of_errors(self, folder: pathlib.Path) -> None:
        command = [sys.executable, "-m", "gradsweep", "check", "\x1b[2J.py:wrong"]
        done = subprocess.run(command, cwd=folder, env=self.environment(), capture_output=True, encoding="utf-8")
        assert done.returncode == 2
        assert done.stderr.startswith(r"gradsweep: \x1b[2J.py: no such file")


def _read(terminal: int) -> bytes:
    """What is there; nothing once the other side is closed, which Linux tells by an error."""
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""


def test_text_needs_no_rich() -> None:
    """Neither does the import; only the command line does."""
    program = (
        "import sys, numpy as np, gradsweep\n"
        "str(gradsweep.check(lambda w: np.sum(w**3), np.ones(2), 2 * np.ones(2)))\n"
        "from gradsweep import testing\n"
        "assert not {name for name in sys.modules if name.partition('.')[0] in ('rich', 'typer')}"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
