"""A report as plain text."""

import math
import textwrap
from collections.abc import Iterable, Sequence
from typing import Protocol

from gradsweep._parameters import format_entry
from gradsweep._verdict import Block, Entry, Status

_MOST_ENTRIES = 5

_WIDTH = 100

# Columns of an entry's label beside two numbers of 17 digits and their ratio.
_LABEL = 36

# Columns of names in a headline.
_NAMES = 50

# Columns of a name within a sentence.
_BLOCK = 24

# Seconds from which on it is said how long the check was predicted to take, and why in this mode.
_NOTEWORTHY = 1.0

# Machine epsilon above which a type is less precise than float64.
_COARSE = 1e-15

# How a check is called that subtracts values of the cost.
_SIDES = {"central": "two-sided", "forward": "one-sided", "five-point": "two-sided"}

_PLAIN = "plain function"


class Displaced(Protocol):
    """What is shown of a second point."""

    @property
    def blocks(self) -> tuple[Block, ...]: ...
    @property
    def size(self) -> float: ...


class Finding(Protocol):
    """What is shown of a finding."""

    @property
    def message(self) -> str: ...
    @property
    def advice(self) -> str: ...


class Certificate(Protocol):
    """What is shown of a certificate."""

    @property
    def blocks(self) -> tuple[Block, ...]: ...
    @property
    def not_covered(self) -> tuple[str, ...]: ...
    @property
    def scale(self) -> float: ...
    @property
    def entry(self) -> float: ...
    def weakest(self) -> tuple[str, str]: ...


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
    def displaced(self) -> Displaced | None: ...
    @property
    def findings(self) -> Sequence[Finding]: ...
    @property
    def certificate(self) -> Certificate: ...
    @property
    def notes(self) -> tuple[str, ...]: ...


def format_report(report: Report) -> str:
    """Verdict first, a line for each block, the worst entries of a wrong gradient, then how it was checked.

    Parameters
    ----------
    report : Report
        The report.

    Returns
    -------
    str
        Lines of at most 100 columns, without a line break at the end. What stands before the first empty line is the headline.
    """
    lines = [_headline(report), "", *_table(report.blocks, ("all", _total(report.blocks), f"{report.difference:.1e}", "", ""))]
    wrong = [block for block in report.blocks if block.status is Status.WRONG]
    if wrong:
        lines += ["", *_worst_entries(wrong)]
    elsewhere = _wrong_elsewhere(report)
    if report.displaced is not None and elsewhere:
        lines += ["", *_second_point(report.displaced, elsewhere), "", *_worst_entries(elsewhere)]
    for finding in report.findings:
        lines += ["", *_wrapped(finding.message), *_wrapped_deeper(finding.advice)]
    notes = [note for block in report.blocks for note in _block_notes(block, report)] + _notes(report)
    if notes:
        lines += ["", *notes]
    certificate = _certificate(report.certificate) if report.verdict != "fail" else []
    lines += ["", *certificate, *([""] if certificate else []), *_method(report)]
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


def shorten(text: str, room: int) -> str:
    """The text, without its middle if it is longer than there is room for.

    Examples
    --------
    >>> shorten("encoder.layers[12].attention.Wq", 21)
    'encoder.la…tention.Wq'
    """
    if len(text) <= room:
        return text
    front = room // 2
    return f"{text[:front]}…{text[len(text) - (room - front - 1) :]}"


def _headline(report: Report) -> str:
    size = format_size(sum(block.size for block in report.blocks), "entry")
    if report.verdict == "pass" and report.mode == "screen":
        blocks = format_size(len(report.blocks), "block")
        return f"PASS: {blocks} of {size} agree with the numeric gradient along random directions"
    if report.verdict == "pass":
        vacuous = sum(block.vacuous for block in report.blocks)
        if not vacuous:
            return f"PASS: all {size} agree with the numeric gradient"
        return f"PASS: {size} checked, {vacuous:,} of them vacuous, the others agree"
    if report.verdict == "fail":
        return _failure(report)
    return "INCONCLUSIVE: the gradient could not be verified to the tolerance"


def _failure(report: Report) -> str:
    """What is wrong, and what agrees; or that it shows at the second point alone."""
    wrong = [block.name for block in report.blocks if block.status is Status.WRONG]
    elsewhere = _wrong_elsewhere(report)
    if not wrong:
        names = {block.name for block in elsewhere}
        agrees = all(block.status is Status.AGREES for block in report.blocks if block.name in names)
        pronoun = "it agrees" if len(names) == 1 else "they agree"
        here = pronoun if agrees else "nothing shows it"
        return (
            f"FAIL: the gradient of {_list([block.name for block in elsewhere], 28)} is wrong at a second point, "
            f"displaced at random;\n      at the given parameters {here}"
        )
    headline = f"FAIL: the gradient of {_list(wrong, _NAMES)} is wrong"
    right = [block.name for block in report.blocks if block.status is Status.AGREES]
    if not right:
        return headline
    verb = "agrees" if len(right) == 1 else "agree"
    room = _WIDTH - len(headline) - len(f"; {verb}") - 1
    return f"{headline}; {_list(right, room)} {verb}"


