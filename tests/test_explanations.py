"""What is said of several blocks together: which explanation comes first, what becomes one finding, and what is left unsaid."""

import math
from typing import Any

import numpy as np
import pytest
from blocks import TOLERANCE, across, drawn, seen

import gradsweep
from gradsweep._diagnosis._diagnose import KINDS, diagnose
from gradsweep._diagnosis._evidence import Finding, Seen, certainty
from gradsweep._types import Array
from gradsweep._verdict import Status

VALUES, THETA = drawn(6, 5), drawn(6, 5, seed=7)


def right(name: str, *shape: int, seed: int = 3, **others: Any) -> Seen:
    values = drawn(*shape, seed=seed)
    return seen(values, values, name=name, status=Status.AGREES, **others)


def wrong(name: str, *shape: int, seed: int = 4, **others: Any) -> Seen:
    """A block that is wrong without a pattern."""
    return seen(drawn(*shape, seed=seed), drawn(*shape, seed=seed + 1), name=name, **others)


def findings(*blocks: Seen, order: tuple[str, ...] = ()) -> tuple[Finding, ...]:
    return diagnose(blocks, TOLERANCE, order=order)


def said(*blocks: Seen, order: tuple[str, ...] = ()) -> list[tuple[str, tuple[str, ...]]]:
    """Kind and blocks of each finding."""
    return [(finding.kind, finding.blocks) for finding in findings(*blocks, order=order)]


# ---- which explanation comes first ------------------------------------------------------------------------------------------

SYMMETRIC = drawn(5, 5) + drawn(5, 5).T
RAISED = drawn(5, seed=2) + 3.0

FIRST: dict[str, tuple[str, str, Array, Array, dict[str, Any]]] = {
    "zero before a factor of 0": ("zero", "is zero", np.zeros((6, 5)), VALUES, {}),
    "a factor before a transpose of it": ("factor", "-1.0 times", -SYMMETRIC.T, SYMMETRIC, {}),
    "a factor before a penalty that is one": ("factor", "3.0 times", 3.0 * VALUES, VALUES, {"parameter": VALUES}),
    "one number before a penalty": (
        "bias_sum",
        "sum over all",
        np.full(5, RAISED.sum()),
        RAISED,
        {"parameter": RAISED.sum() - RAISED},
    ),
    "an order before a constant": ("permuted", "turned round", np.array([1.5, 0.5]), np.array([0.5, 1.5]), {}),
    "a penalty before the parameter as a factor": (
        "missing_term",
        "0.5 times",
        0.5 * THETA**2 / (THETA - 1.0),
        0.5 * THETA / (THETA - 1.0),
        {"parameter": THETA},
    ),
    "a transpose before rows in another order": ("transposed", "the transpose", drawn(2, 2).T, drawn(2, 2), {}),
    "a shift before entries in another order": ("permuted", "every one 1 later", np.roll(drawn(9), 1), drawn(9), {}),
    "entries in another order before a right sum": ("permuted", "another order", drawn(7)[[3, 1, 0, 2, 6, 5, 4]], drawn(7), {}),
    "a right sum before few entries": ("bias_sum", "sum is right", drawn(9) + np.eye(9)[0] - np.eye(9)[1], drawn(9), {}),
    "few entries before a factor beside a penalty": (
        "rows",
        "row 2",
        np.where(np.arange(6)[:, None] == 2, 3.0 * VALUES + 0.1 * THETA, VALUES),
        VALUES,
        {"parameter": THETA},
    ),
    "a factor beside a penalty if nothing else is": (
        "factor",
        "and 0.1 times",
        3.0 * VALUES + 0.1 * THETA,
        VALUES,
        {"parameter": THETA},
    ),
}


@pytest.mark.parametrize("which", FIRST)
def test_the_simplest_explanation_comes_first(which: str) -> None:
    kind, words, analytic, numeric, others = FIRST[which]
    blocks = [right("V", 9, 7)] if analytic.shape == (9,) else []
    finding = findings(*blocks, seen(analytic, numeric, **others))[0]
    if "factor before a penalty that is one" in which:
        assert finding.confidence > 0.99
    assert (finding.kind, words in finding.message) == (kind, True), finding.message


