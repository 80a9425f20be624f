"""Reports as text: of every kind, and of functions, however they are evaluated; what networks have is in test_verdict."""

import inspect
import itertools
import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from models import attention, classical
from reports import KINDS, LONG, REASON, block, entry, layered, report
from rich.cells import cell_len

import gradsweep
from gradsweep._presenting._text import format_report
from gradsweep._presenting._words import split_advice
from gradsweep._report import Displaced, Report
from gradsweep._verdict import Entry, Status


def method(text: str) -> list[str]:
    """The lines after the last empty one."""
    return text.rpartition("\n\n")[2].splitlines()


class TestLayout:
    EVALUATED = ("kernels", "difference arrays", "plain function", "batched function", "compiled function")

    @pytest.mark.parametrize("evaluated_by", EVALUATED)
    @pytest.mark.parametrize("status", Status)
    @pytest.mark.parametrize("precision", [2.0**-52, 2.0**-23])
    @pytest.mark.parametrize("name", ["W1", LONG])
    def test_at_most_80_columns(self, evaluated_by: str, status: Status, precision: float, name: str) -> None:
        """Of every status, however it came about, and no blanks at the ends of lines."""
        blocks = block(name, status, kinks=2), block(name.replace("Wq", "Wk")), block("b", shape=())
        displaced = Displaced(tuple(replace(each, status=Status.WRONG) for each in blocks), 0.25, 64)
        for second in (None, displaced):
            made = report(*blocks, evaluated_by=evaluated_by, displaced=second, precision=precision, kinks=2, predicted=1.0)
            text = str(made)
            assert text.startswith({"pass": "PASS: ", "fail": "FAIL: ", "inconclusive": "INCONCLUSIVE: "}[made.verdict])
            lines = text.split("\n")
            assert [line for line in lines if len(line) > 80 or line != line.rstrip() or not line.isprintable()] == []
            assert "\n\n\n" not in text

    def test_shapes_of_any_number_of_axes(self) -> None:
        text = str(report(block("a", shape=(3, 4, 5)), block("b", shape=()), block("c", shape=(7,))))
        assert re.search(r"^  a +3 x 4 x 5 ", text, re.MULTILINE)
        assert re.search(r"^  b +number ", text, re.MULTILINE)
        assert re.search(r"^  c +7 ", text, re.MULTILINE)
        assert re.search(r"^  all +68 ", text, re.MULTILINE)

    def test_entries_by_their_names(self) -> None:
        """As an expression: with an index, and of a number without."""
        wrong = [
            block("W1", Status.WRONG, worst=(entry("W1", (3, 5)),)),
            block("[0][1]", Status.WRONG, worst=(entry("[0][1]", (2,)),)),
            block("b", Status.WRONG, shape=(), worst=(entry("b", ()),)),
        ]
        text = str(report(*wrong))
        labels = [line.split("  ")[1] for line in text.split("\n\n")[2].splitlines()[1:]]
        assert labels == ["W1[3, 5]", "[0][1][2]", "b"]

    def test_long_names(self) -> None:
        """Those that fit stand as they are; others lose their middle, never index or end."""
        fits = "layers[12].attention.Wq"
        assert re.search(rf"^  {re.escape(fits)} ", str(report(block(fits))), re.MULTILINE)
        name = "model.encoder." + "block." * 20 + "Wq"
        text = str(report(block(name, Status.WRONG, worst=(entry(name, (123, 4567)),))))
        assert re.match(r"FAIL: the gradient of model\.\S+…\S+\.Wq is wrong\n", text)
        assert re.search(r"^  model\.encoder\.\S+…\S+\.Wq +3 x 4", text, re.MULTILINE)
        assert re.search(r"^  model\.\S+…\S+\.Wq\[123, 4567\]  ", text, re.MULTILINE)


