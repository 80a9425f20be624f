"""Factors, penalties and scales of one block: what each is said to mean, and how near a fit must be for that."""

import math
from typing import Any

import numpy as np
import pytest
from blocks import across, drawn, evidence

from gradsweep._diagnosis._evidence import Claim, certainty
from gradsweep._diagnosis._proportions import (
    Numbers,
    fit_factor,
    fit_factor_and_term,
    fit_missing_term,
    fit_parameter_as_factor,
    fit_scales,
    fit_small_gap,
)
from gradsweep._types import Array

NUMBERS = Numbers(examples=209, extents=(20, 12))
UNKNOWN = Numbers(examples=None, extents=())

VALUES = drawn(6, 5)
THETA = drawn(6, 5, seed=7)


def of_factor(analytic: Array, numeric: Array, numbers: Numbers = UNKNOWN, **others: Any) -> Claim | None:
    return fit_factor(evidence(analytic, numeric, **others), numbers)


def named(claim: Claim | None) -> Claim:
    assert claim is not None
    return claim


# ---- what a factor means ----------------------------------------------------------------------------------------------------

MEANINGS = [
    (209.0, "a mean over 209 examples that is missing"),
    (1 / 209, "a mean over 209 examples where a sum was meant, or one that is taken twice"),
    (2.0, "a term that is counted twice, or a half that is missing"),
    (0.5, "a missing 2, as from the derivative of a square, or a half that is too many"),
    (209 / 208, "a division by 208 in place of 209"),
    (208 / 209, "a division by 209 in place of 208"),
    (20.0, "a mean over 20, an extent of these blocks, that is missing"),
    (1 / 12, "a mean over 12, an extent of these blocks, where a sum was meant"),
    (math.sqrt(20), "a scale of 1/√20 that is missing, 20 an extent of these blocks"),
    (1 / math.sqrt(12), "a scale of 1/√12 that is applied twice, 12 an extent of these blocks"),
    (240.0, "a mean over 20·12 = 240 that is missing"),
    (1 / 240, "a mean over 20·12 = 240 where a sum was meant"),
    (400.0, "a mean over 20·20 = 400 that is missing"),
    (4180.0, "a mean over 209·20 = 4180 that is missing"),
    (1 / 2508, "a mean over 209·12 = 2508 where a sum was meant"),
    (7.0, "a mean over 7 that is missing, or a sum that has one term 7 times"),
    (1 / 7, "a mean over 7 where a sum was meant"),
]


@pytest.mark.parametrize(("factor", "cause"), MEANINGS)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_factor_is_said_to_be_a_number_of_the_network(factor: float, cause: str, sign: float) -> None:
    meaning = NUMBERS.meaning(sign * factor * (1.0 + 1e-9), (), 0.0)
    assert meaning.cause == cause + (" and a wrong sign" if sign < 0 else "")
    assert meaning.value == sign * factor
    assert meaning.known


def test_a_factor_of_minus_one_is_a_wrong_sign() -> None:
    meaning = NUMBERS.meaning(-1.0, (), 0.0)
    assert (meaning.value, meaning.cause, meaning.known) == (-1.0, "a wrong sign", True)


@pytest.mark.parametrize("factor", [4.5, -0.3, math.sqrt(2), math.pi, 0.0, 1e-9, 1e9, 1 + 1e-5, math.inf])
def test_a_factor_that_is_no_such_number_is_just_a_constant(factor: float) -> None:
    meaning = Numbers(examples=209, extents=(2, 12)).meaning(factor, (1, 2), 0.0)
    assert (meaning.value, meaning.cause, meaning.known) == (factor, "a constant that is missing, or counted twice", False)


def test_a_factor_of_one_means_nothing() -> None:
    meaning = NUMBERS.meaning(1.0, (), 0.0)
    assert (meaning.value, meaning.cause, meaning.known) == (1.0, "", True)


@pytest.mark.parametrize("examples", [None, 1])
def test_without_several_examples_no_factor_is_their_number(examples: int | None) -> None:
    numbers = Numbers(examples=examples, extents=(5,))
    for factor in (2.0, 0.5, 5.0, 0.2, 3.0, 25.0):
        assert "examples" not in numbers.meaning(factor, (), 0.0).cause
    assert numbers.meaning(25.0, (), 0.0).cause == "a mean over 5·5 = 25 that is missing"


def test_of_two_examples_a_two_is_a_mean_and_not_a_correction_of_one() -> None:
    numbers = Numbers(examples=2, extents=())
    assert "2 examples" in numbers.meaning(2.0, (), 0.0).cause
    assert numbers.meaning(0.5, (), 0.0).cause.startswith("a mean over 2 examples where")
    assert Numbers(examples=3, extents=()).meaning(1.5, (), 0.0).cause == "a division by 2 in place of 3"
    assert not numbers.meaning(1.5, (), 0.0).known
    assert "2·5 = 10" in Numbers(examples=2, extents=(5,)).meaning(10.0, (), 0.0).cause


def test_extents_of_the_block_itself_come_before_those_of_others() -> None:
    numbers = Numbers(examples=None, extents=(3, 8, 4, 6))
    assert "3·8 = 24" in numbers.meaning(24.0, (), 0.0).cause
    assert "4·6 = 24" in numbers.meaning(24.0, (4, 6), 0.0).cause


def test_products_are_formed_of_some_extents_only() -> None:
    extents = tuple(2 * n + 101 for n in range(13))
    numbers = Numbers(examples=None, extents=extents)
    last, beyond = extents[11], extents[12]
    for factor in (extents[0] * last, extents[10] * last, last * last):
        assert "·" in numbers.meaning(float(factor), (), 0.0).cause
    for factor in (extents[0] * beyond, beyond * beyond):
        assert "·" not in numbers.meaning(float(factor), (), 0.0).cause


@pytest.mark.parametrize(("off", "room"), [(0.0, 1e-8), (1e-5, 1e-5), (1.0, 1e-3)])
def test_how_near_a_factor_must_be_is_bounded_from_both_sides(off: float, room: float) -> None:
    for factor in (2.0, -2.0, 1 / 209, 7.0, 1 / 7):
        for way in (-1.0, 1.0):
            near, far = factor * (1.0 + 0.9 * way * room), factor * (1.0 + 1.2 * way * room)
            assert NUMBERS.meaning(near, (), off).value == factor
            assert NUMBERS.meaning(far, (), off).value == far


