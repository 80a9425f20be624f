"""Right numbers in wrong places: each order is told by its array, and random numbers are in no order."""

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
from blocks import TOLERANCE, drawn, evidence, seen

from gradsweep._diagnosis._evidence import Claim, Evidence, certainty
from gradsweep._diagnosis._rearrangements import fit_lookup, fit_order, fit_other_block
from gradsweep._types import Array

SQUARE, OBLONG, KERNEL = drawn(6, 6), drawn(4, 6), drawn(2, 3, 4)

THE_TRANSPOSE = "the gradient is the transpose of the numerical one"
RESHAPED = "the gradient has the numbers of the numerical one in the order of its transpose, reshaped"


def named(claim: Claim | None) -> Claim:
    assert claim is not None
    return claim


def of_order(analytic: Array, numeric: Array, **others: Any) -> Claim | None:
    with np.errstate(all="ignore"):  # as the diagnosis fits
        return fit_order(evidence(analytic, numeric, **others))


def the_numerical_one(words: str) -> str:
    return f"the gradient is the numerical one with {words}"


def grouped(values: Array, order: tuple[int, ...], axis: int = 0) -> Array:
    """Groups along an axis in another order."""
    parts = np.split(values, len(order), axis)
    return np.concatenate([parts[group] for group in order], axis)


# ---- orders that are tried --------------------------------------------------------------------------------------------------

NO_TRANSPOSE = "a transpose that is missing, or one too many"
NO_RESHAPE = "a reshape where a transpose was meant, or before it"
NOT_TURNED = "a kernel, or a sequence, that is turned round once too often or not at all"
GATES = "groups, as of gates or heads, that are put together in the wrong order"
OFF_BY_SOME = "an index that is off by some"
TWO_PARTS = "a reshape that takes the two parts of an axis in the wrong order"

FLAT = drawn(12)
ROW = drawn(1, 12)

