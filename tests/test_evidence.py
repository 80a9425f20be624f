"""What a diagnosis is made of: entries that are fitted, how near a fit must be, and names and numbers in words."""

import pickle

import numpy as np
import pytest
from blocks import drawn, evidence

from gradsweep._diagnosis._evidence import Claim, listed, number, positions, ranges
from gradsweep._types import Array

# ---- claims -----------------------------------------------------------------------------------------------------------------


def test_a_claim_becomes_a_sentence_with_its_numbers() -> None:
    claim = Claim("factor", ("b", "W"), "what", "cause", "advice", 0.7, key=3, misfit=0.1, entries=12, evidence={"factor": 3.0})
    found = claim.finding()
    assert (found.kind, found.blocks, found.advice, found.confidence) == ("factor", ("b", "W"), "advice", 0.7)
    assert found.message == "b and W: what: consistent with cause"
    assert found.explained == pytest.approx(0.99)
    assert found.evidence == {"factor": 3.0, "entries": 12, "residual": 0.1}
    found = Claim("kink", ("b",), "what", "cause", "advice", 0.7).finding()
    assert np.isnan(found.explained)
    assert found.evidence == {}
    assert Claim("zero", ("b",), "what", "cause", "advice", 0.7, misfit=2.0).finding().explained == 0.0


def test_a_finding_can_be_sent_to_another_process() -> None:
    found = Claim("zero", ("b",), "what", "cause", "advice", 0.7, misfit=0.5, evidence={"first": (1, 2)}).finding()
    again = pickle.loads(pickle.dumps(found))
    assert again == found
    with pytest.raises(TypeError):
        again.evidence["first"] = 3


# ---- entries ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2.0**-900, 1.0, 2.0**900])
def test_numbers_are_divided_by_the_largest_of_both_gradients(size: float) -> None:
    analytic, numeric = np.array([0.5, -4.0, 1.0]), np.array([0.25, 2.0, -1.0])
    noise = np.array([0.0, 1.0, 2.0])
    for one, other in ((analytic, numeric), (numeric, analytic)):
        block = evidence(size * one, size * other, noise=size * noise)
        assert block.scale == 4.0 * size
        assert block.analytic.tolist() == (one / 4.0).tolist()
        assert block.numeric.tolist() == (other / 4.0).tolist()
        assert block.noise.tolist() == (noise / 4.0).tolist()
        assert block.gap.tolist() == ((one - other) / 4.0).tolist()
        assert block.tested(np.array([2, 0])).tolist() == (one[[2, 0]] / 4.0).tolist()
        assert block.signal.tolist() == block.all_signal.tolist() == [True, True, False]
        assert block.relative_gap == pytest.approx(np.linalg.norm(one - other) / np.linalg.norm(other))
    for none in (np.zeros(3), np.array([0.0, np.inf, 0.0])):
        assert evidence(none, np.zeros(3)).scale == evidence(np.zeros(3), none).scale == 1.0
    assert evidence(analytic, numeric, places=[]).scale == 1.0
    assert evidence(analytic, np.zeros(3)).relative_gap == np.inf


def test_entries_differ_by_more_than_tolerance_and_noise_together() -> None:
    numeric, noise = np.full(4, 2.0), np.array([0.0, 0.0, 1e-6, 1e-6])
    gap = np.array([3.9e-7, 4.1e-7, 1.39e-6, 1.41e-6])
    for sign in (-1.0, 1.0):
        block = evidence(numeric + sign * gap, numeric, noise=noise)
        assert block.differs.tolist() == block.all_differ.tolist() == [False, True, False, True]
    assert evidence([2.0], [1.0], noise=np.array([1.0]), tolerance=0.0).differs.tolist() == [False]
    bad = evidence([np.nan, np.inf, 1.0, 1.0], [1.0, np.inf, -np.inf, 1.0])
    assert bad.differs.tolist() == [True, True, True, False]


def test_of_a_sample_entries_are_those_that_are_known() -> None:
    analytic, numeric = drawn(4, 5), drawn(4, 5, seed=1)
    places = [1, 7, 12, 19]
    block = evidence(analytic, numeric, places=places)
    assert (block.known, block.size) == (4, 20)
    assert block.places.tolist() == places
    assert block.parameter.tolist() == drawn(4, 5, seed=7).reshape(-1)[places].tolist()
    assert block.scale == max(np.max(np.abs(each.reshape(-1)[places])) for each in (analytic, numeric))
    assert block.along(0).tolist() == [0, 1, 2, 3]
    assert block.along(1).tolist() == [1, 2, 2, 4]
    assert block.count_along(np.array([True, True, False, False]), 0).tolist() == [1, 1, 0, 0]
    assert block.count_along(np.array([False, True, True, False]), 1).tolist() == [0, 0, 2, 0, 0]
    assert block.looked_at() == " (in 4 entries looked at, of 20)"
    whole = evidence(analytic, numeric)
    assert whole.looked_at() == whole.looked_at(known=True) == ""
    assert whole.count_along(whole.all_differ, 1).tolist() == [4] * 5


