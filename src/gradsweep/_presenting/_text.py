"""A report in words, line by line, for any number of columns; and that as plain text."""

import math
from collections.abc import Sequence

from gradsweep._presenting._cells import cell_width
from gradsweep._presenting._cells import shorten as shorten
from gradsweep._presenting._layout import Line, Piece, Role, join, sentence, wrap
from gradsweep._presenting._notes import PLAIN, notes_of, subtracts
from gradsweep._presenting._shown import Certificate, Finding
from gradsweep._presenting._shown import Displaced as Displaced
from gradsweep._presenting._shown import Report as Report
from gradsweep._presenting._tables import block_table, entry_table
from gradsweep._presenting._words import format_seconds as format_seconds
from gradsweep._presenting._words import format_size as format_size
from gradsweep._presenting._words import list_names, shown, split_advice
from gradsweep._verdict import Block, Status

#: Columns of a report that goes to no terminal, and of one that goes to a narrow or a wide one.
WIDTH, NARROWEST, WIDEST = 80, 60, 100

# Columns that a headline has for the names of what agrees, at least, and of a name within a sentence.
_OTHERS, _NAME = 18, 24

# Findings that are shown, the most convincing first.
_MOST_FINDINGS = 4

# Seconds from which on it is said how long the check was predicted to take, and why in this mode.
_NOTEWORTHY = 1.0

# How a check is called that subtracts values of the cost.
_SIDES = {"central": "two-sided", "forward": "one-sided", "five-point": "two-sided"}

_VERDICTS = {"pass": Role.PASS, "fail": Role.FAIL, "inconclusive": Role.INCONCLUSIVE}


def format_report(report: Report, width: int = WIDTH) -> str:
    """A report as plain text.

    Parameters
    ----------
    report : Report
        The report.
    width : int, default: 80
        Columns of a line, at most; from `NARROWEST` on.

    Returns
    -------
    str
        Lines, without a line break at the end. What stands before the first empty line is the headline.
    """
    return "\n".join(join(line) for line in lay_out(report, width))


def lay_out(report: Report, width: int = WIDTH, whole: str = "report.blocks") -> list[Line]:
    """Verdict first, a line for each block, the worst entries if some are wrong, likely causes, what a pass proves, the method.

    Parameters
    ----------
    report : Report
        The report.
    width : int, default: 80
        Columns of a line, at most; from `NARROWEST` on.
    whole : str, default: "report.blocks"
        Where all blocks are: said where some are left out of which there is something to be said.

    Returns
    -------
    list of Line
        Those of a section, then one without pieces, then those of the next.
    """
    wrong = [block for block in report.blocks if block.status is Status.WRONG]
    elsewhere = wrong_elsewhere(report)
    sections = [_headline(report, width), block_table(report.blocks, width, whole, report.difference), entry_table(wrong, width)]
    if report.displaced is not None and elsewhere:
        sections += [_second_point(report.displaced, elsewhere, width, whole), entry_table(elsewhere, width)]
    sections += _findings(report.findings, width)
    notes = [_labelled("note:", what, advice, width) for what, advice in notes_of(report, bool(elsewhere))]
    sections.append([line for note in notes for line in note])
    if report.verdict != "fail":
        sections.append(_certificate(report.certificate, width))
    sections.append(_method(report, width))
    return [line for section in sections if section for line in [(), *section]][1:]


def _headline(report: Report, width: int) -> list[Line]:
    word = report.verdict.upper() + ":"
    say = {"pass": _success, "fail": _failure, "inconclusive": _inconclusive}[report.verdict]
    pieces = Piece(word, _VERDICTS[report.verdict]), Piece(f" {say(report, width - len(word) - 1)}", Role.STRONG)
    return wrap(pieces, width, "", " " * (len(word) + 1))