ORDERS = [
    (SQUARE.T, SQUARE, "transposed", THE_TRANSPOSE, NO_TRANSPOSE),
    (OBLONG.T.reshape(4, 6), OBLONG, "transposed", RESHAPED, NO_RESHAPE),
    (OBLONG.reshape(6, 4).T, OBLONG, "transposed", RESHAPED, NO_RESHAPE),
    (drawn(1, 4, 1, 6).reshape(1, 6, 1, 4).transpose(0, 3, 2, 1), drawn(1, 4, 1, 6), "transposed", RESHAPED, NO_RESHAPE),
    (
        drawn(4, 4, 3).transpose(1, 0, 2),
        drawn(4, 4, 3),
        "transposed",
        the_numerical_one("its axes in the order (1, 0, 2)"),
        NO_TRANSPOSE,
    ),
    (
        KERNEL.transpose(2, 0, 1).reshape(2, 3, 4),
        KERNEL,
        "transposed",
        the_numerical_one("its axes in the order (2, 0, 1), then reshaped"),
        NO_RESHAPE,
    ),
    (
        KERNEL.reshape(4, 2, 3).transpose(1, 2, 0),
        KERNEL,
        "transposed",
        the_numerical_one("its axes in the order (2, 0, 1), then reshaped"),
        NO_RESHAPE,
    ),
    (OBLONG[::-1], OBLONG, "permuted", the_numerical_one("axis 0 turned round"), NOT_TURNED),
    (OBLONG[::-1, ::-1], OBLONG, "permuted", the_numerical_one("axes 0 and 1 turned round"), NOT_TURNED),
    (KERNEL[:, ::-1, ::-1], KERNEL, "permuted", the_numerical_one("axes 1 and 2 turned round"), NOT_TURNED),
    (FLAT[::-1], FLAT, "permuted", the_numerical_one("its entries turned round"), NOT_TURNED),
    (ROW[:, ::-1], ROW, "permuted", the_numerical_one("axis 1 turned round"), NOT_TURNED),
    (
        grouped(OBLONG, (1, 0)),
        OBLONG,
        "permuted",
        the_numerical_one("its 2 groups of 2 in the order (1, 0), of its rows"),
        GATES,
    ),
    (
        grouped(OBLONG, (2, 0, 1), 1),
        OBLONG,
        "permuted",
        the_numerical_one("its 3 groups of 2 in the order (2, 0, 1), of its columns"),
        GATES,
    ),
    (
        grouped(FLAT, (1, 3, 0, 2)),
        FLAT,
        "permuted",
        the_numerical_one("its 4 groups of 3 in the order (1, 3, 0, 2),"),
        GATES,
    ),
    (
        grouped(drawn(16, 3), (0, 6, 2, 3, 4, 5, 1, 7)),
        drawn(16, 3),
        "permuted",
        the_numerical_one("its 8 groups of 2 in the order (0, 6, 2, 3, 4, 5, 1, 7), of its rows"),
        GATES,
    ),
    (
        grouped(drawn(3, 3, 4), (2, 0, 1), 1),
        drawn(3, 3, 4),
        "permuted",
        the_numerical_one("its 3 groups of 1 in the order (2, 0, 1), of axis 1"),
        GATES,
    ),
    (np.roll(drawn(7, 3), 1, 0), drawn(7, 3), "permuted", the_numerical_one("every one 1 later of its rows"), OFF_BY_SOME),
    (np.roll(drawn(7, 3), -1, 0), drawn(7, 3), "permuted", the_numerical_one("every one 1 earlier of its rows"), OFF_BY_SOME),
    (np.roll(drawn(11), 2), drawn(11), "permuted", the_numerical_one("every one 2 later"), OFF_BY_SOME),
    (np.roll(drawn(11), -2), drawn(11), "permuted", the_numerical_one("every one 2 earlier"), OFF_BY_SOME),
    (np.roll(drawn(3, 4), 1, 1), drawn(3, 4), "permuted", None, None),
    (
        OBLONG.reshape(4, 3, 2).transpose(0, 2, 1).reshape(4, 6),
        OBLONG,
        "permuted",
        the_numerical_one("3 by 2 read as 2 by 3 along the 6 of its columns"),
        TWO_PARTS,
    ),
    (
        FLAT.reshape(3, 4).T.reshape(-1),
        FLAT,
        "permuted",
        the_numerical_one("3 by 4 read as 4 by 3 along the 12"),
        TWO_PARTS,
    ),
]


@pytest.mark.parametrize(("analytic", "numeric", "kind", "what", "cause"), ORDERS)
def test_an_order_is_told_by_its_array(analytic: Array, numeric: Array, kind: str, what: str | None, cause: str | None) -> None:
    claim = named(of_order(analytic, numeric))
    assert (claim.kind, claim.blocks) == (kind, ("W",))
    assert what is None or claim.what == what
    assert cause is None or claim.cause == cause
    assert claim.advice == "Look at the order of axes, of groups and of names where this gradient is put together."
    assert claim.evidence == {"order": claim.what}
    assert claim.key == (claim.kind, claim.what)
    assert claim.entries == np.count_nonzero(analytic != numeric)
    assert claim.misfit == 0.0
    assert claim.confidence == pytest.approx(1.0)


def test_each_order_of_axes_is_told_from_the_others() -> None:
    numeric = drawn(2, 3, 4, 5)
    for order in itertools.permutations(range(4)):
        analytic = numeric.transpose(order).reshape(numeric.shape)
        if not np.array_equal(analytic, numeric):
            assert named(of_order(analytic, numeric)).what == the_numerical_one(f"its axes in the order {order}, then reshaped")


def test_axes_of_one_entry_are_in_no_order() -> None:
    numeric = drawn(4, 1, 4)
    assert named(of_order(numeric.transpose(2, 1, 0), numeric)).what == THE_TRANSPOSE
    numeric = drawn(2, 3, 4, 2, 3, 1)
    assert named(of_order(numeric.transpose(3, 1, 2, 0, 4, 5), numeric)).kind == "transposed"
    assert named(of_order(numeric[:, ::-1], numeric)).what == the_numerical_one("axis 1 turned round")


