"""A report as a figure of Matplotlib."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gradsweep._escaping import escape
from gradsweep._presenting import _page_curves, _text
from gradsweep._presenting import _page_words as words
from gradsweep._presenting._maps import NOT_FINITE_COLOUR, SILENT_COLOUR, Map, Scale, map_blocks
from gradsweep._presenting._words import shown
from gradsweep._step_curves import StepCurve
from gradsweep._types import Array
from gradsweep._verdict import Entry

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, Normalize
    from matplotlib.figure import Figure, SubFigure

# Maps that are drawn, at most, and how many stand side by side.
_MOST, _BESIDE = 12, 4

# Entries that are marked among all, and those that are named.
_MARKED, _NAMED = 10, 3

# Columns of a name.
_NAME = 30

# Decades over which symmetric-logarithmic axes are logarithmic.
_DECADES = 9

# Of points within the tolerance and above it; of the curves of up to three entries, which differ in their markers, too.
_WITHIN, _ABOVE = "#3b82c4", "#d0453a"
_CURVES = (("#d0453a", "o"), ("#7a4fb5", "s"), ("#2f9461", "^"))


class Report(_text.Report, Protocol):
    """What is plotted of a report."""

    @property
    def analytic(self) -> Mapping[str, NDArray[Any]]: ...
    @property
    def numeric(self) -> Mapping[str, Array]: ...
    def worst(self, k: int = 10) -> list[Entry]: ...
    def step_curves(self, k: int = 3, max_seconds: float = 5.0) -> tuple[StepCurve, ...]: ...


def plot_report(report: Report) -> "Figure":
    """Both gradients, the error against the step, and maps of the blocks.

    Parameters
    ----------
    report : Report
        The report.

    Returns
    -------
    matplotlib.figure.Figure
        Not known to pyplot, and not shown.

    Raises
    ------
    ImportError
        Matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('plots need Matplotlib: pip install "gradsweep[plot]"') from error
    drawn = map_blocks(report)
    lines = math.ceil(min(len(drawn.maps), _MOST) / _BESIDE)
    figure = Figure(figsize=(12.0, 5.2 + 2.6 * lines), layout="constrained")
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=[4.6, 0.6 + 2.6 * lines])[:, 0]
    headline = " ".join(_text.format_report(report).partition("\n\n")[0].split())
    above.suptitle(escape(_text.shorten(headline, 110)), parse_math=False, fontweight="bold")
    left, right = above.subplots(1, 2)
    _plot_values(left, report, drawn.maps)
    _plot_curves(right, report)
    if drawn.maps:
        _plot_maps(below, drawn.maps[:_MOST], len(drawn.maps) + drawn.left_out, Scale.of(report.tolerance))
    else:
        nothing = drawn.lost[0] if drawn.lost else "No maps: a screen has no numeric gradient of each entry."
        below.text(0.5, 0.5, escape(nothing), ha="center", wrap=True, parse_math=False)
    return figure


def _name(entry: Entry | StepCurve) -> str:
    """Name of an entry, short enough for a legend."""
    index = f"[{', '.join(map(str, entry.index))}]" if entry.index else ""
    return shown(entry.block, max(_NAME - len(index), 1)) + index


def _plot_values(axes: "Axes", report: Report, maps: Sequence[Map]) -> None:
    """Analytic against numeric values: of each cell of the maps the worst entry, and the worst of all."""
    ranked = [each for each in report.worst(_MARKED) if math.isfinite(each.analytic) and math.isfinite(each.numeric)]
    worst = [each for each in ranked if each.score > 1.0] or ranked[:1]
    heights = np.concatenate([each.shown.ravel() for each in maps]) if maps else np.empty(0)
    analytic, numeric = (
        np.concatenate([getattr(each, side).ravel() for each in maps]) if maps else np.empty(0)
        for side in ("analytic", "numeric")
    )
    compared = np.concatenate([each.compared.ravel() for each in maps]) if maps else np.empty(0, dtype=bool)
    finite = np.isfinite(analytic) & np.isfinite(numeric)
    for chosen, colour in ((finite & (heights <= report.tolerance), _WITHIN), (finite & (heights > report.tolerance), _ABOVE)):
        label = "within tolerance and noise" if colour == _WITHIN else "differing by more"
        if chosen.any():
            axes.plot(numeric[chosen], analytic[chosen], ".", color=colour, markersize=5, label=f"{label} ({chosen.sum():,})")
    if worst:
        points = [entry.numeric for entry in worst], [entry.analytic for entry in worst]
        axes.plot(*points, "o", color="black", fillstyle="none", markersize=9, label=f"the worst ({len(worst)})")
    sizes = np.abs(np.concatenate([analytic[finite], numeric[finite], [v for e in worst for v in (e.analytic, e.numeric)]]))
    largest = float(sizes.max(initial=0.0)) or 1.0
    least = float(sizes[sizes > 0.0].min(initial=largest))
    threshold = max(10.0 ** math.floor(math.log10(least)), largest * 10.0**-_DECADES)
    for scale in (axes.set_xscale, axes.set_yscale):
        scale("symlog", linthresh=threshold)
    ends = [-2.0 * largest, 2.0 * largest]
    axes.plot(ends, ends, color="0.6", linewidth=1, zorder=0)
    ticks = _ticks(threshold, largest)
    axes.set(xlabel="numeric ĝ", ylabel="analytic g", xticks=ticks, yticks=ticks, xlim=ends, ylim=ends)
    axes.minorticks_off()
    total = sum(math.prod(block.shape) for block in report.blocks)
    title = f"Both gradients: {compared.sum():,} of {total:,} entries" if maps else "Both gradients: entries looked at"
    lost = f", {(compared & ~finite).sum():,} not finite" if (compared & ~finite).any() else ""
    axes.set_title(title + lost, fontsize="medium")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3, frameon=False)