def test_a_right_sum_is_one_of_the_wrong_axis_only_beside_right_weights() -> None:
    bias = seen(drawn(9) + np.eye(9)[0] - np.eye(9)[1], drawn(9), name="b")
    assert findings(right("W", 9, 4), bias)[0].kind == "bias_sum"
    assert findings(wrong("W", 9, 4), bias)[0].kind != "bias_sum"


def test_of_one_number_that_has_a_factor_it_is_said_where_it_is_too() -> None:
    analytic = VALUES * np.eye(6, 5)[2] * np.eye(6)[2][:, None]
    numeric = analytic.copy()
    analytic[2, 2] *= 2.0
    assert said(seen(analytic, numeric)) == [("from_above", ("W",)), ("factor", ("W",))]
    analytic, numeric = VALUES.copy(), VALUES.copy()
    analytic[2, 3] += 0.37 * THETA[2, 3]
    kinds = said(seen(analytic, numeric, parameter=THETA))
    assert kinds == [("entries", ("W",)), ("missing_term", ("W",))]
    # A factor of one entry is said once.
    analytic[2, 3] = 2.0 * VALUES[2, 3]
    assert said(seen(analytic, numeric, parameter=THETA)) == [("entries", ("W",))]


# ---- the order of findings --------------------------------------------------------------------------------------------------


def test_equally_convincing_findings_are_in_the_order_of_their_kinds() -> None:
    blocks = [seen(drawn(5, 5).T, drawn(5, 5), name="W1"), seen(np.zeros((4, 6)), drawn(4, 6), name="W2")]
    blocks += [seen(-drawn(4, 7), drawn(4, 7), name="W3"), right("b", 3, again=2.0 * drawn(3, seed=3))]
    assert [kind for kind, _ in said(*blocks)] == ["zero", "factor", "transposed", "accumulated"]
    assert [kind for kind, _ in said(*reversed(blocks))] == ["zero", "factor", "transposed", "accumulated"]
    assert KINDS.index("zero") < KINDS.index("factor") < KINDS.index("transposed")


def test_findings_that_differ_by_less_than_a_thousandth_are_equally_convincing() -> None:
    # A factor of which a thousandth is left is less certain than a transpose that leaves nothing: of five numbers by 2e-4 only.
    for count, first in ((5, "factor"), (4, "transposed")):
        numeric = drawn(count)
        factor = seen(3.0 * numeric + 2e-3 * across(numeric), numeric, name="b", noise=np.full(count, 0.01))
        found = findings(factor, seen(drawn(5, 5).T, drawn(5, 5)))
        assert {finding.kind for finding in found} == {"factor", "transposed"}
        assert found[0].kind == first
        assert min(finding.confidence for finding in found) < 0.9999


def test_no_more_than_six_findings_are_given() -> None:
    blocks = [seen((n + 2.5) * drawn(4, n + 3), drawn(4, n + 3), name=f"W{n}") for n in range(8)]
    assert len(findings(*blocks)) == 6
    assert len(findings(*blocks[:6])) == 6
    assert len(findings(*blocks[:5])) == 5


def test_blocks_that_an_order_lacks_stand_before_the_others() -> None:
    blocks = [seen(-drawn(4, 3), drawn(4, 3), name="W1"), seen(-drawn(4, 4), drawn(4, 4), name="W2")]
    blocks.append(seen(-drawn(4, 5), drawn(4, 5), name="gain"))
    assert said(*blocks) == [("factor", ("gain", "W2", "W1"))]
    assert said(*blocks, order=("W1", "W2")) == [("factor", ("W2", "W1", "gain"))]
    assert said(*blocks, order=("W2", "W1")) == [("factor", ("W1", "W2", "gain"))]


def test_what_has_no_certainty_is_not_said() -> None:
    found = findings(seen([0.37 * (1 + 1e-6)], [0.37]), right("V", 3, 4))
    assert found
    assert all(finding.confidence > 0.0 for finding in found)


