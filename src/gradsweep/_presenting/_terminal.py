"""A report on a terminal: the lines of `_text`, each piece in the style of its role."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.text import Text

from gradsweep._presenting._layout import Line, Role
from gradsweep._presenting._text import NARROWEST, WIDEST, WIDTH

#: Colour says what matters, weight what to read first. What has no style is the text itself.
_STYLES: Mapping[Role, str] = {
    Role.TEXT: "",
    Role.STRONG: "bold",
    Role.FAINT: "dim",
    Role.PASS: "bold green",
    Role.FAIL: "bold red",
    Role.INCONCLUSIVE: "bold yellow",
    Role.AGREES: "green",
    Role.WRONG: "red",
    Role.UNCLEAR: "yellow",
    Role.DIGITS: "red",
    Role.LABEL: "bold",
    Role.HELP: "bold cyan",
    Role.PLACE: "cyan",
}


def width_of(console: Console) -> int:
    """Columns for a report: the terminal's, within limits; those of plain text where it is none."""
    return min(max(console.width, NARROWEST), WIDEST) if console.is_terminal else WIDTH


def render(lines: Sequence[Line]) -> Text:
    """Lines with their styles.

    Parameters
    ----------
    lines : sequence of Line
        What `lay_out` gives.

    Returns
    -------
    rich.text.Text
        To be printed as it is: its lines are not to be wrapped again.
    """
    text = Text("\n", end="\n").join(Text.assemble(*((piece, _STYLES[role]) for piece, role in line)) for line in lines)
    text.no_wrap, text.overflow = True, "ignore"
    return text