def _wrong_elsewhere(report: Report) -> list[Block]:
    """Blocks, as they are at the second point, that are wrong there alone."""
    if report.displaced is None:
        return []
    known = {block.name for block in report.blocks if block.status is Status.WRONG}
    return [block for block in report.displaced.blocks if block.status is Status.WRONG and block.name not in known]


def _list(names: list[str], room: int) -> str:
    """Names with commas between them, as many as there is room for; the middle of a long one is left out before all are."""
    for count in range(len(names), 0, -1):
        shown = names if count == len(names) else [*names[:count], f"{len(names) - count} more"]
        text = shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
        if len(text) <= room:
            return text
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    if room - len(more) < len("blocks[…].W"):
        return format_size(len(names), "block") if len(names) == 1 else f"{len(names)} others"
    return shorten(names[0], room - len(more)) + more


def _total(blocks: Sequence[Block]) -> str:
    return f"{sum(block.size for block in blocks):,}"


def _table(blocks: Sequence[Block], last: tuple[str, str, str, str, str] | None = None) -> list[str]:
    """A line for each block, and one for all of them."""
    rows: list[tuple[str, ...]] = [("block", "shape", "difference", "95 % interval", "noise", "verdict")]
    rows += [
        (
            block.name,
            _format_shape(block.shape),
            f"{block.difference:.1e}",
            _format_interval(block),
            f"{block.noise:.1e}",
            _describe(block),
        )
        for block in blocks
    ]
    if last:
        rows.append((*last[:3], "", *last[3:]))
    if all(block.interval is None for block in blocks):  # the differences are known, not estimated
        rows = [(*row[:3], *row[4:]) for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    # Two blanks before each column.
    room = max(_WIDTH - sum(widths[1:]) - 2 * len(widths), len("block"))
    widths[0] = min(widths[0], room)
    lines = []
    for name, *numbers, verdict in rows:
        cells = [f"{number:>{width}}" for number, width in zip(numbers, widths[1:], strict=False)]
        lines.append("  ".join(["", f"{shorten(name, room):<{widths[0]}}", *cells, verdict]).rstrip())
    return lines


def _format_shape(shape: tuple[int, ...]) -> str:
    return " x ".join(str(size) for size in shape) if shape else "number"


def _format_interval(block: Block) -> str:
    if block.interval is None:
        return ""
    return "exact" if block.size == 1 else "{:.0e} to {:.0e}".format(*block.interval)


def _describe(block: Block) -> str:
    if block.status is Status.WRONG and block.looked_at is not None:
        return f"WRONG: {block.differing:,} of {block.looked_at:,} looked at"
    if block.status is Status.WRONG:
        return f"WRONG: {block.differing:,} of {format_size(block.size, 'entry')}"
    if block.status is Status.VACUOUS:
        return "vacuous: all entries are below the noise"
    if block.status is Status.AGREES:
        return "agrees" if not block.vacuous else f"agrees; {block.vacuous:,} of {format_size(block.size, 'entry')} vacuous"
    return str(block.status.value)


def _worst_entries(blocks: Iterable[Block]) -> list[str]:
    """Those entries of some blocks that are furthest from acceptance, on both sides."""
    differing = [entry for block in blocks for entry in block.worst if entry.score > 1.0]
    entries = sorted(differing, key=lambda entry: entry.score, reverse=True)[:_MOST_ENTRIES]
    labels = [_label(entry) for entry in entries]
    width = max(len(label) for label in [*labels, "worst entries"])
    head = f"  {'worst entries':<{width}}  {'analytic':>23}  {'numeric':>23}  {'ratio':>10}"
    return [head, *(_entry_line(label, entry, width) for label, entry in zip(labels, entries, strict=True))]


def _label(entry: Entry) -> str:
    """Name of an entry; of a long one the index is shown as a whole."""
    index = format_entry("", entry.index)
    return shorten(entry.block, max(_LABEL - len(index), 0)) + index


def _entry_line(label: str, entry: Entry, width: int) -> str:
    # A quotient of -0 is one of 0.
    ratio = f"{entry.analytic / entry.numeric + 0.0:.4g}" if entry.numeric else "-"
    return f"  {label:<{width}}  {entry.analytic:>23.16e}  {entry.numeric:>23.16e}  {ratio:>10}"


def _seen_at(displaced: Displaced) -> str:
    """What was looked at at the second point: entries, or blocks along random directions."""
    if any(block.interval is not None for block in displaced.blocks):
        return f"{format_size(len(displaced.blocks), 'block')}, along random directions,"
    return format_size(sum(block.size for block in displaced.blocks), "entry")


def _second_point(displaced: Displaced, wrong: Sequence[Block]) -> list[str]:
    """The blocks that are wrong at the second point alone."""
    looked_at = _seen_at(displaced)
    title = f"second point: all parameters displaced by up to {displaced.size:.2g} of their block's size; {looked_at} looked at"
    return [f"  {title}", *_table(wrong)]


def _wrapped(text: str) -> list[str]:
    """A sentence as lines, indented by two, those after the first by four."""
    return textwrap.wrap(text, _WIDTH, initial_indent="  ", subsequent_indent="    ")


def _wrapped_deeper(text: str) -> list[str]:
    """A sentence as lines, all of them indented by four: advice."""
    return textwrap.wrap(text, _WIDTH, initial_indent="    ", subsequent_indent="    ")


def _block_notes(block: Block, report: Report) -> list[str]:
    """What a status means, and what to do about it."""
    describe = _NOTES.get(block.status)
    if describe is None:
        return []
    what, advice = describe(block, report)
    return [
        *_wrapped(f"{shorten(block.name, _NAMES)}{what}"),
        *_wrapped_deeper(advice),
    ]


def _vacuous(block: Block, report: Report) -> tuple[str, str]:
    return (
        " is vacuous: its whole gradient is smaller than rounding at this point (saturated or dead units, or a zero gradient), "
        "so that nothing was verified.",
        "Try other parameters or scaled inputs.",
    )


def _noisy(block: Block, report: Report) -> tuple[str, str]:
    whose = "the noise of its quotients" if _subtracts(report) else "the rounding that its gradient may carry"
    return f": {whose}, {block.noise:.1e}, is too large for the tolerance.", _advice_for_noise(report)


def _advice_for_noise(report: Report) -> str:
    if report.precision >= _COARSE:
        return "Compute it in float64, or allow a larger tolerance."
    if report.evaluated_by == "kernels":
        return "Units are saturated, or terms cancel: scale the inputs or the weights down, or allow a larger tolerance."
    if not _subtracts(report):
        return "Terms cancel where the gradient is computed: scale the inputs or the parameters, or allow a larger tolerance."
    follow = (
        "write the cost so that difference arrays can follow it"
        if report.evaluated_by == _PLAIN
        else "give the cost as a function that NumPy evaluates, which difference arrays can follow"
    )
    if report.scheme == "five-point":
        return f"Values of the cost are subtracted: {follow}, or allow a larger tolerance."
    return f'Values of the cost are subtracted: use scheme="five-point", or {follow}.'


def _at_kinks(block: Block, report: Report) -> tuple[str, str]:
    beyond = "" if _subtracts(report) else " nor what the usual backward passes give"
    neither = "not" if _subtracts(report) else "neither"
    return (
        f": at kinks of the cost its gradient is {neither} between the one-sided slopes{beyond}.",
        "Move the parameters off the kinks (biases that are not 0).",
    )


def _step_too_large(block: Block, report: Report) -> tuple[str, str]:
    what = f": the step {report.step:g} is too large: the quotient is off by its own truncation, and agrees at a smaller step."
    if _subtracts(report):
        return what, "Leave step out: it is then chosen for each parameter, by the noise of the cost."
    return what, f"Use step={min(report.step / 1e3, 1e-7):g}; difference forms lose nothing by it."


def _not_finite(block: Block, report: Report) -> tuple[str, str]:
    places = [format_entry("", entry.index) for entry in block.worst if not math.isfinite(entry.numeric)]
    where = f" (as at {shorten(block.name, _NAMES)}{places[0]})" if places and places[0] else ""
    return (
        f": beside the given parameters{where} the cost is not a finite number, so that there is no quotient.",
        "Move the parameters away from where the cost ends (log or sqrt of 0, overflow), or use a smaller step.",
    )


def _unresolved(block: Block, report: Report) -> tuple[str, str]:
    entries = format_size(block.looked_at or 0, "entry")
    return (
        f": along random directions its gradient differs by more than rounding, and of the {entries} looked at none is wrong.",
        "Look at every entry with another mode, or allow a screen more of max_evaluations and max_seconds.",
    )


#: What is said of a block by its status: what it means as the end of a sentence that begins with the name, and the advice.
_NOTES = {
    Status.VACUOUS: _vacuous,
    Status.NOISY: _noisy,
    Status.AT_KINKS: _at_kinks,
    Status.STEP_TOO_LARGE: _step_too_large,
    Status.NOT_FINITE: _not_finite,
    Status.UNRESOLVED: _unresolved,
}


def _subtracts(report: Report) -> bool:
    """Whether quotients are differences of values of the cost."""
    return report.evaluated_by not in ("kernels", "difference arrays") and report.scheme != "complex"


def _notes(report: Report) -> list[str]:
    notes = []
    if _wrong_elsewhere(report):
        notes += _wrapped(
            "Wrong at the second point alone: consistent with a mistake in a term that vanishes at the given parameters, as the "
            "penalty of zero biases does"
        )
    if report.precision > _COARSE:
        notes.append(
            f"  precision: parameters or gradient are only as exact as {report.precision:.1e}; tolerance {report.tolerance:.1e}"
        )
    if report.crossed:
        # Of units each example's pre-activation is perturbed on its own.
        noun = {"neurons": "pre-activation", "screen": "direction"}.get(report.mode, "parameter")
        verb = "was" if report.crossed == 1 else "were"
        notes.append(f"  {format_size(report.crossed, noun)} crossed a kink and {verb} perturbed again, by less")
    if report.kinks:
        between = f"{format_size(report.kinks, 'entry')} at a kink: accepted there is any value between the one-sided slopes"
        usual = "" if _subtracts(report) else ", and what a backward pass gives that takes left, right or mean slope at all kinks"
        notes += _wrapped(between + usual)
    return notes + [line for note in report.notes for line in _wrapped(note)]


def _certificate(certificate: Certificate) -> list[str]:
    """What a pass proves, and of what it proves nothing."""
    if not certificate.blocks:
        return []
    in_scale, in_entry = ("" if len(certificate.blocks) == 1 else f" ({shorten(name, _BLOCK)})" for name in certificate.weakest())
    lines = _wrapped(
        f"certificate: would have caught a block off by a factor of 1 ± {certificate.scale:.1e}{in_scale}, "
        f"any one entry off by {certificate.entry:.1e} of its block's largest{in_entry}"
    )
    if certificate.not_covered:
        lines += _wrapped_deeper(f"not covered: {'; '.join(certificate.not_covered)}")
    return lines


def _method(report: Report) -> list[str]:
    """How it was checked."""
    done = f"{format_size(report.evaluations, 'evaluation')} in {format_seconds(report.seconds)}"
    differences = f"{report.scheme} differences"
    tolerance = f"tolerance {report.tolerance:.1e}"
    if report.evaluated_by == "kernels":
        return [f"  {report.mode}, {differences}, step {report.step:g}, {tolerance}: {done}", *_prediction(report)]
    if report.scheme == "complex":
        first = f"complex step, {report.evaluated_by}, step {report.step:.3g} of a parameter's size, {tolerance}"
    elif not _subtracts(report):
        first = f"{report.mode} on {report.evaluated_by}, {differences}, step {report.step:g}, {tolerance}"
    else:
        sides = _SIDES.get(report.scheme, report.scheme)
        kind = "screen" if report.mode == "screen" else "check"
        check = f"plain {sides} {kind}" if report.evaluated_by == _PLAIN else f"{sides} {kind}, {report.evaluated_by}"
        first = f"{check}, {differences}, steps up to {report.step:.3g}, {tolerance}"
        noise = max((block.noise for block in report.blocks if math.isfinite(block.noise)), default=0.0)
        done = f"{done}; noise of the quotients up to {noise:.1e} of a block"
    lines = [f"  {first}", f"    {done}"]
    if report.displaced is not None and report.verdict != "fail":
        lines.append(f"    {_seen_at(report.displaced)} at a second point, displaced at random: none is wrong")
    return lines + _because(report)


def _prediction(report: Report) -> list[str]:
    """Why in this mode, and how long it was to take. What takes no time needs neither."""
    if report.seconds < _NOTEWORTHY and (report.mode == "sweep" or not report.reason):
        return []
    because = f"{report.mode}: {report.reason}; " if report.reason else ""
    return _wrapped(f"{because}predicted {format_seconds(report.predicted)} on one core")


def _because(report: Report) -> list[str]:
    """Why the cost was evaluated so, and on a line of its own what to do about it."""
    if not report.reason:
        return []
    what, advice = split_advice(report.reason)
    lead = "not on difference arrays: " if report.evaluated_by == _PLAIN else ""
    lines = _wrapped(lead + what)
    return lines + _wrapped(f"to change that: {advice}") if advice else lines


def split_advice(reason: str) -> tuple[str, str]:
    """What the code did and where, and the advice that stands behind the place in parentheses, if there is one.

    Examples
    --------
    >>> split_advice("np.f has no difference form (cost.py, line 3, in cost: return np.f(x)); write np.g(x)")
    ('np.f has no difference form (cost.py, line 3, in cost: return np.f(x))', 'write np.g(x)')
    """
    what, found, advice = reason.rpartition("); ")
    # The place shows a line of code, in which there may be two statements.
    if not found or advice.count("(") != advice.count(")"):
        return reason, ""
    return f"{what})", advice