@pytest.mark.parametrize(("count", "doubtful"), [(3, True), (4, False)])
def test_few_numbers_may_be_close_by_chance(count: int, doubtful: bool) -> None:
    numeric = drawn(count)
    found = findings(seen(numeric * (1.0 + 3e-6 * drawn(count, seed=2)), numeric))
    small = [finding for finding in found if finding.kind in ("guard", "precision")]
    assert small
    assert all((finding.confidence <= 0.3) == doubtful for finding in small)
    # Of other kinds three numbers may be enough.
    assert findings(seen(-drawn(3), drawn(3)))[0].confidence > 0.9


# ---- statuses ---------------------------------------------------------------------------------------------------------------


def test_a_second_call_is_looked_at_in_right_blocks_too() -> None:
    found = said(right("V", 4, 3, again=2.0 * drawn(4, 3, seed=3)), seen(-VALUES, VALUES))
    assert ("accumulated", ("V",)) in found
    assert ("factor", ("W",)) in found


def test_each_failing_block_is_said_to_be_what_its_status_says() -> None:
    bad = VALUES.copy()
    bad[0, 0] = np.nan
    blocks = [seen(2.0 * VALUES, VALUES, name="k", status=Status.AT_KINKS), seen(bad, VALUES, name="n")]
    blocks += [seen(VALUES, bad, name="m", status=Status.NOT_FINITE), seen(-VALUES, VALUES)]
    assert said(*blocks) == [("non_finite", ("n",)), ("factor", ("W",)), ("non_finite", ("m",)), ("kink", ("k",))]
    # Of what is not finite nothing else is said.
    blocks = [seen(2.0 * VALUES, VALUES, name="n", status=Status.NOT_FINITE), seen(-drawn(3, 4), drawn(3, 4))]
    assert said(*blocks) == [("factor", ("W",))]


def test_a_block_of_which_nothing_is_known_is_passed_over() -> None:
    assert findings(wrong("W", 4, 3, places=[])) == ()
    assert findings(seen(np.zeros((4, 3)), drawn(4, 3), places=[])) == ()
    assert said(wrong("W", 4, 3, places=[]), seen(-drawn(5, 3), drawn(5, 3), name="V"))[0] == ("factor", ("V",))


def test_the_number_of_examples_is_that_of_the_first_block_that_knows_it() -> None:
    blocks = [right("V", 4, 3), right("U", 4, 3, examples=17), seen(17.0 * VALUES, VALUES, examples=23)]
    assert "a mean over 17 examples" in findings(*blocks)[0].message
    assert "mean over 17 that is" in findings(seen(17.0 * VALUES, VALUES))[0].message


def test_extents_of_all_blocks_may_make_a_factor() -> None:
    assert "a mean over 13, an extent" in findings(right("V", 13, 2), seen(13.0 * VALUES, VALUES))[0].message
    assert "1/√13" in findings(right("V", 2, 13), seen(math.sqrt(13.0) * VALUES, VALUES))[0].message
    assert "√2" not in findings(right("V", 13, 2), seen(math.sqrt(2.0) * VALUES, VALUES))[0].message


# ---- several blocks ---------------------------------------------------------------------------------------------------------


def test_what_is_said_alike_of_several_blocks_is_one_finding_of_all_their_numbers() -> None:
    small, large = drawn(5), drawn(4, 3)
    blocks = [
        seen(3.0 * large, large, name="W1"),
        seen(3.0 * small + 8e-6 * 2.0 * across(small), small, name="b1"),
        seen(-drawn(5, 4), drawn(5, 4), name="V"),
    ]
    both, single = findings(*blocks)
    assert [(each.kind, each.blocks) for each in (both, single)] == [("factor", ("b1", "W1")), ("factor", ("V",))]
    assert both.evidence["entries"] == 17
    assert both.evidence["residual"] == pytest.approx(8e-6, rel=1e-3)  # the larger one
    assert both.message.startswith("b1 and W1: the gradient is 3.0 times the numerical one: consistent")
    assert both.explained == pytest.approx(1.0)