def test_of_more_than_five_axes_orders_are_not_tried() -> None:
    numeric = drawn(2, 2, 2, 2, 2, 3)
    assert of_order(numeric.transpose(1, 0, 2, 3, 4, 5), numeric) is None
    assert of_order(numeric[::-1, ::-1], numeric) is None
    numeric = drawn(2, 2, 2, 2, 3)
    assert named(of_order(numeric.transpose(1, 0, 2, 3, 4), numeric)).kind == "transposed"
    assert named(of_order(numeric[::-1, :, ::-1], numeric)).what == the_numerical_one("axes 0 and 2 turned round")


def test_a_simple_order_is_preferred_to_another_that_explains_as_much() -> None:
    # Two rows exchanged are two rows turned round, two groups exchanged and a shift.
    numeric = drawn(2, 5)
    assert named(of_order(numeric[::-1], numeric)).what == the_numerical_one("axis 0 turned round")
    symmetric = SQUARE + SQUARE[::-1, ::-1]
    assert named(of_order(symmetric.T, symmetric)).what == THE_TRANSPOSE


@pytest.mark.parametrize("parts", [(2, 6), (6, 2), (3, 4), (4, 3)])
def test_two_parts_of_an_axis_are_taken_in_the_wrong_order(parts: tuple[int, int]) -> None:
    first, second = parts
    claim = named(of_order(FLAT.reshape(first, second).T.reshape(-1), FLAT))
    assert claim.what == the_numerical_one(f"{first} by {second} read as {second} by {first} along the 12")
    assert claim.cause == TWO_PARTS


@pytest.mark.parametrize("extent", [3, 4])
def test_rows_of_short_axes_are_not_shifted_but_in_groups(extent: int) -> None:
    numeric = drawn(extent, 5)
    claim = named(of_order(np.roll(numeric, 1, 0), numeric))
    assert f"its {extent} groups of 1 in the order" in claim.what
    # Five rows have no groups but single ones, of which exchanges are tried only.
    assert "every one 1 later" in named(of_order(np.roll(drawn(5, 3), 1, 0), drawn(5, 3))).what


def test_many_groups_are_exchanged_in_pairs_only() -> None:
    numeric = drawn(5, 3)
    assert named(of_order(numeric[[3, 1, 2, 0, 4]], numeric)).cause == GATES
    assert of_order(numeric[[3, 0, 2, 1, 4]], numeric) is None
    assert named(of_order(grouped(drawn(8, 3), (3, 1, 2, 0)), drawn(8, 3))).cause == GATES
    assert of_order(drawn(9, 2)[[8, 1, 2, 3, 4, 5, 6, 7, 0]], drawn(9, 2)) is None


@pytest.mark.parametrize("shape", [(6, 6), (4, 6), (12,), (2, 3, 4), (40, 30)])
def test_random_numbers_are_in_no_order(shape: tuple[int, ...]) -> None:
    assert of_order(drawn(*shape, seed=4), drawn(*shape)) is None


def test_less_than_two_wrong_entries_are_in_no_order() -> None:
    numeric = SQUARE.copy()
    assert of_order(numeric, numeric) is None
    numeric[2, 3] += 1.0
    assert of_order(SQUARE, numeric) is None
    exchanged = drawn(2)
    assert named(of_order(exchanged[::-1], exchanged)).entries == 2


@pytest.mark.parametrize(("share", "fits"), [(0.9e-5, True), (1.1e-5, False)])
def test_an_order_leaves_no_more_than_rounding(share: float, fits: bool) -> None:
    left = drawn(6, 6, seed=5)
    left *= share * np.linalg.norm(SQUARE.T - SQUARE) / np.linalg.norm(left)
    claim = of_order(SQUARE.T + left, SQUARE)
    assert (claim is not None) == fits
    if claim is not None:
        assert claim.misfit == pytest.approx(share, rel=1e-2)
        assert claim.what == THE_TRANSPOSE