class TestKinds:
    """Reports of every kind that there is."""

    @pytest.mark.parametrize("width", [60, 61, 72, 80, 100])
    @pytest.mark.parametrize("kind", KINDS)
    def test_columns(self, kind: str, width: int) -> None:
        """As many as there are, by what a terminal takes for each character; nothing that a terminal would obey."""
        made = KINDS[kind]()
        lines = format_report(made, width).split("\n")
        assert [line for line in lines if cell_len(line) > width or line != line.rstrip() or not line.isprintable()] == []
        assert lines[0].startswith(f"{made.verdict.upper()}: ")
        assert lines[-1]
        assert not any(line == following == "" for line, following in itertools.pairwise(lines))

    @pytest.mark.parametrize("kind", KINDS)
    def test_80_by_itself(self, kind: str) -> None:
        made = KINDS[kind]()
        assert str(made) == format_report(made, 80)

    @pytest.mark.parametrize("kind", KINDS)
    def test_one_screen(self, kind: str) -> None:
        """However many blocks and findings there are; most of it are notes, if there are blocks of every status."""
        assert str(KINDS[kind]()).count("\n") < (70 if kind == "many blocks of every status" else 50)

    @pytest.mark.parametrize("width", [60, 80, 100])
    def test_wide_names_are_aligned(self, width: int) -> None:
        """By columns, not by characters."""
        table = format_report(KINDS["wide names"](), width).split("\n\n")[1].splitlines()
        ends = {cell_len(line[: line.index("1.0e-15")]) for line in table[1:]}
        assert len(ends) == 1
        assert len({line.index("1.0e-15") for line in table[1:]}) > 1

    def test_control_characters(self) -> None:
        """As Python writes them, wherever a name stands."""
        text = str(KINDS["control characters"]())
        assert "\\x1b[31m\\n\\t\\r" in text.splitlines()[0]
        assert "[factor] W\\x1b[31m\\n\\t\\r\\x07\\u202e[red]\\udcff: the" in text
        assert "one worker: W\\x1b[31m\\n\\t\\r\\x07\\u202e[red]\\udcff cannot" in text


class TestFolding:
    def rows(self, text: str) -> list[str]:
        return text.split("\n\n")[1].splitlines()[1:]

    def test_some_blocks_are_all_shown(self) -> None:
        rows = self.rows(str(report(*layered(24, {}))))
        assert [row.split()[0] for row in rows] == [*(f"layers[{number}].W" for number in range(24)), "all"]

    def test_many_that_agree(self) -> None:
        """The first few in order, the rest in a line, with the largest difference among them."""
        blocks = layered(200, {})
        blocks[77] = replace(blocks[77], difference=3e-12)
        *shown, fold, total = self.rows(str(report(*blocks)))
        assert [row.split()[0] for row in shown] == [f"layers[{number}].W" for number in range(8)]
        assert fold == "  and 192 more blocks that agree, with differences up to 3.0e-12"
        assert total.split()[:2] == ["all", f"{200 * 64 * 64:,}"]

    @pytest.mark.parametrize("status", [status for status in Status if status is not Status.AGREES])
    def test_what_is_noteworthy_is_shown_in_its_place(self, status: Status) -> None:
        *shown, fold, _ = self.rows(str(report(*layered(200, {3: status, 57: Status.WRONG, 150: status}))))
        names = [row.split()[0] for row in shown]
        assert names == [f"layers[{number}].W" for number in (*range(9), 57, 150)]
        assert fold.startswith("  and 189 more blocks that agree")

    def test_vacuous_entries_are_noteworthy(self) -> None:
        blocks = layered(200, {})
        blocks[150] = replace(blocks[150], vacuous=5)
        blocks[151] = replace(blocks[151], kinks=5)
        rows = self.rows(str(report(*blocks)))
        assert [row.split()[0] for row in rows[8:10]] == ["layers[150].W", "layers[151].W"]

    def test_too_many_that_are_noteworthy(self) -> None:
        """They are counted by what is known of them, and it is said where all are; no status is left out."""
        statuses = dict.fromkeys(range(0, 200, 2), Status.WRONG) | {199: Status.NOISY}
        *shown, fold, _ = self.rows(str(report(*layered(200, statuses))))
        assert sum("WRONG" in row for row in shown) == 15
        assert shown[-1].split()[0] == "layers[199].W"
        assert fold == "  and 176 more blocks: 91 agree, 85 wrong (report.blocks has all of them)"

    def test_blocks_that_are_wrong_at_the_second_point(self) -> None:
        there = Displaced(tuple(layered(200, dict.fromkeys(range(200), Status.WRONG))), 0.25, 300)
        text = str(report(*layered(200, {}), displaced=there))
        assert "and 184 more blocks: wrong (report.displaced.blocks has all of them)" in text

    def test_notes_are_one_for_each_status(self) -> None:
        text = " ".join(str(KINDS["many blocks, all noisy"]()).split())
        assert text.count("note: layers[0].W, layers[1].W, layers[2].W and 197 more: the noise of their quotients, up to") == 1
        assert text.count("note: layers") == 1

    def test_findings(self) -> None:
        """The most convincing, and how many there are beside."""
        text = str(KINDS["many findings"]())
        assert [f"[factor] W{number}: " in text for number in range(9)] == [True] * 4 + [False] * 5
        assert "\n  and 5 more findings, less convincing\n" in text


