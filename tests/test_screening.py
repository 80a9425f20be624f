"""Screens: right gradients pass in some tens of evaluations, wrong ones are found and bisected, of every kind of cost."""

import dataclasses
import time
import tracemalloc
from collections.abc import Callable, Mapping
from typing import Any

import naive
import numba
import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray
from reports import wrong_blocks
from test_models import MODELS, label, planted
from test_modes import Case, cases, make

import gradsweep
from gradsweep._costs._kinds import as_function
from gradsweep._directions import Direction, Region
from gradsweep._errors import InputError
from gradsweep._schemes import CENTRAL, FORWARD
from gradsweep._screening import Budget
from gradsweep._settings import read_settings
from gradsweep._trees import read_tree
from gradsweep._verdict import Block, Status

Array = NDArray[np.float64]

thorough = settings(deadline=None, derandomize=True, max_examples=100)


def screen(case: Case, gradient: Mapping[str, Any] | None = None, **options: Any) -> gradsweep.Report:
    return case.check(gradient, mode="screen", **options)


def block(report: gradsweep.Report, name: str) -> Block:
    return next(each for each in report.blocks if each.name == name)


# ---- networks ------------------------------------------------------------------------------------------------------------


@thorough
@given(cases())
def test_changes_along_directions_are_products_with_the_gradient(case: Case) -> None:
    gradient = case.gradient()
    problem = case.network.cost(case.x, case.y).prepare(case.params)
    products, wanted = [], []
    for number, name in enumerate(problem.shapes):
        rows, columns = problem.shapes[name]
        direction = Direction(Region(number, (0, rows), (0, columns)), columns, number, 3).whole((rows, columns))
        inputs = problem.inputs(problem.layer_of(name)).T
        products.append((problem.layer_of(name), direction @ (inputs[:-1] if name[0] == "W" else inputs[-1:])))
        own = gradient["d" + name] if "d" + name in gradient else gradient[name]
        penalty = problem.penalty_along(name, CENTRAL, 1e-7, lambda weights, d=direction: float(np.vdot(weights, d)))  # type: ignore[misc]
        wanted.append((float(np.vdot(direction, own)), penalty, float(np.linalg.norm(own))))
    found = problem.along(products, CENTRAL, 1e-7)
    smooth = found.crossings.size == 0 or not found.crossings.any()
    for value, (product, penalty, norm) in zip(found.values[0], wanted, strict=True):
        if smooth:
            assert value + penalty == pytest.approx(product, abs=1e-12 * norm + 1e-300)


@thorough
@given(cases())
def test_right_gradients_of_networks_pass(case: Case) -> None:
    report = screen(case)
    assert report.verdict in ("pass", "inconclusive"), str(report)
    statuses = {each.status for each in report.blocks}
    assert statuses <= {Status.AGREES, Status.VACUOUS, Status.AT_KINKS}, str(report)
    if all(name not in ("relu", "leaky_relu") for name in case.hidden):
        assert Status.AT_KINKS not in statuses, str(report)
        assert report.evaluations <= 4 * len(report.blocks)


@thorough
@given(cases())
def test_an_entry_that_is_wrong_is_found(case: Case) -> None:
    gradient = {name: np.array(value) for name, value in case.gradient().items()}
    name = max(gradient, key=lambda each: gradient[each].size)
    place = np.unravel_index(int(np.argmax(np.abs(gradient[name]))), gradient[name].shape)
    if abs(gradient[name][place]) < 1e-12:
        return
    gradient[name][place] *= 1.001
    report = screen(case, gradient)
    assert report.verdict == "fail", str(report)
    assert wrong_blocks(report) == {name.removeprefix("d")}
    worst = report.worst(1)[0]
    assert worst.index == tuple(int(i) for i in place)
    swept = case.check(gradient, mode="sweep").worst(1)[0]
    assert worst.numeric == pytest.approx(swept.numeric, rel=1e-12)


def test_one_entry_among_many_takes_a_logarithm_of_evaluations() -> None:
    case = make([700, 300, 1], ["tanh"], 3, 0)
    gradient = {name: np.array(value) for name, value in case.gradient().items()}
    name = "dW1" if "dW1" in gradient else "W1"
    right = screen(case)
    assert right.verdict == "pass"
    assert right.evaluations == 2 * (2 + 2 + 2 + 1)
    gradient[name][123, 456] *= 1.01
    report = screen(case, gradient)
    assert report.verdict == "fail"
    assert [entry.index for entry in block(report, "W1").worst] == [(123, 456)]
    # Two halves at each of 18 levels, two-sided; the closer look at two directions, and at the entry.
    assert report.evaluations <= right.evaluations + 2 * 2 * 18 + 20