def test_an_integer_is_one_only_if_it_can_be_told_from_the_next() -> None:
    assert UNKNOWN.meaning(47.0, (), 1e-3).value == 47.0
    assert UNKNOWN.meaning(1 / 47, (), 1e-3).value == 1 / 47
    assert UNKNOWN.meaning(47.01, (), 1e-3).value == 47.0
    assert UNKNOWN.meaning(50.01, (), 1e-3).value == 50.0
    assert UNKNOWN.meaning(51.01, (), 1e-3).value == 51.01
    assert UNKNOWN.meaning(53.0, (), 1e-5).known


def test_large_integers_are_named_and_hardly_a_sign_of_anything() -> None:
    for integer, known in ((3, True), (1000, True), (1001, False), (1_000_000, False)):
        for factor in (float(integer), 1.0 / integer, -float(integer)):
            meaning = UNKNOWN.meaning(factor, (), 0.0)
            assert f"a mean over {integer} " in meaning.cause
            assert (meaning.value, meaning.known) == (factor, known)
    for factor in (1_000_001.0, 1 / 1_000_001):
        assert "constant" in UNKNOWN.meaning(factor, (), 0.0).cause


# ---- a factor of a block ----------------------------------------------------------------------------------------------------


def test_a_factor_is_claimed_with_its_numbers() -> None:
    claim = named(of_factor(3.0 * VALUES, VALUES))
    assert (claim.kind, claim.blocks, claim.entries) == ("factor", ("W",), 30)
    assert claim.what == "the gradient is 3.0 times the numerical one"
    assert claim.cause == "a mean over 3 that is missing, or a sum that has one term 3 times"
    assert claim.advice == "Look for this factor where the gradient is scaled."
    assert claim.evidence["factor"] == pytest.approx(3.0, rel=1e-14)
    assert claim.misfit < 1e-14
    assert claim.confidence == pytest.approx(1.0)
    assert claim.key == 3.0


def test_blocks_of_nearly_the_same_factor_belong_together() -> None:
    one, other, third = (named(of_factor(factor * VALUES, VALUES)).key for factor in (4.5, 4.5 * (1 + 1e-8), 4.5 * (1 + 1e-5)))
    assert one == other
    assert one != third


@pytest.mark.parametrize(("share", "fits"), [(0.9e-5, True), (1.1e-5, False)])
def test_a_factor_leaves_no_more_than_rounding(share: float, fits: bool) -> None:
    # The gap is twice the numerical gradient, and what is left is relative to the gap.
    claim = of_factor(3.0 * VALUES + 2.0 * share * across(VALUES), VALUES)
    assert (claim is not None) == fits
    if claim is not None:
        assert claim.misfit == pytest.approx(share, rel=1e-3)


@pytest.mark.parametrize(("share", "fits"), [(0.9, True), (1.1, False)])
def test_a_factor_leaves_what_the_noise_allows(share: float, fits: bool) -> None:
    left = 1e-3 * across(VALUES)
    noise = np.full(VALUES.shape, np.linalg.norm(left) / share / 2.0 / math.sqrt(VALUES.size))
    claim = of_factor(3.0 * VALUES + left, VALUES, noise=noise)
    assert (claim is not None) == fits


def test_noise_does_not_make_a_factor_of_anything() -> None:
    analytic = 3.0 * VALUES + 2.0 * 0.04 * across(VALUES)
    assert of_factor(analytic, VALUES, noise=np.full(VALUES.shape, 0.1)) is None
    analytic = 3.0 * VALUES + 2.0 * 0.02 * across(VALUES)
    assert of_factor(analytic, VALUES, noise=np.full(VALUES.shape, 0.1)) is not None


@pytest.mark.parametrize("factor", [2.0, -3.0, 0.1])
@pytest.mark.parametrize(("errors", "known"), [(4.8, True), (5.2, False)])
def test_a_factor_may_be_off_by_five_standard_errors(factor: float, errors: float, known: bool) -> None:
    # What is left of a factor f beside d is ε·|d|, and the standard error of f is ε/√n.
    relative = 5e-4
    left = relative * abs(factor) * math.sqrt(VALUES.size) / errors
    fitted = factor * (1.0 + relative)
    claim = named(of_factor(fitted * VALUES + left * across(VALUES), VALUES, noise=np.full(VALUES.shape, 0.01)))
    assert claim.key == pytest.approx(factor if known else fitted, rel=1e-5)


def test_what_may_as_well_be_zero_is_no_factor() -> None:
    small = 1e-6 * drawn(6, 5, seed=3)
    assert of_factor(small, VALUES) is None
    assert of_factor(1e-6 * VALUES, VALUES) is not None
    for errors, fits in ((4.8, False), (5.2, True)):
        left = 1e-6 * math.sqrt(VALUES.size) / errors
        assert (of_factor(1e-6 * VALUES + left * across(VALUES), VALUES) is not None) == fits


@pytest.mark.parametrize("count", [4, 5])
def test_a_factor_is_as_certain_as_it_has_digits(count: int) -> None:
    numeric = drawn(count)
    for factor, parameters in ((3.0, 0), (1.2345, 1)):
        claim = named(of_factor(factor * numeric + abs(factor - 1.0) * 8e-6 * across(numeric), numeric))
        assert claim.confidence == pytest.approx(certainty(8e-6, count, parameters), rel=1e-9)
    theta = drawn(count, seed=7)
    term = 0.123 * (theta + 8e-6 * across(theta))
    claim = named(fit_missing_term(evidence(numeric + term, numeric, parameter=theta)))
    assert claim.confidence == pytest.approx(certainty(claim.misfit, count, 1), rel=1e-9)
    analytic = numeric * theta
    left = 8e-6 * np.linalg.norm(analytic - numeric) * across(numeric) / np.linalg.norm(numeric)
    claim = named(fit_parameter_as_factor(evidence(analytic + left, numeric, parameter=theta)))
    assert claim.confidence == pytest.approx(0.95 * certainty(claim.misfit, count, 0), rel=1e-9)
    claim = named(of_factor((1.0 + 1e-3) * numeric + 8e-9 * across(numeric), numeric))
    assert claim.confidence == pytest.approx(0.9 * certainty(claim.misfit, count, 1), rel=1e-9)


