"""Print gradsweep beside the textbook's loop, and beside other checkers: python benchmarks/compare.py [WORKLOAD …] [--peers].

The whole call of `check`, median of several. The loop takes a sample of the parameters, spread over all blocks, and its time is
multiplied; it runs between two halves of the checks, so that a machine that changes its speed changes it for both. All of it on
one core and one BLAS thread, but for the table of two cores, which another process measures.
"""

import hardware

if __name__ == "__main__":
    cores = hardware.cores()
    hardware.take_one_core()

import argparse
import functools
import importlib.util
import itertools
import json
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import peers
import workloads

import gradsweep

# Seconds that each half of the checks of a mode takes together, unless one takes longer.
_HALF = 1.0

# Sweeps that take more than 0.2 s, less than which is no work for two.
_TWO_CORES = ("C", "D", "E")

# F has no sweep: 92 million parameters take hours.
_NO_SWEEP = ("F",)


def median_seconds(calls: dict[str, Callable[[], object]], between: Callable[[], object]) -> dict[str, float]:
    """Median seconds of each call, half of the runs before `between` and half of them after; the first run is not counted."""
    runs: dict[str, list[float]] = {name: [] for name in calls}
    repeats = {}
    for name, call in calls.items():
        _seconds(call)
        repeats[name] = max(1, min(100, int(_HALF / _seconds(call))))
    for half in range(2):
        for name, call in calls.items():
            runs[name] += [_seconds(call) for _ in range(repeats[name])]
        if not half:
            between()
    return {name: statistics.median(taken) for name, taken in runs.items()}


def _seconds(call: Callable[[], object]) -> float:
    # What is returned is dropped, as a caller would drop it: a hundred numeric gradients alive would be another measurement.
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def duration(seconds: float, digits: int = 3) -> str:
    """A duration in the unit that suits it."""
    units = (("years", 365.25 * 86400), ("days", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0), ("ms", 1e-3))
    for unit, size in units:
        # Minutes from two on, and so forth: 90 s say more than 1.5 min.
        if seconds >= size * (2.0 if size > 1.0 else 1.0):
            return f"{_digits(seconds / size, digits)} {unit}"
    return f"{_digits(seconds * 1e6, digits)} µs"


def _digits(value: float, digits: int) -> str:
    """A number with so many significant digits, or all of those before its point."""
    rounded = float(f"{value:.{digits - 1}e}")
    return f"{rounded:,.0f}" if rounded >= 10 ** (digits - 1) else f"{rounded:.{digits}g}"


def _table(rows: list[list[str]], text_columns: int) -> str:
    """Rows as Markdown, the first one as head; columns after some of text are flush right."""
    rule = ["---"] * text_columns + ["---:"] * (len(rows[0]) - text_columns)
    return "\n".join(f"| {' | '.join(row)} |" for row in [rows[0], rule, *rows[1:]])


# The loop, the sweep and neurons -----------------------------------------------------------------------------------------------


def compare_modes(names: list[str]) -> str:
    """The first table, and what its loop was timed on."""
    rows = [["", "layers, examples", "parameters", "textbook loop", "sweep", "loop ÷ sweep", "neurons", "backprops", *_ERRORS]]
    samples = []
    for name in names:
        workload = workloads.build(name)
        row, sample = _compare_modes(workload)
        rows.append(row)
        samples.append(f"{name} {sample:,}")
        del workload  # before the next one is built: F takes gigabytes
    return (
        f"One core. Loop: ~ extrapolated from a sample ({', '.join(samples)} parameters). Backprops: neurons ÷ one backprop."
        f"\nΔ: formula 3, over all parameters; that of the loop over its sample.\n\n{_table(rows, 2)}"
    )


_ERRORS = ("Δ loop", "Δ sweep", "Δ neurons")


def _compare_modes(workload: workloads.Workload) -> tuple[list[str], int]:
    cost = workload.cost()
    modes = ["neurons"] if workload.name in _NO_SWEEP else ["sweep", "neurons"]
    found: dict[str, float] = {}

    def check(mode: str) -> None:
        report = gradsweep.check(cost, workload.params, workload.gradient, mode=mode, jobs=1)
        assert report.ok
        found[mode] = report.difference

    calls: dict[str, Callable[[], object]] = {mode: functools.partial(check, mode) for mode in modes}
    calls["backprop"] = workload.backprop
    loops = []
    seconds = median_seconds(calls, lambda: loops.append(workload.textbook()))
    (loop,) = loops
    whole = loop.seconds_each * workload.size
    return [
        workload.name,
        f"{_shape(workload.layers)}, {workload.x.shape[1]}",
        f"{workload.size:,}",
        f"~{duration(whole, 2)}",
        duration(seconds["sweep"]) if "sweep" in seconds else "–",
        _digits(whole / seconds["sweep"], 2) if "sweep" in seconds else "–",
        duration(seconds["neurons"]),
        _digits(seconds["neurons"] / seconds["backprop"], 2),
        f"{loop.difference:.0e}",
        f"{found['sweep']:.0e}" if "sweep" in found else "–",
        f"{found['neurons']:.0e}",
    ], loop.parameters


def _shape(layers: list[int]) -> str:
    """Sizes of the layers; those of many equal ones in a row only once."""
    groups = [(size, len(list(group))) for size, group in itertools.groupby(layers)]
    return "-".join(f"{count}×{size}" if count > 2 else "-".join([str(size)] * count) for size, count in groups)


