"""Where a block is wrong, and what it is there: right entries are never accused, and few wrong ones are all named."""

from typing import Any

import numpy as np
import pytest
from blocks import drawn, evidence, seen

from gradsweep._diagnosis._confinement import (
    fit_confined,
    fit_one_number,
    fit_sum,
    fit_zero,
    say_accumulated,
    say_at_kinks,
    say_not_finite,
)
from gradsweep._diagnosis._evidence import Claim
from gradsweep._types import Array

VALUES, OTHERS = drawn(8, 10), drawn(8, 10, seed=5)
KERNEL = drawn(4, 5, 6)

ONE_OFF = "a slice or a loop that ends one too early or too late"
PICKED = "an assignment where a sum was meant, as for a token that occurs twice, or a mask or slice that picks these alone"


def named(claim: Claim | None) -> Claim:
    assert claim is not None
    return claim


def changed(index: Any, numeric: Array = VALUES) -> Array:
    """The numerical gradient with other numbers in some entries."""
    analytic = numeric.copy()
    analytic[index] += drawn(*numeric.shape, seed=5)[index]
    return analytic


# ---- values that are not finite ---------------------------------------------------------------------------------------------


def test_a_gradient_that_is_finite_is_said_to_be_nothing_else() -> None:
    assert say_not_finite(seen(VALUES, OTHERS)) is None


@pytest.mark.parametrize(
    ("values", "words"),
    [([np.nan], "NaN"), ([np.inf], "infinity"), ([-np.inf], "infinity"), ([np.inf, np.nan], "NaN and infinity")],
)
def test_a_gradient_that_is_not_finite_is_said_to_be_that(values: list[float], words: str) -> None:
    analytic = VALUES.copy()
    analytic[2, 3 : 3 + len(values)] = values
    claim = named(say_not_finite(seen(analytic, VALUES, places=range(20))))
    assert (claim.kind, claim.blocks, claim.key, claim.confidence) == ("non_finite", ("W",), "gradient", 1.0)
    assert claim.what == f"the gradient is {words} in {len(values)} of 80 entries, the first [2, 3]"
    assert claim.cause == "0/0, log(0) or an overflow in the backward pass"
    assert claim.advice == "Look for divisions, logarithms and exponentials of what may be 0 or large."
    assert claim.evidence == {"side": "gradient", "not_finite": len(values), "first": (2, 3)}


@pytest.mark.parametrize("places", [None, [11, 23, 42]])
def test_a_numerical_gradient_that_is_not_finite_is_a_matter_of_the_parameters(places: list[int] | None) -> None:
    numeric = VALUES.copy()
    numeric[2, 3] = numeric[4, 2] = np.nan
    claim = named(say_not_finite(seen(VALUES, numeric, places=places)))
    assert (claim.key, claim.confidence) == ("numerical gradient", 0.9)
    assert claim.what == f"the numerical gradient is NaN in 2 of {3 if places else 80} entries, the first [2, 3]"
    assert claim.cause == "parameters at the end of where the cost is finite"
    assert claim.advice == "Move the parameters."
    assert claim.evidence["first"] == (2, 3)
    both = VALUES.copy()
    both[0, 0] = np.nan
    assert named(say_not_finite(seen(both, numeric))).key == "gradient"


# ---- a second call ----------------------------------------------------------------------------------------------------------


def test_the_same_gradient_again_is_said_to_be_nothing() -> None:
    assert say_accumulated(seen(OTHERS, VALUES)) is None
    assert say_accumulated(seen(OTHERS, VALUES, again=OTHERS)) is None
    gap = drawn(8, 10, seed=6) * np.linalg.norm(OTHERS) / np.linalg.norm(drawn(8, 10, seed=6))
    assert say_accumulated(seen(OTHERS, VALUES, again=OTHERS + 0.9e-6 * gap)) is None
    assert say_accumulated(seen(OTHERS, VALUES, again=OTHERS + 1.1e-6 * gap)) is not None
    assert say_accumulated(seen(1e-3 * OTHERS, VALUES, again=OTHERS)) is not None