@pytest.mark.parametrize("count", [2, 5])
def test_several_entries_are_found(count: int) -> None:
    case = make([60, 50, 1], ["tanh"], 4, 1)
    gradient = {name: np.array(value) for name, value in case.gradient().items()}
    name = "dW1" if "dW1" in gradient else "W1"
    places = [(7 * number % 50, 11 * number % 60) for number in range(1, count + 1)]
    for place in places:
        gradient[name][place] *= 1.5
    found = {entry.index for entry in block(screen(case, gradient), "W1").worst if entry.score > 1.0}
    assert found == set(places)


def test_two_entries_that_were_swapped_are_found_at_any_seed() -> None:
    case = make([60, 50, 1], ["tanh"], 4, 1)
    gradient = {name: np.array(value) for name, value in case.gradient().items()}
    name = "dW1" if "dW1" in gradient else "W1"
    first, second = gradient[name][3, 4], gradient[name][40, 50]
    gradient[name][3, 4], gradient[name][40, 50] = second, first
    for seed in range(40):
        report = screen(case, gradient, seed=seed)
        assert wrong_blocks(report) == {"W1"}, seed


def test_one_direction_is_carried_and_several_enter_with_one_offset() -> None:
    """Those that enter lie one after the other in memory, and what they are joined to takes their order."""
    case = make([3, 2, 1], ["softplus"], 2, 0, output="identity")
    problem = case.network.cost(case.x, case.y).prepare(case.params)
    products = [(0, np.ones((2, 2))), (1, np.ones((1, 2))), (1, np.eye(1, 2))]
    together = problem.along(products, FORWARD, 1e-13).values[0]
    alone = [problem.along([each], FORWARD, 1e-13).values[0, 0] for each in products]
    assert together == pytest.approx(alone, rel=1e-12)


def test_what_agrees_to_the_tolerance_passes_whatever_rounding_it_might_have() -> None:
    """As it does in a sweep: saturated units may round by a thousandth."""
    for seed in range(12):
        case = make([5, 5, 4, 5, 1, 20], ["gelu", "gelu", "silu", "sigmoid"], 4, seed, output="identity")
        case = dataclasses.replace(case, x=300.0 * case.x)
        right = case.gradient()
        assert screen(case, right).verdict == case.check(right, mode="sweep").verdict, seed


@pytest.mark.parametrize("rows", [True, False])
def test_a_row_or_a_column_is_told_from_single_entries(rows: bool) -> None:
    case = make([40, 50, 1], ["tanh"], 4, 1)
    gradient = {name: np.array(value) for name, value in case.gradient().items()}
    name = "dW1" if "dW1" in gradient else "W1"
    chosen = (17, slice(None)) if rows else (slice(None), 17)
    gradient[name][chosen] *= -1.0
    report = screen(case, gradient)
    assert report.verdict == "fail"
    assert all(entry.index[0 if rows else 1] == 17 for entry in block(report, "W1").worst if entry.score > 1.0)
    assert report.findings[0].kind == ("rows" if rows else "columns")
    assert "17" in report.findings[0].message


def test_the_estimate_covers_the_difference_of_a_sweep() -> None:
    inside = 0
    for seed in range(60):
        case = make([30, 20, 1], ["tanh"], 4, seed)
        gradient = {name: np.array(value) for name, value in case.gradient().items()}
        name = "dW1" if "dW1" in gradient else "W1"
        gradient[name] *= 1.0 + 1e-3 * np.random.default_rng(seed).standard_normal(gradient[name].shape)
        found = block(screen(case, gradient, seed=seed), "W1")
        true = block(case.check(gradient, mode="sweep"), "W1").difference
        assert found.interval is not None
        inside += found.interval[0] <= true <= found.interval[1]
        assert found.interval[0] <= found.difference <= found.interval[1]
    assert 53 <= inside <= 60  # 57 expected


def test_seeds_and_workers() -> None:
    case = make([30, 20, 1], ["tanh"], 4, 0)
    one, again, other = screen(case), screen(case, jobs=2), screen(case, seed=1)
    assert [each.difference for each in one.blocks] == [each.difference for each in again.blocks]
    assert [each.difference for each in one.blocks] != [each.difference for each in other.blocks]