def _ticks(threshold: float, largest: float) -> list[float]:
    """Powers of ten on both sides of 0, three at most."""
    low, high = (round(math.log10(threshold)), math.floor(math.log10(largest)))
    powers = [10.0**power for power in range(high, low - 1, -max(1, math.ceil((high - low) / 2)))]
    return [*(-power for power in powers), 0.0, *reversed(powers)]


def _plot_curves(axes: "Axes", report: Report) -> None:
    """Relative difference against the step, and slopes of rounding and truncation beside those of the worst entry."""
    view = _page_curves.view_curves(report)
    axes.set_title("Error against step", fontsize="medium")
    if not view.curves:
        axes.set_axis_off()
        axes.text(0.5, 0.5, escape(view.why_not), ha="center", va="center", wrap=True, transform=axes.transAxes, parse_math=False)
        return
    for number, (each, (colour, marker)) in enumerate(zip(view.curves, _CURVES, strict=False), start=1):
        seen = each.error > 0.0
        style = {"color": colour, "marker": marker, "markersize": 3.5, "linewidth": 1.2}
        axes.loglog(each.curve.steps[seen], each.error[seen], label=f"{number}: {_name(each.curve)}", **style)
    first = view.curves[0]
    order = {1: "", 2: "²", 4: "⁴"}.get(first.curve.order, f"^{first.curve.order}")
    for line, words_of, colour in (
        (first.rounding, "rounding of 1: 1/ε", _WITHIN),
        (first.truncation, f"truncation of 1: ε{order}", "0.35"),
    ):
        if np.isfinite(line).any():
            axes.loglog(first.curve.steps, line, "--", color=colour, linewidth=1, label=words_of)
    axes.axhline(report.tolerance, color="0.6", linestyle=":", label="tolerance")
    spans = [each.span(report.tolerance) for each in view.curves]
    axes.set_ylim(min(low for low, _ in spans), max(high for _, high in spans))
    axes.set(xlabel="step ε", ylabel="|g − q(ε)| / (|g| + |ĝ|)")
    legend = axes.legend(fontsize="small")
    for text in legend.get_texts():
        text.set_parse_math(False)


def _plot_maps(figure: "SubFigure", maps: Sequence[Map], blocks: int, scale: Scale) -> None:
    """Maps side by side, with one scale for all."""
    from matplotlib.cm import ScalarMappable

    colours, norm = _colours(scale)
    lines = math.ceil(len(maps) / _BESIDE)
    grid = figure.subplots(lines, _BESIDE, squeeze=False)
    of = f" of {len(maps)} of {blocks} blocks, those first that are wrong" if len(maps) < blocks else ""
    figure.suptitle(f"Relative difference{of}; the worst entry of each cell", fontsize="medium")
    for axes in grid.flat[len(maps) :]:
        axes.set_axis_off()
    for axes, each in zip(grid.flat, maps, strict=False):
        _plot_map(axes, each, scale)
    bar = figure.colorbar(ScalarMappable(norm, colours), ax=grid, extend="both", pad=0.01)
    bar.ax.axhline(10.0**scale.hinge, color="black", linewidth=1)
    bar.set_label("|g − ĝ| / (|g| + |ĝ|); line: tolerance\ngrey: below the noise, violet: not finite", fontsize="small")


def _plot_map(axes: "Axes", drawn: Map, scale: Scale) -> None:
    """One map."""
    colours, norm = _colours(scale)
    heights = np.maximum(drawn.shown, 10.0**scale.low)
    heights[drawn.below_noise] = 10.0 ** (scale.low - 1.0)  # under the scale, which has no 0
    heights[np.isnan(heights)] = 10.0  # over it
    x, y = drawn.columns - 0.5, drawn.rows - 0.5
    axes.pcolormesh(x, y, np.ma.masked_where(~drawn.compared, heights), cmap=colours, norm=norm)
    axes.set(xlim=(x[0], x[-1]), ylim=(y[-1], y[0]))
    for axis, size in ((axes.xaxis, drawn.columns[-1]), (axes.yaxis, drawn.rows[-1])):
        axis.set_ticks([0, int(size) - 1] if size > 1 else [])
    axes.tick_params(labelsize="small")
    status = _text.shorten(words.describe(drawn.block), 34)
    name = shown(drawn.block.name, _NAME)
    axes.set_title(f"{name}  {words.shape_words(drawn.block.shape)}\n{status}", fontsize="small", parse_math=False)


def _colours(scale: Scale) -> tuple["Colormap", "Normalize"]:
    """The colours of a scale, and how they follow from a difference."""
    from matplotlib.colors import LinearSegmentedColormap, LogNorm

    colours = LinearSegmentedColormap.from_list("gradsweep", scale.colours(), N=1024)
    return colours.with_extremes(over=NOT_FINITE_COLOUR, under=SILENT_COLOUR), LogNorm(10.0**scale.low, 1.0)