@pytest.mark.parametrize(
    ("first", "second", "ratio"),
    [(1.5 * VALUES, 2.5 * VALUES, "1.66667"), (OTHERS, 2.0 * OTHERS, "2.0"), (0.0 * VALUES, VALUES, "inf")],
)
@pytest.mark.parametrize("places", [None, [1, 5, 42]])
def test_a_buffer_that_is_not_cleared_adds_what_a_call_gives(
    first: Array, second: Array, ratio: str, places: list[int] | None
) -> None:
    claim = named(say_accumulated(seen(first, VALUES, again=second, places=places)))
    assert (claim.kind, claim.blocks, claim.key, claim.confidence) == ("accumulated", ("W",), True, 0.98)
    assert claim.what == f"a second call gives {ratio} times the gradient of the first"
    assert claim.cause == "a buffer that is added to and not cleared"
    assert claim.advice == "Clear the gradient at the start of each backward pass, and keep no state between calls."
    assert claim.evidence["ratio"] == pytest.approx(float(ratio), rel=1e-5)


@pytest.mark.parametrize("places", [None, [], [1, 5, 42]])
def test_a_gradient_that_changes_otherwise_is_state(places: list[int] | None) -> None:
    claim = named(say_accumulated(seen(OTHERS, VALUES, again=-2.0 * OTHERS, places=places)))
    assert (claim.key, claim.confidence) == (False, 0.9)
    assert claim.what == "a second call gives another gradient than the first"
    assert claim.cause == "state that one call leaves to the next"
    assert claim.evidence["ratio"] == pytest.approx(2.0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_second_gradient_that_is_not_finite_says_nothing(value: float) -> None:
    bad = OTHERS.copy()
    bad[0, 0] = value
    with np.errstate(all="ignore"):  # as the diagnosis looks at it
        for first, second in ((OTHERS, bad), (bad, OTHERS), (bad, bad)):
            assert say_accumulated(seen(first, VALUES, again=second)) is None


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_what_a_second_call_adds_is_a_gradient_to_six_digits(size: float) -> None:
    off = drawn(8, 10, seed=6) * np.linalg.norm(VALUES) / np.linalg.norm(drawn(8, 10, seed=6))
    for share, adds in ((0.9e-6, True), (1.1e-6, False)):
        block = seen(size * OTHERS, size * VALUES, again=size * (OTHERS + VALUES + share * off))
        assert named(say_accumulated(block)).key is adds


def test_kinks_are_neither_right_nor_wrong() -> None:
    claim = say_at_kinks(seen(VALUES, OTHERS))
    assert (claim.kind, claim.blocks, claim.confidence) == ("kink", ("W",), 0.8)
    assert claim.what == "entries lie at kinks of the cost, and the gradient there is not what the one-sided slopes allow"
    assert claim.cause == "another convention for the slope at a kink, which is neither right nor wrong there"
    assert claim.advice == "Move the parameters off the kinks (biases that are not 0)."


# ---- zero -------------------------------------------------------------------------------------------------------------------


def test_a_gradient_of_zero_is_claimed_with_what_it_should_be() -> None:
    claim = named(fit_zero(evidence(np.zeros((8, 10)), 3.0 * VALUES)))
    assert (claim.kind, claim.blocks, claim.entries, claim.misfit, claim.confidence) == ("zero", ("W",), 80, 0.0, 1.0)
    assert claim.what == f"the gradient is zero, where the numerical one is up to {np.max(np.abs(3.0 * VALUES)):.6g}"
    assert claim.cause == "a gradient that is never computed, or a path that is cut"
    assert claim.advice == "Look whether this gradient is assigned at all, and under which name."
    assert named(fit_zero(evidence([0.0], [2.0]))).confidence == 0.9
    assert named(fit_zero(evidence([0.0, 0.0], [2.0, 0.0]))).confidence == 0.9
    assert named(fit_zero(evidence([0.0, 0.0], [2.0, 1.0]))).confidence == 1.0


def test_rounding_is_zero_and_what_is_small_is_not() -> None:
    largest = np.max(np.abs(VALUES))
    for share, zero in ((0.9e-12, True), (1.1e-12, False)):
        for size in (-1.0, 1.0, 1e-3, 1e3):
            analytic = np.zeros((8, 10))
            analytic[3, 4] = size * share * largest
            assert (fit_zero(evidence(analytic, size * VALUES)) is not None) == zero


def test_a_sample_at_zeros_does_not_make_a_block_zero() -> None:
    assert fit_zero(evidence(np.zeros((8, 10)), VALUES, places=range(10))) is not None
    assert fit_zero(evidence(changed(5, np.zeros((8, 10))), VALUES, places=range(10))) is None


# ---- biases -----------------------------------------------------------------------------------------------------------------

BIAS = drawn(6)


@pytest.mark.parametrize("shape", [(6,), (6, 1), (1, 6)])
@pytest.mark.parametrize("size", [1.0, 1e-3])
def test_a_bias_that_is_one_number_is_a_sum_over_everything(shape: tuple[int, ...], size: float) -> None:
    numeric = size * BIAS.reshape(shape)
    for value, words in ((numeric.sum(), "the sum over all of them"), (numeric.mean(), "the mean over all of them")):
        claim = named(fit_one_number(evidence(np.full(shape, value), numeric)))
        assert (claim.kind, claim.blocks, claim.entries, claim.confidence) == ("bias_sum", ("W",), 6, 0.97)
        assert claim.what == f"the gradient is {value:.6g} in every entry, {words} of the numerical one"
        assert claim.cause == "a sum over all axes that is broadcast over the units"
        assert claim.advice == "Look at the axis of the sum that forms this gradient."
        assert claim.evidence["sum"] == pytest.approx(6 * value)
        assert claim.evidence["numeric_sum"] == pytest.approx(numeric.sum())


@pytest.mark.parametrize("examples", [3, 16, 1 / 3, 1 / 50, -16, 6])
def test_a_sum_over_everything_may_lack_the_mean_over_examples(examples: float) -> None:
    claim = named(fit_one_number(evidence(np.full(6, examples * BIAS.sum()), BIAS)))
    assert claim.confidence == 0.85
    assert claim.what == f"the gradient is {examples * BIAS.sum():.6g} in every entry"


@pytest.mark.parametrize("ratio", [2.0, 0.5, 1.5, 7.001, -1.0])
def test_one_number_that_is_no_sum_is_none(ratio: float) -> None:
    assert fit_one_number(evidence(np.full(6, ratio * BIAS.sum()), BIAS)) is None


@pytest.mark.parametrize("numeric", [[1.0, -1.0], [0.0, 0.0, 1.0], [1.0, 1.0, -2.0]])
def test_a_slope_of_two_at_kinks_is_no_sum(numeric: list[float]) -> None:
    assert fit_one_number(evidence(np.full(len(numeric), 2.0), numeric)) is None


def test_two_units_may_have_a_sum_that_is_broadcast() -> None:
    assert named(fit_one_number(evidence([1.7, 1.7], [1.2, 0.5]))).confidence == 0.97


def test_a_sum_over_everything_is_met_closely_and_is_one_number() -> None:
    for off, fits in ((0.9e-5, True), (1.1e-5, False)):
        for times in (1.0, 7.0):
            claim = fit_one_number(evidence(np.full(6, times * (1 + off) * BIAS.sum()), BIAS))
            assert (claim is not None) == fits
    for off, fits in ((0.9e-12, True), (1.1e-12, False)):
        for value in (BIAS.sum(), BIAS.mean()):
            analytic = np.full(6, value)
            analytic[-1] *= 1.0 + off
            assert (fit_one_number(evidence(analytic, BIAS)) is not None) == fits


def test_where_the_numerical_gradient_is_one_number_too_nothing_was_broadcast() -> None:
    for spread, fits in ((0.9e-3, False), (1.1e-3, True)):
        numeric = np.full(6, 0.7)
        numeric[0] *= 1.0 - spread
        assert (fit_one_number(evidence(np.full(6, numeric.sum()), numeric)) is not None) == fits
    assert fit_one_number(evidence([0.7], [0.3])) is None
    assert fit_one_number(evidence(drawn(5), drawn(5, seed=1), places=[2])) is None
    assert fit_one_number(evidence(np.full((2, 3), drawn(2, 3).sum()), drawn(2, 3))) is None


def test_of_a_sample_the_sum_is_not_known() -> None:
    claim = named(fit_one_number(evidence(np.full(6, BIAS[:3].sum()), BIAS, places=[0, 1, 2])))
    assert claim.what == f"the gradient is {BIAS[:3].sum():.6g} in every entry"
    assert claim.confidence == 0.85


def test_a_bias_with_the_right_sum_is_summed_over_the_wrong_axis() -> None:
    analytic = np.roll(BIAS, 1) + np.array([0.5, -0.5, 0.25, -0.25, 0.0, 0.0])
    for shape in ((6,), (1, 6)):
        claim = named(fit_sum(evidence(analytic.reshape(shape), BIAS.reshape(shape))))
        assert (claim.kind, claim.blocks, claim.confidence, claim.entries) == ("bias_sum", ("W",), 0.85, 6)
        assert claim.what == "the entries of the gradient are wrong, and their sum is right"
        assert claim.cause == "a sum over the wrong axis, of the units in place of the examples"
        assert claim.evidence["sum"] == pytest.approx(claim.evidence["numeric_sum"])


def test_a_sum_that_is_right_by_chance_says_nothing() -> None:
    assert fit_sum(evidence([0.5, 1.5], [1.5, 0.5])) is None  # of two numbers
    assert fit_sum(evidence([0.5, 1.5, 0.1], [1.5, 0.5, 0.1])) is not None
    # Terms that cancel have a sum of nothing.
    for total, fits in ((0.9e-3, False), (1.1e-3, True)):
        numeric = np.array([1.0, 2.0, -3.0]) + np.array([6.0 * total, 0.0, 0.0])
        assert (fit_sum(evidence(numeric[[1, 2, 0]], numeric)) is not None) == fits
    analytic = np.roll(BIAS, 1)
    assert fit_sum(evidence(analytic, BIAS, places=range(6))) is None
    assert fit_sum(evidence(np.roll(VALUES, 1, 0), VALUES)) is None
    for off, fits in ((0.9e-7, True), (1.1e-7, False)):
        shifted = analytic + np.array([off * np.abs(BIAS).sum(), 0.0, 0.0, 0.0, 0.0, 0.0])
        assert (fit_sum(evidence(shifted, BIAS)) is not None) == fits


# ---- rows and columns -------------------------------------------------------------------------------------------------------


def test_a_row_that_is_wrong_is_named() -> None:
    claim = named(fit_confined(evidence(changed(4), VALUES)))
    assert (claim.kind, claim.blocks, claim.entries, claim.misfit) == ("rows", ("W",), 10, 0.0)
    assert claim.what == "only row 4 of 8 is wrong, the others are right"
    assert claim.cause == PICKED
    assert claim.advice == "Look at what is done for these rows alone."
    assert claim.evidence == {"rows": (4,), "share": 1 / 8}
    assert claim.key == ("rows", (4,))
    assert claim.confidence == pytest.approx(0.95)


def test_columns_that_are_wrong_are_named() -> None:
    claim = named(fit_confined(evidence(changed(np.s_[:, [2, 3, 4]]), VALUES)))
    assert (claim.kind, claim.key) == ("columns", ("columns", (2, 3, 4)))
    assert claim.what == "only columns 2 to 4 of 10 are wrong, the others are right"
    assert claim.advice == "Look at what is done for these columns alone."
    assert claim.confidence == pytest.approx(0.88)
    analytic = VALUES.copy()
    analytic[:, 2] *= 3.0
    claim = named(fit_confined(evidence(analytic, VALUES)))
    assert claim.what == "only column 2 of 10 is wrong, 3.0 times the numerical one there, the others are right"
    assert claim.evidence["factor"] == pytest.approx(3.0)
    analytic[:, 2] = 0.0
    claim = named(fit_confined(evidence(analytic, VALUES)))
    assert claim.what == "only column 2 of 10 is wrong, where the gradient is zero, the others are right"
    assert claim.evidence["factor"] == 0.0


def test_slices_of_a_kernel_are_named_by_their_axis() -> None:
    expected = [
        (np.s_[2], "rows", "index (axis 0) 2 of 4 is", "rows"),
        (np.s_[:, [1, 3]], "entries", "index (axis 1)s 1 and 3 of 5 are", "slices"),
        (np.s_[..., 2], "columns", "index (axis 2) 2 of 6 is", "columns"),
    ]
    for index, kind, words, what in expected:
        claim = named(fit_confined(evidence(changed(index, KERNEL), KERNEL)))
        assert claim.kind == kind
        assert claim.what.startswith(f"only {words} wrong")
        assert claim.advice == f"Look at what is done for these {what} alone."


@pytest.mark.parametrize(("rows", "cause"), [([0], ONE_OFF), ([7], ONE_OFF), ([1], PICKED), ([6], PICKED), ([0, 7], PICKED)])
def test_the_first_or_the_last_row_alone_is_that_of_a_loop_that_ends_early(rows: list[int], cause: str) -> None:
    assert named(fit_confined(evidence(changed(rows), VALUES))).cause == cause


def test_the_axis_along_which_least_is_wrong_is_named() -> None:
    for rows, columns, kind in ((4, 6, "rows"), (5, 5, "columns")):
        claim = named(fit_confined(evidence(changed(np.s_[:rows, :columns]), VALUES)))
        assert claim.kind == kind
    square = drawn(6, 6)
    assert named(fit_confined(evidence(changed(np.s_[:3, :3], square), square))).kind == "rows"


def test_most_rows_are_not_few() -> None:
    numeric = drawn(10, 4)
    assert named(fit_confined(evidence(changed(np.s_[:7], numeric), numeric))).evidence["share"] == 0.7
    assert fit_confined(evidence(changed(np.s_[:8], numeric), numeric)) is None


def test_rows_without_a_gradient_are_neither_right_nor_wrong() -> None:
    numeric = drawn(10, 4)
    numeric[5:] = 0.0
    claim = named(fit_confined(evidence(changed(np.s_[:3], numeric), numeric)))
    assert claim.evidence["share"] == 0.6
    assert fit_confined(evidence(changed(np.s_[:4], numeric), numeric)) is None
    single = np.zeros((10, 4))
    single[3] = drawn(4)
    assert fit_confined(evidence(changed(3, single), single)) is None


def test_a_row_is_wrong_if_half_of_it_is() -> None:
    for columns, kind in ((5, "rows"), (4, "entries")):
        claim = named(fit_confined(evidence(changed(np.s_[4, :columns]), VALUES)))
        assert claim.kind == kind
    narrow = drawn(8, 3)
    assert named(fit_confined(evidence(changed(np.s_[4, :2], narrow), narrow))).kind == "rows"
    # Where half of it has no gradient, that of the rest.
    numeric = VALUES.copy()
    numeric[4, 6:] = 0.0
    assert named(fit_confined(evidence(changed(np.s_[4, :3], numeric), numeric))).kind == "rows"
    numeric = np.zeros((8, 10))
    numeric[:, 0], numeric[3, 1] = drawn(8), 1.0
    assert named(fit_confined(evidence(changed(np.s_[3, 1], numeric), numeric))).kind == "entries"


def test_rows_are_confined_only_if_the_others_are_right_by_far() -> None:
    # Of numbers of this size 2e-7 is within the tolerance.
    numeric = np.sign(VALUES)
    for gap, fits in ((0.9e-4, False), (1.1e-4, True)):
        analytic = numeric + np.where(np.arange(8)[:, None] == 4, gap, 1e-7)
        assert (fit_confined(evidence(analytic, numeric)) is not None) == fits
        # Unless that is the noise.
        noise = np.where(np.arange(8)[:, None] == 4, 0.0, np.full((8, 10), 1e-7))
        assert fit_confined(evidence(analytic, numeric, noise=noise)) is not None


def test_a_gap_of_all_sizes_is_not_confined_to_where_it_is_seen() -> None:
    # It fades from row to row, and below the tolerance in the end.
    faded = VALUES * (1.0 + 10.0 ** -np.arange(3.0, 11.0))[:, None]
    assert fit_confined(evidence(faded, VALUES)) is None
    assert fit_confined(evidence(np.where(np.arange(8)[:, None] < 2, faded, VALUES), VALUES)) is not None


def test_a_block_that_is_all_right_or_all_wrong_is_not_confined() -> None:
    assert fit_confined(evidence(VALUES, VALUES)) is None
    assert fit_confined(evidence(OTHERS, VALUES)) is None


def test_what_is_known_of_a_sample_is_said() -> None:
    claim = named(fit_confined(evidence(changed(4), VALUES, places=range(0, 80, 2))))
    assert claim.what == "only row 4 of 8 is wrong, the others are right (in 40 entries looked at, of 80)"
    assert claim.entries == 5
    claim = named(fit_confined(evidence(changed(np.s_[4, 2]), VALUES, places=range(0, 80, 2))))
    assert claim.what == "only entry [4, 2] of 80 is wrong, the others are right (in 40 entries looked at, of 80)"


def test_one_right_row_makes_the_other_less_certain() -> None:
    numeric = drawn(2, 5)
    claim = named(fit_confined(evidence(changed(0, numeric), numeric)))
    assert claim.confidence == pytest.approx(0.8 * (1.0 - 1e-3), rel=1e-9)


def test_of_a_large_block_that_is_known_whole_all_was_looked_at() -> None:
    numeric = drawn(300, 300)
    claim = named(fit_confined(evidence(changed(4, numeric), numeric)))
    assert claim.what == "only row 4 of 300 is wrong, the others are right"
    claim = named(fit_confined(evidence(changed(np.s_[4, 7], numeric), numeric)))
    assert claim.what == "only entry [4, 7] of 90,000 is wrong, the others are right"


def test_entries_that_differ_beneath_the_noise_of_either_are_wrong_all_the_same() -> None:
    numeric, noise = drawn(8, 3), np.zeros((8, 3))
    analytic = numeric.copy()
    noise[4], numeric[4], analytic[4] = 1.0, 0.9, -0.9
    assert named(fit_confined(evidence(analytic, numeric, noise=noise))).evidence["rows"] == (4,)


# ---- single entries ---------------------------------------------------------------------------------------------------------


def test_single_entries_are_named() -> None:
    claim = named(fit_confined(evidence(changed(([1, 6], [2, 9])), VALUES)))
    assert (claim.kind, claim.blocks, claim.entries, claim.misfit) == ("entries", ("W",), 2, 0.0)
    assert claim.what == "only entries [1, 2], [6, 9] of 80 are wrong, the others are right"
    assert claim.cause == "an entry that is overwritten, or left out by a slice, a mask or an index"
    assert claim.advice == "Look at what is done for these entries alone."
    assert claim.evidence == {"indices": ((1, 2), (6, 9))}
    assert claim.key == ("entries", (12, 69))
    assert claim.confidence == pytest.approx(0.99)
    claim = named(fit_confined(evidence(changed(([6], [9])), VALUES)))
    assert claim.what == "only entry [6, 9] of 80 is wrong, the others are right"


def test_of_many_entries_five_are_named_and_the_rest_counted() -> None:
    for count, more in ((5, ""), (6, " and 1 more"), (7, " and 2 more")):
        places = np.arange(count) * 11
        analytic = changed((places // 10, places % 10))
        claim = named(fit_confined(evidence(analytic, VALUES)))
        assert claim.what.startswith(f"only entries [0, 0], [1, 1], [2, 2], [3, 3], [4, 4]{more} of 80 are wrong")
        assert claim.evidence["indices"] == tuple((n, n) for n in range(5))
        assert claim.key == ("entries", tuple(places.tolist()))


def test_entries_of_a_vector_are_named_in_ranges() -> None:
    numeric = drawn(10)
    claim = named(fit_confined(evidence(changed([2, 3, 4, 9], numeric), numeric)))
    assert claim.what == "only entries 2 to 4 and 9 of 10 are wrong, the others are right"
    assert claim.evidence == {"indices": (2, 3, 4, 9)}
    assert claim.confidence == pytest.approx(1.0 - 0.4 * 0.4)
    claim = named(fit_confined(evidence(changed([3], numeric.reshape(1, 10).T), numeric.reshape(10, 1))))
    assert claim.what == "only entry 3 of 10 is wrong, the others are right"


@pytest.mark.parametrize(("wrong", "fits"), [(7, True), (8, False)])
def test_most_entries_of_a_vector_are_not_few(wrong: int, fits: bool) -> None:
    numeric = drawn(10)
    assert (fit_confined(evidence(changed(slice(wrong), numeric), numeric)) is not None) == fits


def test_more_than_a_quarter_of_the_entries_of_a_matrix_are_not_few() -> None:
    numeric = drawn(6, 6)
    scattered = [0, 8, 16, 19, 24, 33, 3, 11, 27, 13]
    for count, fits in ((9, True), (10, False)):
        places = np.unravel_index(scattered[:count], (6, 6))
        assert (fit_confined(evidence(changed(places, numeric), numeric)) is not None) == fits


def test_three_entries_are_few_in_a_block_of_six_and_not_of_five() -> None:
    numeric = drawn(3, 5)
    assert fit_confined(evidence(changed(([0, 1, 2], [0, 1, 2]), numeric), numeric)) is not None
    assert fit_confined(evidence(changed(([0, 1, 2, 0], [0, 1, 2, 3]), numeric), numeric)) is None
    numeric = drawn(2, 3)
    assert fit_confined(evidence(changed(([0, 1, 1], [0, 1, 2]), numeric), numeric)) is not None
    known = numeric.copy()
    known[0, 1] = 0.0
    assert fit_confined(evidence(changed(([0, 1], [0, 2]), known), known)) is not None
    assert fit_confined(evidence(changed(([0, 0, 1], [0, 2, 1]), known), known)) is None
    # All that has a gradient is wrong.
    known = np.zeros((4, 4))
    known[[0, 1, 3], [2, 0, 3]] = [1.0, -0.5, 0.7]
    assert fit_confined(evidence(changed(([0, 1, 3], [2, 0, 3]), known), known)) is None
    assert fit_confined(evidence([2.0, 0.0, 0.5, 0.0, 1.5], [1.0, 0.0, -0.5, 0.0, 0.7])) is None


def test_few_right_entries_make_an_entry_less_certain() -> None:
    for count, chance in ((2, 1e-3), (3, 1e-6), (10, 0.0)):
        numeric = drawn(count)
        claim = named(fit_confined(evidence(changed([1], numeric), numeric)))
        assert claim.confidence == pytest.approx((1.0 - 0.4 / count) * (1.0 - chance), rel=1e-9)


@pytest.mark.parametrize(
    ("factor", "said"),
    [(2.0, True), (-1.0, True), (0.5, True), (-0.1, True), (10.0, True), (11.0, False), (1 / 11, False), (1.7, False)],
)
def test_one_entry_has_a_factor_if_it_is_a_plain_one(factor: float, said: bool) -> None:
    analytic = VALUES.copy()
    analytic[2, 5] *= factor
    claim = named(fit_confined(evidence(analytic, VALUES)))
    assert (f", {factor:.6g}" in claim.what) == said
    assert ("factor" in claim.evidence) == said
    analytic[4, 7] *= factor
    claim = named(fit_confined(evidence(analytic, VALUES)))
    assert "times the numerical one there" in claim.what
    assert claim.evidence["factor"] == pytest.approx(factor)


def test_one_entry_has_a_plain_factor_to_seven_digits() -> None:
    for off, said in ((0.9e-7, True), (1.1e-7, False)):
        for factor in (10.0, 0.1, -2.0):
            analytic = VALUES.copy()
            analytic[2, 5] *= factor * (1.0 + off)
            assert ("factor" in named(fit_confined(evidence(analytic, VALUES))).evidence) == said


def test_one_entry_of_zero_is_said_to_be_that() -> None:
    analytic = VALUES.copy()
    analytic[2, 5] = 0.0
    claim = named(fit_confined(evidence(analytic, VALUES)))
    assert claim.what == "only entry [2, 5] of 80 is wrong, where the gradient is zero, the others are right"
    assert claim.evidence == {"indices": ((2, 5),), "factor": 0.0}