def _success(report: Report, room: int) -> str:
    size = format_size(sum(block.size for block in report.blocks), "entry")
    if report.mode == "screen":
        verb = "agrees" if len(report.blocks) == 1 else "agree"
        return f"{format_size(len(report.blocks), 'block')} of {size} {verb} along random directions"
    compared = sum(block.size for block in report.blocks)
    whole = sum(math.prod(block.shape) for block in report.blocks)
    seen = f"{compared:,} of {format_size(whole, 'entry')}" if compared < whole else size
    vacuous = sum(block.vacuous for block in report.blocks)
    if vacuous:
        return f"{seen} checked, {vacuous:,} of them vacuous, the others agree"
    return f"{seen} looked at, and all agree" if compared < whole else f"all {size} agree with the numeric gradient"


def _failure(report: Report, room: int) -> str:
    """What is wrong, and what agrees; or that it shows at the second point alone."""
    wrong = [block.name for block in report.blocks if block.status is Status.WRONG]
    if wrong:
        return _accused("the gradient of ", wrong, report, " is wrong", room)
    elsewhere = wrong_elsewhere(report)
    names = {block.name for block in elsewhere}
    agrees = all(block.status is Status.AGREES for block in report.blocks if block.name in names)
    pronoun = "it agrees" if len(names) == 1 else "they agree"
    here = pronoun if agrees else "nothing shows it"
    what = f" is wrong at a second point; at the given one {here}"
    lead = "the gradient of "
    return lead + list_names([block.name for block in elsewhere], max(room - len(lead + what), _NAME)) + what


def _inconclusive(report: Report, room: int) -> str:
    """What could not be verified, if it is some of the blocks, and what agrees."""
    unclear = [block.name for block in report.blocks if block.status not in (Status.AGREES, Status.VACUOUS)]
    if not unclear:
        return "the gradient could not be verified to the tolerance"
    if report.interrupted and not any(block.size for block in report.blocks):
        return "interrupted before anything was compared"
    if report.interrupted:
        # A screen has also blocks that it was done with, and that could not be verified.
        unclear = [block.name for block in report.blocks if block.status is Status.UNFINISHED] or unclear
        return _accused("interrupted; ", unclear, report, f" {'is' if len(unclear) == 1 else 'are'} not finished", room)
    return _accused("", unclear, report, " could not be verified", room)


def _accused(lead: str, names: Sequence[str], report: Report, what: str, room: int) -> str:
    """Blocks of which something is said, and those that agree, in one line."""
    right = [block.name for block in report.blocks if block.status is Status.AGREES]
    verb = "agrees" if len(right) == 1 else "agree"
    others = min(_OTHERS, cell_width(f"; {list_names(right, WIDEST)} {verb}")) if right else 0
    text = lead + list_names(names, room - len(lead + what) - others) + what
    return f"{text}; {list_names(right, room - cell_width(text) - len(f';  {verb}'), 'other')} {verb}" if right else text


def wrong_elsewhere(report: Report) -> list[Block]:
    """Blocks, as they are at the second point, that are wrong there alone."""
    if report.displaced is None:
        return []
    known = {block.name for block in report.blocks if block.status is Status.WRONG}
    return [block for block in report.displaced.blocks if block.status is Status.WRONG and block.name not in known]


def _seen_at(displaced: Displaced) -> str:
    """What was looked at at the second point: entries, or blocks along random directions."""
    if any(block.interval is not None for block in displaced.blocks):
        return f"{format_size(len(displaced.blocks), 'block')}, along random directions,"
    return format_size(sum(block.size for block in displaced.blocks), "entry")


def _second_point(displaced: Displaced, wrong: Sequence[Block], width: int, whole: str) -> list[Line]:
    """The blocks that are wrong at the second point alone."""
    moved = f" all parameters displaced by up to {displaced.size:.2g} of their block's size; {_seen_at(displaced)} looked at"
    title = wrap([Piece("second point:", Role.LABEL), Piece(moved)], width, "  ", "    ")
    return [*title, *block_table(wrong, width, whole.replace("blocks", "displaced.blocks"))]


def _findings(findings: Sequence[Finding], width: int) -> list[list[Line]]:
    """What the mistake may be: kind, sentence and advice, the most convincing first."""
    sections = [_labelled(f"[{each.kind}]", each.message, each.advice, width) for each in findings[:_MOST_FINDINGS]]
    more = len(findings) - _MOST_FINDINGS
    if more > 0:
        sections[-1] += _plain(f"and {more} more {'finding' if more == 1 else 'findings'}, less convincing", width, "  ")
    return sections