def test_two_numbers_beside_each_other_make_a_fit_less_certain() -> None:
    numeric, theta = drawn(6), drawn(6, seed=7)
    for analytic, parameters in ((3.0 * numeric + 0.1 * theta, 2), (0.1 * theta, 1)):
        left = drawn(6, seed=4)
        left *= 8e-6 * np.linalg.norm(analytic - numeric) / np.linalg.norm(left)
        claim = named(fit_factor_and_term(evidence(analytic + left, numeric, parameter=theta), UNKNOWN))
        assert claim.confidence == pytest.approx(0.95 * certainty(claim.misfit, 6, parameters), rel=1e-9)


def beneath_noise(analytic: Array, numeric: Array) -> tuple[Array, Array, dict[str, Any]]:
    """The same with a row of entries that are beneath the noise and differ by more than all others together."""
    rows = np.full((1, numeric.shape[1]), 60.0)
    noise = np.vstack([np.zeros(numeric.shape), rows + 1.0])
    return np.vstack([analytic, -rows]), np.vstack([numeric, rows]), {"noise": noise}


def test_a_gap_beneath_the_noise_makes_no_fit_better() -> None:
    unit = across(VALUES) / np.linalg.norm(VALUES)
    for share, fits in ((0.5e-5, True), (2e-5, False)):
        scaled = 3.0 * VALUES + share * np.linalg.norm(2.0 * VALUES) * unit
        analytic, numeric, others = beneath_noise(scaled, VALUES)
        assert (of_factor(analytic, numeric, **others) is not None) == fits
        theta = np.vstack([THETA, drawn(1, 5)])
        times = VALUES * THETA
        analytic, numeric, others = beneath_noise(times + share * np.linalg.norm(times - VALUES) * unit, VALUES)
        assert (fit_parameter_as_factor(evidence(analytic, numeric, parameter=theta, **others)) is not None) == fits
        both = 3.0 * VALUES + 0.1 * THETA
        left = drawn(6, 5, seed=4)
        left *= 1.2 * share * np.linalg.norm(both - VALUES) / np.linalg.norm(left)
        analytic, numeric, others = beneath_noise(both + left, VALUES)
        assert (fit_factor_and_term(evidence(analytic, numeric, parameter=theta, **others), UNKNOWN) is not None) == fits
        scales = drawn(6, 1, seed=3) * VALUES
        left = np.array([across(row) for row in VALUES])
        left *= share * np.linalg.norm(scales - VALUES) / np.linalg.norm(left)
        analytic, numeric, others = beneath_noise(scales + left, VALUES)
        assert (0 in [each.axis for each in fit_scales(evidence(analytic, numeric, **others))]) == fits
        # A term is fitted where the two differ by more than the noise.
        analytic, numeric, others = beneath_noise(VALUES + 0.1 * (THETA + share * across(THETA)), VALUES)
        numeric[-1], analytic[-1] = 30.0, -30.0
        assert (fit_missing_term(evidence(analytic, numeric, parameter=theta, **others)) is not None) == fits


def test_noise_decides_whether_a_factor_is_a_number_with_a_meaning() -> None:
    rough = np.full(VALUES.shape, 0.1)
    factor = 2.0 * (1 + 2e-4)
    exact = named(of_factor(factor * VALUES, VALUES, noise=rough))
    assert exact.key == pytest.approx(factor, rel=1e-5)
    # With this left over the factor is uncertain by 1e-3 or so.
    uncertain = named(of_factor(factor * VALUES + 0.01 * across(VALUES), VALUES, noise=rough))
    assert uncertain.key == 2.0
    assert uncertain.what == "the gradient is 2.0 times the numerical one"
    assert uncertain.evidence["factor"] == pytest.approx(factor, rel=1e-12)


@pytest.mark.parametrize(("wrong", "fits"), [(29, True), (15, True), (14, False)])
def test_a_factor_of_half_of_the_entries_is_one_of_the_block(wrong: int, fits: bool) -> None:
    factors = np.where(np.arange(30) < wrong, 3.0, 1.0).reshape(6, 5)
    claim = of_factor(factors * VALUES, VALUES)
    assert (claim is not None) == fits
    if claim is not None:
        assert claim.what == f"the gradient is 3.0 times the numerical one in {wrong} entries, the others are right"
        assert claim.entries == wrong


def test_entries_below_the_noise_are_not_counted() -> None:
    numeric, noise = VALUES.copy(), np.zeros(VALUES.shape)
    numeric[3:] = 0.0
    noise[3:] = 1e-3
    analytic = 3.0 * numeric
    analytic[3:] = 1e-4
    claim = named(of_factor(analytic, numeric, noise=noise))
    assert claim.what == "the gradient is 3.0 times the numerical one"
    assert claim.entries == 15
    factors = np.where(np.arange(5) < 3, 3.0, 1.0)
    claim = named(of_factor(np.where(noise > 0.0, analytic, factors * numeric), numeric, noise=noise))
    assert claim.entries == 9


@pytest.mark.parametrize("numeric", [np.zeros((3, 4)), drawn(3, 4)])
def test_a_gradient_or_a_numerical_one_of_zero_has_no_factor(numeric: Array) -> None:
    assert of_factor(np.zeros((3, 4)) if numeric.any() else drawn(3, 4), numeric) is None


def test_one_number_has_a_factor_if_it_means_something() -> None:
    for factor in (2.0, -1.0, 17.0):
        claim = named(of_factor(np.array([factor * 0.37]), np.array([0.37])))
        assert (claim.key, claim.confidence, claim.entries) == (factor, 0.4, 1)
    assert of_factor(np.array([1.2345 * 0.37]), np.array([0.37])) is None
    # All of a block whose other entries are 0 is one number too.
    assert of_factor(np.array([0.0, 1.2345 * 0.37, 0.0]), np.array([0.0, 0.37, 0.0])) is None