def test_a_large_error_that_no_norm_shows_is_found_in_a_small_block() -> None:
    case = make([300, 20, 3], ["tanh"], 4, 0)
    gradient = {name: np.array(value) for name, value in case.gradient().items()}
    name = "db2" if "db2" in gradient else "b2"
    gradient[name] *= 1.0 + 1e-5
    report = screen(case, gradient)
    assert report.verdict == "fail"
    assert wrong_blocks(report) == {"b2"}
    assert report.difference < 1e-4


def test_errors_below_the_tolerance_pass_after_a_closer_look() -> None:
    case = make([30, 20, 1], ["tanh"], 4, 0)
    gradient = {name: np.array(value) for name, value in case.gradient().items()}
    name = "dW1" if "dW1" in gradient else "W1"
    gradient[name] *= 1.0 + 1e-9 * np.random.default_rng(0).standard_normal(gradient[name].shape)
    report = screen(case, gradient)
    assert report.verdict == "pass", str(report)
    found = block(report, "W1")
    assert found.interval is not None
    swept = block(case.check(gradient, mode="sweep"), "W1").difference
    assert found.difference == pytest.approx(swept, rel=0.9)
    assert found.looked_at


def test_a_gradient_of_float32_is_no_mistake() -> None:
    case = make([30, 20, 1], ["tanh"], 4, 0)
    gradient = {name: np.array(value, dtype=np.float32) for name, value in case.gradient().items()}
    report = screen(case, gradient)
    assert report.verdict == "pass", str(report)
    assert report.certificate.scale > 1e-4


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_never_passes(value: float) -> None:
    case = make([30, 20, 1], ["tanh"], 4, 0)
    gradient = {name: np.array(value) for name, value in case.gradient().items()}
    name = "dW1" if "dW1" in gradient else "W1"
    gradient[name][3, 5] = value
    report = screen(case, gradient)
    assert report.verdict == "fail"
    assert [entry.index for entry in block(report, "W1").worst] == [(3, 5)]
    assert report.findings[0].kind == "non_finite"


def test_a_vacuous_block_is_said_to_be_so() -> None:
    case = make([30, 20, 1], ["relu"], 4, 0)
    params = {name: np.array(value) for name, value in case.params.items()}
    params["b1"] = params["b1"] - 100.0
    gradient = {name: np.array(value) for name, value in dataclasses.replace(case, params=params).gradient().items()}
    report = screen(dataclasses.replace(case, params=params), gradient)
    assert block(report, "W1").status is Status.VACUOUS
    assert "vacuous" in str(report)


def test_the_second_point_is_screened_too() -> None:
    case = make([30, 20, 1], ["tanh"], 4, 0)
    calls = 0

    def gradient(params: Mapping[str, Array]) -> dict[str, Array]:
        nonlocal calls
        calls += 1
        found = dataclasses.replace(case, params=dict(params)).gradient()
        return {name: value * (1.0 if calls == 1 else 2.0) for name, value in found.items()}

    report = screen(case, gradient)  # type: ignore[arg-type]
    assert report.verdict == "fail"
    assert report.displaced is not None
    assert not wrong_blocks(report)
    assert {each.status for each in report.displaced.blocks} == {Status.WRONG}


# ---- functions -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS[::2], ids=label)
def test_right_models_pass(model: Any) -> None:
    case = model.build(0)
    report = gradsweep.check(case.cost, case.params, case.gradient, mode="screen")
    assert report.verdict == "pass", str(report)
    assert report.mode == "screen"
    assert not report.numeric


# Of the planted mistakes each fifth: a sweep of each is tested elsewhere, and decides by the same rules.
@pytest.mark.parametrize(("model", "bug"), list(planted())[::5])
def test_planted_mistakes_fail_where_they_are(model: Any, bug: str) -> None:
    case, mistake = model.build(0), model.bugs(0)[bug]
    report = gradsweep.check(case.cost, case.params, mistake.gradient, mode="screen")
    assert report.verdict == "fail", str(report)
    assert wrong_blocks(report) == set(mistake.blocks), str(report)


