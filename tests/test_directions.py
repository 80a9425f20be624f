"""Directions from a counter: the same numbers in whatever pieces they are drawn, of unit norm, and such that errors show."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradsweep._directions import Direction, Region, matrix_shape, product

thorough = settings(deadline=None, derandomize=True, max_examples=100)


def direction(rows: int, columns: int, number: int = 0, seed: int = 0, block: int = 0) -> Direction:
    return Direction(Region(block, (0, rows), (0, columns)), columns, number, seed)


@pytest.mark.parametrize("number", [0, 1, 2, 3])
@pytest.mark.parametrize("shape", [(1, 1), (7, 11), (1, 1000), (1000, 1), (300, 257)])
def test_a_direction_has_unit_norm(shape: tuple[int, int], number: int) -> None:
    assert np.linalg.norm(direction(*shape, number).whole(shape)) == pytest.approx(1.0, rel=1e-14)


def test_entries_of_even_directions_are_all_of_one_size() -> None:
    values = direction(30, 40).whole((30, 40))
    assert set(np.round(np.abs(values).ravel() * np.sqrt(1200), 12)) == {1.0}
    assert 500 < np.count_nonzero(values > 0.0) < 700


def test_entries_of_odd_directions_are_bounded_away_from_zero_and_of_many_sizes() -> None:
    values = np.concatenate([part.ravel() for _, part in direction(300, 40, 1).parts()])
    sizes = np.abs(values) * np.sqrt(13 / 12)
    assert sizes.min() >= 0.5
    assert sizes.max() < 1.5
    assert len(np.unique(sizes)) > 9_000
    assert values.mean() == pytest.approx(0.0, abs=0.03)
    assert np.mean(values**2) == pytest.approx(1.0, abs=0.02)


@thorough
@given(st.data())
def test_a_part_of_a_block_has_the_numbers_of_the_whole(data: st.DataObject) -> None:
    rows, columns = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 900))
    number, seed = data.draw(st.integers(0, 3)), data.draw(st.integers(0, 2**70))
    first, left = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, columns - 1))
    region = Region(0, (first, data.draw(st.integers(first + 1, rows))), (left, data.draw(st.integers(left + 1, columns))))
    whole = np.concatenate([part for _, part in direction(rows, columns, number, seed).parts()])
    parts = [part for _, part in Direction(region, columns, number, seed).parts()]
    assert np.array_equal(np.concatenate(parts), whole[slice(*region.rows), slice(*region.columns)])


def test_seed_number_and_block_each_make_another_direction() -> None:
    chosen = [direction(50, 50, number, seed, block) for number, seed, block in itertools.product((0, 2), (0, 1), (0, 1))]
    wholes = [each.whole((50, 50)).ravel() for each in chosen]
    for one, other in itertools.combinations(wholes, 2):
        assert abs(np.vdot(one, other)) < 0.1


def test_the_square_of_a_product_is_on_average_that_of_the_norm() -> None:
    error = np.random.default_rng(0).standard_normal((20, 30)) * np.linspace(0.0, 3.0, 30)
    for parity in (0, 1):
        squares = [600 * product(direction(20, 30, 2 * number + parity), error)[0] ** 2 for number in range(2000)]
        assert np.mean(squares) == pytest.approx(np.linalg.norm(error) ** 2, rel=0.1)


def test_two_errors_of_equal_size_cancel_along_directions_of_equal_entries_only() -> None:
    error = np.zeros((20, 30))
    error[3, 7], error[11, 2] = 1.0, -1.0
    even = [product(direction(20, 30, 2 * number), error)[0] for number in range(200)]
    odd = [product(direction(20, 30, 2 * number + 1), error)[0] for number in range(200)]
    assert 70 < sum(value == 0.0 for value in even) < 130
    assert all(odd)


def test_a_product_is_that_with_the_whole_direction() -> None:
    block = np.random.default_rng(1).standard_normal((70, 900)).astype(np.float32)
    region = Region(2, (5, 61), (17, 800))
    for number in (0, 1):
        chosen = Direction(region, 900, number, 5)
        value, norm = product(chosen, block)
        assert value == pytest.approx(np.vdot(chosen.whole((70, 900)), block.astype(np.float64)), rel=1e-12)
        assert norm == pytest.approx(np.linalg.norm(block[5:61, 17:800].astype(np.float64)), rel=1e-6)


def test_halves_are_by_rows_first_and_meet_every_entry_once() -> None:
    parts = [Region(0, (0, 5), (0, 7))]
    by_height = []
    while any(part.size > 1 for part in parts):
        parts = [half for part in parts for half in part.halves()]
        by_height.append(max(part.height for part in parts))
    assert by_height == [3, 2, 1, 1, 1, 1]
    assert sorted((part.rows[0], part.columns[0]) for part in parts) == list(itertools.product(range(5), range(7)))
    assert Region(0, (0, 5), (0, 7)).halves(by_columns=True)[0] == Region(0, (0, 5), (0, 3))
    assert Region(0, (0, 5), (2, 3)).halves(by_columns=True)[0] == Region(0, (0, 2), (2, 3))


def test_blocks_of_any_shape_are_matrices() -> None:
    assert [matrix_shape(shape) for shape in [(), (4,), (1, 9), (2, 3, 5), (0, 3), (0,)]] == [
        (1, 1),
        (4, 1),
        (1, 9),
        (2, 15),
        (0, 3),
        (0, 1),
    ]