class TestEntries:
    def entries(self, width: int, *worst: Entry, name: str = "W1") -> list[str]:
        text = format_report(report(block(name, Status.WRONG, worst=worst)), width)
        return next(section for section in text.split("\n\n") if section.startswith("  worst")).splitlines()

    def numbers(self, line: str) -> list[str]:
        return re.findall(r"-?\d\.\d+e[+-]\d+", line)[:2]

    def test_17_digits_where_they_fit(self) -> None:
        values = 0.1 + 0.2, 0.3
        line = self.entries(80, entry("W1", (1, 2), values[1], analytic=values[0]))[1]
        assert tuple(map(float, self.numbers(line))) == values
        assert line.endswith("  1+2.2e-16")

    @pytest.mark.parametrize("width", [60, 66, 72, 80, 100])
    @pytest.mark.parametrize("gap", [1e-7, 1e-4, 1e-2, 0.5, -3.0])
    @pytest.mark.parametrize("name", ["W1", "encoder.layers[12].attention.Wq"])
    def test_fewer_show_the_difference(self, width: int, gap: float, name: str) -> None:
        line = self.entries(width, entry(name, (123, 45), 1 / 3, analytic=(1 + gap) / 3), name=name)[1]
        analytic, numeric = map(float, self.numbers(line))
        assert (analytic - numeric) * 3 == pytest.approx(gap, rel=0.1)
        assert "[123, 45]" in line

    def test_columns_are_aligned(self) -> None:
        lines = self.entries(
            60,
            entry("W1", (1, 2), 1e-300, analytic=-1e300),
            entry("W1", (100, 2000), 1.0, analytic=math.nan),
            entry("W1", (), 0.0),
        )
        assert len({cell_len(line) for line in lines}) == 1

    def test_ratio(self) -> None:
        pairs = {
            (2.0, 1.0): "2",
            (-1.0, 3.0): "-0.3333",
            (1 + 3e-7, 1.0): "1+3.0e-07",
            (1 - 3e-5, 1.0): "1-3.0e-05",
            (1.0, 0.0): "-",
        }
        for (analytic, numeric), ratio in pairs.items():
            assert self.entries(80, entry("W1", (1, 2), numeric, analytic=analytic))[1].split()[-1] == ratio
        assert self.entries(80, entry("W1", (1, 2), 1.0, analytic=-0.0))[1].split()[-1] == "0"

    def test_none_is_known(self) -> None:
        assert "worst" not in str(report(block("W1", Status.WRONG, worst=())))