@pytest.mark.parametrize("model", MODELS[::4], ids=label)
def test_models_of_which_only_values_can_be_had(model: Any) -> None:
    case = model.build(0)
    cost = gradsweep.plain(case.cost)
    right = gradsweep.check(cost, case.params, case.gradient, mode="screen")
    assert right.verdict != "fail", str(right)
    name, mistake = next(iter(model.bugs(0).items()))
    wrong = gradsweep.check(cost, case.params, mistake.gradient, mode="screen")
    assert wrong.verdict != "pass", (name, str(wrong))


def quadratic(count: int) -> tuple[Callable[[Any], Any], Array, Array]:
    generator = np.random.default_rng(0)
    target, theta = generator.standard_normal(count), generator.standard_normal(count)
    return (lambda p: float(np.tanh(p - target).sum())), theta, np.cosh(theta - target) ** -2


def test_a_plain_function_takes_some_tens_of_evaluations() -> None:
    cost, theta, gradient = quadratic(50_000)
    report = gradsweep.check(gradsweep.plain(cost), theta, gradient, mode="screen")
    assert report.verdict == "pass", str(report)
    assert report.evaluations < 100
    gradient[31_415] *= 1.01
    report = gradsweep.check(gradsweep.plain(cost), theta, gradient, mode="screen")
    assert report.verdict == "fail", str(report)
    assert [entry.index for entry in report.blocks[0].worst] == [(31_415,)]
    assert report.evaluations < 500


def test_batched_and_compiled_functions() -> None:
    generator = np.random.default_rng(0)
    target, theta = generator.standard_normal(300), generator.standard_normal(300)
    gradient = np.cosh(theta - target) ** -2
    batched = gradsweep.batched(lambda p: np.tanh(p - target).sum(axis=-1))
    compiled = numba.njit(lambda p: np.tanh(p - target).sum())
    for cost, kind in ((batched, "batched function"), (compiled, "compiled function")):
        right = gradsweep.check(cost, theta, gradient, mode="screen")
        assert (right.verdict, right.evaluated_by) == ("pass", kind), str(right)
        wrong = gradient.copy()
        wrong[77] *= 1.01
        report = gradsweep.check(cost, theta, wrong, mode="screen")
        assert report.verdict == "fail", str(report)
        assert [entry.index for entry in report.blocks[0].worst if entry.score > 1.0] == [(77,)]


def test_noise_makes_a_screen_inconclusive_not_wrong() -> None:
    cost, theta, gradient = quadratic(1_000)
    report = gradsweep.check(gradsweep.plain(lambda p: cost(p) + 1e9), theta, gradient, mode="screen")
    assert report.verdict == "inconclusive", str(report)
    doubled = gradsweep.check(gradsweep.plain(lambda p: cost(p) + 1e6), theta, 2.0 * gradient, mode="screen")
    assert doubled.verdict == "fail", str(doubled)


def test_a_kink_at_the_point_does_not_hide_a_mistake_beside_it() -> None:
    theta = np.concatenate([np.zeros(3), np.linspace(1.0, 2.0, 200)])
    gradient = np.where(theta > 0.0, 2.0 * theta, 0.0) + (theta == 0.0) * 0.5

    def cost(p: Any) -> Any:
        return np.sum(np.where(p > 0.5, p**2, np.maximum(p, 0.0)))

    assert gradsweep.check(cost, theta, gradient, mode="screen").verdict == "pass"
    gradient[100:] *= 1.1
    report = gradsweep.check(cost, theta, gradient, mode="screen")
    assert report.verdict == "fail", str(report)


def ramps(p: Any) -> Any:
    """Squares above ½, and a kink at 0."""
    return np.sum(np.where(p > 0.5, p**2, np.maximum(p, 0.0)))


@pytest.mark.parametrize("kind", [gradsweep.plain, lambda cost: cost])
def test_a_few_kinks_hide_no_entry_that_is_wrong(kind: Callable[[Any], Any]) -> None:
    theta = np.concatenate([np.linspace(1.0, 2.0, 500), np.zeros(3)])
    gradient = np.where(theta > 0.0, 2.0 * theta, 0.25)
    right = gradsweep.check(kind(ramps), theta, gradient, mode="screen")
    assert right.verdict == "pass", str(right)
    assert right.blocks[0].kinks == 3
    gradient[250] *= 1.01
    report = gradsweep.check(kind(ramps), theta, gradient, mode="screen")
    assert report.verdict == "fail", str(report)
    assert report.worst(1)[0].index == (250,)


