"""Commands that take long: progress, interrupts, checkpoints, and some entries of many."""

import os
import pathlib
import select
import signal
import subprocess
import sys
import time

import pytest

PROBLEM = """
import pathlib
import time
import numpy as np
import gradsweep

w = np.linspace(1.0, 2.0, 800)

def cost(params):
    with open(pathlib.Path(__file__).with_name("calls"), "a") as calls:
        calls.write(".")
    time.sleep(0.002)
    return float(np.sum(params["w"] ** 3) + params["c"])

def problem():
    return gradsweep.plain(cost), {"w": w, "c": 1.0}, {"w": 3 * w**2, "c": 1.0}
"""


@pytest.fixture
def file(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "problem.py"
    path.write_text(PROBLEM, encoding="utf-8")
    return path


def start(file: pathlib.Path, *arguments: str, stderr: int = subprocess.PIPE) -> subprocess.Popen[str]:
    """The command in a process of its own, which takes interrupts, however the tests were started."""
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from gradsweep._cli import main; main()"
    # However long a call seems to take on a machine that is busy: no screen.
    command = [sys.executable, "-c", code, "check", f"{file}:problem", "--mode", "sweep", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True, env={**os.environ, "TERM": "xterm"})


def wait_for(path: pathlib.Path, process: subprocess.Popen[str]) -> None:
    begun = time.perf_counter()
    while not path.exists() and process.poll() is None and time.perf_counter() - begun < 60.0:
        time.sleep(0.02)
    assert path.exists(), process.communicate()


def test_interrupt_and_checkpoint(file: pathlib.Path) -> None:
    """Ctrl-C prints what was found, with the status of shells; and the next run goes on from the checkpoint."""
    checkpoint = file.with_name("run.h5")
    process = start(file, "--checkpoint", str(checkpoint))
    wait_for(checkpoint, process)  # which is first written after two seconds
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert out.startswith("INCONCLUSIVE: ")
    assert "not finished" in out
    assert not errors
    calls = file.with_name("calls")
    calls.unlink()
    process = start(file, "--checkpoint", str(checkpoint), "--json")
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert '"interrupted": false' in out
    # A whole run takes 1,602 for the quotients alone.
    assert calls.stat().st_size < 1602


def test_interrupted_report_is_written(file: pathlib.Path) -> None:
    """As a file, too, and as JSON."""
    checkpoint = file.with_name("run.h5")
    process = start(file, "--checkpoint", str(checkpoint), "--json", "--report", str(file.with_name("report.json")))
    wait_for(checkpoint, process)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert '"interrupted": true' in out
    assert '"interrupted": true' in file.with_name("report.json").read_text(encoding="utf-8")


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="there are no pseudo-terminals here")
def test_bar_on_a_terminal(file: pathlib.Path) -> None:
    """On a terminal stderr shows a bar, which stdout knows nothing of; --quiet shows none."""
    for arguments, shown in (((), True), (("--quiet",), False)):
        own, theirs = os.openpty()
        process = start(file, *arguments, stderr=theirs)
        os.close(theirs)
        text = b""
        while process.poll() is None:
            if select.select([own], [], [], 0.05)[0]:
                try:
                    text += os.read(own, 65536)
                except OSError:  # the other end has been closed
                    break
        out, _ = process.communicate(timeout=60)
        os.close(own)
        assert process.returncode == 0
        assert (b"sweep" in text and b"801" in text and b"left" in text) is shown, text
        assert "sweep" not in out


def test_no_bar_elsewhere(file: pathlib.Path) -> None:
    """In a file or a pipe it would be in the way."""
    process = start(file, "--select", "300")
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert not errors
    assert "301 of 801 entries" in out


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("--select", "w", "--select", "c"), 0, "PASS"),
        (("--select", "v"), 2, "there is no block 'v'; the blocks are w, c"),
        (("--select", "0"), 2, "select must be names of blocks, or a number of entries of each block"),
        (("--select", "2", "--mode", "screen"), 2, "select is for single entries"),
        (("--checkpoint", "no/such/folder/run.h5"), 2, "no file can be written in its folder"),
        (("--checkpoint", "run.h5", "--report", "./run.h5"), 2, "run.h5: the report would replace the checkpoint"),
    ],
)
def test_arguments(arguments: tuple[str, ...], status: int, said: str, file: pathlib.Path) -> None:
    """What is wrong with them is one line."""
    out, errors = (process := start(file, *arguments)).communicate(timeout=60)
    assert process.returncode == status, errors
    assert said in (out if status == 0 else errors)
    assert status == 0 or errors.count("\n") == 1


def test_code_that_goes_to_another_folder(file: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths on the command line are from where it was given."""
    (elsewhere := file.with_name("elsewhere")).mkdir()
    file.write_text("import os\n" + f"os.chdir({str(elsewhere)!r})\n" + file.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.chdir(file.parent)
    process = start(file, "--select", "3", "--checkpoint", "run.h5", "--report", "report.json")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert file.with_name("run.h5").exists()
    assert file.with_name("report.json").exists()
    assert not os.listdir(elsewhere)
