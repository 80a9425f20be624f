"""How the cost of a check grows with width, depth and examples: python benchmarks/growth.py [--quick] [--output FILE].

Draws `benchmarks/figures/growth.png` and prints the fitted exponents beside the expected ones. One core, one BLAS thread.
"""

import hardware

if __name__ == "__main__":
    hardware.take_one_core()

import argparse
import functools
import math
import pathlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import workloads

import gradsweep

_FIGURE = pathlib.Path(__file__).parent / "figures" / "growth.png"

# Colours of Okabe and Ito, which people with any colour vision tell apart; the markers differ, too.
_CURVES = {"loop": ("textbook loop", "#D55E00", "s"), "sweep": ("sweep", "#0072B2", "o"), "neurons": ("neurons", "#009E73", "^")}

# Seconds that each curve may take at a point, in each round: as many runs as fit, at least one, at most seven.
_POINT = 0.4

# Rounds over all sizes of a range, so that a machine that is slow for a second does not bend a curve there.
_ROUNDS = 2

# Parameters that the loop takes at most.
_SAMPLE = 500


@dataclass(frozen=True)
class Range:
    """A size that is varied while all others stay.

    Attributes
    ----------
    name, title : str
        With its unit, as the axis is labelled, and what stays.
    sizes : tuple of int
        Rising.
    build : callable
        Layers and number of examples of a size.
    expected : dict of str to int
        Exponent of each curve, for large sizes.
    """

    name: str
    title: str
    sizes: tuple[int, ...]
    build: Callable[[int], tuple[list[int], int]]
    expected: dict[str, int]


# Expected is the leading term, for large sizes, of what `NetworkProblem.workload` counts, with layers n₀-n₁-…-n_L, m examples:
#
#   sweep    Each of the n_l·(n_{l-1} + 1) parameters of layer l changes its own unit, all units of the next layer, and by way of
#            products all those behind it, for each example: m·(1 + n_{l+1} + … + n_L) changes and
#            m·(n_{l+1}·n_{l+2} + …) products. No term has the units before it, nor the inputs.
#   neurons  The same tail for each of the n_l units, m times over, and the comparison of all entries, some terms for each
#            example.
#   loop     Every parameter is two forward passes of m·Σ n_{l-1}·n_l products: parameters times parameters.
#
# Width w, 64-w-w-1. Sweep: 64·w parameters change w units each, w² parameters of the second layer change one: w². Neurons: w
# units times the w of the next layer, and w² entries to compare: w². Loop: w² parameters times w² products: w⁴.
#
# Depth d at width 32. Sweep and neurons: a fixed number of parameters, or units, for each layer, whose tail is d − l layers:
# Σ l, so d². Loop: d parameters times d layers, d² as well: here the sweep is faster by a factor only.
#
# Examples m. All three are m times something: 1.
#
# What is measured lies below where other terms still count, the loop's calls of NumPy and the rows of lanes: those of neurons are
# m·w of some overhead each, however short. `Report.predicted` has these terms, and is fitted, too.
RANGES = (
    Range(
        "width w (units)",
        "64-w-w-1, 64 examples",
        (16, 23, 32, 45, 64, 91, 128, 181, 256, 362, 512),
        lambda width: ([64, width, width, 1], 64),
        {"loop": 4, "sweep": 2, "neurons": 2},
    ),
    Range(
        "depth d (hidden layers)",
        "64, then d layers of 32, then 1; 16 examples",
        (2, 3, 4, 6, 8, 11, 16, 23, 32),
        lambda depth: ([64, *[32] * depth, 1], 16),
        {"loop": 2, "sweep": 2, "neurons": 2},
    ),
    Range(
        "examples m",
        "64-256-256-1",
        (1, 2, 4, 8, 16, 32, 64, 128, 256),
        lambda examples: ([64, 256, 256, 1], examples),
        {"loop": 1, "sweep": 1, "neurons": 1},
    ),
)


@dataclass(frozen=True)
class Curve:
    """Seconds for every entry of the gradient, for each size of a range.

    Attributes
    ----------
    measured : list of float
        The fastest run of each: others were disturbed.
    predicted : list of float
        By the library, before it began; empty for the loop.
    """

    measured: list[float]
    predicted: list[float]


def measure(varied: Range) -> dict[str, Curve]:
    """The curves of a range."""
    fastest: dict[str, list[float]] = {key: [math.inf] * len(varied.sizes) for key in _CURVES}
    predicted: dict[str, list[float]] = {key: [] for key in _CURVES}
    for turn in range(_ROUNDS):
        for place, size in enumerate(varied.sizes):
            layers, examples = varied.build(size)
            workload = workloads.make("growth", layers, examples, 1)
            cost = workload.cost()
            for mode in ("sweep", "neurons"):
                check = functools.partial(gradsweep.check, cost, workload.params, workload.gradient, mode=mode, jobs=1)
                if not turn:
                    predicted[mode].append(check().predicted)
                fastest[mode][place] = min(fastest[mode][place], _fastest(check))
            # The first one warms up, and tells how many parameters a sample may have.
            sample = int(_POINT / workload.textbook(1).seconds_each)
            loop = workload.textbook(max(1, min(sample, _SAMPLE))).seconds_each * workload.size
            fastest["loop"][place] = min(fastest["loop"][place], loop)
    return {key: Curve(fastest[key], predicted[key]) for key in _CURVES}


