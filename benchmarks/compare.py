"""Print gradsweep beside the textbook's loop, on one core: python benchmarks/compare.py [WORKLOAD …].

The whole call of `check`, median of several; the loop on a sample of the parameters, spread over all blocks, between two halves
of those calls, so that a machine that changes its speed changes it for both.
"""

import contextlib
import os
import sys

# One core, and so one BLAS thread: both are decided when NumPy is imported.
with contextlib.suppress(AttributeError):  # not every system can pin a process
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import importlib.metadata
import pathlib
import platform
import statistics
import time

import workloads

import gradsweep


def processor() -> str:
    """Name of the processor, as far as the system tells."""
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def compare(name: str) -> str:
    """A row of the table."""
    workload = workloads.build(name)
    cost = workload.cost()

    def once() -> float:
        # The report is dropped, as a caller would drop it: two hundred numeric gradients alive would be another measurement.
        begun = time.perf_counter()
        gradsweep.check(cost, workload.params, workload.gradient)
        return time.perf_counter() - begun

    once()
    repeats = max(2, min(200, int(1.0 / once())))
    runs = [once() for _ in range(repeats)]
    textbook = workload.textbook()
    runs += [once() for _ in range(repeats)]
    seconds = statistics.median(runs)
    report = gradsweep.check(cost, workload.params, workload.gradient)
    whole = textbook.seconds_each * workload.size
    shape = f"{'-'.join(map(str, workload.layers))}, {workload.x.shape[1]}"
    return (
        f"| {name} | {shape} | {workload.size:,} | {seconds * 1e3:.3g} ms | {whole:.3g} s | {whole / seconds:,.0f} "
        f"| {report.difference:.1e} | {textbook.difference:.1e} |"
    )


def main() -> None:
    """Print the table."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("numpy", "numba"))
    print(f"{processor()}, one core, Python {platform.python_version()}, {versions}\n")
    print("| | layers, examples | parameters | gradsweep | textbook loop | ratio | difference | of the loop |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for name in sys.argv[1:] or workloads.NAMES:
        print(compare(name), flush=True)


if __name__ == "__main__":
    main()
