"""The modes against each other and against the oracle; dropout masks; planning; the guard of products."""

import dataclasses
import json
import pathlib
import pickle
from collections.abc import Mapping
from typing import Any

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import Array

import gradsweep
from gradsweep import _machine, _planning, kernels
from gradsweep._costs._network_problem import NetworkProblem
from gradsweep._errors import InputError, OracleError
from gradsweep._sweep import Steps, UnitQuotients

MODES = ["sweep", "batched", "neurons"]
NAMES = list(naive.ACTIVATIONS)

thorough = settings(deadline=None, derandomize=True, max_examples=150)


@dataclasses.dataclass(frozen=True)
class Case:
    """A network with all that it may have, and data."""

    layers: list[int]
    hidden: list[str]
    output: str
    l2: float
    masks: list[Array | None]
    params: dict[str, Array]
    x: Array
    y: Array

    @property
    def network(self) -> gradsweep.Network:
        return gradsweep.Network(self.layers, self.hidden, self.output, l2=self.l2, dropout_masks=self.masks)

    def gradient(self) -> dict[str, Array]:
        return naive.backprop(
            self.params, self.x, self.y, self.hidden, output=self.output, l2=self.l2, masks=self.masks
        )  # fmt: skip

    def check(self, gradient: Mapping[str, Any] | None = None, **options: Any) -> gradsweep.Report:
        given = self.gradient() if gradient is None else gradient
        return gradsweep.check(self.network.cost(self.x, self.y), self.params, given, **options)


def make(
    layers: list[int],
    hidden: list[str],
    examples: int,
    seed: int,
    *,
    output: str = "sigmoid",
    l2: float = 0.0,
    kept: float | None = None,
) -> Case:
    generator = np.random.default_rng(seed)
    y = generator.random((layers[-1], examples))
    if output == "softmax":
        y /= y.sum(axis=0)
    masks: list[Array | None] = [None] * len(hidden)
    if kept is not None:
        # Of some layers only, and inverted dropout elsewhere.
        for number in range(0, len(hidden), 2):
            masks[number] = (generator.random((layers[number + 1], examples)) < kept) / kept
    params = naive.random_params(layers, seed)
    return Case(layers, hidden, output, l2, masks, params, generator.standard_normal((layers[0], examples)), y)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    layers = draw(st.lists(st.integers(1, 9), min_size=2, max_size=6))
    # Few outputs and many take different roads through the layer before them.
    layers[-1] = draw(st.sampled_from([1, 2, 5, 16, 17, 20]))
    return make(
        layers,
        [draw(st.sampled_from(NAMES)) for _ in layers[2:]],
        draw(st.integers(1, 7)),
        draw(st.integers(0, 2**16)),
        output=draw(st.sampled_from(["sigmoid", "softmax", "identity"])),
        l2=draw(st.sampled_from([0.0, 0.3, 20.0])),
        kept=draw(st.sampled_from([None, 0.5, 0.9])),
    )


def require_close(one: Mapping[str, Array], other: Mapping[str, Array], tolerance: float = 1e-12) -> None:
    """Each block to the tolerance of formula 3; entries are sums of terms on the scale of the largest of all."""
    largest = max(float(np.abs(block).max()) for block in other.values())
    for name, block in other.items():
        gap = float(np.linalg.norm(one[name] - block))
        allowed = tolerance * float(np.linalg.norm(one[name]) + np.linalg.norm(block))
        assert gap <= allowed + 1e-15 * largest * block.size**0.5, (name, gap, allowed)


@given(case=cases())
@thorough
def test_modes_agree_with_each_other_and_with_the_oracle(case: Case) -> None:
    right = case.gradient()
    reports = {mode: case.check(right, mode=mode) for mode in MODES}
    for mode, report in reports.items():
        assert report.verdict != "fail", str(report)
        assert report.mode == mode
        require_close(report.numeric, right)
        require_close(report.numeric, reports["sweep"].numeric)
    for name, block in reports["sweep"].numeric.items():
        assert block.tobytes() == reports["batched"].numeric[name].tobytes()


