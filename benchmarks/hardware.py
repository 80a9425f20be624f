"""What machine this is, and one core of it: for comparisons whose sides must not differ in what they may use."""

import contextlib
import importlib.metadata
import os
import pathlib
import platform
from collections.abc import Iterator

_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def take_one_core() -> None:
    """Pin the process to one core, and BLAS to one thread. To be called before NumPy is imported, which looks at both.

    By programs only, never on import: pytest imports every file of this folder in search of doctests, and would be pinned, too.
    """
    with contextlib.suppress(AttributeError):  # not every system can pin a process
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    for name in _THREADS:
        os.environ[name] = "1"


def cores() -> list[int]:
    """Cores that the process may use."""
    with contextlib.suppress(AttributeError):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


@contextlib.contextmanager
def on_cores(chosen: list[int]) -> Iterator[None]:
    """Leave the one core for a while, so that a process which is started meanwhile has all of these."""
    try:
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, chosen)
    except AttributeError:
        yield
        return
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def processor() -> str:
    """Name of the processor, as far as the system tells, with the family that a bare brand name leaves open."""
    fields: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            fields.setdefault(name.strip(), value.strip())
    if "model name" not in fields:
        return platform.processor() or platform.machine()
    return f"{fields['model name']} (family {fields.get('cpu family', '?')}, model {fields.get('model', '?')})"


def versions(*packages: str) -> str:
    """Python and some packages, those that are installed."""
    found = [f"Python {platform.python_version()}"]
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{package} {importlib.metadata.version(package)}")
    return ", ".join(found)