def test_kinks_that_cancel_along_a_direction_are_no_mistake() -> None:
    theta = np.concatenate([np.zeros(6), np.linspace(1.0, 2.0, 300)])
    signs = np.where(np.arange(306) % 2, 1.0, -1.0)
    cost = gradsweep.plain(lambda p: np.sum(signs * np.maximum(p, 0.0)))
    for seed in range(5):
        report = gradsweep.check(cost, theta, signs * np.where(theta > 0.0, 1.0, 0.25), mode="screen", seed=seed)
        assert report.verdict == "pass", str(report)
        assert report.blocks[0].kinks == 6


def test_where_the_budget_ends_before_entries_at_kinks_nothing_passes() -> None:
    theta = np.zeros(300)
    report = gradsweep.check(ramps, theta, np.zeros(300), mode="screen", max_evaluations=1)
    assert report.blocks[0].status is Status.UNRESOLVED, str(report)


def test_steps_that_are_too_large_for_a_screen_are_not_bisected_with() -> None:
    generator = np.random.default_rng(0)
    theta, target = generator.standard_normal((2, 40, 30))
    gradient = np.cosh(theta - target) ** -2 / 1e-10
    right = gradsweep.check(lambda p: np.sum(np.tanh(p / 1e-10 - target)), theta * 1e-10, gradient, mode="screen")
    assert right.verdict == "pass", str(right)
    assert right.blocks[0].looked_at == 0  # what vanishes with the step is no kink
    gradient[3, 7] *= 1.01
    report = gradsweep.check(lambda p: np.sum(np.tanh(p / 1e-10 - target)), theta * 1e-10, gradient, mode="screen")
    assert report.verdict == "fail", str(report)
    assert report.worst(1)[0].index == (3, 7)


def test_the_step_is_that_of_the_first_directions() -> None:
    cost, theta, gradient = quadratic(1_000)
    wrong = gradient.copy()
    wrong[3] = 2.0
    first, again = (gradsweep.check(gradsweep.plain(cost), theta, each, mode="screen", step=1e-2) for each in (gradient, wrong))
    assert again.verdict == "fail"
    assert first.step == again.step


def test_half_precision_is_looked_at_as_closely_as_its_tolerance() -> None:
    case = make([30, 20, 1], ["tanh"], 4, 0)
    gradient = {name: np.array(value, dtype=np.float16) for name, value in case.gradient().items()}
    assert screen(case, gradient).verdict == "pass"
    name = next(each for each in gradient if each.endswith("W1"))
    gradient[name] *= np.float16(2.0)
    report = screen(case, gradient)
    assert report.verdict == "fail", str(report)


def test_lines_of_a_bisection_take_no_more_memory_than_their_block() -> None:
    theta = np.ones(200_000)
    function = as_function(gradsweep.plain(np.sum))
    tree = read_tree(theta)
    numerics = function.numerics(tree, function.settle_in(tree), read_settings())
    rows = [(start, start + 12_500) for start in range(0, 200_000, 12_500)]
    tracemalloc.start()
    try:
        directional = numerics.along([Direction(Region(0, part, (0, 1)), 1, 1, 0) for part in rows])
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 5 * theta.nbytes  # with the scale and the spacing of the parameters; whole lines would be 16
    assert directional.product(3, theta)[1] == pytest.approx(np.sqrt(12_500))


def test_directions_that_cross_a_kink_are_counted() -> None:
    theta = np.linspace(-1e-10, 1.0, 300)
    report = gradsweep.check(
        lambda p: np.sum(np.maximum(p, 0.0) ** 2 + np.abs(p - 3.0)), theta, 2 * np.maximum(theta, 0) - 1, mode="screen"
    )
    assert report.verdict == "pass", str(report)
    crossing = np.array([-1e-10, *np.linspace(0.5, 1.0, 10)])
    report = gradsweep.check(lambda p: np.sum(np.abs(p)), crossing, np.sign(crossing), mode="screen")
    assert report.verdict == "pass", str(report)
    assert report.crossed > 0
    assert "crossed a kink" in str(report)
    assert "direction" in str(report)


def test_a_screen_by_values_says_what_it_is() -> None:
    cost, theta, gradient = quadratic(50)
    text = str(gradsweep.check(gradsweep.plain(cost), theta, gradient, mode="screen"))
    assert "plain two-sided screen, central differences" in text


