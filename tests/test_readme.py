"""What the README shows is what happens."""

import contextlib
import io
import pathlib
import re

README = (pathlib.Path(__file__).parent.parent / "README.md").read_text()


def test_first_example() -> None:
    """The first example prints the report that stands below it, but for the time and the entries left out."""
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    shown = re.search(r"```text\n(.*?)```", README, re.DOTALL)
    assert code is not None
    assert shown is not None
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code[1], "README.md", "exec"), {})
    lines = printed.getvalue().splitlines()
    for number, line in enumerate(shown[1].splitlines()):
        if line.strip() == "...":
            break
        # Digits of rounding differ from processor to processor; the columns, the blocks and the verdicts do not.
        assert _without_rounding(lines[number]) == _without_rounding(line)


def _without_rounding(line: str) -> str:
    return re.sub(r"\d(\.\d+)?e[+-]\d\d", lambda match: match[0][:4] if len(match[0]) > 8 else "#", line)


def test_two_set_up_commands() -> None:
    commands = [line for line in README.splitlines() if line.startswith("python3 -m venv")]
    assert len(commands) == 2
    assert commands[0].endswith("gradsweep demo")
    assert ".venv/bin/pytest" in commands[1]