def _fastest(check: Callable[[], gradsweep.Report]) -> float:
    seconds: list[float] = []
    while not seconds or (len(seconds) < 7 and sum(seconds) < _POINT):
        report = check()
        assert report.ok
        seconds.append(report.seconds)
    return min(seconds)


def fit(sizes: tuple[int, ...], seconds: list[float]) -> float:
    """Exponent over the upper half of a range, where what does not grow counts least: slope of a line through the logarithms."""
    upper = slice(len(sizes) // 2, None)
    slope, _ = np.polyfit(np.log(sizes[upper]), np.log(seconds[upper]), 1)
    return float(slope)


def draw(measured: list[tuple[Range, dict[str, Curve]]], output: pathlib.Path) -> None:
    """The figure: a panel for each range."""
    # Here, since pytest imports this file for its doctests, also where matplotlib is not installed.
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot, ticker

    figure, panels = pyplot.subplots(1, len(measured), figsize=(12, 5), dpi=100, sharey=True, layout="constrained")
    for panel, (varied, curves) in zip(panels, measured, strict=True):
        sizes = np.array(varied.sizes)
        for key, curve in curves.items():
            name, colour, marker = _CURVES[key]
            panel.loglog(sizes, curve.measured, color=colour, marker=marker, markersize=4.5, linewidth=1.6)
            if curve.predicted:
                panel.loglog(sizes, curve.predicted, color=colour, linestyle=(0, (2, 2)), linewidth=1.1)
            # Name and exponents behind the last point.
            text = f"{name}\n{fit(varied.sizes, curve.measured):.1f} (expected {varied.expected[key]})"
            end = (sizes[-1], curve.measured[-1])
            panel.annotate(text, end, (8, 0), textcoords="offset points", color=colour, va="center", fontsize=10)
        panel.set_title(varied.title, fontsize=10.5)
        panel.set_xlabel(varied.name)
        ticks = sizes[(sizes & (sizes - 1)) == 0]  # powers of two, and every other one where they are many
        ticks = ticks if len(ticks) <= 6 else ticks[::2]
        panel.set_xticks(ticks, [str(size) for size in ticks])
        panel.xaxis.set_minor_locator(ticker.NullLocator())
        # Room on the right for the labels.
        panel.set_xlim(sizes[0] / (sizes[-1] / sizes[0]) ** 0.05, sizes[-1] * (sizes[-1] / sizes[0]) ** 0.6)
        panel.grid(True, which="major", color="#dddddd", linewidth=0.7)
        panel.set_axisbelow(True)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("time for the whole gradient (s)")
    panels[0].margins(y=0.1)
    figure.suptitle(
        "Checking every entry of a gradient: how the time grows with width, depth and examples\n"
        f"{hardware.processor()}, one core, {hardware.versions('numpy', 'numba')}",
        fontsize=12,
    )
    figure.supxlabel(
        "Numbers: exponent fitted to the upper half of the range, and the one expected for large sizes. Dotted: what the library "
        "predicts. The loop is extrapolated from a sample.",
        fontsize=9,
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output)
    pyplot.close(figure)


def main() -> None:
    """Measure, print the table, draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes alone: to see whether it runs")
    parser.add_argument("--output", type=pathlib.Path, default=_FIGURE, help="where to draw")
    arguments = parser.parse_args()
    print(f"{hardware.processor()}, one core; {hardware.versions('numpy', 'numba')}.\n")
    print("| | sizes | | seconds at the last | exponent | of what was predicted | expected for large sizes |")
    print("| --- | --- | --- | ---: | ---: | ---: | ---: |")
    measured = []
    for full in RANGES:
        varied = replace(full, sizes=full.sizes[:4]) if arguments.quick else full
        curves = measure(varied)
        for key, curve in curves.items():
            predicted = f"{fit(varied.sizes, curve.predicted):.1f}" if curve.predicted else "–"
            print(
                f"| {varied.name} | {varied.sizes[0]} … {varied.sizes[-1]} | {_CURVES[key][0]} | {curve.measured[-1]:.2g} "
                f"| {fit(varied.sizes, curve.measured):.1f} | {predicted} | {varied.expected[key]} |",
                flush=True,
            )
        measured.append((varied, curves))
    draw(measured, arguments.output)


if __name__ == "__main__":
    main()