def _labelled(label: str, what: str, advice: str, width: int) -> list[Line]:
    """A sentence behind a label, and advice below it."""
    lines = wrap([Piece(label, Role.LABEL), Piece(" "), *sentence(what)], width, "  ", "    ")
    if advice:
        lines += wrap([Piece("help:", Role.HELP), Piece(" "), *sentence(advice)], width, "    ", "      ")
    return lines


def _certificate(certificate: Certificate, width: int) -> list[Line]:
    """What a pass proves, and of what it proves nothing."""
    if not certificate.blocks:
        return []
    several = len(certificate.blocks) > 1
    in_scale, in_entry = (f" ({shown(name, _NAME)})" if several else "" for name in certificate.weakest())
    caught = (
        f"would have caught a block off by a factor of 1 ± {certificate.scale:.1e}{in_scale}, "
        f"any one entry off by {certificate.entry:.1e} of its block's largest{in_entry}"
    )
    lines = _labelled("certificate:", caught, "", width)
    if certificate.not_covered:
        lines += wrap(
            [Piece("not covered:", Role.LABEL), Piece(f" {'; '.join(certificate.not_covered)}")], width, "    ", "      "
        )
    return lines


def _method(report: Report, width: int) -> list[Line]:
    """How it was checked."""
    done = f"{format_size(report.evaluations, 'evaluation')} in {format_seconds(report.seconds)}"
    lines = [*_plain(_how(report), width, "  "), *_plain(f"{done}, tolerance {report.tolerance:.1e}", width, "    ")]
    if subtracts(report) and not math.isnan(report.step):
        noise = max((block.noise for block in report.blocks if math.isfinite(block.noise)), default=0.0)
        lines += _plain(f"noise of the quotients up to {noise:.1e} of a block", width, "    ")
    if report.displaced is not None and report.verdict != "fail":
        lines += _plain(f"{_seen_at(report.displaced)} at a second point, displaced at random: none is wrong", width, "    ")
    return lines + (_prediction(report, width) if report.evaluated_by == "kernels" else _because(report, width))


def _how(report: Report) -> str:
    """Mode, scheme and step."""
    differences = f"{report.scheme} differences"
    if math.isnan(report.step):  # interrupted before it was known
        return f"{report.mode}, {differences}, no step chosen yet"
    if report.evaluated_by == "kernels":
        return f"{report.mode}, {differences}, step {report.step:g}"
    if report.scheme == "complex":
        return f"complex step, {report.evaluated_by}, step {report.step:.3g} of a parameter's size"
    if not subtracts(report):
        return f"{report.mode} on {report.evaluated_by}, {differences}, step {report.step:g}"
    sides = _SIDES.get(report.scheme, report.scheme)
    kind = "screen" if report.mode == "screen" else "check"
    check = f"plain {sides} {kind}" if report.evaluated_by == PLAIN else f"{sides} {kind}, {report.evaluated_by}"
    return f"{check}, {differences}, steps up to {report.step:.3g}"


def _prediction(report: Report, width: int) -> list[Line]:
    """Why in this mode, and how long it was to take. What takes no time needs neither."""
    if report.seconds < _NOTEWORTHY and (report.mode == "sweep" or not report.reason):
        return []
    # How long a screen takes depends on what it finds.
    known = math.isfinite(report.predicted)
    parts = [f"{report.mode}: {report.reason}"] if report.reason else []
    parts += [f"predicted {format_seconds(report.predicted)} on one core"] if known else []
    return _plain("; ".join(parts), width, "  ") if parts else []


def _because(report: Report, width: int) -> list[Line]:
    """Why the cost was evaluated so, and on a line of its own what to do about it."""
    if not report.reason:
        return []
    what, advice = split_advice(report.reason)
    lead = "not on difference arrays: " if report.evaluated_by == PLAIN else ""
    return _labelled("note:", lead + what, advice, width)


def _plain(text: str, width: int, indent: str) -> list[Line]:
    return wrap([Piece(text, Role.FAINT)], width, indent, indent + "  ")
