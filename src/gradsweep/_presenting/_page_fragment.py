"""A report as a piece of HTML, for a notebook: no script, no colours but those of badges, which stand on any ground."""

from typing import Protocol

from gradsweep._presenting import _document
from gradsweep._presenting._maps import most_telling
from gradsweep._presenting._notes import notes_of
from gradsweep._presenting._page import headline, render
from gradsweep._presenting._text import wrong_elsewhere
from gradsweep._verdict import Entry

# Blocks and entries that are listed, at most.
_BLOCKS, _ENTRIES = 12, 5


class Report(_document.Report, Protocol):
    """What is shown of a report in a notebook."""

    def worst(self, k: int = 10) -> list[Entry]: ...


def format_fragment(report: Report) -> str:
    """A report as HTML without a head.

    Parameters
    ----------
    report : Report
        The report.

    Returns
    -------
    str
        Whatever was given with the check is escaped.
    """
    chosen = most_telling(report.blocks)[:_BLOCKS]
    worst = [entry for entry in report.worst(_ENTRIES) if not entry.score <= 1.0]
    content = render(
        "fragment.html.jinja",
        report=report,
        headline=headline(report),
        blocks=chosen,
        left_out=len(report.blocks) - len(chosen),
        worst=worst,
        notes=notes_of(report, bool(wrong_elsewhere(report))),
    )
    return content.decode("utf-8")
