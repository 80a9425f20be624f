"""What a user waits for outside of a check: the import, the demo, and the first demo ever, which compiles the kernels."""

import json
import os
import pathlib
import statistics
import subprocess
import sys
from typing import Any

import pytest

_IMPORT = """
import json, sys, time
begun = time.perf_counter()
import gradsweep
seconds = time.perf_counter() - begun
print(json.dumps({"seconds": seconds, "modules": [name for name in sys.modules if "." not in name]}))
"""

# Loaded when they are first needed, each of them some tenths of a second.
_LATER = {"numba", "joblib", "h5py"}


def _run(*arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **environment},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import(benchmark: Any) -> None:
    """`import_seconds` in `extra_info` is the import with NumPy in it, and without the start of the interpreter."""
    seconds = []

    def run() -> list[str]:
        found = json.loads(_run("-c", _IMPORT))
        seconds.append(found["seconds"])
        return list(found["modules"])

    modules = benchmark.pedantic(run, rounds=10, iterations=1, warmup_rounds=1)
    benchmark.extra_info["import_seconds"] = statistics.median(seconds)
    assert "gradsweep" in modules
    assert not _LATER & set(modules)


def test_demo(benchmark: Any) -> None:
    """With kernels that were compiled before: by the warm-up at the latest."""
    output = benchmark.pedantic(_run, args=("-m", "gradsweep", "demo"), rounds=5, iterations=1, warmup_rounds=1)
    assert "PASS" in output


def test_first_demo(benchmark: Any, tmp_path: pathlib.Path) -> None:
    """Into an empty cache, a new one for each round."""
    if benchmark.disabled:
        pytest.skip("compiles all kernels: only with --benchmark-enable")
    folders = (tmp_path / str(number) for number in range(3))

    def empty_cache() -> tuple[tuple[str, ...], dict[str, str]]:
        folder = next(folders)
        folder.mkdir()
        return ("-m", "gradsweep", "demo"), {"NUMBA_CACHE_DIR": str(folder)}

    output = benchmark.pedantic(_run, setup=empty_cache, rounds=2, iterations=1)
    assert "PASS" in output
