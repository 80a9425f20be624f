"""Checks of some entries, by the names of blocks or by their number."""

from typing import Any

import numpy as np
import pytest

import gradsweep
from gradsweep import InputError, Network, Report, check, plain

X = np.random.default_rng(0).normal(size=(6, 9))
KINDS = {"difference arrays": lambda cost: cost, "plain": plain}


def cost(params: Any) -> Any:
    return np.mean((params["v"] @ np.tanh(params["W"] @ X + params["b"][:, np.newaxis])) ** 2)


def backward(params: Any) -> dict[str, Any]:
    hidden = np.tanh(params["W"] @ X + params["b"][:, np.newaxis])
    output = params["v"] @ hidden
    d_z = np.outer(params["v"], 2.0 * output / len(output)) * (1.0 - hidden**2)
    return {"W": d_z @ X.T, "b": d_z.sum(axis=1), "v": hidden @ (2.0 * output / len(output))}


def wrong_bias(params: Any) -> dict[str, Any]:
    gradient = backward(params)
    gradient["b"][7] *= 1.5
    return gradient


def point() -> dict[str, Any]:
    rng = np.random.default_rng(1)
    return {"W": rng.normal(size=(30, 6)), "b": rng.normal(size=30), "v": rng.normal(size=30)}


def network(factor: float = 1.0, **options: Any) -> Report:
    """A check of a network whose db2 is wrong by a factor."""
    net = Network([50, 40, 30, 1], hidden="relu")
    params = net.initialize(0)
    rng = np.random.default_rng(2)
    inputs, labels = rng.normal(size=(50, 8)), (rng.random((1, 8)) < 0.5).astype(np.float64)

    def gradient(params: Any) -> Any:
        found = {name: np.array(value) for name, value in net.gradient(params, inputs, labels).items()}
        found["db2"] *= factor
        return found

    return check(net.cost(inputs, labels), params, gradient, **options)


@pytest.mark.parametrize("kind", KINDS)
class TestFunction:
    """Of a function of parameters."""

    def test_names(self, kind: str) -> None:
        """The blocks of these names, whole, in the order of the parameters."""
        report = check(KINDS[kind](cost), point(), backward, select=["v", "b"])
        assert report.ok
        assert [(block.name, block.size) for block in report.blocks] == [("b", 30), ("v", 30)]
        assert list(report.numeric) == ["b", "v"]
        whole = check(KINDS[kind](cost), point(), backward)
        np.testing.assert_array_equal(report.numeric["b"], whole.numeric["b"])
        assert report.displaced is not None
        assert [block.name for block in report.displaced.blocks] == ["b", "v"]

    def test_wrong_block_that_is_not_selected(self, kind: str) -> None:
        """What is not looked at is not called wrong, at neither point; nor right."""
        report = check(KINDS[kind](cost), point(), wrong_bias, select="W")
        assert report.ok
        assert [block.name for block in report.blocks] == ["W"]
        assert report.notes[-1] == "not selected, and so not looked at: b, v"
        assert check(KINDS[kind](cost), point(), wrong_bias, select=("b",)).verdict == "fail"

    def test_number(self, kind: str) -> None:
        """So many entries of each block, the first and the last among them; a smaller block whole."""
        report = check(KINDS[kind](cost), point(), backward, select=40)
        assert report.ok
        assert [block.size for block in report.blocks] == [40, 30, 30]
        known = np.isfinite(report.numeric["W"])
        assert np.count_nonzero(known) == 40
        assert known[0, 0]
        assert known[-1, -1]
        np.testing.assert_allclose(report.numeric["W"][known], backward(point())["W"][known], rtol=1e-6, atol=1e-8)
        assert "140 entries of these blocks, not selected" in report.certificate.not_covered

    def test_number_finds_what_it_looks_at(self, kind: str) -> None:
        """A block that is wrong throughout is found by a few entries; one entry is not, unless it is among them."""

        def all_wrong(params: Any) -> dict[str, Any]:
            gradient = backward(params)
            return {**gradient, "W": 1.001 * gradient["W"]}

        assert check(KINDS[kind](cost), point(), all_wrong, select=3).verdict == "fail"

    def test_seed(self, kind: str) -> None:
        """Chooses the entries."""
        known = [np.isfinite(check(KINDS[kind](cost), point(), backward, select=5, seed=seed).numeric["W"]) for seed in (0, 0, 1)]
        np.testing.assert_array_equal(known[0], known[1])
        assert (known[0] != known[2]).any()