def test_the_words_are_those_of_the_block_that_shows_most() -> None:
    blocks = [seen(3.0 * drawn(n, 10), drawn(n, 10), name=f"W{n}", places=range(0, 10 * n, 2)) for n in (3, 5, 4)]
    assert "(in 25 entries looked at, of 50)" in findings(*blocks)[0].message


def test_blocks_that_are_unsure_by_themselves_are_surer_together() -> None:
    blocks = [seen([2.0 * value], [value], name=f"s{value}") for value in (0.3, 0.5, 0.7)]
    for count in (1, 2, 3):
        found = next(finding for finding in findings(*blocks[:count]) if finding.kind == "factor")
        assert found.confidence == pytest.approx(1.0 - 0.6**count)


def test_what_is_not_fitted_is_no_surer_of_several_blocks() -> None:
    again = [right(f"W{n}", 4, n + 3, again=-drawn(4, n + 3, seed=3)) for n in range(3)]
    bad = seen(-VALUES, VALUES)
    found = next(finding for finding in findings(*again, bad) if finding.kind == "accumulated")
    assert (found.confidence, found.blocks) == (0.9, ("W2", "W1", "W0"))
    assert math.isnan(found.explained)
    # Kinks of two blocks are two findings: nothing was found that they have in common.
    kinks = [wrong(name, 4, 3, status=Status.AT_KINKS) for name in ("V", "U")]
    assert said(*kinks) == [("kink", ("V",)), ("kink", ("U",))]


def test_a_slope_of_two_at_kinks_is_no_sum_over_units() -> None:
    params = {"W": np.ones((2, 3)), "b": np.zeros(2)}
    for names in (("W", "b"), ("b",)):
        chosen = {name: params[name] for name in names} | {"c": np.array([0.0, 0.0, 1.0])}

        def cost(p: Any) -> Any:
            return sum(np.sum(np.abs(p[name])) if name != "W" else np.sum(p[name] ** 2) for name in p)

        def gradient(p: Any) -> Any:
            return {name: 2.0 * p[name] if name == "W" else np.full(p[name].shape, 2.0) for name in p}

        found = gradsweep.check(cost, chosen, gradient).findings
        assert found
        assert all(finding.kind != "bias_sum" or finding.confidence <= 0.5 for finding in found), found


def test_numbers_that_overflow_on_the_way_raise_no_warning() -> None:
    theta = THETA.copy()
    theta[0, 0], theta[1, 1], theta[2, 2] = np.inf, 0.0, 1e3
    for parameter in (theta, np.where(np.isinf(theta), 1e308, theta)):
        with np.errstate(all="raise"):
            assert findings(seen(drawn(6, 5, seed=4), VALUES, parameter=parameter))


# ---- another block's gradient -----------------------------------------------------------------------------------------------


def test_two_gradients_that_are_exchanged_are_one_mistake() -> None:
    query, key = drawn(6, 5, seed=1), drawn(6, 5, seed=2)
    (found,) = findings(seen(key, query, name="Wq"), seen(query, key, name="Wk"), right("Wo", 5, 6))
    assert (found.kind, found.blocks) == ("permuted", ("Wk", "Wq"))
    assert found.confidence == pytest.approx(1.0 - 0.01**2)
    assert found.message == (
        "Wk and Wq: each gradient is the numerical one of another block, in this order of Wq, Wk: consistent with gradients that "
        "are returned in the wrong order"
    )
    assert found.advice == "Look at the names, or the order, under which gradients are returned."
    assert found.evidence == {"Wq": "Wk", "Wk": "Wq", "entries": 60, "residual": 0.0}
    assert found.explained == 1.0


def test_three_gradients_in_turn_are_told_from_the_loss_on() -> None:
    values = [drawn(6, 5, seed=each) for each in (1, 2, 3)]
    names = ("W1", "W2", "W3")
    blocks = [seen(values[(n + 1) % 3], values[n], name=names[n]) for n in range(3)]
    (found,) = findings(*blocks)
    assert found.blocks == ("W3", "W2", "W1")
    assert "in this order of W1, W3, W2" in found.message


