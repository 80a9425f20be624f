"""What is said of blocks that are neither right nor wrong, of kinks, and of precision: a sentence, and what to do about it."""

import math
from collections.abc import Callable, Sequence

from gradsweep._parameters import format_entry
from gradsweep._presenting._shown import Report
from gradsweep._presenting._words import format_size, list_names, shown
from gradsweep._verdict import Block, Status

#: How a cost is evaluated of which nothing but single values can be had.
PLAIN = "plain function"

# Columns of names that begin a sentence, and of one within it.
_NAMES, _NAME = 50, 24

# Machine epsilon above which a type is less precise than float64.
_COARSE = 1e-15

#: A sentence, and advice, which may be empty.
Note = tuple[str, str]


def subtracts(report: Report) -> bool:
    """Whether quotients are differences of values of the cost."""
    return report.evaluated_by not in ("kernels", "difference arrays") and report.scheme != "complex"


def notes_of(report: Report, wrong_elsewhere: bool) -> list[Note]:
    """What there is to be said beside findings.

    Parameters
    ----------
    report : Report
        The report.
    wrong_elsewhere : bool
        Whether blocks are wrong at the second point alone.

    Returns
    -------
    list of Note
        Of each status that needs explaining one, for all blocks that have it; then of the whole check.
    """
    notes = []
    for status, describe in _NOTES.items():
        blocks = [block for block in report.blocks if block.status is status]
        if blocks:
            what, advice = describe(blocks, report)
            notes.append((list_names([block.name for block in blocks], _NAMES) + what, advice))
    if wrong_elsewhere:
        notes.append((_ELSEWHERE, ""))
    if report.precision > _COARSE:
        exact = f"parameters, gradient or cost are only as exact as {report.precision:.1e}"
        notes.append((f"precision: {exact}; tolerance {report.tolerance:.1e}", ""))
    if report.crossed:
        # Of units each example's pre-activation is perturbed on its own.
        noun = {"neurons": "pre-activation", "screen": "direction"}.get(report.mode, "parameter")
        verb = "was" if report.crossed == 1 else "were"
        notes.append((f"{format_size(report.crossed, noun)} crossed a kink and {verb} perturbed again, by less", ""))
    if report.kinks:
        between = f"{format_size(report.kinks, 'entry')} at a kink: accepted there is any value between the one-sided slopes"
        usual = "" if subtracts(report) else ", and what a backward pass gives that takes left, right or mean slope at all kinks"
        notes.append((between + usual, ""))
    return notes + [(note, "") for note in report.notes]


_ELSEWHERE = (
    "wrong at the second point alone: consistent with a mistake in a term that vanishes at the given parameters, as the penalty "
    "of zero biases does"
)


def _its(blocks: Sequence[Block]) -> str:
    return "its" if len(blocks) == 1 else "their"


def _largest_noise(blocks: Sequence[Block]) -> str:
    """That of the blocks, in words for one or several."""
    noise = max(block.noise for block in blocks)
    return f"{noise:.1e}" if len(blocks) == 1 else f"up to {noise:.1e}"


def _vacuous(blocks: Sequence[Block], report: Report) -> Note:
    verb = "is" if len(blocks) == 1 else "are"
    return (
        f" {verb} vacuous: {_its(blocks)} whole gradient is smaller than rounding at this point (saturated or dead units, or a "
        "zero gradient), so that nothing was verified.",
        "Try other parameters or scaled inputs.",
    )


def _noisy(blocks: Sequence[Block], report: Report) -> Note:
    its = _its(blocks)
    whose = f"the noise of {its} quotients" if subtracts(report) else f"the rounding that {its} gradient may carry"
    return f": {whose}, {_largest_noise(blocks)}, is too large for the tolerance.", _advice_for_noise(report)


