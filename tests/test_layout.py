"""Cells of a terminal, and lines made of pieces."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from gradsweep._escaping import escape
from gradsweep._presenting._cells import cell_width, pad, shorten, split
from gradsweep._presenting._layout import Column, Piece, Role, join, line_width, sentence, tabulate, wrap
from gradsweep._presenting._words import list_names

# Of one and two columns, and marks that have none.
TEXTS = st.text(st.sampled_from("ab 中文ｶ한🙂é±…\u0301\u0327"))


class TestCells:
    @pytest.mark.parametrize(
        "text", ["W1", "重み", "ｶﾅ", "한글", "🙂", "e\u0301", "a\u0327\u0301", "±…→λ²", "①", "\u1112\u1161", ""]
    )
    def test_width_is_that_of_terminals(self, text: str) -> None:
        """Counted by somebody else."""
        assert cell_width(text) == cell_len(text)

    @pytest.mark.parametrize(
        ("text", "width"),
        [("❤\ufe0f", 2), ("👍\U0001f3fd", 2), ("1\ufe0f\u20e3", 2), ("a\ufe0f", 1), ("\u0301", 0), ("\u1112\u1161\u11ab", 2)],
    )
    def test_pictures(self, text: str, width: int) -> None:
        assert cell_width(text) == width

    @given(st.text())
    def test_escape(self, text: str) -> None:
        """All can be printed; what could be is as it was; and nothing is escaped twice."""
        escaped = escape(text)
        assert escaped.isprintable()
        assert escape(escaped) == escaped
        assert escaped == text or not text.isprintable()

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("a\x1b[31mb\x1b]0;title\x07", r"a\x1b[31mb\x1b]0;title\x07"),
            ("a\r\n\tb\x9b", r"a\r\n\tb\x9b"),
            ("a\u202eb\u200dc\u2066", r"a\u202eb\u200dc\u2066"),
            ("\udcff", r"\udcff"),
            ("[red]重み🙂", "[red]重み🙂"),
        ],
    )
    def test_what_a_terminal_would_obey(self, text: str, shown: str) -> None:
        assert escape(text) == shown

    @given(TEXTS, st.integers(1, 12))
    def test_split(self, text: str, room: int) -> None:
        """As much as there is room for, and no mark without its letter."""
        front, rest = split(text, room)
        assert front + rest == text
        assert cell_width(front) <= room or len(front.rstrip("\u0301\u0327")) <= 1
        assert not rest or cell_width(front + rest[0]) > room

    @given(TEXTS.map(lambda text: text.replace("…", ".")), st.integers(1, 12))
    def test_shorten(self, text: str, room: int) -> None:
        """As long as it may be, a column less where half of a wide character would be left."""
        short = shorten(text, room)
        width = cell_width(short)
        assert width <= room
        if short != text:
            assert width >= room - 2
            front, _, end = short.partition("…")
            assert text.startswith(front)
            assert text.endswith(end)
            assert not end.startswith(("\u0301", "\u0327"))

    def test_shorten_ascii(self) -> None:
        for room in range(1, 12):
            assert len(shorten("abcdefghijkl", room)) == room
        assert shorten("abcdefghijkl", 12) == "abcdefghijkl"
        assert shorten("abcdefghijkl", 5) == "ab…kl"

    def test_pad(self) -> None:
        assert pad("重み", 6) == "重み  "
        assert pad("重み", 6, right=True) == "  重み"


class TestWrap:
    @given(TEXTS, st.integers(6, 30), st.sampled_from(["", "  "]), st.sampled_from(["", "    "]))
    def test_words_and_columns(self, text: str, width: int, first: str, rest: str) -> None:
        """No line is too wide, none ends with a blank, and all words are there in order."""
        lines = [join(line) for line in wrap([Piece(text)], width, first, rest)]
        assert [line for line in lines if cell_width(line) > width or line != line.rstrip(" ")] == []
        assert "".join("".join(lines).split()) == "".join(text.split())

    @given(st.lists(st.tuples(TEXTS, st.sampled_from([Role.TEXT, Role.LABEL, Role.PLACE]))), st.integers(6, 30))
    def test_roles_change_no_line(self, pieces: list[tuple[str, Role]], width: int) -> None:
        plain = wrap([Piece("".join(text for text, _ in pieces))], width, "  ", "    ")
        styled = wrap([Piece(*piece) for piece in pieces], width, "  ", "    ")
        assert [join(line) for line in styled] == [join(line) for line in plain]

    def test_roles_are_kept(self) -> None:
        pieces = Piece("help:", Role.HELP), Piece(" use "), Piece("a.py, line 3", Role.PLACE), Piece(" there")
        assert wrap(pieces, 12, "  ") == [
            (Piece("  "), Piece("help: ", Role.HELP), Piece("use")),
            (Piece("a.py, line 3", Role.PLACE),),
            (Piece("there"),),
        ]

    def test_long_words(self) -> None:
        """Broken where the line ends; or left whole, on a line of their own."""
        pieces = [Piece("in"), Piece(" " + "x" * 25 + " there")]
        assert [join(line) for line in wrap(pieces, 12, "  ", "    ")] == [
            "  in",
            "    xxxxxxxx",
            "    xxxxxxxx",
            "    xxxxxxxx",
            "    x there",
        ]
        assert [join(line) for line in wrap(pieces, 12, "  ", "    ", whole=True)] == ["  in", f"    {'x' * 25}", "    there"]

    def test_no_text(self) -> None:
        assert wrap([Piece("")], 12, "  ") == [()]

    def test_lines_of_code_stand_out(self) -> None:
        pieces = sentence("it is left out (my model.py, line 10, in Net.forward: h = f(x)); also line 12")
        assert [piece.text for piece in pieces if piece.role is Role.PLACE] == ["model.py, line 10, in Net.forward"]
        assert join(tuple(pieces)) == "it is left out (my model.py, line 10, in Net.forward: h = f(x)); also line 12"


def test_tabulate() -> None:
    columns = [
        Column("name", [(Piece("重み"),), (Piece("b"),)]),
        Column("size", [(Piece("1"), Piece("2", Role.WRONG)), (Piece("345678"),)], right=True),
        Column("word", [(), (Piece("x"),)]),
    ]
    lines = tabulate(columns)
    assert [join(line) for line in lines] == ["  name    size  word", "  重み      12", "  b     345678  x"]
    assert {line_width(line) for line in lines} == {20, 14, 17}
    assert Piece("2", Role.WRONG) in lines[1]


def test_list_names() -> None:
    names = ["W1", "b1", "W2"]
    assert list_names(names, 13) == "W1, b1 and W2"
    assert list_names(names, 12) == "3 blocks"
    assert list_names(names, 12, "other") == "3 others"
    assert re.fullmatch(r"x+…x+ and 2 more", list_names(["x" * 99, "y" * 99, "z" * 99], 30))
    assert list_names(["重み" * 20], 20) == shorten("重み" * 20, 20)
    assert list_names(["a\x1b"], 20) == r"a\x1b"
