"""Text that came from elsewhere, on one line and without what would steer a terminal."""

# Longer texts lose their middle: what is wrong is said at the end, and where at the beginning.
_LONGEST = 1000


def escape(text: str) -> str:
    r"""The text with all that cannot be printed as Python writes it: a name must not move the cursor, or turn the line around.

    Examples
    --------
    >>> print(escape("W\x1b[31m1"))
    W\x1b[31m1
    """
    return text if text.isprintable() else "".join(map(_printable, text))


def one_line(text: str, longest: int = _LONGEST) -> str:
    r"""A text as one line of printable characters.

    Line breaks, control characters, halves of surrogate pairs and marks that reverse the direction of writing become what stands
    for them in Python's source.

    Parameters
    ----------
    text : str
        Any text.
    longest : int, default: 1000
        Characters of the result, at most.

    Returns
    -------
    str
        The line.

    Examples
    --------
    >>> print(one_line("W\x1b[2J\nb"))
    W\x1b[2J\nb
    """
    # A megabyte of names need not be turned before it is cut.
    escaped = escape(text if len(text) <= 2 * longest else text[:longest] + text[-longest:])
    if len(escaped) <= longest:
        return escaped
    front = longest // 2
    return f"{escaped[:front]}…{escaped[len(escaped) - (longest - front - 1) :]}"


def _printable(letter: str) -> str:
    return letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