@given(case=cases(), scheme=st.sampled_from(["central", "forward"]), step=st.sampled_from([1e-3, 1e-9]))
@thorough
def test_modes_agree_at_other_steps(case: Case, scheme: str, step: float) -> None:
    """A parameter that takes a step moves its pre-activation by step times input: both have the scheme's error, not the same."""
    right = case.gradient()
    largest = max(float(np.abs(block).max()) for block in right.values())
    error = (1e3 * step**2 if scheme == "central" else 1e2 * step) * (1.0 + largest)
    for mode in MODES:
        numeric = case.check(right, mode=mode, scheme=scheme, step=step).numeric
        for name, block in right.items():
            # A kink may lie within a step as large as that.
            off = np.abs(numeric[name] - block) > error + 1e-13 * largest
            assert not off.any() or "relu" in " ".join(case.hidden), (mode, name)


@given(case=cases(), data=st.data())
@thorough
def test_every_mode_finds_a_wrong_entry(case: Case, data: st.DataObject) -> None:
    right = case.gradient()
    name = data.draw(st.sampled_from(sorted(right)))
    sizes = np.abs(right[name])
    row, column = divmod(int(sizes.argmax()), sizes.shape[1])
    wrong = {key: block.copy() for key, block in right.items()}
    wrong[name][row, column] *= 1.0 + 1e-5
    if not sizes.max() > 1e-6:
        return  # a dropped or dead unit has nothing to be wrong about
    for mode in MODES:
        report = case.check(wrong, mode=mode)
        assert report.verdict == "fail", (mode, name, row, column, str(report))
        assert [block.name for block in report.blocks if block.differing] == [name]
        assert (report.worst(1)[0].block, report.worst(1)[0].index) == (name, (row, column))


