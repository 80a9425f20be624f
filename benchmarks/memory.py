"""Peak resident memory of one check, beside its inputs: python benchmarks/memory.py MODE WORKLOAD. Linux only.

A process has one peak, and what it once took it may keep, so each case needs a process of its own.
"""

import argparse
import contextlib
import ctypes
import pathlib

import workloads

import gradsweep
from gradsweep._costs._network import NetworkCost


def measure(mode: str, name: str) -> int:
    """Bytes of resident memory that a check adds, at its peak, to those of a process with workload and kernels in it."""
    workload = workloads.build(name)
    cost = workload.cost()
    # Kernels are loaded, and what is measured of the machine is.
    tiny = workloads.make("tiny", [3, 2, 1], 2, 1)
    _check(tiny.cost(), tiny, mode)
    # What building the inputs has freed is given back. The check would use it again, and seem to take nothing.
    with contextlib.suppress(OSError, AttributeError):  # not with every C library
        ctypes.CDLL(None).malloc_trim(0)
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak is what there is now
    before = _status("VmRSS")
    _check(cost, workload, mode)
    return _status("VmHWM") - before


def _check(cost: NetworkCost, workload: workloads.Workload, mode: str) -> None:
    report = gradsweep.check(cost, workload.params, workload.gradient, mode=mode, jobs=1)
    assert report.ok
    assert report.mode == mode


def _status(field: str) -> int:
    """A field of /proc/self/status, in bytes."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise LookupError(field)


def main() -> None:
    """Print the bytes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=["sweep", "batched", "neurons", "screen"])
    parser.add_argument("workload", choices=workloads.NAMES)
    arguments = parser.parse_args()
    print(measure(arguments.mode, arguments.workload))


if __name__ == "__main__":
    main()
