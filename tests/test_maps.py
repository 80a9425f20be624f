"""Maps of blocks: each cell has the worst of its entries, and no entry stands out that the verdict lets pass."""

import math
import tracemalloc
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

import gradsweep
from gradsweep._presenting import _maps
from gradsweep._presenting._maps import CELLS, FEWER_CELLS, MANY, MOST, Map, Scale, draw_map, folded, map_blocks
from gradsweep._verdict import Block, Status

SHAPES: list[tuple[int, ...]] = [
    (),
    (1,),
    (7,),
    (1000,),
    (64, 1),
    (1, 90),
    (5, 3),
    (130, 70),
    (65, 64),
    (8, 3, 5, 5),
    (2, 1, 200),
    (3, 1, 1),
]


@dataclass(frozen=True)
class Seen:
    """What is mapped of a report."""

    blocks: tuple[Block, ...]
    analytic: Mapping[str, Any]
    numeric: Mapping[str, Any]
    tolerance: float = 1e-7


def block(shape: tuple[int, ...], noise: float = 0.0, status: Status = Status.AGREES, name: str = "W") -> Block:
    return Block(name, shape, math.prod(shape), status, 0.0, noise, 0, 0, 0, ())


def sides(shape: tuple[int, ...], noise: float = 0.0, **changed: Any) -> tuple[Seen, np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    generator = np.random.default_rng(0)
    numeric = np.asarray(generator.standard_normal(shape))
    analytic = np.asarray(numeric * (1.0 + 10.0 ** generator.uniform(-12.0, -1.0, shape)))
    return Seen((block(shape, noise),), {"W": analytic}, {"W": numeric}, **changed), analytic, numeric


def drawn(seen: Seen) -> Map:
    return draw_map(seen, seen.blocks[0])


class TestCells:
    @pytest.mark.parametrize("together", [2**17, 50, 1], ids=lambda entries: f"{entries} at once")
    @pytest.mark.parametrize("shape", SHAPES, ids=str)
    def test_each_has_the_worst_of_its_entries(
        self, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], together: int
    ) -> None:
        """Also where few of them are formed at once."""
        monkeypatch.setattr(_maps, "_ENTRIES", together)
        seen, analytic, numeric = sides(shape)
        found = drawn(seen)
        relative = (np.abs(analytic - numeric) / (np.abs(analytic) + np.abs(numeric))).reshape(folded(shape))
        assert found.difference.shape == tuple(min(size, CELLS) for size in folded(shape))
        assert (found.rows[-1], found.columns[-1]) == folded(shape)
        for row in range(found.difference.shape[0]):
            for column in range(found.difference.shape[1]):
                own = (slice(*found.rows[row : row + 2]), slice(*found.columns[column : column + 2]))
                assert found.difference[row, column] == pytest.approx(relative[own].max(), rel=1e-12)
                index = found.index(row, column)
                assert (found.analytic[row, column], found.numeric[row, column]) == (analytic[index], numeric[index])
                assert found.cell(index) == (row, column)
        assert found.whole == (math.prod(shape) == found.difference.size)

    def test_one_wrong_entry_among_millions_is_seen(self) -> None:
        generator = np.random.default_rng(0)
        numeric = generator.standard_normal((2048, 1000))
        analytic = numeric.copy()
        analytic[1234, 567] *= 1.001
        found = drawn(Seen((block((2048, 1000)),), {"W": analytic}, {"W": numeric}))
        assert np.argwhere(found.shown > 1e-7).tolist() == [list(found.cell((1234, 567)))]
        assert found.index(*found.cell((1234, 567))) == (1234, 567)

    def test_every_entry_has_a_cell(self) -> None:
        found = drawn(sides((70, 130))[0])
        assert [found.cell((69, 129)), found.cell((0, 0))] == [(63, 63), (0, 0)]
        assert set(np.diff(found.rows).tolist()) == {1, 2}

    @pytest.mark.parametrize(("shape", "matrix"), [((2, 3, 4), (2, 12)), ((9, 1), (1, 9)), ((1, 9), (1, 9)), ((4, 1, 1), (1, 4))])
    def test_folds(self, shape: tuple[int, ...], matrix: tuple[int, int]) -> None:
        assert folded(shape) == matrix

    def test_any_type_and_layout(self) -> None:
        seen, analytic, numeric = sides((30, 40))
        other = replace(seen, analytic={"W": np.asfortranarray(analytic.astype(np.float32))}, numeric={"W": numeric[:, ::1]})
        plain = replace(seen, analytic={"W": analytic.astype(np.float32).astype(np.float64)})
        np.testing.assert_array_equal(drawn(other).difference, drawn(plain).difference)