LARGER = [
    make([40, 120, 90, 17], ["tanh", "gelu"], 9, 1, output="softmax", l2=0.5, kept=0.7),
    make([700, 60, 50, 1], ["relu", "softplus"], 20, 2, kept=0.5),
    make([6] + [11] * 25 + [2], ["silu"] * 25, 5, 3, output="identity", l2=0.1),
    make([3, 600, 1], ["leaky_relu"], 600, 4),
    make([30, 5], [], 70, 5, output="softmax"),
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("number", range(len(LARGER)))
def test_larger_networks(number: int, mode: str) -> None:
    """Rows of many tiles, many stacks, many examples; two workers, and a float32 gradient in columns."""
    case = LARGER[number]
    right = case.gradient()
    report = case.check(right, mode=mode)
    assert report.ok, str(report)
    require_close(report.numeric, right)
    size = sum(block.size for block in right.values())
    units = sum(case.layers[1:]) * case.x.shape[1]
    # A kink within a step may take some more; what guards the products is counted, too.
    guard = sum(2 * min(3, block.size) for block in right.values())
    assert report.evaluations >= (2 * units + guard if mode == "neurons" else 2 * size)
    coarse = {name: np.asfortranarray(block.astype(np.float32)) for name, block in right.items()}
    assert case.check(coarse, mode=mode, jobs=2).verdict == "pass"
    for name in right:
        wrong = {**right, name: right[name] * (1.0 + 1e-6)}
        failed = case.check(wrong, mode=mode)
        assert failed.verdict == "fail"
        assert [block.name for block in failed.blocks if block.differing] == [name]


@pytest.mark.parametrize("mode", MODES)
def test_same_bits_for_any_number_of_workers(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    monkeypatch.setattr(_planning, "_WORTH_WORKERS", 0.0)
    case = LARGER[1]
    alone = case.check(mode=mode, jobs=1)
    for jobs in (2, 3):
        report = case.check(mode=mode, jobs=jobs)
        assert report.blocks == alone.blocks
        assert all(report.numeric[name].tobytes() == alone.numeric[name].tobytes() for name in alone.numeric)


# ---- numeric gradient of neurons -----------------------------------------------------------------------------------------


def test_products_are_formed_when_they_are_asked_for() -> None:
    case = make([5, 4, 3], ["tanh"], 6, 11, l2=0.4)
    report = case.check(mode="neurons")
    again = pickle.loads(pickle.dumps(report))
    assert list(report.numeric) == ["W1", "b1", "W2", "b2"] == list(again.numeric)
    assert len(report.numeric) == 4
    for name, block in case.gradient().items():
        np.testing.assert_allclose(report.numeric[name], block, rtol=1e-12)
        assert report.numeric[name].tobytes() == again.numeric[name].tobytes()
        assert report.numeric[name] is report.numeric[name]
        with pytest.raises(ValueError, match="read-only"):
            report.numeric[name][0, 0] = 1.0
    with pytest.raises(KeyError):
        report.numeric["W9"]


def test_weights_that_change_after_the_check() -> None:
    """A product with a penalty takes them once more; without a penalty they do not matter."""
    case = make([5, 4, 3], ["tanh"], 6, 12, l2=0.4)
    report = case.check(mode="neurons")
    case.params["W2"][0, 0] += 1.0
    with pytest.raises(InputError, match="W2 has been changed since the check"):
        report.numeric["W2"]
    np.testing.assert_allclose(report.numeric["b2"].shape, (3, 1))
    free = make([5, 4, 3], ["tanh"], 6, 12)
    right = free.gradient()
    report = free.check(right, mode="neurons")
    free.params["W2"][...] = 7.0
    np.testing.assert_allclose(report.numeric["W2"], right["W2"], rtol=1e-12)


@pytest.mark.parametrize("name", ["W1", "b1", "W2", "b2"])
def test_products_are_guarded(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Quotients of units that are off by a millionth would make a wrong gradient pass: an error, not a verdict."""
    original = UnitQuotients.of_unit
    layer = int(name[1]) - 1

    def off(self: UnitQuotients, unit: int) -> Array:
        return original(self, unit) * (1.0 + 1e-6 * (self._layer == layer))

    case = make([5, 4, 3], ["tanh"], 6, 13, l2=0.4)
    quotients = NetworkProblem.quotients

    def wrong(self: NetworkProblem, chunk: Any, scheme: Any, step: float) -> Any:
        done = quotients(self, chunk, scheme, step)
        if chunk.examples and next(chunk.runs).layer == layer:
            done.values[...] *= 1.0 + 1e-6
        return done

    monkeypatch.setattr(UnitQuotients, "of_unit", off)
    monkeypatch.setattr(NetworkProblem, "quotients", wrong)
    with pytest.raises(OracleError, match=rf"the quotient of [Wb]{layer + 1}\["):
        case.check(mode="neurons")


@pytest.mark.parametrize("seed", range(6))
def test_products_are_guarded_at_kinks(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """An example of zeros and zero biases put every hidden unit at its kink for that example; all others still tell."""
    case = make([6, 8, 7, 1], ["relu", "relu"], 5, 14)
    case.x[:, 2] = 0.0
    for name in ("b1", "b2"):
        case.params[name][...] = 0.0
    right = case.gradient()
    assert case.check(right, mode="neurons", seed=seed).ok
    quotients = NetworkProblem.quotients

    def wrong(self: NetworkProblem, chunk: Any, scheme: Any, step: float) -> Any:
        done = quotients(self, chunk, scheme, step)
        if chunk.examples:
            done.values[...] *= 1.01
        return done

    monkeypatch.setattr(NetworkProblem, "quotients", wrong)
    with pytest.raises(OracleError, match="the quotient of"):
        case.check({name: 1.01 * block for name, block in right.items()}, mode="neurons", seed=seed)


def test_rows_that_change_places_are_noticed() -> None:
    case = make([5, 4, 3], ["tanh"], 6, 12, l2=0.4)
    report = case.check(mode="neurons")
    case.params["W1"][[0, 1]] = case.params["W1"][[1, 0]]
    with pytest.raises(InputError, match="W1 has been changed since the check"):
        report.numeric["W1"]


def test_addresses_are_taken_before_any_worker_asks() -> None:
    """Two workers that make the same array at once would leave a table with the address of the one that is gone."""
    case = make([5, 4, 3], ["tanh"], 6, 15)
    problem: NetworkProblem = case.network.cost(case.x, case.y).prepare(case.params)
    for each in (problem, pickle.loads(pickle.dumps(problem))):
        held = [*each._inputs, *each._bases, each._ones, each._labels, each._loss_base, each._single_base]
        held += [layer.weights for layer in each.layers]
        known = {array.ctypes.data for array in held}
        for table in ("_table", "_unit_table"):
            taken = vars(each)[table]
            assert set(taken[:-1, 3:6].ravel().tolist()) | set(taken[-1, 3:6].tolist()) <= known


SHAPES = [[100, 64, 10000], [64, 32, 4000], [784, 32, 784], [2, 4, 5000, 3, 1], [1, 1, 20000, 1, 1], [784, 256, 128, 1], [9] * 40]


@pytest.mark.parametrize("layers", SHAPES, ids=str)
def test_rooms_stay_small(monkeypatch: pytest.MonkeyPatch, layers: list[int]) -> None:
    """One room serves all stacks of a chunk: long rows of a narrow layer and the width of another must not meet in it."""
    params = {name: np.zeros(shape) for name, shape in gradsweep._dense.block_shapes(layers).items()}
    problem = (
        gradsweep.Network(layers, "identity", "identity").cost(np.ones((layers[0], 2)), np.ones((layers[-1], 2))).prepare(params)
    )
    for options in ({}, {"stacked": True}, {"stacked": True, "units": True}):
        for chunk in problem.chunks(2, range(len(layers) - 1), **options):
            lanes = max(2 * sum(run.size for run in stack) for stack in chunk.stacks)
            width = max(problem._stored_width(stack[0].layer) for stack in chunk.stacks)
            # Two layers in turn, and scratch.
            assert 3 * 8 * lanes * width <= 32 * 2**20, (chunk, lanes, width)


# ---- gradients that are exactly zero ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["central", "forward"])
@pytest.mark.parametrize("mode", MODES)
def test_what_vanishes_with_the_step_is_no_gradient(mode: str, scheme: str) -> None:
    """The first step of training: zero weights, and a class that does not occur. Second-order terms are all there is."""
    x = np.random.default_rng(0).standard_normal((4, 8))
    y = np.eye(3)[:, [0, 1, 0, 1, 1, 0, 0, 1]]
    linear = gradsweep.Network([4, 3], output="identity")
    zero = {"W1": np.zeros((3, 4)), "b1": np.zeros((3, 1))}
    gradient = linear.gradient(zero, x, y)
    assert not gradient["dW1"][2].any()
    assert gradsweep.check(linear.cost(x, y), zero, gradient, mode=mode, scheme=scheme).ok
    gradient["dW1"][2, 1] = 1e-9
    assert gradsweep.check(linear.cost(x, y), zero, gradient, mode=mode, scheme=scheme).verdict == "fail"

    deep = gradsweep.Network([4, 5, 3], output="identity")
    params = {**deep.initialize(), "W2": np.zeros((3, 5)), "b2": np.zeros((3, 1))}
    assert gradsweep.check(deep.cost(x, y), params, deep.gradient(params, x, y), mode=mode, scheme=scheme).ok

    logistic = gradsweep.Network([4, 3])
    report = gradsweep.check(
        logistic.cost(x, np.full((3, 8), 0.5)), zero, logistic.gradient(zero, x, np.full((3, 8), 0.5)), mode=mode, scheme=scheme
    )
    assert report.verdict == "inconclusive"
    assert {block.status.value for block in report.blocks} == {"vacuous"}


@pytest.mark.parametrize("mode", MODES)
def test_a_penalty_on_a_weight_that_is_zero(mode: str) -> None:
    """The forward quotient of w² at 0 is its step: no gradient."""
    network = gradsweep.Network([4, 3, 1], l2=0.5)
    params = network.initialize()
    x, y = np.random.default_rng(1).standard_normal((4, 6)), np.ones((1, 6))
    x[2], params["W1"][:, 2] = 0.0, 0.0  # a dead pixel and what came of its weights
    gradient = network.gradient(params, x, y)
    assert not gradient["dW1"][:, 2].any()
    for scheme in ("central", "forward"):
        assert gradsweep.check(network.cost(x, y), params, gradient, mode=mode, scheme=scheme).ok


@pytest.mark.parametrize("mode", MODES)
def test_at_the_optimum_of_ridge_regression(mode: str) -> None:
    """The penalty's gradient and that of the data cancel: what is left is rounding of either, on both sides."""
    generator = np.random.default_rng(2)
    for _ in range(20):
        x, y = generator.standard_normal((4, 9)), 1e3 * generator.standard_normal((1, 9))
        centred, targets = x - x.mean(axis=1, keepdims=True), y - y.mean()
        weights = np.linalg.solve(centred @ centred.T + 3.0 * np.eye(4), centred @ targets.T).T
        params = {"W1": weights, "b1": (y.mean() - weights @ x.mean(axis=1, keepdims=True)).reshape(1, 1)}
        network = gradsweep.Network([4, 1], output="identity", l2=3.0)
        gradient = network.gradient(params, x, y)
        assert np.abs(gradient["dW1"]).max() < 1e-11
        assert gradsweep.check(network.cost(x, y), params, gradient, mode=mode).verdict != "fail"


@pytest.mark.parametrize("mode", MODES)
def test_slopes_at_kinks_behind_a_mask(mode: str) -> None:
    """Masks with large factors: what backward passes may give at kinks is wider by them, and rounding larger."""
    for seed in range(6):
        case = make([5, 6, 4, 2], ["relu", "relu"], 4, seed, kept=0.1)
        mask = 10.0 * np.round(np.random.default_rng(seed).random((4, 4)))
        masked = dataclasses.replace(case, masks=[case.masks[0], mask])
        masked.x[:, 1] = 0.0
        for name in ("b1", "b2"):
            masked.params[name][...] = 0.0
        generator = np.random.default_rng(seed)
        usual: list[Any] = [np.zeros, np.ones, lambda shape: np.full(shape, 0.5)]
        for kink in [*usual, generator.random]:
            gradient = naive.backprop(masked.params, masked.x, masked.y, masked.hidden, kink, masks=masked.masks)
            verdict = masked.check(gradient, mode=mode).verdict
            assert verdict == "pass" if kink in usual else verdict != "fail"


def test_kinks_are_counted_alike_in_all_modes() -> None:
    """An input of 0 does not move its unit off the kink, whoever asks."""
    case = make([5, 6, 4, 1], ["relu", "leaky_relu"], 4, 16, kept=0.6)
    case.x[1:3, :] = 0.0
    case.x[:, 1] = 0.0
    for name in ("b1", "b2"):
        case.params[name][...] = 0.0
    case.params["W1"][2] = 0.0
    reports = {mode: case.check(mode=mode) for mode in MODES}
    assert reports["sweep"].kinks > 0
    assert all(report.ok for report in reports.values()), str(reports["neurons"])
    assert len({tuple(block.kinks for block in report.blocks) for report in reports.values()}) == 1


# ---- dropout masks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_a_backward_pass_that_forgets_the_mask(mode: str) -> None:
    case = make([6, 8, 5, 2], ["tanh", "relu"], 7, 21, kept=0.5)
    assert case.check(mode=mode).ok
    forgotten = dataclasses.replace(case, masks=[None, None])
    report = case.check(forgotten.gradient(), mode=mode)
    assert report.verdict == "fail"
    # The factor 1/keep alone, forgotten on the way back: what lies before the mask is off, what lies behind it is right.
    right = case.gradient()
    report = case.check({**right, "W1": 0.5 * right["W1"], "b1": 0.5 * right["b1"]}, mode=mode)
    assert [block.name for block in report.blocks if block.differing] == ["W1", "b1"]


@pytest.mark.parametrize("mode", MODES)
def test_a_unit_that_is_dropped_everywhere_is_vacuous(mode: str) -> None:
    case = make([6, 8, 2], ["relu"], 7, 22)
    mask = np.ones((8, 7))
    mask[3] = 0.0
    dropped = dataclasses.replace(case, masks=[mask])
    # Exactly at its kink, which is no kink where the unit is dropped.
    dropped.params["W1"][3], dropped.params["b1"][3] = 0.0, 0.0
    report = dropped.check(mode=mode)
    assert report.ok, str(report)
    assert (report.crossed, report.kinks) == (0, 0)
    blocks = {block.name: block for block in report.blocks}
    assert (blocks["W1"].vacuous, blocks["b1"].vacuous, blocks["W2"].vacuous) == (6, 1, 2)


def test_masks_take_part_in_forward_cost_and_gradient() -> None:
    case = make([6, 8, 5, 2], ["gelu", "sigmoid"], 7, 23, output="identity", kept=0.5)
    mask = case.masks[0]
    assert mask is not None
    a = naive.ACTIVATIONS["gelu"](case.params["W1"] @ case.x + case.params["b1"]) * mask
    a = naive.ACTIVATIONS["sigmoid"](case.params["W2"] @ a + case.params["b2"])
    z = case.params["W3"] @ a + case.params["b3"]
    np.testing.assert_allclose(case.network.forward(case.params, case.x), z, rtol=1e-14)
    loss = ((z - case.y) ** 2).sum() / 2 / 7
    assert case.network.cost(case.x, case.y)(case.params) == pytest.approx(loss, rel=1e-14)
    gradient = case.network.gradient(case.params, case.x, case.y)
    require_close({name[1:]: block for name, block in gradient.items()}, case.gradient(), 1e-14)
    assert "dropout_masks=..." in repr(case.network)
    assert "dropout" not in repr(dataclasses.replace(case, masks=[None, None]).network)


def test_the_callers_masks_are_copied() -> None:
    """A training loop draws its masks anew, in place perhaps."""
    mask = np.ones((4, 3))
    network = gradsweep.Network([2, 4, 1], dropout_masks=[mask])
    mask[...] = 0.0
    assert network.dropout_masks[0] is not None
    assert network.dropout_masks[0].all()


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ([], "dropout_masks must be a list with a mask, or None, for each of the 2 hidden layers"),
        ([None], "dropout_masks must be a list"),
        (np.ones((2, 4, 3)), "dropout_masks must be a list"),
        ([np.ones((4, 3)), np.ones((4, 3))], r"dropout_masks\[1\] has shape \(4, 3\), but \(5, examples\) is needed"),
        ([np.ones(4), None], r"dropout_masks\[0\] has shape \(4,\)"),
        ([np.full((4, 3), -1.0), None], r"dropout_masks\[0\]\[0, 0\] is -1.0; a mask's entries must be at least 0"),
        ([np.full((4, 3), np.nan), None], r"dropout_masks\[0\]\[0, 0\] is nan"),
        ([np.full((4, 3), 1e300), None], r"dropout_masks\[0\]\[0, 0\] is 1e\+300"),
        ([None, "half"], r"dropout_masks\[1\] has dtype"),
    ],
)
def test_bad_masks(masks: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        gradsweep.Network([2, 4, 5, 1], dropout_masks=masks)


def test_masks_of_other_data() -> None:
    network = gradsweep.Network([2, 4, 1], dropout_masks=[np.ones((4, 3))])
    with pytest.raises(InputError, match=r"dropout_masks\[0\] has 3 examples, but X has 5"):
        network.cost(np.ones((2, 5)), np.ones((1, 5)))
    with pytest.raises(InputError, match=r"dropout_masks\[0\] has 3 examples, but X has 5"):
        network.forward(network.initialize(), np.ones((2, 5)))


# ---- planning ------------------------------------------------------------------------------------------------------------


def planned(case: Case, mode: str = "auto", step: float = 1e-7) -> _planning.Plan:
    problem = case.network.cost(case.x, case.y).prepare(case.params)
    return _planning.make_plan(problem, mode, Steps(gradsweep._schemes.find_scheme("central"), step, step))


FAST = _machine.Machine(change=2e-10, product=1.2e-11, row=1e-7, chunk=3e-5, comparison=2e-10, weight=5e-10)


@pytest.fixture
def speed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set how fast the machine is said to be: all constants times a factor."""

    def slow_down(factor: float, **others: float) -> None:
        constants = {name: factor * value for name, value in dataclasses.asdict(FAST).items()} | others
        monkeypatch.setattr(_machine, "machine", lambda: _machine.Machine(**constants))

    slow_down(1.0)
    return slow_down


def test_auto_takes_the_most_direct_mode_that_is_fast_enough(speed: Any) -> None:
    wide, deep = make([50, 20, 1], ["tanh"], 3, 31), make([4] + [4] * 40 + [1], ["tanh"] * 40, 2, 32)
    plan = planned(wide)
    assert (plan.mode, plan.worth_workers) == ("sweep", False)
    # What Python does for each layer outweighs the difference, unless there are very many of them.
    assert planned(deep).mode == "sweep"
    speed(1.0, chunk=1e-7)
    assert planned(deep).mode == "batched"
    assert "mode='sweep'" in planned(deep).reason
    speed(1e6)
    longest = planned(wide)
    assert longest.mode == "screen"
    assert longest.reason.endswith("(mode='neurons')")
    speed(1.0, change=2e-3)
    slow = planned(wide)
    assert slow.mode == "neurons"
    assert slow.worth_workers
    assert slow.reason.startswith("a sweep would take some ")
    assert slow.reason.endswith("(mode='sweep')")
    assert planned(wide, "sweep").seconds > 10.0
    assert planned(wide, "sweep").reason == ""


def test_large_steps_are_known_to_be_slow(speed: Any) -> None:
    """They take the full forms: exponentials in the place of power series. A relu has no other form."""
    for name, least in (("tanh", 20.0), ("gelu", 100.0)):
        case = make([50, 200, 100, 1], [name, name], 3, 33)
        assert planned(case, "sweep", 0.1).seconds > least * planned(case, "sweep").seconds
    case = make([50, 200, 100, 1], ["relu", "relu"], 3, 33, output="identity")
    assert planned(case, "sweep", 0.1).seconds == planned(case, "sweep").seconds


def test_the_report_says_which_mode_and_why(speed: Any) -> None:
    case = make([50, 20, 1], ["tanh"], 3, 31)
    speed(1.0, change=1e-2)
    report = case.check()
    assert report.mode == "neurons"
    assert "neurons: a sweep would take some" in str(report)
    assert report.predicted > 1.0
    assert report.ok
    speed(1.0)
    report = case.check()
    assert (report.mode, report.ok) == ("sweep", True)
    assert "predicted" not in str(report)


@pytest.mark.parametrize(
    ("seconds", "text"), [(33.0, "30 seconds"), (200.0, "3 minutes"), (90_000.0, "20 hours"), (1e6, "10 days")]
)
def test_predictions_are_round(seconds: float, text: str) -> None:
    assert _planning.describe_seconds(seconds) == text


def test_constants_are_measured_once_and_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    measured: list[int] = []

    def measure() -> _machine.Machine:
        measured.append(1)
        return FAST

    monkeypatch.setattr(kernels, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(_machine, "_measure", measure)
    read = _machine._known_machine.__wrapped__
    assert read() == FAST == read()
    assert len(measured) == 1
    (file,) = tmp_path.iterdir()
    for spoilt in (
        "",
        "{}",
        "[1]",
        json.dumps({**dataclasses.asdict(FAST), "row": -1.0}),
        '{"row": "x"}',
        f'{{"row": 1{"0" * 400}}}',
    ):
        measured.clear()
        file.write_text(spoilt)
        assert read() == FAST == read()
        assert len(measured) == 1
    monkeypatch.setattr(kernels, "cache_folder", lambda: None)
    measured.clear()
    assert read() == FAST == read()
    assert len(measured) == 2


def test_measured_constants_are_sensible() -> None:
    """Positive, and none so large that it were the time of something else."""
    constants = dataclasses.asdict(_machine._measure())
    for name, value in constants.items():
        assert 0.0 < value < 1e-2, name


@pytest.mark.parametrize("mode", ["screens", "", "Sweep", None, 3])
def test_unknown_modes(mode: Any) -> None:
    with pytest.raises(InputError, match="known are 'auto', 'sweep', 'batched', 'neurons'"):
        make([2, 1], [], 1, 41).check(mode=mode)