class TestMethod:
    def test_networks(self) -> None:
        """A prediction where it took long, none otherwise."""
        quick = report(block("W1"), evaluated_by="kernels", seconds=0.1, predicted=0.2, step=1e-7)
        assert method(str(quick)) == [
            "  sweep, central differences, step 1e-07",
            "    1,234 evaluations in 100 ms, tolerance 1.0e-07",
        ]
        assert method(str(replace(quick, seconds=2.0)))[2:] == ["  predicted 200 ms on one core"]

    def test_difference_arrays(self) -> None:
        made = report(block("W1"), evaluated_by="difference arrays", step=1e-7)
        assert method(str(made)) == [
            "  sweep on difference arrays, central differences, step 1e-07",
            "    1,234 evaluations in 2.5 s, tolerance 1.0e-07",
        ]

    def test_plain_function(self) -> None:
        """That it is a plain check, how noisy, which line is the reason, and on a line of its own what to do."""
        made = report(block("W1"), block("b1", noise=2e-9))
        assert method(str(made)) == [
            "  plain two-sided check, central differences, steps up to 6.06e-06",
            "    1,234 evaluations in 2.5 s, tolerance 1.0e-07",
            "    noise of the quotients up to 2.0e-09 of a block",
            "  note: not on difference arrays: float(...) makes a plain number of a value",
            "    that changes (train.py, line 12, in cost: return float(w[0]))",
            "    help: use w[0]",
        ]

    @pytest.mark.parametrize(
        ("evaluated_by", "scheme", "words"),
        [
            ("plain function", "forward", "plain one-sided check, forward differences"),
            ("plain function", "five-point", "plain two-sided check, five-point differences"),
            ("batched function", "central", "two-sided check, batched function, central differences"),
            ("compiled function", "forward", "one-sided check, compiled function, forward differences"),
        ],
    )
    def test_other_functions(self, evaluated_by: str, scheme: str, words: str) -> None:
        assert method(str(report(block("W1"), evaluated_by=evaluated_by, scheme=scheme)))[0].startswith(f"  {words}, ")

    def test_complex_step(self) -> None:
        """Nothing is subtracted, and so nothing is said of noise."""
        made = report(block("W1"), scheme="complex", step=2.0**-66, reason="")
        assert method(str(made)) == [
            "  complex step, plain function, step 1.36e-20 of a parameter's size",
            "    1,234 evaluations in 2.5 s, tolerance 1.0e-07",
        ]

    @pytest.mark.parametrize(
        ("reason", "advice"),
        [
            (REASON, "use w[0]"),
            ("what (f.py, line 1, in f: return g(x))", ""),
            ("what (f.py, line 1, in f: y = g(x); return h(y))", ""),
            ("what (f.py, line 1, in f: y = g(x); return h(y)); write k(y) there", "write k(y) there"),
            ("what (f.py, line 1, in f: return g(); write k(y)", "write k(y)"),
            ("at an unknown place", ""),
            ("", ""),
        ],
    )
    def test_split_advice(self, reason: str, advice: str) -> None:
        what, found = split_advice(reason)
        assert found == advice
        assert reason == (f"{what}; {found}" if found else what)

    def test_notes(self) -> None:
        text = str(report(block("W1"), notes=("one worker: the cost cannot be pickled", "another " * 20)))
        assert "\n  note: one worker: the cost cannot be pickled\n  note: another another" in text

    def test_no_prediction_for_functions(self) -> None:
        for evaluated_by in TestLayout.EVALUATED[1:]:
            text = str(report(block("W1"), evaluated_by=evaluated_by, mode="batched", reason="why"))
            assert "nan" not in text
            assert "predicted" not in text


