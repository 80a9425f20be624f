"""A report as plain text."""

import math
import textwrap
from typing import Protocol

from gradsweep._parameters import format_index
from gradsweep._verdict import Block, Entry, Status

_MOST_ENTRIES = 5

_WIDTH = 100

# Seconds from which on it is said how long the check was predicted to take, and why in this mode.
_NOTEWORTHY = 1.0

# Machine epsilon above which a type is less precise than float64.
_COARSE = 1e-15


class Report(Protocol):
    """What is shown of a report; `gradsweep.Report` has it all, and rests on this file."""

    @property
    def verdict(self) -> str: ...
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
    @property
    def notes(self) -> tuple[str, ...]: ...
    def worst(self, k: int) -> list[Entry]: ...


def format_report(report: Report) -> str:
    """Verdict first, a line for each block, the worst entries of a wrong gradient, then how it was checked.

    Parameters
    ----------
    report : Report
        The report.

    Returns
    -------
    str
        Lines of at most 100 columns, without a line break at the end.
    """
    lines = [_headline(report), "", *_table(report)]
    wrong = [block for block in report.blocks if block.status is Status.WRONG]
    if wrong:
        lines += ["", *_worst_entries(report, {block.name for block in wrong})]
    notes = [note for block in report.blocks for note in _block_notes(block, report)] + _notes(report)
    if notes:
        lines += ["", *notes]
    lines += ["", _method(report)]
    return "\n".join(lines)


def format_size(count: int, noun: str) -> str:
    """``1 entry``, ``61,481 entries``: a count with its noun."""
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{count:,} {noun if count == 1 else plural}"


