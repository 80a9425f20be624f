"""Words and numbers of pages: what a block, an entry or a check is said to be."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gradsweep._parameters import format_entry
from gradsweep._presenting._shown import Report
from gradsweep._presenting._tables import describe as describe
from gradsweep._presenting._tables import format_interval as format_interval
from gradsweep._presenting._tables import format_ratio as format_ratio
from gradsweep._presenting._words import format_seconds, format_size
from gradsweep._verdict import Block, Entry, Status

#: By which colour a status is shown.
COLOUR = {Status.WRONG: "fail", Status.AGREES: "pass", Status.VACUOUS: "vacuous"}

#: By which all others are.
UNCLEAR = "inconclusive"


def short(value: float) -> str:
    """Two digits: a difference, a noise, a tolerance."""
    return f"{value:.1e}"


def exact(value: float) -> str:
    """All digits of a gradient."""
    return f"{value:.16e}"


def readable(value: float) -> str:
    """Seven digits: one of the many values behind the cells of a map."""
    return f"{value:.6e}"


def shape_words(shape: Sequence[int]) -> str:
    """``64 × 784``; of a number ``number``."""
    return " × ".join(f"{size:,}" for size in shape) if shape else "number"


def relative_difference(analytic: float, numeric: float) -> float:
    """|g − ĝ| / (|g| + |ĝ|); 0 where both are zero, NaN where one is not finite."""
    total = 0.5 * abs(analytic) + 0.5 * abs(numeric)
    if not math.isfinite(total):
        return math.nan
    return abs(0.5 * analytic - 0.5 * numeric) / total if total else 0.0


def colour(block: Block) -> str:
    """By which colour a block is shown."""
    return COLOUR.get(block.status, UNCLEAR)


def sampled(blocks: Sequence[Block]) -> bool:
    """Whether there are entries that were not compared."""
    return any(block.size < math.prod(block.shape) for block in blocks)


def entry_words(entry: Entry) -> str:
    """Name of an entry."""
    return format_entry(entry.block, entry.index)


@dataclass(frozen=True)
class Fact:
    """A line of the settings.

    Attributes
    ----------
    term, words : str
        What, and how much or which.
    """

    term: str
    words: str


def main_facts(report: Report) -> list[Fact]:
    """What a reader wants to know first, beside the verdict."""
    return [
        Fact("Entries", f"{sum(block.size for block in report.blocks):,} in {format_size(len(report.blocks), 'block')}"),
        Fact("Difference", f"{short(report.difference)} (formula 3, all entries)"),
        Fact("Tolerance", f"{short(report.tolerance)}, relative"),
        Fact("Duration", f"{format_seconds(report.seconds)}, {format_size(report.evaluations, 'evaluation')}"),
    ]


def settings(report: Report) -> list[Fact]:
    """How it was checked."""
    facts = [
        Fact("Mode", report.mode),
        Fact("Scheme", f"{report.scheme} differences"),
        Fact("Step", "none yet" if math.isnan(report.step) else f"{report.step:.3g}"),
        Fact("Cost evaluated by", report.evaluated_by),
        Fact("Precision of parameters, gradient and cost", short(report.precision)),
    ]
    if report.reason:
        facts.append(Fact("Why so", report.reason))
    if math.isfinite(report.predicted):
        facts.append(Fact("Predicted", f"{format_seconds(report.predicted)} on one core"))
    return facts