def _advice_for_noise(report: Report) -> str:
    if report.precision >= _COARSE:
        return "Compute it in float64, or allow a larger tolerance."
    if report.evaluated_by == "kernels":
        return "Units are saturated, or terms cancel: scale the inputs or the weights down, or allow a larger tolerance."
    if not subtracts(report):
        return "Terms cancel where the gradient is computed: scale the inputs or the parameters, or allow a larger tolerance."
    follow = (
        "write the cost so that difference arrays can follow it"
        if report.evaluated_by == PLAIN
        else "give the cost as a function that NumPy evaluates, which difference arrays can follow"
    )
    if report.scheme == "five-point":
        return f"Values of the cost are subtracted: {follow}, or allow a larger tolerance."
    return f'Values of the cost are subtracted: use scheme="five-point", or {follow}.'


def _at_kinks(blocks: Sequence[Block], report: Report) -> Note:
    beyond = "" if subtracts(report) else " nor what the usual backward passes give"
    neither = "not" if subtracts(report) else "neither"
    return (
        f": at kinks of the cost {_its(blocks)} gradient is {neither} between the one-sided slopes{beyond}.",
        "Move the parameters off the kinks (biases that are not 0).",
    )


def _step_too_large(blocks: Sequence[Block], report: Report) -> Note:
    what = f": the step {report.step:g} is too large: the quotient is off by its own truncation, and agrees at a smaller step."
    if subtracts(report):
        return what, "Leave step out: it is then chosen for each parameter, by the noise of the cost."
    return what, f"Use step={min(report.step / 1e3, 1e-7):g}; difference forms lose nothing by it."


def _not_finite(blocks: Sequence[Block], report: Report) -> Note:
    places = [entry for block in blocks for entry in block.worst if not math.isfinite(entry.numeric)]
    at = f"{shown(places[0].block, _NAME)}{format_entry('', places[0].index)}" if places and places[0].index else ""
    where = f" (as at {at})" if at else ""
    return (
        f": beside the given parameters{where} the cost is not a finite number, so that there is no quotient.",
        "Move the parameters away from where the cost ends (log or sqrt of 0, overflow), or use a smaller step.",
    )


def _unresolved(blocks: Sequence[Block], report: Report) -> Note:
    entries = format_size(sum(block.looked_at or 0 for block in blocks), "entry")
    return (
        f": along random directions {_its(blocks)} gradient differs by more than rounding, and of the {entries} looked at none "
        "is wrong.",
        "Look at every entry with another mode, or allow a screen more of max_evaluations and max_seconds.",
    )


def _unfinished(blocks: Sequence[Block], report: Report) -> Note:
    if report.mode == "screen":
        return _unscreened(blocks, report), ""
    compared = sum(block.size for block in blocks)
    whole = format_size(sum(math.prod(block.shape) for block in blocks), "entry")
    if not any(block.size for block in report.blocks):
        return f": the check was interrupted before any of {whole} was compared: nothing is known of the gradient yet.", ""
    return f": the check was interrupted with {compared:,} of {whole} compared; nothing is known to be wrong so far.", ""


def _unscreened(blocks: Sequence[Block], report: Report) -> str:
    """The same of a screen, which looks along directions in all blocks before it looks at entries of some."""
    unknown = sum(not block.size for block in blocks)
    undecided = len(blocks) - unknown
    if not any(block.size for block in report.blocks):
        return ": the check was interrupted before any of them was looked at: nothing is known of the gradient yet."
    parts = [f"{format_size(unknown, 'block')} {'was' if unknown == 1 else 'were'} not looked at"] if unknown else []
    if undecided:
        parts.append(f"of {format_size(undecided, 'block')} single entries were yet to decide, which directions alone do not")
    return f": the check was interrupted; {', and '.join(parts)}."


#: What is said of blocks by their status: what it means as the end of a sentence that begins with the names, and the advice.
_NOTES: dict[Status, Callable[[Sequence[Block], Report], Note]] = {
    Status.VACUOUS: _vacuous,
    Status.NOISY: _noisy,
    Status.AT_KINKS: _at_kinks,
    Status.STEP_TOO_LARGE: _step_too_large,
    Status.NOT_FINITE: _not_finite,
    Status.UNRESOLVED: _unresolved,
    Status.UNFINISHED: _unfinished,
}