class TestNotes:
    """What a status means, and what to do about it."""

    def note(self, status: Status, **changes: Any) -> str:
        return " ".join(str(report(block("W1", status), **changes)).split("\n\n")[2].split())

    def test_noise_of_a_plain_function(self) -> None:
        note = self.note(Status.NOISY)
        assert note.startswith("note: W1: the noise of its quotients, 3.5e-11, is too large for the tolerance.")
        assert note.endswith('use scheme="five-point", or write the cost so that difference arrays can follow it.')

    def test_noise_at_five_points(self) -> None:
        """Nobody is sent where he is already."""
        note = self.note(Status.NOISY, scheme="five-point")
        assert "five-point" not in note
        assert note.endswith("or allow a larger tolerance.")

    @pytest.mark.parametrize("evaluated_by", ["batched function", "compiled function"])
    def test_noise_of_stacked_values(self, evaluated_by: str) -> None:
        assert "NumPy evaluates, which difference arrays can follow" in self.note(Status.NOISY, evaluated_by=evaluated_by)

    @pytest.mark.parametrize(
        ("evaluated_by", "words"), [("kernels", "Units are saturated"), ("difference arrays", "Terms cancel")]
    )
    def test_rounding(self, evaluated_by: str, words: str) -> None:
        note = self.note(Status.NOISY, evaluated_by=evaluated_by, predicted=1.0)
        assert note.startswith("note: W1: the rounding that its gradient may carry, 3.5e-11, is too large for the tolerance.")
        assert words in note

    def test_less_precise_types(self) -> None:
        assert "Compute it in float64" in self.note(Status.NOISY, precision=2.0**-23)

    def test_not_finite(self) -> None:
        """Where, and what to do."""
        bad = block("W1", Status.NOT_FINITE, worst=(entry("W1", (0, 3), math.nan, math.inf), entry("W1", (0, 1))))
        text = " ".join(str(report(bad)).split())
        assert "W1: beside the given parameters (as at W1[0, 3]) the cost is not a finite number" in text
        assert "Move the parameters away from where the cost ends" in text
        assert text.startswith("INCONCLUSIVE")

    def test_a_step_too_large(self) -> None:
        assert "Leave step out" in self.note(Status.STEP_TOO_LARGE, step=0.5)
        assert "Use step=1e-07" in self.note(Status.STEP_TOO_LARGE, step=0.5, evaluated_by="difference arrays")

    def test_kinks(self) -> None:
        """Conventions of backward passes are known only where units are."""
        for evaluated_by, known in (("plain function", False), ("difference arrays", True)):
            text = str(report(block("W1", kinks=1), evaluated_by=evaluated_by, kinks=1))
            assert "1 entry at a kink" in text
            assert ("takes left, right or mean slope" in " ".join(text.split())) == known


