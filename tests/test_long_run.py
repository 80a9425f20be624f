"""A process that checks many gradients has after them what it had after the first ones."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent

#: One of each kind first; then whatever comes has been seen.
FIRST, ALL = 11, 154

#: Bytes by which the allocator may differ with itself: a leak of 4 KB for each check is more.
NOISE = 512 * 1024

PROGRAM = f"""
import dataclasses, json, sys
import numpy as np
import long_run

kept, plain = [], long_run.check_network

def leaks_memory(seed):
    kept.append(np.ones(512 * len(long_run.KINDS)))
    return plain(seed)

def leaks_files(seed):
    kept.append(open(sys.executable, "rb"))
    return plain(seed)

def leaks_threads(seed):
    import threading
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    return plain(seed)

if sys.argv[1] in globals():
    long_run.KINDS[0] = globals()[sys.argv[1]], "pass"
found = [dataclasses.asdict(has) for _, has in long_run.run({ALL}, {FIRST})]
print(json.dumps([found[0], found[-1]]))
"""


def belongings(kind: str) -> tuple[dict[str, int], dict[str, int]]:
    """What a process of its own has after the first checks, and after all."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path]), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore::ResourceWarning", "-c", PROGRAM, kind]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, last = json.loads(done.stdout)
    return first, last


@pytest.mark.skipif(not pathlib.Path("/proc/self/statm").exists(), reason="what a process has is read from Linux's /proc")
class TestLongRun:
    def test_nothing_is_left(self) -> None:
        first, last = belongings("nothing")
        assert last["memory"] - first["memory"] < NOISE
        assert last["files"] <= first["files"]
        assert last["threads"] <= first["threads"]

    @pytest.mark.parametrize("kind", ["memory", "files", "threads"])
    def test_a_leak_is_seen(self, kind: str) -> None:
        """One that is planted in every eleventh check."""
        first, last = belongings(f"leaks_{kind}")
        assert last[kind] - first[kind] > (NOISE if kind == "memory" else 0)
