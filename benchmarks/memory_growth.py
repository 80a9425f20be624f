"""Peak memory of one check against the number of parameters: python benchmarks/memory_growth.py [CASE ...] [--quick]. Linux only.

Prints a table. Each figure is the peak of resident memory of a process of its own, less that of a process that makes the smallest
check of the same kind, in vectors: one is 8 bytes for each parameter. Parameters and gradient, which the caller holds, are two
of them.
"""

import argparse
import json
import pathlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

import gradsweep

_SIZES = (10**5, 10**6, 10**7)

# Parameters that the smallest check has.
_SMALLEST = 80


def peak() -> int:
    """Bytes of resident memory that this process has had at most: of itself alone, unlike what `getrusage` says."""
    status = pathlib.Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


Problem = tuple[Callable[[Any], Any] | Any, Any, Any]


def squares(size: int) -> Problem:
    """A weighted sum of squares of a vector."""
    c, w = np.linspace(0.5, 1.5, size), np.linspace(-1.0, 1.0, size)
    return lambda w: np.sum(c * w**2) / size, w, 2.0 * c * w / size


def blocks(size: int) -> Problem:
    """The same of forty blocks."""
    c, w = np.linspace(0.5, 1.5, size // 40), np.linspace(-1.0, 1.0, size).reshape(40, -1)
    params = {f"w{number}": own for number, own in enumerate(w)}
    gradient = {name: 2.0 * c * own / size for name, own in params.items()}
    return lambda p: sum(np.sum(c * own**2) for own in p.values()) / size, params, gradient


def dense(size: int) -> Problem:
    """A dense layer of ten tanh units on three examples, their sum of squares."""
    inputs = size // 10 - 1
    generator = np.random.default_rng(0)
    x = generator.standard_normal((3, inputs)) / np.sqrt(inputs)
    params = {"W": generator.standard_normal((inputs, 10)), "b": np.linspace(-0.5, 0.5, 10)}
    a = np.tanh(x @ params["W"] + params["b"])
    dz = a * (1.0 - a**2)
    gradient = {"W": x.T @ dz, "b": dz.sum(axis=0)}
    return lambda p: np.sum(np.tanh(x @ p["W"] + p["b"]) ** 2) / 2.0, params, gradient


def plain(size: int) -> Problem:
    """The weighted sum of squares, by its values."""
    cost, params, gradient = squares(size)
    return gradsweep.plain(cost), params, gradient


def network(size: int) -> Problem:
    """A network of ten hidden units and three examples."""
    layers = [size // 10 - 2, 10, 1]
    generator = np.random.default_rng(0)
    x, y = generator.random((layers[0], 3)), np.array([[0.0, 1.0, 1.0]])
    model = gradsweep.Network(layers)
    params = model.initialize(seed=0)
    return model.cost(x, y), params, model.gradient(params, x, y)


# What is checked, how, and up to which size. Sweeps of functions that take more than minutes are left out: each call goes over
# all parameters, and so all calls take the square of their number.
CASES: dict[str, tuple[Callable[[int], Problem], dict[str, Any], int]] = {
    "squares, sweep": (squares, {"mode": "sweep"}, 10**7),
    "squares, 1000 entries": (squares, {"mode": "sweep", "select": 1000}, 10**7),
    "squares, screen": (squares, {"mode": "screen"}, 10**7),
    "blocks, 20 entries each": (blocks, {"mode": "sweep", "select": 20}, 10**7),
    "blocks, screen": (blocks, {"mode": "screen"}, 10**7),
    "dense, sweep": (dense, {"mode": "sweep"}, 10**7),
    "dense, 1000 entries": (dense, {"mode": "sweep", "select": 1000}, 10**7),
    "dense, screen": (dense, {"mode": "screen"}, 10**7),
    "plain, sweep": (plain, {"mode": "sweep"}, 10**5),
    "plain, 100 entries": (plain, {"mode": "sweep", "select": 100}, 10**7),
    "plain, screen": (plain, {"mode": "screen"}, 10**7),
    "network, sweep": (network, {"mode": "sweep"}, 10**7),
    "network, neurons": (network, {"mode": "neurons"}, 10**7),
    "network, screen": (network, {"mode": "screen"}, 10**7),
}


def measure(case: str, size: int) -> dict[str, float]:
    """Peak and seconds of one check, in this process."""
    build, options, _ = CASES[case]
    cost, params, gradient = build(size)
    report = gradsweep.check(cost, params, gradient, jobs=1, **options)
    assert report.ok, report
    return {"peak": peak(), "seconds": report.seconds}


def apart(case: str, size: int) -> dict[str, float]:
    """The same in a process of its own."""
    command = [sys.executable, str(pathlib.Path(__file__)), "--one", case, str(size)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def vectors(case: str, size: int) -> tuple[float, float]:
    """What a check takes at its peak beside the process, in vectors of its parameters, and its seconds."""
    smallest, done = apart(case, _SMALLEST), apart(case, size)
    return (done["peak"] - smallest["peak"]) / (8 * size), done["seconds"]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"some of: {'; '.join(CASES)}")
    parser.add_argument("--quick", action="store_true", help="the smallest size alone")
    parser.add_argument("--one", nargs=2, metavar=("CASE", "SIZE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.one[0], int(arguments.one[1]))))
        return
    sizes = _SIZES[:1] if arguments.quick else _SIZES
    print("| vectors at the peak (seconds) | " + " | ".join(f"{size:,}" for size in sizes) + " |")
    print("| --- |" + " ---: |" * len(sizes))
    for case in arguments.cases or CASES:
        cells = []
        for size in sizes:
            cells.append("{:.1f} ({:.2g} s)".format(*vectors(case, size)) if size <= CASES[case][2] else "–")
        print(f"| {case} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
