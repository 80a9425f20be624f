"""Words and numbers of pages: what a block, an entry or a check is said to be."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gradsweep._parameters import format_entry
from gradsweep._presenting._text import format_seconds, format_size
from gradsweep._verdict import Block, Entry, Status

#: How a status is called, and by which of the three colours of a verdict it is shown.
STATUS = {
    Status.WRONG: ("wrong", "fail"),
    Status.NOT_FINITE: ("cost not finite", "inconclusive"),
    Status.UNRESOLVED: ("differs along directions", "inconclusive"),
    Status.AT_KINKS: ("differs at kinks", "inconclusive"),
    Status.STEP_TOO_LARGE: ("step too large", "inconclusive"),
    Status.NOISY: ("noise above tolerance", "inconclusive"),
    Status.UNFINISHED: ("not finished", "inconclusive"),
    Status.VACUOUS: ("vacuous", "vacuous"),
    Status.AGREES: ("agrees", "pass"),
}

#: What a status means, where that is not plain.
MEANING = {
    Status.NOT_FINITE: "beside the given parameters the cost is not a finite number, so that there is no quotient",
    Status.UNRESOLVED: "along random directions the gradient differs by more than rounding; no entry that was looked at is wrong",
    Status.AT_KINKS: "at kinks the gradient is not what is accepted there, and yet may be what some backward pass gives",
    Status.STEP_TOO_LARGE: "the quotient is off by its own truncation, and agrees at a smaller step",
    Status.NOISY: "rounding is too large for the tolerance",
    Status.UNFINISHED: "the check was interrupted before all entries were compared",
    Status.VACUOUS: "the whole gradient is smaller than rounding at this point, so that nothing was verified",
}


class Report(Protocol):
    """What the facts of a report are."""

    @property
    def difference(self) -> float: ...
    @property
    def tolerance(self) -> float: ...
    @property
    def precision(self) -> float: ...
    @property
    def blocks(self) -> tuple[Block, ...]: ...
    @property
    def mode(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def predicted(self) -> float: ...
    @property
    def scheme(self) -> str: ...
    @property
    def step(self) -> float: ...
    @property
    def evaluations(self) -> int: ...
    @property
    def seconds(self) -> float: ...
    @property
    def crossed(self) -> int: ...
    @property
    def kinks(self) -> int: ...
    @property
    def evaluated_by(self) -> str: ...


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


def interval_words(block: Block) -> str:
    """The interval of a difference that is an estimate."""
    if block.interval is None:
        return ""
    return "exact" if block.size == 1 else "{:.0e} to {:.0e}".format(*block.interval)


def ratio_words(entry: Entry) -> str:
    """How many times the numeric value the analytic one is; a quotient of -0 is one of 0."""
    return f"{entry.analytic / entry.numeric + 0.0:.4g}" if entry.numeric else "–"


def relative_difference(analytic: float, numeric: float) -> float:
    """|g − ĝ| / (|g| + |ĝ|); 0 where both are zero, NaN where one is not finite."""
    total = 0.5 * abs(analytic) + 0.5 * abs(numeric)
    if not math.isfinite(total):
        return math.nan
    return abs(0.5 * analytic - 0.5 * numeric) / total if total else 0.0


def status_words(block: Block) -> str:
    """What is known of a block, and how many of its entries are meant."""
    words, _ = STATUS[block.status]
    if block.status is Status.WRONG:
        looked = "" if block.looked_at is None else " looked at"
        of = block.size if block.looked_at is None else block.looked_at
        return f"{words}: {block.differing:,} of {format_size(of, 'entry')}{looked}"
    if block.status is Status.UNFINISHED:
        return f"{words}: {block.size:,} of {format_size(math.prod(block.shape), 'entry')} compared"
    if block.status is Status.VACUOUS or not block.vacuous:
        return words
    return f"{words}; {block.vacuous:,} of {format_size(block.size, 'entry')} vacuous"


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
        Fact("Step", f"{report.step:.3g}"),
        Fact("Cost evaluated by", report.evaluated_by),
        Fact("Precision of parameters and gradient", short(report.precision)),
    ]
    if report.reason:
        facts.append(Fact("Why so", report.reason))
    if math.isfinite(report.predicted):
        facts.append(Fact("Predicted", f"{format_seconds(report.predicted)} on one core"))
    if report.crossed:
        facts.append(Fact("Perturbed again, by less", f"{report.crossed:,}, whose step crossed a kink"))
    if report.kinks:
        entries = format_size(report.kinks, "entry")
        facts.append(Fact("At a kink", f"{entries}: any value between the one-sided slopes is accepted"))
    return facts
