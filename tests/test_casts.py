"""Costs that cast to single or half precision inside: they are followed, and their rounding is allowed for and said."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import gradsweep
from gradsweep._costs._functions import Function
from gradsweep._costs._numpy_function import NumPyFunction
from gradsweep._costs._runs import USUAL, Conditions, Outcomes, Task
from gradsweep._differences._departure import Departure
from gradsweep._differences._lanes import Lanes
from gradsweep._differences._propagation import perturbed, propagate
from gradsweep._settings import read_settings
from gradsweep._trees import Tree, read_tree
from gradsweep._types import Array

Params = dict[str, Any]

X = np.random.default_rng(1).normal(size=(5, 12))
Y = np.random.default_rng(2).normal(size=(3, 12))
LABELS = np.arange(12) % 3
KINDS = (np.float32, np.float16)
Kind = type[np.floating[Any]]


def parameters() -> Params:
    generator = np.random.default_rng(3)
    return {"W1": 0.5 * generator.normal(size=(4, 5)), "W2": 0.5 * generator.normal(size=(3, 4))}


def gradient(params: Params, kind: Kind = np.float64) -> Params:
    """Of half the mean squared error, computed in one type."""
    first, second, inputs = (np.asarray(each).astype(kind) for each in (params["W1"], params["W2"], X))
    hidden = np.tanh(first @ inputs)
    residual = (second @ hidden - Y.astype(kind)) / kind(12)
    before = second.T @ residual * (1 - hidden**2)
    return {"W1": before @ inputs.T, "W2": residual @ hidden.T}


def error(prediction: Any, labels: Any = Y) -> Any:
    return 0.5 * np.sum((prediction - labels) ** 2) / 12


def by_astype(params: Params, kind: Kind) -> Any:
    first, second = params["W1"].astype(kind), params["W2"].astype(kind)
    return error(second @ np.tanh(first @ X.astype(kind)), Y.astype(kind))


def and_back(params: Params, kind: Kind) -> Any:
    first, second = params["W1"].astype(kind), params["W2"].astype(kind)
    return error((second @ np.tanh(first @ X.astype(kind))).astype(np.float64))


def returned_as_a_number(params: Params, kind: Kind) -> float:
    return float(and_back(params, kind))


def by_asarray(params: Params, kind: Kind) -> Any:
    first, second = np.asarray(params["W1"], dtype=kind), np.asarray(params["W2"], dtype=kind)
    return error(second @ np.tanh(first @ np.asarray(X, dtype=kind)))


def by_array(params: Params, kind: Kind) -> Any:
    first, second = np.array(params["W1"], kind), np.array(params["W2"], kind)
    return error(second @ np.tanh(first @ np.array(X, kind)))


def in_buffers(params: Params, kind: Kind) -> Any:
    hidden, output = np.zeros((4, 12), dtype=kind), np.empty((3, 12), kind)
    for example in range(12):
        hidden[:, example] = np.tanh(params["W1"] @ X[:, example])
    output[...] = params["W2"] @ hidden
    return error(output)


def added_up_in_a_buffer(params: Params, kind: Kind) -> Any:
    output = np.full((3, 12), 0.0, dtype=kind)
    hidden = np.tanh(params["W1"] @ X)
    for unit in range(4):
        np.add.at(output, np.arange(3), params["W2"][:, unit : unit + 1] * hidden[unit])
    return error(output)


def by_a_type_for_the_result(params: Params, kind: Kind) -> Any:
    hidden = np.tanh(np.matmul(params["W1"], X, dtype=kind, casting="same_kind"))
    residual = np.subtract(params["W2"] @ hidden, Y, dtype=kind, casting="same_kind")
    return 0.5 * np.sum(residual**2, None, kind) / 12


def by_a_type_for_the_sum(params: Params, kind: Kind) -> Any:
    return 0.5 * np.sum((params["W2"] @ np.tanh(params["W1"] @ X) - Y) ** 2, dtype=kind) / 12


def of_the_result_alone(params: Params, kind: Kind) -> Any:
    return error(params["W2"] @ np.tanh(params["W1"] @ X)).astype(kind)


FOLLOWED = [
    by_astype, and_back, returned_as_a_number, by_asarray, by_array, in_buffers, added_up_in_a_buffer, by_a_type_for_the_result,
    by_a_type_for_the_sum, of_the_result_alone,
]  # fmt: skip

Cost = Callable[[Params, Kind], Any]


def off(params: Params, factor: float) -> Params:
    """The gradient with its largest entry off by a factor."""
    wrong = gradient(params)
    wrong["W2"][np.unravel_index(np.argmax(np.abs(wrong["W2"])), (3, 4))] *= factor
    return wrong


def followed(cost: Callable[[Any], Any], params: Any) -> tuple[NumPyFunction, Tree]:
    """The numeric side of a check, which must be difference arrays."""
    function, tree = Function(cost), read_tree(params)
    numerics = function.numerics(tree, function.settle_in(tree), read_settings())
    assert isinstance(numerics, NumPyFunction), function.reason
    return numerics, tree


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cost", FOLLOWED)
def test_a_cost_that_casts_is_followed_and_its_rounding_is_said(cost: Cost, kind: Kind) -> None:
    params, epsilon = parameters(), float(np.finfo(kind).eps)
    for given in (gradient(params), gradient(params, kind), gradient):
        report = gradsweep.check(lambda p: cost(p, kind), params, given)
        assert report.verdict == "pass"
        assert report.evaluated_by == "difference arrays"
        assert report.precision == epsilon
        assert report.tolerance == min(1024.0 * epsilon, 1e-2)
    (note,) = [each for each in report.notes if "rounds to" in each]
    assert f"rounds to {np.dtype(kind)}, by up to {epsilon:.1e} of each value" in note
    # The line that casts first.
    assert "test_casts.py" in note
    assert f"in {'and_back' if cost is returned_as_a_number else cost.__name__}" in note


@pytest.mark.parametrize("cost", FOLLOWED)
def test_an_entry_that_is_off_by_a_hundredth_fails_in_single_precision(cost: Cost) -> None:
    report = gradsweep.check(lambda p: cost(p, np.float32), parameters(), off(parameters(), 1.01))
    assert report.verdict == "fail"
    assert [(block.name, block.differing) for block in report.blocks if block.differing] == [("W2", 1)]


@pytest.mark.parametrize("cost", FOLLOWED)
def test_an_entry_that_is_twice_too_large_fails_in_half_precision(cost: Cost) -> None:
    assert gradsweep.check(lambda p: cost(p, np.float16), parameters(), off(parameters(), 2.0)).verdict == "fail"


def test_other_models() -> None:
    generator = np.random.default_rng(5)
    sequence = generator.normal(size=(6, 3))
    recurrent = {"Wx": 0.4 * generator.normal(size=(4, 3)), "Wh": 0.4 * generator.normal(size=(4, 4))}

    def rnn(p: Params) -> Any:
        state = np.zeros(4, np.float32)
        for each in sequence:
            state = np.tanh(p["Wx"].astype(np.float32) @ each.astype(np.float32) + p["Wh"].astype(np.float32) @ state)
        return np.sum(state.astype(float) ** 2)

    def back_through_time(p: Params) -> Params:
        states = [np.zeros(4)]
        for each in sequence:
            states.append(np.tanh(p["Wx"] @ each + p["Wh"] @ states[-1]))
        passed, result = 2.0 * states[-1], {name: np.zeros_like(each) for name, each in p.items()}
        for place in range(6, 0, -1):
            before = passed * (1.0 - states[place] ** 2)
            result["Wx"] += np.outer(before, sequence[place - 1])
            result["Wh"] += np.outer(before, states[place - 1])
            passed = p["Wh"].T @ before
        return result

    def softmax(p: Params) -> Any:
        z = (p["W2"] @ np.tanh(p["W1"] @ X)).astype(np.float32)
        powers = np.exp(z - z.max(axis=0))
        return -np.log((powers / powers.sum(axis=0))[LABELS, np.arange(12)]).mean()

    def of_softmax(p: Params) -> Params:
        hidden = np.tanh(p["W1"] @ X)
        powers = np.exp(p["W2"] @ hidden)
        residual = powers / powers.sum(axis=0)
        residual[LABELS, np.arange(12)] -= 1.0
        return {"W1": (p["W2"].T @ residual / 12 * (1 - hidden**2)) @ X.T, "W2": residual @ hidden.T / 12}

    for cost, own, params in ((rnn, back_through_time, recurrent), (softmax, of_softmax, parameters())):
        report = gradsweep.check(cost, params, own)
        assert (report.verdict, report.evaluated_by) == ("pass", "difference arrays")
        wrong = own(params)
        name = next(iter(wrong))
        wrong[name][np.unravel_index(np.argmax(np.abs(wrong[name])), wrong[name].shape)] *= 1.01
        assert gradsweep.check(cost, params, wrong).verdict == "fail"
        assert gradsweep.check(cost, params, own, mode="screen").verdict == "pass"


def test_a_tolerance_below_the_rounding_is_inconclusive() -> None:
    report = gradsweep.check(lambda p: by_astype(p, np.float32), parameters(), gradient, tolerance=1e-9)
    assert report.verdict == "inconclusive"


def test_without_casts_nothing_is_said() -> None:
    """Data and constants of single precision, also as arrays that are made where a buffer is filled: all is in float64."""
    data, weights = X.astype(np.float32), np.ones((3, 12), dtype=np.float32)

    def cost(p: Params) -> Any:
        hidden = np.zeros((4, 12))
        inputs = np.asarray(X, dtype=np.float32)
        for example in range(12):
            hidden[:, example] = np.tanh(p["W1"] @ inputs[:, example] + np.tanh(data[0, example]) - np.tanh(inputs)[0, example])
        return 0.5 * np.sum(weights * (p["W2"].astype(np.float64) @ hidden - Y) ** 2) / 12

    def exact(p: Params) -> Params:
        hidden = np.tanh(p["W1"] @ data)
        residual = (p["W2"] @ hidden - Y) / 12
        return {"W1": p["W2"].T @ residual * (1 - hidden**2) @ data.T, "W2": residual @ hidden.T}

    report = gradsweep.check(cost, parameters(), exact)
    assert (report.verdict, report.evaluated_by) == ("pass", "difference arrays")
    assert (report.precision, report.tolerance) == (float(np.finfo(float).eps), 1e-7)
    assert not [note for note in report.notes if "rounds" in note]


# ---- what is not followed --------------------------------------------------------------------------------------------------


def test_a_constructor_of_numbers_is_checked_by_values() -> None:
    def cost(p: Params) -> Any:
        first: Any = np.float32(p["W1"])
        second: Any = np.float32(p["W2"])
        return error(second @ np.tanh(first @ X.astype(np.float32)))

    report = gradsweep.check(cost, parameters(), gradient)
    assert (report.verdict, report.evaluated_by) == ("pass", "plain function")
    assert report.precision == float(np.finfo(np.float32).eps)
    assert 'first: Any = np.float32(p["W1"])' in report.reason
    assert report.reason.endswith("write x.astype(np.float32)")
    assert gradsweep.check(cost, parameters(), off(parameters(), 1.01)).verdict == "fail"


def test_a_number_that_goes_unseen_beside_the_rounding_is_not_trusted() -> None:
    """What it lacks may be less than half precision rounds by; in single precision it shows that it lacks nothing."""

    def cost(p: Params, kind: Kind) -> Any:
        scale = float(np.abs(p["W1"]).max())
        hidden = np.tanh((p["W1"] / scale).astype(kind).astype(float) * scale @ X)
        return error(p["W2"].astype(kind) @ hidden)

    for kind, by in ((np.float32, "difference arrays"), (np.float16, "plain function")):
        report = gradsweep.check(lambda p, kind=kind: cost(p, kind), parameters(), gradient)
        assert (report.verdict, report.evaluated_by) == ("pass", by)
        assert report.precision == float(np.finfo(kind).eps)
    assert "float(...) makes a plain number" in report.reason


def test_what_depends_on_how_it_rounds_is_checked_by_values() -> None:
    """An exponential overflows in half precision alone: no error, and no quotient of what does not overflow."""

    def cost(x: Any) -> Any:
        powers = np.exp(x.astype(np.float16))
        return np.sum(np.where(np.isinf(powers), 0.0, powers)) / 1000.0 + np.sum(x**2)

    with np.errstate(over="ignore"):
        report = gradsweep.check(cost, np.array([11.5, 12.0]), np.array([23.0, 24.0]))
    assert (report.verdict, report.evaluated_by) == ("pass", "plain function")
    assert "which rounds to float16 (test_casts.py" in report.reason


def test_a_cast_at_some_points_only_departs() -> None:
    def cost(x: Any) -> Any:
        return np.sum((x.astype(np.float32) if x[0] > 0.9 else x) ** 2)

    numerics, tree = followed(cost, np.array([0.5, 0.7]))
    assert numerics.precision.epsilon == float(np.finfo(float).eps)
    values = np.array([0.95, 0.7])
    moved = numerics.moved(Tree(tree.blocks, values, tree.root), float(cost(values)))
    with pytest.raises(Departure, match="rounds to float32 at some points only") as caught:
        moved.quotients(np.arange(2))
    assert caught.value.cast is not None
    # By values it is then known how they are rounded.
    function = Function(cost)
    by_values = function.numerics_by_values(tree, numerics.base, read_settings(), caught.value)
    assert by_values.precision.epsilon == float(np.finfo(np.float32).eps)


def test_a_checkpoint_remembers_how_an_outcome_was_rounded() -> None:
    """Else a run that goes on would not depart where the first one did."""
    numerics, _ = followed(lambda x: np.sum(x.astype(np.float16) ** 2), np.array([0.5, 0.7]))
    task = Task(np.arange(2), np.full(2, 1e-3), USUAL)
    outcome, codec = numerics.propagation(task), Outcomes(None)
    fields = codec.encode(outcome)
    again = codec.decode(task, fields)
    assert again.cast == outcome.cast
    assert again.cast is not None
    assert again.changes.tobytes() == outcome.changes.tobytes()
    exact = codec.decode(task, codec.encode(replace(outcome, cast=None)))
    assert exact.cast is None
    for damage in (b'[[], ["object", "x"]]', b'[[], ["float32"]]', b'[[], {"float32": 1}]', b"[[], 3]", b"[]"):
        with pytest.raises(gradsweep.DataError, match="damaged"):
            codec.decode(task, {**fields, "lost": np.frombuffer(damage, dtype=np.uint8)})


# ---- how it is followed ----------------------------------------------------------------------------------------------------


def run(function: Callable[[Any], Any], values: Array, steps: Array, **conditions: Any) -> tuple[float, Array, Lanes]:
    lanes = Lanes(len(steps), **conditions)
    done = propagate(function, perturbed(values, np.ones((*values.shape, 1)) * steps, lanes), lanes, fills=True)
    return done.base, done.changes, lanes


def test_a_value_is_rounded_where_it_is_cast_and_its_change_is_not() -> None:
    values = np.array([1.0 / 3.0, 1e-9, 0.1])

    def cubes(x: Any) -> Any:
        return np.sum(x.astype(np.float32).astype(np.float64) ** 3)

    base, changes, lanes = run(cubes, values, np.array([1e-12]))
    rounded = values.astype(np.float32).astype(float)
    assert base == cubes(values) == np.sum(rounded**3)
    np.testing.assert_allclose(changes, np.sum(3.0 * rounded**2) * 1e-12, rtol=1e-9)
    assert lanes.cast is not None
    assert lanes.cast.kind == np.float32


def test_of_several_types_the_least_precise_counts() -> None:
    _, _, lanes = run(lambda x: np.sum(x.astype(np.float16) + x.astype("float32")), np.ones(2), np.array([1e-3]))
    assert lanes.cast is not None
    assert lanes.cast.kind == np.float16
    assert lanes.cast.precision.epsilon == float(np.finfo(np.float16).eps)
    _, _, lanes = run(lambda x: np.sum(x.astype(np.float64) + x.astype(np.longdouble)), np.ones(2), np.array([1e-3]))
    assert lanes.cast is None


@pytest.mark.parametrize("name", ["zeros", "empty"])
def test_what_is_assigned_is_rounded_as_the_buffer_is(name: str) -> None:
    values = np.array([1.0 / 3.0, 0.1, 0.7])

    def cost(x: Any) -> Any:
        buffer = np.zeros(4, dtype=np.float32) if name == "zeros" else np.empty(4, dtype=np.float32)
        buffer[:3], buffer[3] = x, 0.3
        buffer[1:] += 0.1
        assert buffer.dtype == np.float32
        return np.sum(buffer.astype(np.float64) ** 2)

    base, changes, _ = run(cost, values, np.array([1e-12]))
    assert base == pytest.approx(float(cost(values)), rel=1e-15)
    assert changes[0] != 0.0


def test_a_cast_does_not_round_simulated_rounding_away() -> None:
    """Here it is a hundredth of the spacing of single precision, and a thousand times what is simulated at the cast itself."""

    def cost(x: Any) -> Any:
        return np.sum(((x + 1000.0) - 1000.0).astype(np.float32))

    values = np.linspace(0.3, 0.9, 7)
    found = [run(cost, values, np.array([1e-3]), jitter=2.0**-40, seed=seed)[0] for seed in range(6)]
    assert 2.0**-34 < np.std(found) / np.mean(found) < 2.0**-28


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cost", FOLLOWED)
@pytest.mark.parametrize("compiled", [False, True])
def test_what_is_recorded_is_what_is_run(cost: Cost, kind: Kind, compiled: bool) -> None:
    numerics, tree = followed(lambda p: cost(p, kind), parameters())
    propagation = replace(numerics.propagation, compiled=compiled)
    indices = np.arange(len(tree.values))
    task = Task(np.tile(indices, 2), np.repeat([1e-7, -1e-7], len(indices)), USUAL)
    assert propagation.can_be_repeated
    repeated, again = propagation(task), propagation(replace(task, conditions=Conditions(seed=1)))
    assert repeated.base == again.base
    assert repeated.cast == again.cast
    np.testing.assert_allclose(repeated.changes, again.changes, rtol=1e-12, atol=1e-14 * np.abs(again.changes).max())


def test_a_record_is_void_where_a_cast_overflows() -> None:
    def cost(x: Any) -> Any:
        return np.sum(np.minimum((1e5 * x).astype(np.float16), 100.0) + x**2)

    with np.errstate(over="ignore"):
        numerics, _ = followed(cost, np.array([1.0, 2.0]))
        assert not numerics.propagation.can_be_repeated
        np.testing.assert_allclose(numerics.quotients(np.arange(2)).values, [2.0, 4.0], rtol=1e-12)


def test_rounding_of_a_backward_pass_is_looked_for_where_the_cost_rounds() -> None:
    """Last digits of parameters in float64 do not move what is computed in float32, and so do not show how that is rounded."""
    x = np.random.default_rng(7).uniform(0.2, 0.4, 40)

    def cancelling(x: Array) -> NDArray[Any]:
        own, factor = x.astype(np.float32), np.float32(200.0)
        return own + ((own * own) * factor**2 - (own * factor) ** 2)

    report = gradsweep.check(lambda x: 0.5 * np.sum(x.astype(np.float32) ** 2), x, cancelling)
    assert report.difference > report.tolerance
    assert report.verdict == "inconclusive"
    assert report.evaluated_by == "difference arrays"