def test_an_order_holds_for_all_entries_and_not_for_the_first_alone() -> None:
    numeric = drawn(40, 40)
    analytic = numeric.T.copy()
    # The entries that are tried first are spread over the block: this one is not among them.
    analytic[0, 7] += 3.0
    assert of_order(analytic, numeric) is None
    assert named(of_order(numeric.T, numeric)).entries == 40 * 39


@pytest.mark.parametrize("slope", [0.1, -0.02])
def test_an_order_is_seen_beside_a_penalty_in_the_right_one(slope: float) -> None:
    theta = drawn(6, 6, seed=7)
    for size in (1.0, 1e-3):
        numeric = size * SQUARE
        analytic = (numeric - slope * theta).T + slope * theta
        claim = named(of_order(analytic, numeric, parameter=theta))
        assert claim.what == f"{THE_TRANSPOSE}, but for {slope} times the parameter"
        assert claim.key == ("transposed", THE_TRANSPOSE)
        assert claim.evidence == {"order": THE_TRANSPOSE}
        assert claim.entries == 30
        # The penalty's coefficient is a number of its own.
        left = drawn(6, 6, seed=5) * 3e-6 * np.linalg.norm(analytic - numeric) / np.linalg.norm(drawn(6, 6, seed=5))
        few = [1, 2, 3, 6, 8, 12, 13]
        claim = named(of_order(analytic + left, numeric, parameter=theta, places=few))
        assert claim.confidence == pytest.approx(certainty(claim.misfit, claim.entries, 1), rel=1e-9)
    numeric = drawn(2, 2)
    claim = named(of_order(numeric.T * (1.0 + 3e-7 * drawn(2, 2, seed=1)), numeric))
    assert claim.confidence == pytest.approx(certainty(claim.misfit, claim.entries, 0), rel=1e-9)
    assert of_order(SQUARE.T + 0.3 * theta, SQUARE, parameter=theta) is None


def test_a_penalty_beside_an_order_takes_six_entries_or_more() -> None:
    for extent, fits in ((3, True), (2, False)):
        numeric, theta = drawn(extent, extent), drawn(extent, extent, seed=7)
        analytic = (numeric - 0.1 * theta).T + 0.1 * theta
        assert (of_order(analytic, numeric, parameter=theta) is not None) == fits


@pytest.mark.parametrize("theta", [np.full((6, 6), np.nan), np.full((6, 6), np.inf), np.ones((6, 6))])
def test_a_parameter_that_says_nothing_leaves_an_order_to_be_seen_or_not(theta: Array) -> None:
    assert named(of_order(SQUARE.T, SQUARE, parameter=theta)).what == THE_TRANSPOSE
    assert of_order(SQUARE.T + 0.1 * drawn(6, 6, seed=7), SQUARE, parameter=theta) is None


def test_an_order_in_a_sample_is_said_to_be_in_that() -> None:
    claim = named(of_order(SQUARE.T, SQUARE, places=range(0, 36, 2)))
    assert claim.what == f"{THE_TRANSPOSE} (in 18 entries looked at, of 36)"
    assert claim.key == ("transposed", THE_TRANSPOSE)


# ---- orders without a rule --------------------------------------------------------------------------------------------------


def test_rows_in_another_order_are_said_to_stand_elsewhere() -> None:
    numeric = drawn(7, 3)
    claim = named(fit_lookup(evidence(numeric[[3, 1, 0, 2, 6, 5, 4]], numeric)))
    assert (claim.kind, claim.blocks, claim.entries, claim.misfit) == ("permuted", ("W",), 5, 0.0)
    assert claim.what == "5 rows of the gradient are those of the numerical one in another order, row 2 being 0"
    assert claim.cause == "an index, or a sort, that is undone the wrong way"
    assert claim.advice == "Look at the order in which this gradient is put together."
    assert claim.evidence == {"moved": 5, "belong_at": (0, 2, 3, 4, 6), "stand_at": (2, 3, 0, 6, 4)}
    assert claim.confidence == pytest.approx(0.97)