class TestSecondPoint:
    def test_wrong_there_alone(self) -> None:
        """Said in the headline, with a table and entries of its own."""
        there = block("b1", Status.WRONG, shape=(64, 1), size=12, differing=12, difference=2e-3, worst=(entry("b1", (7, 0)),))
        displaced = Displaced((block("W1"), there), 0.25, 300)
        text = str(report(block("W1"), block("b1", shape=(64, 1)), displaced=displaced))
        headline, first, second, entries, *_ = text.split("\n\n")
        assert headline == ("FAIL: the gradient of b1 is wrong at a second point; at the given one it agrees")
        assert "WRONG" not in first
        assert second.splitlines()[:2] == [
            "  second point: all parameters displaced by up to 0.25 of their block's size; 24",
            "    entries looked at",
        ]
        assert second.splitlines()[3].split()[0] == "b1"
        assert second.splitlines()[3].endswith("WRONG: 12 of 12 looked at")
        assert len(second.splitlines()) == 4
        assert entries.splitlines()[1].startswith("  b1[7, 0] ")

    @pytest.mark.parametrize(
        ("statuses", "words"),
        [
            ((Status.AGREES, Status.AGREES), "at the given one they agree"),
            ((Status.AGREES, Status.VACUOUS), "at the given one nothing shows it"),
        ],
    )
    def test_two_blocks(self, statuses: tuple[Status, Status], words: str) -> None:
        here = [block(name, status) for name, status in zip("ab", statuses, strict=True)]
        displaced = Displaced((block("a", Status.WRONG), block("b", Status.WRONG)), 0.25, 300)
        headline = " ".join(str(report(*here, displaced=displaced)).partition("\n\n")[0].split())
        assert headline.startswith("FAIL: the gradient of a and b is wrong at a second point")
        assert headline.endswith(words)

    def test_wrong_at_both(self) -> None:
        """The given parameters tell it all."""
        wrong = block("b1", Status.WRONG)
        text = str(report(block("W1"), wrong, displaced=Displaced((block("W1"), wrong), 0.25, 300)))
        assert text.startswith("FAIL: the gradient of b1 is wrong; W1 agrees\n")
        assert "second point" not in text

    def test_more_is_wrong_there(self) -> None:
        """Both tables, and the headline of the first."""
        displaced = Displaced((block("W1", Status.WRONG), block("b1", Status.WRONG)), 0.03, 300)
        text = str(report(block("W1"), block("b1", Status.WRONG), displaced=displaced))
        assert text.startswith("FAIL: the gradient of b1 is wrong; W1 agrees\n")
        assert re.search(r"second point: .* up to 0\.03 .*\n.*\n.*\n  W1 .* WRONG: 12 of 12 entries\n\n", text)

    def test_agrees_there(self) -> None:
        """What was looked at is said, and what is merely unclear there is not."""
        displaced = Displaced((block("W1", Status.NOISY),), 0.25, 300)
        text = str(report(block("W1"), displaced=displaced))
        assert method(text)[3] == "    12 entries at a second point, displaced at random: none is wrong"

    def test_screened_there(self) -> None:
        """Of a screen the blocks are counted: no entry was looked at on its own."""
        displaced = Displaced((block("W1", interval=(1e-16, 1e-15)), block("b1", interval=(1e-16, 1e-15))), 0.25, 8)
        text = str(report(block("W1"), evaluated_by="difference arrays", mode="screen", displaced=displaced))
        assert "2 blocks, along random directions, at a second point, displaced at random: none is wrong" in " ".join(
            text.split()
        )
        assert "too large" not in text


class TestHeadline:
    def test_what_could_not_be_verified(self) -> None:
        blocks = block("W1", Status.NOISY), block("b1", Status.AT_KINKS), block("W2"), block("b2", Status.VACUOUS)
        assert str(report(*blocks)).splitlines()[0] == "INCONCLUSIVE: W1 and b1 could not be verified; W2 agrees"
        many = [block(f"encoder.layers[{number}].W", Status.NOISY) for number in range(9)]
        headline = str(report(*many, block("W2"))).splitlines()[0]
        assert headline == "INCONCLUSIVE: encoder.layers[0].W and 8 more could not be verified; W2 agrees"
        assert str(report(block("W1", Status.VACUOUS))).startswith("INCONCLUSIVE: the gradient could not be verified")

    def test_a_sample(self) -> None:
        """Of how many entries these are all that were looked at."""
        text = str(KINDS["sample"]())
        assert text.splitlines()[0] == "PASS: 10 of 76 entries looked at, and all agree"
        assert re.search(r"^  b1 .* agrees; 5 of 64 entries looked at$", text, re.MULTILINE)
        assert re.search(r"^  b1 .* WRONG: 3 of 5 looked at$", str(KINDS["sample that fails"]()), re.MULTILINE)
        vacuous = str(report(block("W1", size=5, vacuous=2)))
        assert vacuous.startswith("PASS: 5 of 12 entries checked, 2 of them vacuous, the others agree\n")

    def test_an_interrupt(self) -> None:
        """What was compared until then is told apart from what agrees."""
        text = str(KINDS["interrupted"]())
        assert text.splitlines()[0] == "INCONCLUSIVE: interrupted; b1 and W2 are not finished; W1 agrees"
        assert re.search(r"^  b1 .* not finished: 12 of 64 entries$", text, re.MULTILINE)
        assert "b1 and W2: the check was interrupted with 12 of 307,264 entries compared;" in " ".join(text.split())

    def test_a_screen(self) -> None:
        blocks = [block(name, interval=(1e-16, 1e-15)) for name in ("W1", "b1")]
        headlines = [str(report(*some, mode="screen")).splitlines()[0] for some in (blocks, blocks[:1])]
        assert headlines == [
            "PASS: 2 blocks of 24 entries agree along random directions",
            "PASS: 1 block of 12 entries agrees along random directions",
        ]

    def test_others_that_do_not_fit_are_counted(self) -> None:
        names = [f"encoder.layers[{number}].attention.projection" for number in range(9)]
        text = str(report(block("W", Status.WRONG), *map(block, names)))
        assert text.splitlines()[0].endswith("and 8 more agree")
        long = [f"{name}.{'x' * 60}" for name in names]
        wrong = str(report(*(block(name, Status.WRONG) for name in long[:3]), *map(block, long[3:]))).splitlines()[0]
        assert re.fullmatch(r"FAIL: the gradient of encoder\S+…x+ and 2 more is wrong; (\S+…x+ and 5 more|6 others) agree", wrong)

    def test_one_other(self) -> None:
        name = "x" * 200
        text = str(report(block(name, Status.WRONG), block("y" * 200))).splitlines()[0]
        assert re.fullmatch(r"FAIL: the gradient of x+…x+ is wrong; (1 block|y+…y+) agrees", text)