class TestNetwork:
    """Of a dense network."""

    def test_names(self) -> None:
        """Only the layers of these blocks are swept."""
        whole, report = network(mode="sweep"), network(select=["b2", "W3"])
        assert report.ok
        assert [(block.name, block.size) for block in report.blocks] == [("b2", 30), ("W3", 30)]
        for name in ("b2", "W3"):
            np.testing.assert_array_equal(report.numeric[name], whole.numeric[name])
        assert report.evaluations < whole.evaluations / 2
        assert report.notes == ("not selected, and so not looked at: W1, b1, W2, b3",)

    def test_wrong_block(self) -> None:
        """It fails if it is looked at."""
        assert network(1.5, select="b2").verdict == "fail"
        assert network(1.5, select=["W1", "b1"]).ok

    @pytest.mark.parametrize("count", [1, 2, 7, 10_000])
    def test_number(self, count: int) -> None:
        """Entries that are perturbed on their own give what a sweep gives."""
        whole, report = network(mode="sweep"), network(select=count)
        assert report.ok
        assert [block.size for block in report.blocks] == [min(count, block.size) for block in whole.blocks]
        for name, block in report.numeric.items():
            known = np.isfinite(block)
            np.testing.assert_allclose(block[known], whole.numeric[name][known], rtol=1e-12, atol=1e-18)
        assert network(1.5, select=count).verdict == "fail"

    def test_kinks(self) -> None:
        """Units at 0 exactly are treated as in any other mode."""
        net = Network([3, 4, 1], hidden="relu")
        params = {name: np.zeros_like(value) for name, value in net.initialize(0).items()}
        params["W2"] += 1.0
        inputs, labels = np.ones((3, 2)), np.ones((1, 2))
        gradient = net.gradient(params, inputs, labels)
        for select in (None, 3, ["W1", "b1", "b2"]):
            report = check(net.cost(inputs, labels), params, gradient, select=select, mode="sweep")
            assert report.verdict == "pass"
            assert report.kinks > 0

    def test_large(self) -> None:
        """Of a network of 20 million parameters some entries take no sweep."""
        net = Network([2000, 8000, 500, 1])
        params = net.initialize(0)
        inputs, labels = np.random.default_rng(0).random((2000, 2)), np.ones((1, 2))
        gradient = net.gradient(params, inputs, labels)
        report = check(net.cost(inputs, labels), params, gradient, select=5)
        assert report.ok
        assert report.evaluations < 1000


@pytest.mark.parametrize("select", [0, -3, 1.5, True, [], [3], {"b": 2}, b"b"])
def test_no_selection(select: Any) -> None:
    """Neither names nor a number."""
    with pytest.raises(InputError, match=r"^select must be names of blocks, or a number of entries of each block"):
        check(cost, point(), backward, select=select)


@pytest.mark.parametrize("run", [lambda: check(cost, point(), backward, select=["b", "c"]), lambda: network(select="c")])
def test_no_such_block(run: Any) -> None:
    """It is named, and what there is."""
    with pytest.raises(InputError, match=r"^select: there is no block 'c'; the blocks are (W, b, v|W1, b1, W2, b2, W3, b3)$"):
        run()


@pytest.mark.parametrize("mode", ["neurons", "screen"])
def test_modes_that_look_at_all(mode: str) -> None:
    """These have no single entries."""
    with pytest.raises(InputError, match=rf"^select is for single entries, and so not for mode='{mode}'"):
        network(select=3, mode=mode)


def test_names_are_known_without_values() -> None:
    """To ask whether there is a block does not form it."""
    report = network(mode="neurons")
    assert "W1" in report.numeric
    assert "W9" not in report.analytic
    assert not report.numeric._formed  # type: ignore[attr-defined]
    assert repr(network(select="W3").numeric) == "ScatteredGradient(W3)"


def test_batched() -> None:
    """Many perturbations a call, of the entries that are selected."""
    stacked = gradsweep.batched(lambda p: np.sum(p["w"] ** 3, axis=1))
    w = np.linspace(0.5, 1.5, 400)
    report = check(stacked, {"w": w}, {"w": 3 * w**2}, select=50, mode="batched")
    assert report.ok
    assert report.blocks[0].size == 50


def test_checkpoint_of_another_selection(tmp_path: Any) -> None:
    """It is another check."""
    path = tmp_path / "run.h5"
    check(cost, point(), backward, select=5, checkpoint=path)
    with pytest.raises(gradsweep.DataError, match="not the same select"):
        check(cost, point(), backward, select=6, checkpoint=path)