def test_columns_slices_and_entries_are_looked_up_as_rows_are() -> None:
    order = [3, 1, 0, 2, 6, 5, 4]
    claim = named(fit_lookup(evidence(drawn(3, 7)[:, order], drawn(3, 7))))
    assert "5 columns of the gradient" in claim.what
    assert "column 2 being 0" in claim.what
    claim = named(fit_lookup(evidence(drawn(2, 7, 3)[:, order], drawn(2, 7, 3))))
    assert "5 slices (axis 1) of the gradient" in claim.what
    assert "slice (axis 1) 2 being 0" in claim.what
    for shape in ((7,), (7, 1), (1, 7)):
        analytic = drawn(*shape).reshape(-1)[order].reshape(shape)
        claim = named(fit_lookup(evidence(analytic, drawn(*shape))))
        assert "5 entries of the gradient" in claim.what
        assert "entry 2 being 0" in claim.what
    entries = np.random.default_rng(0).permutation(20)
    claim = named(fit_lookup(evidence(drawn(4, 5).reshape(-1)[entries].reshape(4, 5), drawn(4, 5))))
    assert "entries of the gradient" in claim.what
    assert claim.key == (None, None)


def test_numbers_of_a_whole_block_may_come_in_a_row() -> None:
    block = seen(drawn(7, 3)[[3, 1, 0, 2, 6, 5, 4]], drawn(7, 3))
    flat = Evidence(dataclasses.replace(block, numeric=block.numeric.reshape(-1)), TOLERANCE)
    assert "5 rows" in named(fit_lookup(flat)).what


def test_rows_that_stand_as_entries_of_a_transpose_would_are_no_matrix() -> None:
    numeric = drawn(12, 3)
    order = np.arange(12).reshape(3, 4).T.reshape(-1)
    claim = named(fit_lookup(evidence(numeric[order], numeric)))
    assert (claim.kind, claim.key) == ("permuted", (0, None))


def test_where_rows_stand_is_told_of_five_at_most() -> None:
    order = np.roll(np.arange(9), 4)
    claim = named(fit_lookup(evidence(drawn(9, 2)[order], drawn(9, 2))))
    assert claim.evidence == {"moved": 9, "belong_at": (0, 1, 2, 3, 4), "stand_at": (4, 5, 6, 7, 8)}


def test_two_rows_or_entries_are_not_looked_up() -> None:
    numeric = drawn(7, 3)
    assert fit_lookup(evidence(numeric[[4, 1, 2, 3, 0, 5, 6]], numeric)) is not None  # by its entries
    assert named(fit_lookup(evidence(numeric[[4, 1, 2, 3, 0, 5, 6]], numeric))).key == (None, None)
    assert fit_lookup(evidence(drawn(4)[[3, 1, 2, 0]], drawn(4))) is None
    assert fit_lookup(evidence(drawn(4)[[3, 0, 2, 1]], drawn(4))) is not None


@pytest.mark.parametrize("shape", [(5, 4), (30,), (300,), (2, 3, 4)])
def test_random_numbers_stand_nowhere(shape: tuple[int, ...]) -> None:
    assert fit_lookup(evidence(drawn(*shape, seed=4), drawn(*shape))) is None


def test_numbers_that_are_looked_up_must_be_nearer_than_by_chance() -> None:
    order = [3, 1, 0, 2, 6, 5, 4]
    for share, fits in ((0.9e-3 / 5, True), (1.1e-3 / 5, False)):
        analytic = drawn(7, 3)[order]
        left = drawn(7, 3, seed=5) * (np.array(order) != np.arange(7))[:, None]
        left *= share * np.linalg.norm(analytic - drawn(7, 3)) / np.linalg.norm(left)
        claim = fit_lookup(evidence(analytic + left, drawn(7, 3)))
        assert (claim is not None) == fits
        if claim is not None:
            assert claim.misfit == pytest.approx(share, rel=1e-2)
            assert claim.confidence == pytest.approx(0.97 * certainty(claim.misfit, 5, 0), rel=1e-9)
    for size in (1e-6, 1e6):
        analytic = drawn(7, 3)[order] * (1.0 + 1e-5 * drawn(7, 3, seed=5) * (np.array(order) != np.arange(7))[:, None])
        assert fit_lookup(evidence(size * analytic, size * drawn(7, 3))) is not None
    negatives = np.array([[1.0], [-1.0], [1.0], [-1.0]]) * np.repeat(drawn(2, 3), 2, axis=0)
    moved = negatives[[1, 0, 3, 2]] * (1.0 + 1e-5 * drawn(4, 3, seed=5))
    assert fit_lookup(evidence(moved, negatives)) is not None
    three = drawn(3, 2) + np.array([[0.0], [3.0], [6.0]])
    claim = named(fit_lookup(evidence(three[[1, 2, 0]] + 3e-4 * drawn(3, 2, seed=5), three)))
    assert claim.confidence == pytest.approx(0.97 * certainty(claim.misfit, 3, 0), rel=1e-9)