@pytest.mark.parametrize("count", [2, 3])
def test_few_numbers_make_a_factor_certain_only_if_it_means_something(count: int) -> None:
    numeric = drawn(count)
    assert named(of_factor(1.2345 * numeric, numeric)).confidence <= 0.4
    assert named(of_factor(3.0 * numeric, numeric)).confidence > 0.99
    # So many digits are no chance with four.
    assert named(of_factor(1.2345 * drawn(4), drawn(4))).confidence > 0.99
    # Nor are five digits with few, of which something is true to as many by chance.
    for off, tolerance, fits in ((1.8e-9, 0.0, True), (2.2e-9, 0.0, False), (0.7e-6, 1e-7, True), (0.9e-6, 1e-7, False)):
        block = evidence(3.0 * numeric + off * across(numeric), numeric, tolerance=tolerance)
        assert (fit_factor(block, UNKNOWN) is not None) == fits
    assert of_factor(3.0 * drawn(4) + 0.9e-6 * across(drawn(4)), drawn(4)) is not None


@pytest.mark.parametrize(("factor", "words"), [(1 + 1e-6, "1 + 1e-06 times"), (1 - 2e-4, "1 − 0.0002 times")])
def test_a_factor_that_is_all_but_one_is_a_guard(factor: float, words: str) -> None:
    claim = named(of_factor(factor * VALUES, VALUES))
    assert (claim.kind, claim.blocks, claim.key, claim.entries) == ("guard", ("W",), "uniform", 30)
    assert claim.what == f"the gradient is {words} the numerical one"
    assert claim.cause == "a small constant, as of log(p + 1e-7) or a norm's ε, that is in the cost or in the gradient alone"
    assert claim.advice == "Compare the guards against division by zero in the forward and in the backward pass."
    assert claim.confidence == pytest.approx(0.9, abs=1e-6)
    assert claim.evidence["factor"] == pytest.approx(factor, rel=1e-12)
    assert claim.evidence["relative_gap"] == pytest.approx(abs(factor - 1), rel=1e-6)
    assert claim.misfit < 1e-5


def test_a_factor_near_one_that_means_something_is_a_factor() -> None:
    assert named(of_factor(1.0019 * VALUES, VALUES)).kind == "guard"
    assert named(of_factor(1.0021 * VALUES, VALUES)).kind == "factor"
    claim = named(of_factor(2000 / 1999 * VALUES, VALUES, Numbers(2000, ())))
    assert (claim.kind, claim.cause) == ("factor", "a division by 1999 in place of 2000")


def test_a_factor_of_one_is_a_guard_however_small_the_tolerance() -> None:
    claim = named(fit_factor(evidence((1 + 5e-9) * VALUES, VALUES, tolerance=1e-12), UNKNOWN))
    assert (claim.kind, claim.key) == ("guard", "uniform")


def test_one_number_that_is_nearly_right_is_hardly_a_guard() -> None:
    claim = named(of_factor(np.array([0.37 * (1 + 1e-6)]), np.array([0.37])))
    assert (claim.kind, claim.confidence) == ("guard", 0.0)


def test_what_was_looked_at_of_a_block_is_said() -> None:
    claim = named(of_factor(3.0 * VALUES, VALUES, places=range(0, 30, 2)))
    assert claim.what == "the gradient is 3.0 times the numerical one (in 15 entries looked at, of 30)"


# ---- the parameter as a factor ----------------------------------------------------------------------------------------------

PARAMETER_AS_FACTOR = [
    (VALUES * THETA, "the numerical one times the parameter", "a gradient with respect to the parameter's logarithm"),
    (VALUES / THETA, "the numerical one over the parameter", "a parameter that is a logarithm, without its own derivative"),
    (
        VALUES / np.exp(THETA),
        "the numerical one over exp(parameter)",
        "a gradient with respect to exp(parameter), not to the parameter",
    ),
    (VALUES * np.exp(THETA), "the numerical one times exp(parameter)", "a derivative of exp that is taken twice"),
]


@pytest.mark.parametrize(("analytic", "words", "cause"), PARAMETER_AS_FACTOR)
def test_a_gradient_with_respect_to_something_else_is_named(analytic: Array, words: str, cause: str) -> None:
    claim = named(fit_parameter_as_factor(evidence(analytic, VALUES)))
    assert (claim.kind, claim.blocks, claim.cause, claim.key) == ("factor", ("W",), cause, words)
    assert claim.what == f"the gradient is {words}"
    assert claim.advice == "Apply the chain rule to how the parameter enters."
    assert claim.evidence == {"factor": words}
    assert claim.entries == 30
    assert claim.misfit < 1e-12
    assert claim.confidence == pytest.approx(0.95)


def test_a_parameter_that_is_the_same_everywhere_is_any_factor() -> None:
    for analytic in (2.0 * VALUES, VALUES * np.exp(2.0)):
        assert fit_parameter_as_factor(evidence(analytic, VALUES, parameter=np.full((6, 5), 2.0))) is None
    assert fit_parameter_as_factor(evidence([0.5, 0.7], [1.0, 1.4], parameter=np.array([0.5, 0.5]))) is None
    for size in (1e-3, 1e3):
        for spread, fits in ((2e-7, False), (2e-6, True)):
            varied = size * (1.0 + spread * np.linspace(0.0, 1.0, 30).reshape(6, 5))
            assert (fit_parameter_as_factor(evidence(VALUES * varied, VALUES, parameter=varied)) is not None) == fits
    varied = 2.0 + 1e-5 * THETA
    assert fit_parameter_as_factor(evidence(VALUES * varied, VALUES, parameter=varied)) is not None


def test_a_single_parameter_may_be_a_factor() -> None:
    claim = named(fit_parameter_as_factor(evidence([0.37 * 1.7], [0.37], parameter=np.array([1.7]))))
    assert claim.what == "the gradient is the numerical one times the parameter"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_parameter_that_is_not_finite_is_no_factor(bad: float) -> None:
    theta = THETA.copy()
    theta[0, 0] = bad
    assert fit_parameter_as_factor(evidence(VALUES * THETA, VALUES, parameter=theta)) is None