class TestModels:
    """Reports of checks of the corpus."""

    def test_a_tree(self) -> None:
        case = attention.MODELS[2].build(0)
        text = str(gradsweep.check(case.cost, case.params, case.gradient))
        assert re.search(r"^  project\.query +2 x 4 x 3 .* agrees$", text, re.MULTILINE)
        assert "sweep on difference arrays, central differences, step 1e-07" in text
        assert "at a second point, displaced at random: none is wrong" in text

    def test_a_number(self) -> None:
        model = next(model for model in classical.MODELS if model.name == "linear SVM")
        case = model.build(0)
        bug = next(iter(model.bugs(0).values()))
        text = str(gradsweep.check(case.cost, case.params, bug.gradient))
        assert re.search(r"^  b +number .*WRONG: 1 of 1 entry$", text, re.MULTILINE)
        assert re.search(r"^  w\[\d+\] ", text, re.MULTILINE)

    def test_a_penalty_that_zero_biases_hide(self) -> None:
        generator = np.random.default_rng(0)
        A, y = generator.normal(size=(6, 4)), generator.normal(size=6)

        def cost(params: dict[str, Any]) -> Any:
            residual = A @ params["w"] + params["b"] - y
            return np.sum(residual * residual) + np.sum(params["w"] ** 2) + params["b"] ** 2

        def gradient(params: dict[str, Any]) -> dict[str, Any]:
            residual = A @ params["w"] + params["b"] - y
            return {"w": 2 * A.T @ residual + 2 * params["w"], "b": 2 * residual.sum()}

        found = gradsweep.check(cost, {"w": generator.normal(size=4), "b": 0.0}, gradient)
        assert found.verdict == "fail"
        headline, first, second, *_ = str(found).split("\n\n")
        assert headline.startswith("FAIL: the gradient of b is wrong at a second point")
        assert headline.endswith("at the given one it agrees")
        assert "WRONG" not in first
        assert re.search(r"^  b +number .*WRONG: 1 of 1 entry$", second, re.MULTILINE)
        assert "penalty of zero biases" in " ".join(str(found).split())


def test_every_attribute_is_documented() -> None:
    documented = re.findall(r"^(\w+) : ", inspect.getdoc(Report) or "", re.MULTILINE)  # Python 3.13 has no indentation in it
    assert documented == [name for name in Report.__dataclass_fields__ if not name.startswith("_")]
