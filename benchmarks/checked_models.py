"""How long a check of any cost function takes, against the plain two-sided loop over the same function, in one run.

Run it on a quiet machine: python benchmarks/checked_models.py [PART OF A NAME … | --larger]. It pins itself to one core. With
``--larger`` the models are those of `larger_models`, and checked without compiled kernels as well.
"""

import hardware

if __name__ == "__main__":
    hardware.take_one_core()

import pathlib
import sys
import time
from collections.abc import Iterator

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "tests"))

import larger_models
import numpy as np
from models import attention, classical, convolution, dense, embedding, generative, normalisation, recurrent, sequence
from models._model import Case, Model
from rich.console import Console
from rich.table import Table

import gradsweep
from gradsweep._costs import _numpy_function
from gradsweep._trees import Tree, read_tree

MODULES = (attention, classical, convolution, dense, embedding, generative, normalisation, recurrent, sequence)

# What has fewer parameters is checked in no time by any means.
LEAST_PARAMETERS = 1000

# Parameters that the loop takes, from which it is extrapolated, and how often it is repeated.
SAMPLE, REPEATS = 200, 3

# The textbook's ε.
STEP = 1e-7


def models(words: list[str]) -> Iterator[tuple[Model, Case, Tree]]:
    """Models with enough parameters, or with one of these words in their names."""
    for module in MODULES:
        for model in module.MODELS:
            case = model.build(0)
            tree = read_tree(case.params)
            if any(word in model.name for word in words) or (not words and len(tree.values) > LEAST_PARAMETERS):
                yield model, case, tree


def loop_seconds(case: Case, tree: Tree) -> float:
    """Seconds that the two-sided loop takes, perturbing in place: by a sample of the parameters."""
    values = tree.values.copy()
    params = tree.build(tree.arrays(values))
    sample = np.random.default_rng(0).choice(len(values), min(SAMPLE, len(values)), replace=False)
    fastest = np.inf
    for _ in range(REPEATS):
        begun = time.perf_counter()
        for place in sample:
            kept = values[place]
            values[place] = kept + STEP
            above = case.cost(params)
            values[place] = kept - STEP
            below = case.cost(params)
            values[place] = kept
            (above - below) / (2.0 * STEP)
        fastest = min(fastest, time.perf_counter() - begun)
    return float(fastest) * len(values) / len(sample)


def check_seconds(case: Case, repeats: int = REPEATS) -> tuple[float, gradsweep.Report]:
    """Seconds that a whole check takes, of a gradient that was computed before."""
    gradient = case.gradient(case.params)
    report = gradsweep.check(case.cost, case.params, gradient)
    fastest = np.inf
    for _ in range(repeats):
        begun = time.perf_counter()
        report = gradsweep.check(case.cost, case.params, gradient)
        fastest = min(fastest, time.perf_counter() - begun)
    return float(fastest), report


def corpus(words: list[str]) -> Table:
    """Models of the tests."""
    table = Table("model", "parameters", "cost", "loop", "check", "loop / check", "formula 3", "evaluated by")
    for model, case, tree in models(words):
        seconds, report = check_seconds(case)
        loop = loop_seconds(case, tree)
        table.add_row(
            model.name,
            f"{len(tree.values):,}",
            f"{loop / len(tree.values) / 2.0 * 1e6:.0f} µs",
            f"{loop * 1e3:.0f} ms",
            f"{seconds * 1e3:.1f} ms",
            f"{loop / seconds:.1f}",
            f"{report.difference:.1e}",
            report.evaluated_by,
        )
    return table


def larger() -> Table:
    """Larger ones, with compiled kernels and without."""
    table = Table("model", "parameters", "cost", "loop", "by NumPy", "check", "loop / check", "formula 3")
    for name, build in larger_models.MODELS.items():
        case = build()
        tree = read_tree(case.params)
        seconds, report = check_seconds(case)
        worth, _numpy_function._WORTH_COMPILING = _numpy_function._WORTH_COMPILING, sys.maxsize
        without, _ = check_seconds(case, 1)
        _numpy_function._WORTH_COMPILING = worth
        loop = loop_seconds(case, tree)
        table.add_row(
            name,
            f"{len(tree.values):,}",
            f"{loop / len(tree.values) / 2.0 * 1e6:.0f} µs",
            f"{loop:.2f} s",
            f"{without:.2f} s",
            f"{seconds:.2f} s",
            f"{loop / seconds:.1f}",
            f"{report.difference:.1e}",
        )
    return table


def main() -> None:
    """Print a table."""
    words = sys.argv[1:]
    Console(width=160).print(larger() if words == ["--larger"] else corpus(words))


if __name__ == "__main__":
    main()
