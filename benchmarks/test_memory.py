"""Peak memory of a check, beside its inputs. Memory, unlike time, is the same on a busy machine: it is asserted."""

import pathlib
import subprocess
import sys
from typing import Any

import pytest
import workloads

_PROGRAM = pathlib.Path(__file__).parent / "memory.py"

_MB = 10**6

# In one process after another, each with a workload of its own; seconds and gigabytes.
_LARGE = {("sweep", "E"), ("batched", "E"), ("neurons", "F"), ("screen", "F")}

_GRID = [
    pytest.param(mode, name, id=f"{mode}-{name}")
    for mode, names in {"sweep": "ABCDE", "batched": "ABCDE", "neurons": "ABCDEF", "screen": "ABCDEF"}.items()
    for name in names
]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("mode", "name"), _GRID)
def test_peak(benchmark: Any, mode: str, name: str) -> None:
    if benchmark.disabled and (mode, name) in _LARGE:
        pytest.skip("large: only with --benchmark-enable")
    # What counts is the figure in extra_info: the time is that of a whole process.
    peak = benchmark.pedantic(_measure, args=(mode, name), rounds=1, iterations=1)
    allowed = _allowed(mode, name)
    benchmark.extra_info.update(peak_bytes=peak, allowed_bytes=allowed)
    assert 0 <= peak <= allowed


def _allowed(mode: str, name: str) -> int:
    if mode in ("neurons", "screen"):
        # The numeric gradient is compared block by block, as a product, and never held.
        return (256 if name == "F" else 64) * _MB
    return 64 * _MB + 8 * workloads.size(name)


def _measure(mode: str, name: str) -> int:
    done = subprocess.run([sys.executable, str(_PROGRAM), mode, name], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)