def test_of_a_large_block_wrong_entries_are_fitted_beside_others() -> None:
    numeric = drawn(300, 300)
    analytic = numeric.copy()
    analytic[5, 7] += 1.0
    block = evidence(analytic, numeric)
    assert 26_000 < len(block.places) < 29_000
    assert (np.diff(block.places) > 0).all()
    assert block.places[block.differs].tolist() == [1507]
    assert np.array_equal(block.places, evidence(analytic, numeric).places)
    assert block.looked_at() == f" (in {len(block.places):,} entries looked at, of 90,000)"
    assert block.looked_at(known=True) == ""
    every = evidence(2.0 * numeric, numeric)
    assert 45_000 < len(every.places) < 48_000
    some = numeric.copy()
    some[:100] *= 2.0
    assert np.count_nonzero(evidence(some, numeric).differs) == 30_000
    assert len(evidence(2.0 * drawn(2**16), drawn(2**16)).places) == 2**16


@pytest.mark.parametrize(
    ("shape", "vector"),
    [((), True), ((1,), True), ((5,), True), ((5, 1), True), ((1, 5, 1), True), ((2, 2), False), ((5, 1, 2), False)],
)
def test_a_vector_has_one_extent_above_one(shape: tuple[int, ...], vector: bool) -> None:
    assert evidence(drawn(*shape), drawn(*shape, seed=1)).is_vector == vector


# ---- how near a fit must be -------------------------------------------------------------------------------------------------


def exact(analytic: Array, numeric: Array, *, tolerance: float = 0.0, noise: float = 0.0) -> float:
    return evidence(analytic, numeric, tolerance=tolerance, noise=np.full(numeric.shape, noise)).may_be_left()


def test_a_fit_leaves_rounding_or_what_tolerance_and_noise_allow() -> None:
    ones = np.ones(4)
    assert exact(3.0 * ones, ones) == 1e-5
    assert exact(3.0 * ones[:3], ones[:3]) == 1e-9
    # The gap is 2 in each entry, the two sides together are 4.
    assert exact(3.0 * ones, ones, tolerance=1e-4) == pytest.approx(4e-4)
    assert exact(3.0 * ones, ones, noise=1e-4) == pytest.approx(1e-4)
    assert exact(3.0 * ones, ones, tolerance=1e-4, noise=1e-4) == pytest.approx(5e-4)
    assert exact(3.0 * ones, ones, tolerance=0.1) == exact(3.0 * ones, ones, noise=1.0) == 0.03
    assert exact(ones, ones, tolerance=0.1) == 1e-5


def test_what_a_fit_leaves_is_measured_by_the_gap() -> None:
    block = evidence([3.0, 1.0, 5.0], [1.0, 1.0, 1.0])
    left = np.array([0.3, 0.4, 0.0]) / 5.0
    assert block.misfit(left) == pytest.approx(0.5 / np.sqrt(20.0))
    assert block.misfit(left[:2], np.array([True, True, False])) == pytest.approx(0.25)
    assert block.misfit(left[1:2], np.array([1])) == np.inf


# ---- words ------------------------------------------------------------------------------------------------------------------


def test_many_names_are_counted() -> None:
    assert [listed([*"abcdefgh"[:count]]) for count in (1, 2, 3, 6, 7)] == [
        "a",
        "a and b",
        "a, b and c",
        "a, b, c, d, e and f",
        "a, b, c, d, e and 2 more",
    ]


def test_indices_in_a_row_are_a_range_if_they_are_three() -> None:
    assert ranges([3]) == ["3"]
    assert ranges([3, 4]) == ["3", "4"]
    assert ranges([3, 4, 5]) == ["3 to 5"]
    assert ranges([1, 3, 4, 5, 7, 8]) == ["1", "3 to 5", "7", "8"]
    assert ranges([]) == []


def test_many_positions_are_counted() -> None:
    assert positions("row", [2]) == "row 2"
    assert positions("row", [0, 2, 4, 6, 8]) == "rows 0, 2, 4, 6 and 8"
    assert positions("row", [0, 2, 4, 6, 8, 9, 10]) == "rows 0, 2, 4, 6 and 8 to 10"
    assert positions("row", [0, 2, 4, 6, 8, 10, 12]) == "rows 0, 2, 4, 6, 8 and 2 more"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3.0, "3.0"),
        (-1.0, "-1.0"),
        (0.01, "0.01"),
        (1e-7, "1e-07"),
        (1e20, "1e+20"),
        (1 / 3, "0.333333"),
        (np.inf, "inf"),
        (np.nan, "nan"),
    ],
)
def test_numbers_have_as_many_digits_as_say_something(value: float, text: str) -> None:
    assert number(value) == text