class TestSpecialEntries:
    def test_what_is_not_finite_is_worse_than_anything(self) -> None:
        seen, analytic, numeric = sides((200, 2))
        analytic[7, 0], analytic[9, 0], numeric[100, 1] = np.nan, np.inf, np.nan
        analytic[8, 1] = -numeric[8, 1]
        found = drawn(seen)
        places = {found.cell(index) for index in ((7, 0), (9, 0), (100, 1))}
        assert {(int(i), int(j)) for i, j in np.argwhere(np.isnan(found.shown))} == places
        np.testing.assert_array_equal(np.isnan(found.difference), np.isnan(found.shown))
        assert found.index(*found.cell((9, 0))) == (9, 0)

    def test_numbers_near_the_ends_of_their_range(self) -> None:
        numeric = np.array([1.7e308, 1e-310, 1e-310])
        found = drawn(Seen((block((3,)),), {"W": np.array([-1.7e308, 3e-310, 1e-310])}, {"W": numeric}))
        assert found.difference[0] == pytest.approx([1.0, 0.5, 0.0])
        assert not np.isnan(found.shown).any()

    def test_below_the_noise(self) -> None:
        """And zero on both sides, of which nothing can be said either."""
        seen = Seen((block((4,), noise=1e-12),), {"W": np.array([1.0, 1e-30, 0.0, 1e-5])}, {"W": np.array([1.0, 0.0, 0.0, 1e-5])})
        found = drawn(seen)
        assert found.below_noise.tolist() == [[False, True, True, False]]
        assert found.shown[0, 1] == 0.0
        assert found.difference[0, 1] == 1.0

    @pytest.mark.parametrize("noise", [1e-12, 1e-9, 1e-6])
    def test_what_agrees_never_stands_out(self, noise: float) -> None:
        """Entries that are off by tolerance and noise, however small they are."""
        generator = np.random.default_rng(1)
        numeric = generator.standard_normal(4000) * 10.0 ** generator.uniform(-15.0, 0.0, 4000)
        own = np.abs(generator.standard_normal(4000))
        own *= noise * 2.0 * np.linalg.norm(numeric) / np.linalg.norm(own)
        analytic = numeric + 0.999 * (1e-7 * 2.0 * np.abs(numeric) + own)
        size = np.linalg.norm(analytic) + np.linalg.norm(numeric)
        seen = Seen((block((4000,), noise=float(np.linalg.norm(own) / size)),), {"W": analytic}, {"W": numeric})
        assert (drawn(seen).difference > 1e-3).any()
        assert (drawn(seen).shown <= 1.001e-7).all()

    def test_what_is_wrong_does(self) -> None:
        seen, analytic, _ = sides((50, 50), noise=1e-10)
        analytic[3, 4] *= 1.0 + 1e-5
        found = drawn(seen)
        assert found.shown[3, 4] == pytest.approx(found.difference[3, 4], rel=0.1)

    def test_noise_that_is_no_number(self) -> None:
        for noise in (math.nan, math.inf):
            seen, _, _ = sides((5, 5), noise=noise)
            np.testing.assert_array_equal(drawn(seen).shown, drawn(sides((5, 5))[0]).shown)

    def test_what_was_not_compared(self) -> None:
        """In a cell with others these count alone; elsewhere a NaN is a NaN."""
        numeric = np.ones(CELLS * 2)
        numeric[:3] = np.nan
        whole = Seen((block((CELLS * 2,)),), {"W": np.ones(CELLS * 2)}, {"W": numeric})
        seen = replace(whole, blocks=(replace(whole.blocks[0], size=CELLS * 2 - 3),))
        assert np.flatnonzero(~drawn(seen).compared).tolist() == [0]
        assert not np.isnan(drawn(seen).shown).any()
        assert drawn(whole).compared.all()
        assert np.flatnonzero(np.isnan(drawn(whole).shown)).tolist() == [0, 1]