def test_parameters_of_zero_or_beyond_exp_are_no_error() -> None:
    theta = THETA.copy()
    theta[0, 0], theta[1, 1] = 0.0, 800.0
    with np.errstate(all="raise"):
        claim = named(fit_parameter_as_factor(evidence(VALUES * theta, VALUES, parameter=theta)))
    assert claim.evidence == {"factor": "the numerical one times the parameter"}


def test_the_parameter_as_a_factor_leaves_no_more_than_rounding() -> None:
    gap = np.linalg.norm(VALUES * THETA - VALUES)
    unit = across(VALUES) / np.linalg.norm(VALUES)
    assert fit_parameter_as_factor(evidence(VALUES * THETA + 0.9e-5 * gap * unit, VALUES)) is not None
    assert fit_parameter_as_factor(evidence(VALUES * THETA + 1.1e-5 * gap * unit, VALUES)) is None


def test_entries_below_the_noise_do_not_decide_on_the_parameter_as_a_factor() -> None:
    noise = np.zeros((6, 5))
    noise[0] = 10.0
    analytic = np.where(noise > 0.0, 5.0, VALUES * THETA)
    claim = named(fit_parameter_as_factor(evidence(analytic, VALUES, noise=noise)))
    assert claim.entries == 25


# ---- a term that is missing -------------------------------------------------------------------------------------------------

TERMS = [
    (-0.1 * THETA, "parameter", "-0.1 times the parameter", "weight decay of λ = 0.1 that is missing, or one of half of it"),
    (0.1 * THETA, "parameter", "0.1 times the parameter", "weight decay of λ = 0.1 that the cost does not have, or that is c"),
    (
        -0.1 * np.sign(THETA),
        "sign of the parameter",
        "-0.1 times the sign of the parameter",
        "an L1 penalty of λ = 0.1 that is m",
    ),
    (0.2 * np.sign(THETA), "sign of the parameter", "0.2 times the sign of the parameter", "an L1 penalty of λ = 0.2 that the c"),
    (np.full((6, 5), -0.3), "constant", "-0.3 in every entry", "a term linear in the parameter that is missing"),
    (np.full((6, 5), 0.3), "constant", "0.3 in every entry", "a term linear in the parameter that is not in the cost"),
]


@pytest.mark.parametrize(("term", "words", "what", "cause"), TERMS)
def test_a_term_is_named_with_its_coefficient(term: Array, words: str, what: str, cause: str) -> None:
    claim = named(fit_missing_term(evidence(VALUES + term, VALUES)))
    assert (claim.kind, claim.blocks, claim.entries) == ("missing_term", ("W",), 30)
    assert claim.what == f"the gradient less the numerical one is {what}"
    assert claim.cause.startswith(cause)
    assert claim.advice == "Compare the penalty in the cost with its derivative in the gradient, block by block."
    slope = float(what.split()[0])
    assert claim.evidence["coefficient"] == pytest.approx(slope, rel=1e-12)
    assert claim.evidence["term"] == words
    assert claim.key == (words, slope)
    assert claim.confidence == pytest.approx(1.0)
    assert claim.misfit < 1e-12


def test_blocks_of_nearly_the_same_penalty_belong_together() -> None:
    one, other, third = (
        named(fit_missing_term(evidence(VALUES + factor * THETA, VALUES))).key for factor in (0.3, 0.3 + 1e-9, 0.3 + 1e-5)
    )
    assert one == other
    assert one != third


def test_a_term_may_be_missing_in_some_entries_only() -> None:
    some = np.arange(30).reshape(6, 5) % 3 == 0
    claim = named(fit_missing_term(evidence(VALUES + 0.1 * THETA * some, VALUES)))
    assert claim.entries == 10
    assert claim.evidence["coefficient"] == pytest.approx(0.1)


@pytest.mark.parametrize(("share", "fits"), [(0.9e-5, True), (1.1e-5, False)])
def test_a_term_leaves_no_more_than_rounding(share: float, fits: bool) -> None:
    claim = fit_missing_term(evidence(VALUES + 0.1 * THETA + 0.1 * share * across(THETA), VALUES))
    assert (claim is not None) == fits
    if claim is not None:
        assert claim.misfit == pytest.approx(share, rel=1e-2)


def test_one_entry_has_a_penalty_if_its_coefficient_is_one_that_people_choose() -> None:
    for slope in (0.1, 0.01, 2.5e-4, -0.37):
        claim = named(fit_missing_term(evidence([0.5 + slope * 1.3], [0.5], parameter=np.array([1.3]))))
        assert (claim.confidence, claim.entries) == (0.4, 1)
        assert claim.evidence["coefficient"] == pytest.approx(slope)
    for slope in (0.123, 1 / 3, 0.1 + 1e-7):
        assert fit_missing_term(evidence([0.5 + slope * 1.3], [0.5], parameter=np.array([1.3]))) is None


def test_two_entries_are_never_a_constant_and_no_sign() -> None:
    assert fit_missing_term(evidence([1.5, 2.5], [1.0, 2.0], parameter=np.array([0.7, 1.1]))) is None
    assert fit_missing_term(evidence([1.5, 1.5], [1.0, 2.0], parameter=np.array([0.7, -1.1]))) is None
    assert fit_missing_term(evidence([1.5, 2.5, 4.0], [1.0, 2.0, 3.5], parameter=np.array([0.7, 1.1, 0.2]))) is not None
    assert fit_missing_term(evidence([1.07, 2.11], [1.0, 2.0], parameter=np.array([0.7, 1.1]))) is not None


def test_a_parameter_that_is_the_same_everywhere_has_no_sign_of_its_own() -> None:
    theta = np.full((6, 5), 2.0)
    claim = named(fit_missing_term(evidence(VALUES + 0.2, VALUES, parameter=theta)))
    assert claim.evidence["term"] == "parameter"
    # Zeros have neither a penalty nor a sign.
    claim = named(fit_missing_term(evidence(VALUES + 0.2, VALUES, parameter=0.0 * theta)))
    assert claim.evidence["term"] == "constant"