# Two cores ---------------------------------------------------------------------------------------------------------------------


def compare_cores(names: list[str], cores: list[int]) -> str:
    """The second table."""
    if len(cores) < 2:
        return f"Two cores: not measured, since the process may use core {cores[0]} only."
    program = pathlib.Path(__file__).parent / "two_cores.py"
    with hardware.on_cores(cores):
        done = subprocess.run([sys.executable, str(program), *names], stdout=subprocess.PIPE, check=True)
    rows = [["sweep", "jobs=1", "jobs=2", "ratio", "cores had"]]
    for name, found in json.loads(done.stdout).items():
        ratio = _digits(found["one"] / found["two"], 3)
        rows.append([name, duration(found["one"]), duration(found["two"]), ratio, _digits(found["cores"], 3)])
    return (
        f"{len(cores)} cores; the same bits with either number of workers. Cores had: CPU time ÷ time of two workers; where it "
        f"is\nfar below 2, other processes had a core, and the ratio tells nothing.\n\n{_table(rows, 1)}"
    )


# Peers -------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Reference:
    """What a workload's peers are held against."""

    mode: str
    seconds: float


def compare_peers(names: list[str]) -> str:
    """The third table: a row for each peer, a column for each workload."""
    installed = [peer for peer in peers.PEERS.values() if importlib.util.find_spec(peer.needs)]
    results: dict[tuple[str, str], peers.PeerRun] = {}
    references = []
    for name in names:
        workload = workloads.build(name)
        references.append(_run_peers(workload, installed, results))
        del workload
    rows = [["", *names, "entries in the sample"]]
    rows.append(["gradsweep", *(f"{duration(each.seconds)} ({each.mode})" for each in references), "all"])
    for peer in installed:
        runs = [results.get((peer.name, name)) for name in names]
        cells = [_cell(peer, run, each) if run else "–" for run, each in zip(runs, references, strict=True)]
        samples = " / ".join(f"{run.sample:,}" for run in runs if run) if peer.every_entry else "one projection"
        rows.append([peer.name, *cells, samples])
    missing = [peer.name for peer in peers.PEERS.values() if peer not in installed]
    note = f" Not installed: {', '.join(missing)}." if missing else ""
    return (
        "One core. Seconds for the whole gradient, ~ where extrapolated from a sample; its error, formula 3 over the sample; and "
        "seconds ÷ gradsweep's,\n**bold** where that is below 1: gradsweep loses. A projection judges one random direction, "
        f"or one for each block, and no entry.{note}\n\n{_table(rows, 1)}"
    )


def _run_peers(
    workload: workloads.Workload, installed: list[peers.Peer], results: dict[tuple[str, str], peers.PeerRun]
) -> _Reference:
    """Run all peers between two halves of gradsweep's own checks."""
    cost = workload.cost()
    mode = "neurons" if workload.name in _NO_SWEEP else "sweep"

    def run_all() -> None:
        for peer in installed:
            if peer.every_entry and workload.name in _NO_SWEEP:
                continue  # one entry of each block alone takes minutes, and all of them years
            print(f"{workload.name}: {peer.name}", file=sys.stderr, flush=True)
            results[peer.name, workload.name] = peer.run(workload, peer.sample(workload))

    def check() -> None:
        assert gradsweep.check(cost, workload.params, workload.gradient, mode=mode, jobs=1).ok

    return _Reference(mode, median_seconds({mode: check}, run_all)[mode])


def _cell(peer: peers.Peer, run: peers.PeerRun, reference: _Reference) -> str:
    ratio = run.seconds / reference.seconds
    times = f"{_digits(ratio, 2)}×"
    error = "" if run.difference is None else f"{run.difference:.0e}, "
    sampled = run.sample < run.entries
    taken = f"~{duration(run.seconds, 2)}" if sampled else duration(run.seconds)
    return f"{taken}, {error}{times if ratio >= 1 else f'**{times}**'}"


def _workload(name: str) -> str:
    if name not in workloads.NAMES:
        raise argparse.ArgumentTypeError(f"there is no workload {name!r}")
    return name


def main(cores: list[int]) -> None:
    """Print the tables, given the cores that there were before the process took one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    # No `choices`: before Python 3.12 they refuse that none is named.
    parser.add_argument(
        "workload", nargs="*", type=_workload, metavar="WORKLOAD", help=f"of {', '.join(workloads.NAMES)}; else all"
    )
    parser.add_argument("--peers", action="store_true", help="other checkers, too: some minutes more")
    arguments = parser.parse_args()
    # Each once, in the usual order.
    names = [name for name in workloads.NAMES if name in (arguments.workload or workloads.NAMES)]
    print(f"{hardware.processor()}; {hardware.versions('numpy', 'numba')}.\n")
    print(compare_modes(names), flush=True)
    if two := [name for name in names if name in _TWO_CORES]:
        print(f"\n{compare_cores(two, cores)}", flush=True)
    if arguments.peers:
        used = [peer for peer in dict.fromkeys(peer.needs for peer in peers.PEERS.values()) if peer != "numpy"]
        print(f"\nPeers: {hardware.versions(*used).partition(', ')[2]}.\n{compare_peers(names)}")


if __name__ == "__main__":
    main(cores)