@dataclass
class Forming(Mapping[str, Any]):
    """A numeric gradient whose blocks may not be formed as a whole."""

    block: Any
    asked: list[slice] = field(default_factory=list)

    def by_rows(self, name: str) -> Any:
        def some(rows: slice) -> Any:
            self.asked.append(rows)
            return self.block[rows]

        return some

    def __getitem__(self, name: str) -> Any:
        raise AssertionError(f"{name} is formed as a whole")

    def __iter__(self) -> Any:
        return iter(["W"])

    def __len__(self) -> int:
        return 1


class TestMemory:
    def test_blocks_are_formed_by_rows(self) -> None:
        seen, _, numeric = sides((3000, 400))
        forming = Forming(numeric)
        (found,) = map_blocks(replace(seen, numeric=forming)).maps
        np.testing.assert_array_equal(found.difference, drawn(seen).difference)
        assert max(rows.stop - rows.start for rows in forming.asked) * 400 <= 2**17

    def test_of_products_no_block_is_formed(self) -> None:
        """Of the first layer both gradients and the weights have 7.3 MB each."""
        network = gradsweep.Network([1900, 480, 1], l2=0.1)
        params = network.initialize(0)
        X, Y = np.random.default_rng(0).random((1900, 2)), np.array([[0.0, 1.0]])
        gradient = network.gradient(params, X, Y)
        report = gradsweep.check(network.cost(X, Y), params, gradient, mode="neurons")
        tracemalloc.start()
        try:
            found = map_blocks(report).maps[0]
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert (found.block.name, found.block.shape) == ("W1", (480, 1900))
        assert peak < 8 * 480 * 1900
        np.testing.assert_array_equal(found.numeric[0, 0], report.numeric["W1"][found.index(0, 0)])


class TestChoice:
    @pytest.mark.parametrize(("count", "cells"), [(MANY, CELLS), (MANY + 1, FEWER_CELLS)])
    def test_many_have_fewer_cells(self, count: int, cells: int) -> None:
        names = [f"W{number}" for number in range(count)]
        values = {name: np.ones((100, 100)) for name in names}
        found = map_blocks(Seen(tuple(block((100, 100), name=name) for name in names), values, values))
        assert {each.difference.shape for each in found.maps} == {(cells, cells)}

    def test_wrong_ones_come_first(self) -> None:
        statuses = [Status.AGREES, *Status, *[Status.AGREES] * MOST]
        blocks = tuple(block((2,), status=status, name=str(number)) for number, status in enumerate(statuses))
        values = {each.name: np.ones(2) for each in blocks}
        found = map_blocks(Seen(blocks, values, values))
        assert found.maps[0].block.status is Status.WRONG
        agreeing = [int(each.block.name) for each in found.maps if each.block.status is Status.AGREES]
        assert agreeing == sorted(agreeing)
        assert agreeing[0] == 0
        assert found.maps[-1].block.name == str(agreeing[-1])
        assert (len(found.maps), found.left_out) == (MOST, len(blocks) - MOST)

    def test_every_status_has_a_place(self) -> None:
        assert set(_maps.SEVERITY) == set(Status)

    def test_what_has_been_changed_since(self) -> None:
        network = gradsweep.Network([4, 3, 1])
        params = network.initialize(0)
        X, Y = np.eye(4), np.ones((1, 4))
        gradient = network.gradient(params, X, Y)
        report = gradsweep.check(network.cost(X, Y), params, gradient)
        gradient["dW1"][0, 0] += 1.0
        found = map_blocks(report)
        assert [each.block.name for each in found.maps] == ["b1", "W2", "b2"]
        assert len(found.lost) == 1
        assert "W1 has been changed" in found.lost[0]

    def test_a_screen_has_none(self) -> None:
        report = gradsweep.check(lambda w: np.sum(w**2), np.ones(3), 2 * np.ones(3), mode="screen")
        assert map_blocks(report).maps == []


class TestScale:
    @pytest.mark.parametrize("tolerance", [0.0, 1e-12, 1e-7, 1.2e-4, 0.3, 1.0, 100.0])
    def test_has_its_hinge_at_the_tolerance(self, tolerance: float) -> None:
        scale = Scale.of(tolerance)
        places = [at for at, _ in scale.colours()]
        assert places == sorted(places)
        assert (places[0], places[-1]) == (0.0, 1.0)
        assert scale.low <= scale.hinge - 3.0 < scale.hinge < 0.0
        if 1e-15 <= tolerance <= 0.3:
            assert places[1] == pytest.approx(1.0 - math.log10(tolerance) / scale.low)