def test_positive_parameters_have_a_penalty_before_a_constant() -> None:
    claim = named(fit_missing_term(evidence(VALUES + 0.2, VALUES, parameter=np.abs(THETA))))
    assert claim.evidence["term"] == "sign of the parameter"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_parameter_that_is_not_finite_has_no_penalty(bad: float) -> None:
    theta = THETA.copy()
    theta[0, 0] = bad
    assert fit_missing_term(evidence(VALUES + 0.1 * THETA, VALUES, parameter=theta)) is None


def test_a_term_in_a_sample_is_said_to_be_in_that() -> None:
    claim = named(fit_missing_term(evidence(VALUES + 0.1 * THETA, VALUES, places=range(0, 30, 2))))
    assert claim.what.endswith("times the parameter (in 15 entries looked at, of 30)")


def test_coefficients_do_not_depend_on_the_size_of_the_gradient() -> None:
    claim = named(fit_missing_term(evidence(1e-6 * VALUES + 0.1 * THETA, 1e-6 * VALUES)))
    assert claim.evidence["coefficient"] == pytest.approx(0.1)


# ---- a factor beside a penalty ----------------------------------------------------------------------------------------------


def scaled_beside_penalty(numeric: Array, theta: Array, factor: float = 3.0, slope: float = 0.1) -> Array:
    return factor * numeric + slope * theta


def test_a_factor_beside_a_penalty_is_named_with_both() -> None:
    claim = named(fit_factor_and_term(evidence(scaled_beside_penalty(VALUES, THETA), VALUES), UNKNOWN))
    assert (claim.kind, claim.blocks, claim.key, claim.entries) == ("factor", ("W",), 3.0, 30)
    assert claim.what == "the gradient is 3.0 times the numerical one and 0.1 times the parameter"
    assert claim.cause == (
        "a mean over 3 that is missing, or a sum that has one term 3 times, while a penalty on the parameter is not scaled so"
    )
    assert claim.advice == "Look for this factor where the gradient is scaled, apart from the penalty."
    assert claim.evidence["factor"] == pytest.approx(3.0)
    assert claim.evidence["coefficient"] == pytest.approx(0.1)
    assert claim.confidence == pytest.approx(0.95)
    assert claim.misfit < 1e-12


def test_the_coefficient_beside_a_factor_does_not_depend_on_the_size_of_the_numbers() -> None:
    numeric = 1e-6 * VALUES
    claim = named(fit_factor_and_term(evidence(scaled_beside_penalty(numeric, THETA), numeric), UNKNOWN))
    assert claim.evidence["coefficient"] == pytest.approx(0.1)
    assert claim.evidence["factor"] == pytest.approx(3.0, rel=1e-6)


def test_two_numbers_are_fitted_by_six_entries_or_more() -> None:
    for count, fits in ((6, True), (5, False)):
        numeric, theta = drawn(count), drawn(count, seed=7)
        claim = fit_factor_and_term(evidence(scaled_beside_penalty(numeric, theta), numeric), UNKNOWN)
        assert (claim is not None) == fits


@pytest.mark.parametrize(("share", "fits"), [(0.9e-5, True), (1.1e-5, False)])
def test_a_factor_beside_a_penalty_leaves_no_more_than_rounding(share: float, fits: bool) -> None:
    analytic = scaled_beside_penalty(VALUES, THETA)
    columns = np.column_stack([VALUES.reshape(-1), THETA.reshape(-1)])
    left = drawn(30, seed=4)
    left -= columns @ np.linalg.lstsq(columns, left, rcond=None)[0]
    left *= share * np.linalg.norm(analytic - VALUES) / np.linalg.norm(left)
    claim = fit_factor_and_term(evidence(analytic + left.reshape(6, 5), VALUES), UNKNOWN)
    assert (claim is not None) == fits


@pytest.mark.parametrize(("wrong", "fits"), [(29, True), (15, True), (14, False)])
def test_a_factor_beside_a_penalty_holds_for_half_of_the_entries(wrong: int, fits: bool) -> None:
    some = np.arange(30).reshape(6, 5) < wrong
    analytic = np.where(some, scaled_beside_penalty(VALUES, THETA), VALUES)
    claim = fit_factor_and_term(evidence(analytic, VALUES), UNKNOWN)
    assert (claim is not None) == fits
    if claim is not None:
        assert claim.entries == wrong


@pytest.mark.parametrize("theta", [np.zeros((6, 5)), 2.0 * VALUES, np.full((6, 5), np.nan), np.full((6, 5), np.inf)])
def test_a_penalty_that_cannot_be_told_from_the_gradient_is_not_fitted(theta: Array) -> None:
    assert fit_factor_and_term(evidence(3.0 * VALUES, VALUES, parameter=theta), UNKNOWN) is None


def test_a_gradient_that_is_the_penalty_alone_is_said_to_be_that() -> None:
    for size in (1.0, 1e-6):
        claim = named(fit_factor_and_term(evidence(0.1 * THETA, size * VALUES + 0.1 * THETA), UNKNOWN))
        assert (claim.kind, claim.blocks, claim.entries) == ("zero", ("W",), 30)
        assert claim.what == "the gradient is 0.1 times the parameter, and nothing else"
        assert claim.cause == "a penalty alone: a gradient of the rest that is never computed, or a path that is cut"
        assert claim.advice == "Look whether this gradient is assigned at all, and under which name."
        assert claim.key == ("penalty alone", 0.1)
        assert claim.evidence["coefficient"] == pytest.approx(0.1)
        assert claim.confidence == pytest.approx(0.95)
        assert claim.misfit < 1e-9
    sampled = named(fit_factor_and_term(evidence(0.1 * THETA, VALUES, places=range(0, 30, 2)), UNKNOWN))
    assert sampled.what.endswith("nothing else (in 15 entries looked at, of 30)")
    # A factor of so little is one all the same.
    claim = named(fit_factor_and_term(evidence(1e-4 * VALUES + 0.1 * THETA, VALUES), UNKNOWN))
    assert claim.evidence["factor"] == pytest.approx(1e-4)