def test_empty_and_scalar_blocks() -> None:
    params = {"a": np.empty((0, 3)), "b": 2.0, "c": np.array([1.0, 2.0])}

    def cost(p: Any) -> Any:
        return np.sum(p["a"]) + p["b"] ** 2 * np.sum(p["c"])

    gradient = {"a": np.empty((0, 3)), "b": 12.0, "c": np.array([4.0, 4.0])}
    report = gradsweep.check(cost, params, gradient, mode="screen")
    assert report.verdict == "pass", str(report)
    assert block(report, "b").size == 1


# ---- budgets, and what is refused ----------------------------------------------------------------------------------------


def test_a_budget_ends_the_search() -> None:
    case = make([60, 50, 1], ["tanh"], 4, 1)
    gradient = {name: 2.0 * value for name, value in case.gradient().items()}
    unlimited = screen(case, gradient)
    report = screen(case, gradient, max_evaluations=120)
    assert report.evaluations <= 120 < unlimited.evaluations
    assert report.verdict == "fail"
    least = screen(case, gradient, max_evaluations=1)
    assert least.verdict == "inconclusive", str(least)
    assert "max_evaluations" in str(least)


@pytest.mark.parametrize("limit", [100, 200, 400, 1000])
def test_a_budget_holds_at_kinks_too(limit: int) -> None:
    generator = np.random.default_rng(0)
    weights, theta = generator.standard_normal((2, 40, 30))
    theta[generator.random(theta.shape) < 0.3] = 0.0
    report = gradsweep.check(
        lambda p: np.sum(weights * np.maximum(p, 0.0)), theta, 2.0 * weights * (theta > 0.0), mode="screen", max_evaluations=limit
    )
    assert report.evaluations <= limit


def test_a_budget_of_seconds_ends_the_search() -> None:
    budget = Budget(None, 1e-9, time.perf_counter() - 1.0)
    assert budget.left == 0
    assert Budget(None, 1e3, time.perf_counter()).left == np.inf
    cost, theta, gradient = quadratic(1_000)
    report = gradsweep.check(gradsweep.plain(cost), theta, 2.0 * gradient, mode="screen", max_seconds=1e-6)
    assert report.verdict != "pass"


@pytest.mark.parametrize("value", [0, -3, 1.5, True, "many"])
def test_budgets_are_whole_numbers(value: Any) -> None:
    case = make([3, 2, 1], ["tanh"], 2, 0)
    with pytest.raises(InputError, match="max_evaluations"):
        screen(case, max_evaluations=value)


@pytest.mark.parametrize("mode", ["auto", "sweep", "neurons"])
def test_budgets_are_for_screens(mode: str) -> None:
    case = make([3, 2, 1], ["tanh"], 2, 0)
    for options in ({"max_evaluations": 100}, {"max_seconds": 1.0}):
        with pytest.raises(InputError, match="mode='screen'"):
            case.check(mode=mode, **options)


def test_imaginary_steps_are_for_single_parameters() -> None:
    cost, theta, gradient = quadratic(5)
    with pytest.raises(InputError, match="complex"):
        gradsweep.check(cost, theta, gradient, mode="screen", scheme="complex")


@pytest.mark.parametrize("scheme", ["forward", "five-point"])
def test_other_schemes(scheme: str) -> None:
    case = make([30, 20, 1], ["tanh"], 4, 0)
    assert screen(case, scheme=scheme).verdict == "pass"
    cost, theta, gradient = quadratic(100)
    for kind in (cost, gradsweep.plain(cost)):
        assert gradsweep.check(kind, theta, gradient, mode="screen", scheme=scheme).verdict != "fail"


def test_a_screen_is_chosen_where_a_sweep_would_take_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gradsweep._function_checking.LONGEST", 1e-6)
    monkeypatch.setattr("gradsweep._planning.LONGEST", 1e-9)
    cost, theta, gradient = quadratic(300)
    for kind in (cost, gradsweep.plain(cost)):
        report = gradsweep.check(kind, theta, gradient)
        assert report.mode == "screen"
        assert any("mode='sweep'" in note for note in report.notes)
    case = make([30, 20, 1], ["tanh"], 4, 0)
    report = case.check()
    assert report.mode == "screen"
    assert "mode='neurons'" in report.reason
    names = naive.random_params([3, 2, 1], 0)
    small = gradsweep.Network([3, 2, 1])
    numeric = gradsweep.numerical_gradient(small.cost(np.eye(3), np.ones((1, 3))), names)
    assert set(numeric) == set(names)