def test_one_gradient_that_stands_for_two_blocks_is_said_to_be_that() -> None:
    key = right("Wk", 6, 5)
    (found,) = findings(seen(key.analytic, VALUES, name="Wq"), key)
    assert (found.blocks, found.confidence) == (("Wq",), 0.99)
    assert found.message == (
        "Wq: the gradient is the numerical one of Wk: consistent with one gradient that is given for Wk as well"
    )
    assert found.evidence == {"Wq": "Wk", "entries": 30, "residual": 0.0}


def test_another_blocks_gradient_is_looked_for_among_some() -> None:
    others = [right(f"V{n}", 3, 2, seed=n + 10) for n in range(300)]
    for place, found in ((0, True), (255, True), (256, False)):
        block = seen(others[place].analytic, drawn(3, 2), name="W")
        assert (("permuted", ("W",)) in said(block, *others)) == found


# ---- what is not explained --------------------------------------------------------------------------------------------------


def test_most_rows_without_a_pattern_may_be_a_matter_of_their_lines() -> None:
    for rows, more in ((5, False), (6, True), (7, True)):
        analytic = np.where(np.arange(10)[:, None] < rows, drawn(10, 4, seed=5), drawn(10, 4))
        found = findings(seen(analytic, drawn(10, 4)), right("b", 4))
        assert [finding.kind for finding in found] == ["rows", "from_above"][: 1 + more]
        if more:
            assert found[1].confidence == 0.5
    analytic = np.where(np.arange(10) < 7, drawn(4, 10, seed=5), drawn(4, 10))
    assert [kind for kind, _ in said(seen(analytic, drawn(4, 10)), right("b", 4))] == ["columns", "from_above"]
    # A factor there is one.
    analytic = np.where(np.arange(10)[:, None] < 6, 0.0, drawn(10, 4))
    assert [kind for kind, _ in said(seen(analytic, drawn(10, 4)), right("b", 4))] == ["rows"]


def test_small_gaps_are_said_if_they_are_no_fewer_than_large_ones() -> None:
    def small(name: str, extent: int) -> Seen:
        numeric = drawn(8, extent)
        return seen(numeric * (1.0 + 2e-9 * drawn(8, extent, seed=2) ** 2), numeric, name=name)

    one, other, large, larger = small("V", 6), small("U", 7), wrong("W", 4, 3), wrong("Z", 5, 3)
    assert "guard" in [kind for kind, _ in said(one)]
    for blocks, expected in (((one, large), True), ((one, large, larger), False), ((one, other, large, larger), True)):
        assert ("guard" in [kind for kind, _ in said(*blocks)]) == expected
    # Beside one that is explained, all that is left is small.
    assert "guard" in [kind for kind, _ in said(one, seen(-drawn(5, 5), drawn(5, 5)))]


def test_an_explanation_that_is_hardly_one_leaves_the_block_unexplained() -> None:
    found = findings(right("V", 4, 3), seen([2.0 * 0.37], [0.37], name="s"))
    assert found[0].kind == "from_above"
    assert "factor" in [finding.kind for finding in found]
    assert said(right("V", 4, 3), seen(-drawn(2), drawn(2), name="s")) == [("factor", ("s",))]


def test_certainty_is_that_of_all_digits_together() -> None:
    assert certainty(1e-4, 1, 0) == pytest.approx(0.9)
    assert certainty(1e-4, 2, 1) == pytest.approx(0.9)
    assert certainty(1e-2, 2, 0) == pytest.approx(0.9 * (1.0 - 1e-4))
    assert certainty(0.0, 1, 0) == pytest.approx(1.0 - 1e-3)
    assert certainty(1e-4, 1, 1) == certainty(1e-4, 1, 2) == certainty(1.0, 9, 0) == certainty(math.inf, 9, 0) == 0.0