def test_a_factor_of_one_beside_a_penalty_is_none() -> None:
    noise = np.full((6, 5), 1e-3)
    exact = 2.0 * (1 + 2e-4) * VALUES + 0.1 * THETA
    assert named(fit_factor_and_term(evidence(exact, VALUES, noise=noise), UNKNOWN)).key == pytest.approx(2.0004)
    left = 1e-4 * drawn(6, 5, seed=4)
    assert named(fit_factor_and_term(evidence(exact + left, VALUES, noise=noise), UNKNOWN)).key == 2.0
    near = (1 + 2e-4) * VALUES + 0.1 * THETA
    assert fit_factor_and_term(evidence(near + left, VALUES, noise=noise), UNKNOWN) is None


def test_a_numerical_gradient_of_zero_has_no_factor_beside_a_penalty() -> None:
    assert fit_factor_and_term(evidence(0.1 * THETA, np.zeros((6, 5))), UNKNOWN) is None


def test_a_factor_beside_a_penalty_has_the_meaning_of_numbers_of_the_network() -> None:
    claim = named(fit_factor_and_term(evidence(scaled_beside_penalty(VALUES, THETA, 6.0), VALUES), UNKNOWN))
    assert claim.cause.startswith("a mean over 6, an extent of these blocks, that is missing,")
    sampled = evidence(scaled_beside_penalty(VALUES, THETA), VALUES, places=range(0, 30, 2))
    assert named(fit_factor_and_term(sampled, UNKNOWN)).what.endswith("the parameter (in 15 entries looked at, of 30)")


# ---- a scale of each unit ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1])
def test_scales_of_units_are_found_along_their_axis(axis: int) -> None:
    scales = drawn(6, 1, seed=3) if axis == 0 else drawn(1, 5, seed=3)
    found = fit_scales(evidence(scales * VALUES, VALUES))
    assert [each.axis for each in found] == [axis]
    assert found[0].values == pytest.approx(scales.reshape(-1), rel=1e-12)
    assert found[0].entries == 30
    assert found[0].misfit < 1e-12


def test_one_example_may_have_scales_along_both_axes() -> None:
    numeric = np.outer(drawn(6), drawn(5))
    found = fit_scales(evidence(np.outer(drawn(6, seed=3), drawn(5)), numeric))
    assert [each.axis for each in found] == [0]
    found = fit_scales(evidence(np.outer(drawn(6, seed=3), drawn(5, seed=3)), numeric))
    assert found == []


def test_a_unit_without_a_gradient_has_no_scale_and_does_no_harm() -> None:
    numeric = VALUES.copy()
    numeric[2] = 0.0
    (found,) = fit_scales(evidence(drawn(6, 1, seed=3) * numeric, numeric))
    assert np.isnan(found.values[2])
    assert np.isfinite(np.delete(found.values, 2)).all()
    assert found.entries == 25
    analytic = drawn(6, 1, seed=3) * numeric
    analytic[2] = 0.5  # A gradient where there is none is no scale.
    assert fit_scales(evidence(analytic, numeric)) == []


@pytest.mark.parametrize("shape", [(6,), (6, 1), (1, 6), (1,)])
def test_each_number_of_a_vector_has_any_scale(shape: tuple[int, ...]) -> None:
    assert fit_scales(evidence(drawn(*shape, seed=3), drawn(*shape))) == []


def test_scales_need_more_entries_than_there_are_units() -> None:
    scales = np.array([[2.0], [3.0]])
    assert fit_scales(evidence(scales * drawn(2, 2), drawn(2, 2))) == []
    assert [each.axis for each in fit_scales(evidence(scales * drawn(2, 3), drawn(2, 3)))] == [0]
    assert [each.axis for each in fit_scales(evidence(scales * drawn(2, 3), drawn(2, 3), places=[0, 1, 2, 3, 4]))] == [0]
    # One unit that is known is a factor of the block.
    numeric = VALUES * (np.arange(6) == 1)[:, None]
    assert fit_scales(evidence(3.0 * numeric, numeric)) == []
    # Half as many entries more as there are units, of which those without a gradient are none.
    for units, entries, fits in ((10, 15, True), (10, 14, False), (11, 16, True), (11, 15, False)):
        chosen = sorted([*range(0, 4 * units, 4), *range(1, 4 * units, 4)][:entries])
        scaled = drawn(units, 1, seed=3) * drawn(units, 4)
        assert (0 in [each.axis for each in fit_scales(evidence(scaled, drawn(units, 4), places=chosen))]) == fits
        columns = evidence(drawn(1, 4, seed=3) * drawn(units, 4), drawn(units, 4), places=[4 * n + n % 2 for n in range(units)])
        assert [each.axis for each in fit_scales(columns)] == [1]
    numeric = drawn(10, 4) * (np.arange(10) < 2)[:, None]
    assert [each.axis for each in fit_scales(evidence(drawn(10, 1, seed=3) * numeric, numeric))] == [0]


@pytest.mark.parametrize(("share", "fits"), [(0.8e-5, True), (1.2e-5, False)])
def test_scales_leave_no_more_than_rounding(share: float, fits: bool) -> None:
    scales = drawn(6, 1, seed=3)
    gap = np.linalg.norm(scales * VALUES - VALUES)
    left = np.array([across(row) for row in VALUES])
    left *= share * gap / np.linalg.norm(left)
    assert bool(fit_scales(evidence(scales * VALUES + left, VALUES))) == fits


# ---- small gaps -------------------------------------------------------------------------------------------------------------

MANY = drawn(400)


def small_gap(relative: float, *, along: bool = False, values: Array = MANY) -> Array:
    """A gradient that is off by so much of its size: at random, or along with itself."""
    gap = values * (1.0 + 0.2 * across(values)) if along else across(values)
    return np.asarray(values + relative * gap * np.linalg.norm(values) / np.linalg.norm(gap))