def format_seconds(seconds: float) -> str:
    """Duration with three digits and a unit that suits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} µs"


def _headline(report: Report) -> str:
    size = format_size(sum(block.size for block in report.blocks), "entry")
    if report.verdict == "pass":
        vacuous = sum(block.vacuous for block in report.blocks)
        if not vacuous:
            return f"PASS: all {size} agree with the numeric gradient"
        return f"PASS: {size} checked, {vacuous:,} of them vacuous, the others agree"
    if report.verdict == "fail":
        wrong = [block.name for block in report.blocks if block.status is Status.WRONG]
        right = [block.name for block in report.blocks if block.status is Status.AGREES]
        headline = f"FAIL: the gradient of {_list(wrong, 50)} is wrong"
        room = _WIDTH - len(headline) - len(";  agrees")
        verb = "agrees" if len(right) == 1 else "agree"
        return f"{headline}; {_list(right, room)} {verb}" if right else headline
    return "INCONCLUSIVE: the gradient could not be verified to the tolerance"


def _list(names: list[str], room: int) -> str:
    """Names with commas between them, as many as there is room for."""
    for count in range(len(names), 0, -1):
        shown = names if count == len(names) else [*names[:count], f"{len(names) - count} more"]
        text = shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
        if len(text) <= room:
            return text
    return f"{len(names)} others"


def _table(report: Report) -> list[str]:
    rows = [("block", "shape", "difference", "noise", "verdict")]
    rows += [
        (
            block.name,
            " x ".join(str(size) for size in block.shape),
            f"{block.difference:.1e}",
            f"{block.noise:.1e}",
            _describe(block),
        )
        for block in report.blocks
    ]
    rows.append(("all", f"{sum(block.size for block in report.blocks):,}", f"{report.difference:.1e}", "", ""))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return [
        f"  {name:<{widths[0]}}  {shape:>{widths[1]}}  {difference:>{widths[2]}}  {noise:>{widths[3]}}  {verdict}".rstrip()
        for name, shape, difference, noise, verdict in rows
    ]


def _describe(block: Block) -> str:
    if block.status is Status.WRONG:
        return f"WRONG: {block.differing:,} of {format_size(block.size, 'entry')}"
    if block.status is Status.VACUOUS:
        return "vacuous: all entries are below the noise"
    if block.status is Status.AGREES:
        return "agrees" if not block.vacuous else f"agrees; {block.vacuous:,} of {format_size(block.size, 'entry')} vacuous"
    return str(block.status.value)


def _worst_entries(report: Report, names: set[str]) -> list[str]:
    entries = [entry for entry in report.worst(100) if entry.block in names and entry.score > 1.0][:_MOST_ENTRIES]
    labels = [f"d{entry.block}[{format_index(entry.index)}]" for entry in entries]
    width = max(len(label) for label in [*labels, "worst entries"])
    head = f"  {'worst entries':<{width}}  {'analytic':>23}  {'numeric':>23}  {'ratio':>10}"
    return [head, *(_entry_line(label, entry, width) for label, entry in zip(labels, entries, strict=True))]


def _entry_line(label: str, entry: Entry, width: int) -> str:
    ratio = f"{entry.analytic / entry.numeric:.4g}" if entry.numeric else "-"
    return f"  {label:<{width}}  {entry.analytic:>23.16e}  {entry.numeric:>23.16e}  {ratio:>10}"


def _block_notes(block: Block, report: Report) -> list[str]:
    if block.status is Status.VACUOUS:
        return [
            f"  {block.name} is vacuous: its whole gradient is smaller than rounding at this point (saturated or dead units,",
            "    or a zero gradient), so that nothing was verified. Try other parameters or scaled inputs.",
        ]
    if block.status is Status.NOISY and _by_values(report):
        return [
            f"  {block.name}: the noise of differences of the cost's values, {block.noise:.1e}, is above the tolerance.",
            "    Write the cost with NumPy alone, take constants out of it, or allow a larger tolerance.",
        ]
    if block.status is Status.NOISY:
        advice = (
            "Units are saturated, or terms cancel: scale the inputs or the weights down, or allow a larger tolerance."
            if report.precision < _COARSE
            else "Compute it in float64, or allow a larger tolerance."
        )
        return [
            f"  {block.name}: the rounding that its gradient may carry, {block.noise:.1e}, is above the tolerance.",
            f"    {advice}",
        ]
    if block.status is Status.AT_KINKS:
        return [
            f"  {block.name}: where units are at their kink, its gradient is neither between the one-sided slopes",
            "    nor what the usual backward passes give. Move the parameters off the kinks (biases that are not 0).",
        ]
    if block.status is Status.STEP_TOO_LARGE and _by_values(report):
        return [
            f"  {block.name}: with the step {report.step:g} the quotient is off by its own truncation or noise, and agrees",
            "    with another one. Leave the step out: one that suits the noise of the cost's values is chosen then.",
        ]
    if block.status is Status.STEP_TOO_LARGE:
        return [
            f"  {block.name}: the step {report.step:g} is too large: the quotient is off by its own truncation,",
            f"    and agrees at a smaller step. Use step={min(report.step / 1e3, 1e-7):g}; difference forms lose nothing by it.",
        ]
    return []


def _by_values(report: Report) -> bool:
    """Whether values of a function were subtracted."""
    return report.evaluated_by.endswith("function")


def _notes(report: Report) -> list[str]:
    notes = []
    if report.precision > _COARSE:
        notes.append(
            f"  precision: parameters or gradient are only as exact as {report.precision:.1e}; tolerance {report.tolerance:.1e}"
        )
    if report.crossed:
        # Of units each example's pre-activation is perturbed on its own.
        noun = "pre-activation" if report.mode == "neurons" else "parameter"
        verb = "was" if report.crossed == 1 else "were"
        notes.append(f"  {format_size(report.crossed, noun)} crossed a kink and {verb} perturbed again, by less")
    if report.kinks:
        notes.append(
            f"  {format_size(report.kinks, 'entry')} at a kink: accepted there is any value between the one-sided slopes,"
        )
        notes.append("    and what a backward pass gives that takes left, right or mean slope at all kinks")
    for note in report.notes:
        notes += textwrap.wrap(note, _WIDTH, initial_indent="  ", subsequent_indent="    ")
    return notes


def _method(report: Report) -> str:
    step = f"steps up to {report.step:.2g}" if _by_values(report) else f"step {report.step:g}"
    done = (
        f"  {report.mode}, {report.scheme} differences, {step}, tolerance {report.tolerance:.1e}: "
        f"{format_size(report.evaluations, 'evaluation')} in {format_seconds(report.seconds)}"
    )
    if math.isnan(report.predicted):
        because = f": {report.reason}" if report.reason else ""
        text = f"evaluated by {report.evaluated_by}{because}"
        return "\n".join([done, *textwrap.wrap(text, _WIDTH, initial_indent="  ", subsequent_indent="    ")])
    # What takes no time needs neither a reason nor a prediction.
    if report.seconds < _NOTEWORTHY and (report.mode == "sweep" or not report.reason):
        return done
    because = f"{report.mode}: {report.reason}; " if report.reason else ""
    return f"{done}\n  {because}predicted {format_seconds(report.predicted)} on one core"
