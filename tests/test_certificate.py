"""What a pass proves: errors a little above what the certificate names are put into the gradient, and must be caught."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from reports import wrong_blocks
from test_models import MODELS, label
from test_modes import Case, cases, make

import gradsweep
from gradsweep._certificate import certify
from gradsweep._sensitivity import Sensitivity, Shown, of_directions, of_entries
from gradsweep._trees import Tree, read_tree
from gradsweep._verdict import Block, Status

Array = NDArray[np.float64]
Gradient = list[NDArray[Any]]

# How far above the certificate errors are: single precision rounds the gradient that they are put into.
ABOVE, ABOVE_SINGLE = 1.001, 1.02

KINDS = ("scale", "largest", "smallest", "random")

thorough = settings(deadline=None, derandomize=True, max_examples=8)


def spoilt(block: NDArray[Any], found: Block, kind: str, generator: np.random.Generator) -> NDArray[Any] | None:
    """A block with an error that is a little larger than what was certified; None if nothing was."""
    assert found.sensitivity is not None
    size = found.sensitivity.scale if kind == "scale" else found.sensitivity.entry
    if not np.isfinite(size):
        return None
    single = block.dtype == np.float32
    error = float(generator.choice([-1.0, 1.0])) * size * (ABOVE_SINGLE if single else ABOVE)
    result = np.array(block, dtype=np.float64)
    if kind == "scale":
        result *= 1.0 + error
    else:
        sizes = np.abs(result).ravel()
        place = {"largest": int(sizes.argmax()), "smallest": int(sizes.argmin())}.get(kind, int(generator.integers(sizes.size)))
        result.reshape(-1)[place] += error
    return result.astype(block.dtype)


def require_caught(
    check: Callable[[Gradient], gradsweep.Report],
    gradient: Gradient,
    names: Sequence[str],
    seed: int,
    kinds: Sequence[str] = KINDS,
) -> int:
    """Put each kind of error into each certified block, and require that it fails there; the result is how many were put in."""
    generator = np.random.default_rng(seed)
    report = check(gradient)
    assert report.verdict != "fail", str(report)
    count = 0
    for found in report.certificate.blocks:
        for kind in kinds:
            place = names.index(found.name)
            block = spoilt(gradient[place], found, kind, generator)
            if block is None:
                continue
            again = check([block if number == place else each for number, each in enumerate(gradient)])
            assert again.verdict == "fail", (kind, found, str(again))
            assert wrong_blocks(again) == {found.name}
            count += 1
    return count


# ---- networks ------------------------------------------------------------------------------------------------------------


@thorough
@given(case=cases(), single=st.booleans(), seed=st.integers(0, 99))
@pytest.mark.parametrize("mode", ["sweep", "batched", "neurons", "screen"])
def test_networks(mode: str, case: Case, single: bool, seed: int) -> None:
    right = case.gradient()
    gradient = [np.array(block, dtype=np.float32 if single else np.float64) for block in right.values()]
    names = [name.removeprefix("d") for name in right]
    require_caught(lambda blocks: case.check(dict(zip(right, blocks, strict=True)), mode=mode), gradient, names, seed)


@pytest.mark.parametrize("mode", ["neurons", "screen"])
def test_networks_of_many_entries(mode: str) -> None:
    case = make([300, 90, 1], ["tanh"], 3, 0)
    right = case.gradient()
    names = [name.removeprefix("d") for name in right]
    count = require_caught(
        lambda blocks: case.check(dict(zip(right, blocks, strict=True)), mode=mode), list(right.values()), names, 0
    )
    assert count == 4 * len(right)


# ---- functions -----------------------------------------------------------------------------------------------------------


def by_blocks(tree: Tree, gradient: Any) -> Gradient:
    """A gradient as a list of its blocks."""
    return [np.array(block) for block in tree.match(gradient)]


@pytest.mark.parametrize("mode", ["sweep", "screen"])
@pytest.mark.parametrize("model", MODELS[2::11], ids=label)
def test_models(model: Any, mode: str) -> None:
    case = model.build(0)
    tree = read_tree(case.params)
    gradient = by_blocks(tree, case.gradient(case.params))
    names = [leaf.name for leaf in tree.blocks]

    def check(blocks: Gradient) -> gradsweep.Report:
        return gradsweep.check(case.cost, case.params, tree.build([block.copy() for block in blocks]), mode=mode)

    assert require_caught(check, gradient, names, 0, ("scale", "largest"))


def tanhs(count: int, scale: Array | float = 1.0) -> tuple[Callable[[Any], Any], Array, Array]:
    generator = np.random.default_rng(0)
    target, theta = generator.standard_normal(count), generator.standard_normal(count)
    return (lambda p: np.sum(scale * np.tanh(p - target), axis=-1)), theta, scale * np.cosh(theta - target) ** -2


@pytest.mark.parametrize("mode", ["sweep", "screen"])
@pytest.mark.parametrize("kind", [gradsweep.plain, gradsweep.batched, lambda cost: cost])
@pytest.mark.parametrize("single", [False, True])
def test_functions_of_all_kinds(kind: Callable[[Any], Any], single: bool, mode: str) -> None:
    cost, theta, gradient = tanhs(150)

    def check(blocks: Gradient) -> gradsweep.Report:
        return gradsweep.check(kind(cost), theta, blocks[0], mode=mode)

    for seed in range(3):
        assert require_caught(check, [gradient.astype(np.float32 if single else np.float64)], ["params"], seed) == 4


@pytest.mark.parametrize("mode", ["sweep", "screen"])
@pytest.mark.parametrize("kind", [gradsweep.plain, lambda cost: cost])
def test_entries_of_very_unlike_sizes(kind: Callable[[Any], Any], mode: str) -> None:
    cost, theta, gradient = tanhs(150, 10.0 ** np.linspace(-9.0, 6.0, 150))

    def check(blocks: Gradient) -> gradsweep.Report:
        return gradsweep.check(kind(cost), theta, blocks[0], mode=mode)

    assert require_caught(check, [gradient], ["params"], 0) == 4


@pytest.mark.parametrize("mode", ["sweep", "screen"])
@pytest.mark.parametrize("offset", [1e2, 1e4, 1e6])
def test_noise_of_values_is_in_the_certificate(offset: float, mode: str) -> None:
    cost, theta, gradient = tanhs(60)

    def check(blocks: Gradient) -> gradsweep.Report:
        return gradsweep.check(gradsweep.plain(lambda p: cost(p) + offset), theta, blocks[0], mode=mode)

    for seed in range(3):
        require_caught(check, [gradient], ["params"], seed)


@pytest.mark.parametrize("kind", [gradsweep.plain, lambda cost: cost])
@pytest.mark.parametrize("mode", ["sweep", "screen"])
def test_beside_kinks(kind: Callable[[Any], Any], mode: str) -> None:
    theta = np.concatenate([np.linspace(1.0, 2.0, 300), np.zeros(3)])
    gradient = np.where(theta > 0.0, 2.0 * theta, 0.25)  # the mean of the slopes is no kink to who has but values
    report = gradsweep.check(kind(ramps), theta, gradient, mode=mode)
    assert report.verdict == "pass", str(report)
    assert any("kink" in phrase for phrase in report.certificate.not_covered)
    found = report.blocks[0]
    assert found.sensitivity is not None
    for place in (0, 150, 299):
        wrong = gradient.copy()
        wrong[place] += ABOVE * found.sensitivity.entry
        assert gradsweep.check(kind(ramps), theta, wrong, mode=mode).verdict == "fail"
    assert gradsweep.check(kind(ramps), theta, gradient * (1.0 + ABOVE * found.sensitivity.scale), mode=mode).verdict == "fail"


def ramps(p: Any) -> Any:
    """Squares above ½, and a kink at 0."""
    return np.sum(np.where(p > 0.5, p**2, np.maximum(p, 0.0)))


# ---- what is said of the rest ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["sweep", "neurons", "screen"])
def test_vacuous_blocks_are_not_certified(mode: str) -> None:
    case = make([30, 20, 1], ["relu"], 4, 0)
    params = {name: np.array(value) for name, value in case.params.items()}
    params["b1"] = params["b1"] - 100.0
    report = dataclasses.replace(case, params=params).check(mode=mode)
    assert {block.name for block in report.certificate.blocks} == {"b2"}
    vacuous = sum(block.size for block in report.blocks if block.status is Status.VACUOUS)
    assert any(f"{vacuous:,} vacuous" in phrase for phrase in report.certificate.not_covered)


@pytest.mark.parametrize("mode", ["sweep", "screen"])
def test_an_entry_that_is_zero_is_not_passed_over(mode: str) -> None:
    theta = tanhs(40)[1]
    scale = (np.arange(40) != 7).astype(np.float64)

    def check(blocks: Gradient) -> gradsweep.Report:
        return gradsweep.check(lambda p: np.sum(scale * p**2), theta, blocks[0], mode=mode)

    right = 2.0 * scale * theta
    found = check([right]).blocks[0]
    assert found.sensitivity is not None
    right[7] = ABOVE * found.sensitivity.entry
    assert check([right]).verdict == "fail"


def test_a_sweep_is_certified_no_worse_than_it_is() -> None:
    cost, theta, gradient = tanhs(40)
    found = gradsweep.check(cost, theta, gradient).blocks[0]
    assert found.sensitivity is not None
    assert gradsweep.check(cost, theta, gradient * (1.0 + 0.9 * found.sensitivity.scale)).verdict == "pass"


def test_what_is_not_covered_is_named_and_true() -> None:
    cost, theta, gradient = tanhs(40)
    by_array = gradsweep.check(cost, theta, gradient).certificate
    assert by_array.not_covered == ("any other point than the given one",)
    by_callable = gradsweep.check(cost, theta, lambda p: np.cosh(p - theta) ** -2 * 0.0 + gradient).certificate
    assert by_callable.not_covered == ("any other point than the given one",)  # it does not depend on its argument
    screened = gradsweep.check(cost, theta, gradient, mode="screen").certificate
    assert screened.not_covered[0].startswith("errors of several entries")
    wrong = gradsweep.check(cost, theta, 2.0 * gradient).certificate
    assert not wrong.blocks
    assert wrong.not_covered[0] == "1 of 1 blocks, which do not agree"
    assert (wrong.scale, wrong.entry, wrong.weakest()) == (np.inf, np.inf, ("", ""))


def test_where_a_budget_leaves_nothing_for_the_certificate_there_is_none() -> None:
    cost, theta, gradient = tanhs(40)
    directions = gradsweep.check(cost, theta, gradient, mode="screen", max_evaluations=4)
    assert directions.verdict == "pass"
    assert directions.evaluations == 4
    assert not directions.certificate.blocks
    assert any("budget" in phrase for phrase in directions.certificate.not_covered)


def test_errors_of_entries_and_directions() -> None:
    exact = of_entries(1e-7, 2.0, 0.0, 0.0, 0.0)
    assert exact.relative_entry == pytest.approx(2e-7, rel=1e-6)
    assert of_entries(1e-7, 2.0, 1e-3, 1e-3, 1.0).entry == pytest.approx(2.0 * (4e-7 + 4e-3), rel=1e-6)
    assert of_entries(1e-7, 0.0, 0.0, 1e-9, 0.0).scale == np.inf
    assert of_entries(1e-7, np.nan, np.nan, np.nan, np.inf).entry == np.inf
    # What cannot be told from noise along the only direction, or alone, is not promised.
    assert of_directions(1e-7, 2.0, 0.0, 4, [Shown(1.0, 0.0, 1e-2)]) == Sensitivity(4e-2, 8e-2 * (1.0 + 2.0**-7), 2.0)
    assert of_directions(1e-7, 2.0, 1e-2, 4, [Shown(4.0, 0.0, 1e-9)]).scale == pytest.approx(2.1e-2, rel=1e-3)
    assert of_directions(1e-7, 0.0, 0.0, 4, [Shown(0.0, 0.0, 1e-9)]).scale == np.inf


def test_blocks_without_a_sensitivity_are_not_counted_among_the_proven() -> None:
    block = Block("W", (2,), 2, Status.AGREES, 0.0, 0.0, 0, 0, 0, ())
    certificate = certify((block,), "screen", second_point=True)
    assert not certificate.blocks
    assert certificate.scale == np.inf