@pytest.mark.parametrize(
    ("relative", "expected"),
    [
        (2e-9, ["guard"]),
        (4e-9, ["precision float32", "guard"]),
        (0.9e-5, ["precision float32", "guard"]),
        (1.1e-5, ["guard"]),
        (2.9e-5, ["guard"]),
        (3.1e-5, ["precision float16", "guard"]),
        (1.9e-3, ["precision float16", "guard"]),
        (2.1e-3, []),
        (1.0, []),
    ],
)
def test_a_gap_is_small_by_its_size(relative: float, expected: list[str]) -> None:
    claims = fit_small_gap(evidence(small_gap(relative), MANY))
    assert [f"{claim.kind} {claim.evidence.get('type', '')}".strip() for claim in claims] == expected


@pytest.mark.parametrize(("along", "order"), [(False, ["precision", "guard"]), (True, ["guard", "precision"])])
def test_a_gap_that_goes_along_with_the_gradient_is_no_rounding(along: bool, order: list[str]) -> None:
    claims = fit_small_gap(evidence(small_gap(1e-6, along=along), MANY))
    assert [claim.kind for claim in sorted(claims, key=lambda claim: -claim.confidence)] == order
    assert {claim.confidence for claim in claims} == ({0.56, 0.65} if along else {0.58, 0.57})


@pytest.mark.parametrize(
    ("count", "cosine", "systematic"),
    [
        (400, 0.19, False),
        (400, 0.21, True),
        (400, -0.21, True),
        (4, 0.79, False),
        (4, 0.81, True),
        (3, 0.81, True),
        (2, 0.9, False),
    ],
)
def test_how_much_a_gap_goes_along_with_the_gradient_is_weighed_by_its_entries(
    count: int, cosine: float, systematic: bool
) -> None:
    values = drawn(count)
    gap = cosine * values + math.sqrt(1.0 - cosine**2) * across(values)
    claims = fit_small_gap(evidence(values + 1e-6 * gap, values))
    assert [claim.confidence for claim in claims] == ([0.56, 0.65] if systematic else [0.58, 0.57])


def test_right_blocks_have_no_small_gap() -> None:
    assert fit_small_gap(evidence(MANY, MANY)) == []


def test_a_small_gap_is_claimed_with_its_numbers() -> None:
    precision, guard = fit_small_gap(evidence(small_gap(1e-6), MANY, places=range(0, 400, 2)))
    assert precision.blocks == guard.blocks == ("W",)
    assert precision.entries == guard.entries == 200
    assert precision.what == "the gradient is off by 1.0e-06 of its size, as float32 rounds, and the gap has no pattern"
    assert precision.cause == "a backward pass, or part of it, in float32"
    assert precision.advice == "Look for arrays of a less precise type than the parameters', and for casts."
    assert guard.cause == "a constant as in log(p + 1e-7) or a norm's ε, or another form of a function, on one side alone"
    assert guard.advice == (
        "Compare guards against division by zero, and forms of functions, in the forward and the backward pass."
    )
    assert precision.evidence["type"] == "float32"
    assert precision.evidence["digits"] == 53
    assert precision.evidence["relative_gap"] == guard.evidence["relative_gap"] == pytest.approx(1e-6, rel=0.2)
    assert precision.key == ("float32", False)
    assert guard.what == "the gradient is off by 1.0e-06 of its size in 196 entries"  # of the others it is less than is seen
    assert guard.key == "small"


ROUNDED = {
    "float32": (MANY.astype(np.float32).astype(np.float64), 24),
    "float16": (MANY.astype(np.float16).astype(np.float64), 11),
    "bfloat16": (np.ldexp(np.round(np.ldexp(np.frexp(MANY)[0], 8)), np.frexp(MANY)[1] - 8), 8),
}


@pytest.mark.parametrize("kind", ROUNDED)
def test_values_show_in_which_type_they_were(kind: str) -> None:
    analytic, digits = ROUNDED[kind]
    (claim,) = fit_small_gap(evidence(analytic, MANY))
    assert (claim.kind, claim.evidence["type"], claim.confidence) == ("precision", kind, 0.97)
    assert claim.evidence["digits"] == digits
    assert claim.what.endswith(f"as {kind} rounds, and its values have no more than {digits} binary digits")
    assert claim.key == (kind, True)


def test_zeros_signs_and_sizes_do_not_hide_in_which_type_values_were() -> None:
    analytic = ROUNDED["float16"][0].copy()
    numeric = MANY.copy()
    analytic[:7] = numeric[:7] = 0.0
    for scale in (2.0**-60, 1.0, 2.0**60):
        (claim,) = fit_small_gap(evidence((scale * analytic).reshape(20, 20), (scale * numeric).reshape(20, 20)))
        assert claim.evidence["digits"] == 11
    two = np.array([ROUNDED["float16"][0][0], ROUNDED["float16"][0][1]] * 20)
    (claim,) = fit_small_gap(evidence(two, two + 1e-3 * drawn(40)))
    assert claim.evidence["digits"] == 11
    for digits, kinds in ((5, ["precision"]), (4, ["precision", "guard"])):
        values = (2.0 ** (digits - 1) + 1.0 + 2.0 * np.arange(2)) / 2.0**digits
        claims = fit_small_gap(evidence(np.tile(values, 20), np.tile(values, 20) + 1e-3 * drawn(40)))
        assert [claim.kind for claim in claims] == kinds


def test_plain_numbers_are_not_taken_for_rounded_ones() -> None:
    analytic = np.tile([0.5, 3.0, -1.0, 0.0, 0.75], 20)
    claims = fit_small_gap(evidence(analytic, analytic + 1e-3 * drawn(100)))
    assert "digits" not in str([claim.what for claim in claims])
    # One value, many times, has as many digits as it happens to.
    claims = fit_small_gap(evidence(np.full(100, 0.1015625), 0.1015625 + 1e-5 * drawn(100)))
    assert [claim.kind for claim in claims] == ["precision", "guard"] or [claim.kind for claim in claims] == ["guard"]
    assert all("digits" not in claim.what for claim in claims)


def test_a_numerical_gradient_of_zero_has_no_small_gap() -> None:
    assert fit_small_gap(evidence(drawn(5), np.zeros(5))) == []