def test_wrong_rows_beside_moved_ones_are_no_order() -> None:
    numeric = drawn(7, 3)
    analytic = numeric[[3, 1, 0, 2, 6, 5, 4]]
    analytic[5] += 1.0
    assert fit_lookup(evidence(analytic, numeric)) is None


@pytest.mark.parametrize(("rows", "columns", "begin", "size"), [(3, 4, 0, 12), (4, 3, 2, 20), (2, 5, 5, 15), (5, 5, 1, 26)])
def test_a_matrix_that_lies_transposed_in_a_flat_vector_is_told_with_its_extents(
    rows: int, columns: int, begin: int, size: int
) -> None:
    numeric = drawn(size)
    analytic = numeric.copy()
    part = slice(begin, begin + rows * columns)
    analytic[part] = numeric[part].reshape(rows, columns).T.reshape(-1)
    claim = named(fit_lookup(evidence(analytic, numeric)))
    assert claim.kind == "transposed"
    assert claim.cause == f"a matrix of {rows} by {columns} that is flattened by columns where rows were meant, or the reverse"
    assert claim.key == (None, (rows, columns))


def test_entries_that_begin_as_a_transposed_matrix_does_and_go_on_otherwise_are_none() -> None:
    numeric = drawn(14)
    analytic = numeric.copy()
    analytic[1:13] = numeric[1:13].reshape(3, 4).T.reshape(-1)
    analytic[[5, 6, 7]] = analytic[[6, 7, 5]]
    claim = named(fit_lookup(evidence(analytic, numeric)))
    assert (claim.kind, claim.key) == ("permuted", (None, None))


def test_rows_of_a_sample_are_looked_up_in_the_whole_gradient() -> None:
    numeric, order = drawn(7, 7), [3, 1, 0, 2, 6, 5, 4]
    places = [*range(4), *range(14, 18), 28, 42]  # four entries of rows 0 and 2, one of others
    claim = named(fit_lookup(evidence(numeric[order], numeric, places=places)))
    assert claim.what == (
        "2 rows of the gradient are those of the numerical one in another order, row 2 being 0 (in 10 entries looked at, of 49)"
    )
    assert claim.evidence == {"moved": 2, "belong_at": (0, 2), "stand_at": (2, 3)}
    assert claim.misfit == 1e-6
    columns = [7 * row + column for row in range(4) for column in (0, 2)]
    claim = named(fit_lookup(evidence(numeric[:, order], numeric, places=columns)))
    assert claim.evidence == {"moved": 2, "belong_at": (0, 2), "stand_at": (2, 3)}
    assert claim.key == (1, None)
    claim = named(fit_lookup(evidence(numeric[order], numeric, places=[0, 1, 14, 15])))  # two entries of each
    assert claim.evidence == {"moved": 2, "belong_at": (0, 2), "stand_at": (2, 3)}


def test_a_sample_of_one_row_or_of_single_entries_shows_no_order() -> None:
    numeric, order = drawn(7, 7), [3, 1, 0, 2, 6, 5, 4]
    assert fit_lookup(evidence(numeric[order], numeric, places=range(4))) is None
    assert fit_lookup(evidence(numeric[order], numeric, places=[0, 15, 23, 31, 46])) is None
    flat = evidence(drawn(49)[np.roll(np.arange(49), 5)], drawn(49), places=range(0, 49, 2))
    assert fit_lookup(flat) is None


def test_rows_of_a_sample_must_all_be_found_and_nearly_as_they_are() -> None:
    numeric, order = drawn(7, 7), [3, 1, 0, 2, 6, 5, 4]
    numeric[0] *= 0.1
    places = [*range(4), *range(14, 18), *range(21, 25)]
    for off, fits in ((0.9e-6, True), (1.1e-6, False)):
        analytic = numeric[order]
        analytic[2, 1] += off * np.max(np.abs(numeric[0, :4]))
        assert (fit_lookup(evidence(analytic, numeric, places=places)) is not None) == fits


# ---- another block's gradient -----------------------------------------------------------------------------------------------


def test_the_gradient_of_another_block_is_found_among_several() -> None:
    query, key, value = (drawn(5, 4, seed=each) for each in (1, 2, 3))
    among = [evidence(each, each, name=name) for each, name in ((key, "Wk"), (value, "Wv"))]
    found = fit_other_block(evidence(value, query, name="Wq"), among)
    assert found is among[1]
    assert fit_other_block(evidence(drawn(5, 4, seed=4), query), among) is None
    assert fit_other_block(evidence(value, query), []) is None
    # Blocks of which the scale differs.
    small = evidence(1e-3 * value, 1e-3 * value)
    assert fit_other_block(evidence(1e-3 * value, query), [among[1], small]) is small


def test_the_gradient_of_another_block_is_the_same_to_its_last_entry() -> None:
    other, own = drawn(30, 20, seed=1), drawn(30, 20, seed=2)
    analytic = other.copy()
    analytic[-1, -1] += 0.5
    assert fit_other_block(evidence(analytic, own), [evidence(other, other)]) is None
    assert fit_other_block(evidence(other, own), [evidence(other, other)]) is not None


@pytest.mark.parametrize(("share", "tolerance", "fits"), [(0.9e-5, 1e-7, True), (0.9e-4, 1e-3, True), (1.1e-4, 1e-3, False)])
def test_the_gradient_of_another_block_is_met_closely(share: float, tolerance: float, fits: bool) -> None:
    other, own = drawn(5, 4, seed=1), drawn(5, 4, seed=2)
    left = drawn(5, 4, seed=3)
    left *= share * np.linalg.norm(other) / np.linalg.norm(left)
    among = [evidence(drawn(5, 4, seed=4), other, tolerance=tolerance)]
    assert (fit_other_block(evidence(other + left, own, tolerance=tolerance), among) is not None) == fits


@pytest.mark.parametrize("values", [np.zeros(5), np.full(5, 0.3), np.array([0.3])])
def test_a_block_of_one_number_is_no_other_ones(values: Array) -> None:
    own = drawn(*values.shape)
    assert fit_other_block(evidence(values, own), [evidence(values, values)]) is None


def test_a_block_that_is_not_finite_is_no_other_ones() -> None:
    other = drawn(5)
    other[2] = np.nan
    with np.errstate(all="ignore"):
        assert fit_other_block(evidence(drawn(5), drawn(5, seed=1)), [evidence(other, other)]) is None


def test_two_numbers_may_be_another_blocks_and_unknown_ones_are_not() -> None:
    other, own = drawn(2, seed=1), drawn(2)
    assert fit_other_block(evidence(other, own), [evidence(other, other)]) is not None
    assert fit_other_block(evidence(other, own), [evidence(other, other, places=[])]) is None


def test_blocks_are_compared_where_the_other_one_is_known() -> None:
    other, own = drawn(5, 4, seed=1), drawn(5, 4, seed=2)
    among = [evidence(other, other, places=[0, 5, 7, 11, 19])]
    assert fit_other_block(evidence(other, own), among) is among[0]
    assert fit_other_block(evidence(own + 1.0, own), among) is None
    assert fit_other_block(evidence(other, own, places=[1, 3]), among) is among[0]
