"""Mistakes with labels: each fails in the blocks that are wrong for it and in no others, and right versions raise no alarm.

Shapes are drawn as well as numbers, so that nothing depends on the shapes that somebody happened to think of.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from mutations import MODELS
from mutations._mistake import KINDS, Mistake, Model
from numpy.typing import NDArray
from reports import names_of_wrong, wrong_blocks

import gradsweep
from gradsweep._trees import Tree, read_tree

# Draws of each right version, of each under a mask, and of each mistake.
RIGHT, MASKED, WRONG = 20, 10, 3


def label(name: str) -> str:
    return name.replace(",", "").replace(":", "").replace(" ", "-")


models = pytest.mark.parametrize("model", MODELS, ids=lambda model: label(model.name))


def planted(*, refused: bool) -> pytest.MarkDecorator:
    """The mistakes that are refused, since they are no gradients, or all others."""
    chosen = [(model, mistake) for model in MODELS for mistake in model.mistakes if mistake.raises is refused]
    return pytest.mark.parametrize(
        ("model", "mistake"),
        [pytest.param(*each, id=f"{label(each[0].name)}-{label(each[1].name)}") for each in chosen],
    )


def mapped(tree: Tree, function: Callable[[Any], Any], change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The function with its result's arrays changed."""
    return lambda params: tree.build([change(block) for block in tree.match(function(params))])


# ---- the corpus -------------------------------------------------------------------------------------------------------------


def test_the_corpus_is_what_it_says() -> None:
    assert len({model.name for model in MODELS}) == len(MODELS)
    families = {"dense", "softmax", "batch_norm", "convolution", "recurrent", "attention", "regularised"}
    assert {model.family for model in MODELS} == families
    every = [(model, mistake) for model in MODELS for mistake in model.mistakes]
    assert len(every) == len({(model.name, mistake.name) for model, mistake in every}) >= 70
    assert {mistake.kind for _, mistake in every} == set(KINDS)
    for model, mistake in every:
        names = [leaf.name for leaf in read_tree(model.write(0, "").params).blocks]
        assert mistake.blocks
        assert set(mistake.blocks) <= set(names)
        assert len(mistake.accepted) <= 1
        assert set(mistake.accepted) <= set(KINDS) - {mistake.kind}


@models
def test_shapes_are_drawn_and_a_seed_gives_one_case(model: Model) -> None:
    def shapes(seed: int) -> tuple[tuple[int, ...], ...]:
        return tuple(leaf.shape for leaf in read_tree(model.write(seed, "").params).blocks)

    assert len({shapes(seed) for seed in range(RIGHT)}) >= RIGHT // 3
    for mistake in model.mistakes:
        case, again = model.write(7, ""), model.write(7, mistake.name)
        np.testing.assert_array_equal(read_tree(case.params).values, read_tree(again.params).values)


# ---- what the numbers must look like where a label says so ------------------------------------------------------------------


def borne_out(mistake: Mistake, wrong: NDArray[Any], right: NDArray[Any], parameter: NDArray[Any]) -> bool:
    """Whether the gradient of a block is off as the kind says, where that follows from the kind."""
    gap = wrong - right
    off = ~np.isclose(gap, 0.0, atol=1e-12)
    along = tuple(range(1, gap.ndim))
    tests: dict[str, Callable[[], bool]] = {
        "factor": lambda: proportional(wrong, right),
        "transposed": lambda: same_numbers(wrong, right) and bool(off.any()),
        "missing_term": lambda: proportional(gap, parameter) or proportional(gap[:-1], np.sign(parameter[:-1])),
        "zero": lambda: not wrong.any(),
        "rows": lambda: bool(0 < np.count_nonzero(off.any(axis=along)) < len(off)),
        "columns": lambda: bool(0 < np.count_nonzero(off.any(axis=tuple(range(gap.ndim - 1)))) < off.shape[-1]),
        "entries": lambda: bool(np.count_nonzero(off) == 1),
        "guard": lambda: bool(0 < np.linalg.norm(gap) < 2e-3 * np.linalg.norm(right)),
        "precision": lambda: bool(0 < np.linalg.norm(gap) < 2e-2 * np.linalg.norm(right)),
        "non_finite": lambda: bool(np.isnan(wrong).any()),
    }
    return tests.get(mistake.kind, lambda: True)()


def proportional(one: NDArray[Any], other: NDArray[Any]) -> bool:
    factor = np.vdot(one, other) / np.vdot(other, other)
    return bool(np.allclose(one, factor * other, rtol=1e-9, atol=1e-12))


def same_numbers(one: NDArray[Any], other: NDArray[Any]) -> bool:
    return bool(np.allclose(np.sort(one, axis=None), np.sort(other, axis=None), rtol=1e-9, atol=1e-12))


def by_name(tree: Tree, values: Any) -> dict[str, NDArray[Any]]:
    return {leaf.name: np.array(block) for leaf, block in zip(tree.blocks, tree.match(values), strict=True)}


@planted(refused=False)
@pytest.mark.parametrize("seed", range(WRONG))
def test_a_label_is_borne_out_by_the_numbers(model: Model, mistake: Mistake, seed: int) -> None:
    case = model.write(seed, mistake.name)
    tree = read_tree(case.params)
    wrong, parameters = by_name(tree, case.gradient(case.params)), by_name(tree, case.params)
    if mistake.kind == "guard":  # it may be in the cost, whose gradient is then another one
        right = by_name(tree, gradsweep.numerical_gradient(case.cost, case.params))
    else:
        right = by_name(tree, model.write(seed, "").gradient(case.params))
    assert any(borne_out(mistake, wrong[name], right[name], parameters[name]) for name in mistake.blocks)
    if mistake.kind == "permuted":
        assert same_numbers(*(np.concatenate([side[name].ravel() for name in mistake.blocks]) for side in (wrong, right)))
    if mistake.kind == "accumulated":
        right, wrong = wrong, by_name(tree, case.gradient(case.params))
    assert {name for name in right if not np.allclose(right[name], wrong[name], rtol=1e-9, atol=1e-12)} == set(mistake.blocks)


# ---- what a check makes of it -----------------------------------------------------------------------------------------------


@models
@pytest.mark.parametrize("seed", range(RIGHT))
def test_a_right_version_passes(model: Model, seed: int) -> None:
    case = model.write(seed, "")
    report = gradsweep.check(case.cost, case.params, case.gradient)
    assert report.verdict == "pass", str(report)
    assert report.displaced is not None
    assert report.evaluated_by == "difference arrays", report.reason


@planted(refused=False)
@pytest.mark.parametrize("seed", range(WRONG))
def test_a_mistake_fails_in_the_blocks_that_are_wrong_for_it(model: Model, mistake: Mistake, seed: int) -> None:
    case = model.write(seed, mistake.name)
    report = gradsweep.check(case.cost, case.params, case.gradient)
    assert report.verdict == "fail", str(report)
    if mistake.later:
        assert wrong_blocks(report) == set()
        assert report.displaced is not None
        assert names_of_wrong(report.displaced.blocks) == set(mistake.blocks), str(report)
    else:
        assert wrong_blocks(report) == set(mistake.blocks), str(report)


@planted(refused=True)
@pytest.mark.parametrize("seed", range(WRONG))
def test_what_is_no_gradient_is_refused(model: Model, mistake: Mistake, seed: int) -> None:
    case = model.write(seed, mistake.name)
    (name,) = mistake.blocks
    with pytest.raises(gradsweep.InputError, match=rf"{name}.*shape|shape.*{name}"):
        gradsweep.check(case.cost, case.params, case.gradient)


@models
@pytest.mark.parametrize("seed", range(MASKED))
def test_a_large_constant_in_the_cost_raises_no_false_alarm(model: Model, seed: int) -> None:
    case = model.write(seed, "")
    report = gradsweep.check(lambda params: case.cost(params) + 1e6, case.params, case.gradient)
    assert report.verdict == "pass", str(report)


@models
@pytest.mark.parametrize("seed", range(MASKED))
def test_single_precision_raises_no_false_alarm(model: Model, seed: int) -> None:
    case = model.write(seed, "")
    tree = read_tree(case.params)
    params = tree.build([np.float32(block) for block in tree.arrays(tree.values)])
    gradient = mapped(read_tree(params), case.gradient, np.float32)
    report = gradsweep.check(case.cost, params, gradient)
    assert report.precision == np.finfo(np.float32).eps
    assert report.verdict == "pass", str(report)


# ---- what is said of them ---------------------------------------------------------------------------------------------------

# Of the mistakes, in how many the right kind must be among the first two findings.
RIGHT_KIND = 0.95


def test_findings_name_the_kind_of_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    """The table is part of the output of the tests."""
    counts = {kind: [0, 0] for kind in KINDS if kind != "shape"}
    missed = []
    for model in MODELS:
        for mistake in (each for each in model.mistakes if not each.raises):
            case = model.write(0, mistake.name)
            report = gradsweep.check(case.cost, case.params, case.gradient)
            kinds = [finding.kind for finding in report.findings[:2]]
            found = not {mistake.kind, *mistake.accepted}.isdisjoint(kinds)
            counts[mistake.kind][0] += found
            counts[mistake.kind][1] += 1
            if not found:
                missed.append(f"{model.name}, {mistake.name}: {mistake.kind}, not {' or '.join(kinds) or 'nothing'}")
            named = {name for finding in report.findings for name in finding.blocks}
            assert named & set(mistake.blocks), (model.name, mistake.name, report.findings)
    right, all_of_them = (sum(count[place] for count in counts.values()) for place in (0, 1))
    with capsys.disabled():
        print(f"\n\n{'kind of mistake':<24}{'named':>6}{'of':>6}")
        for kind, (named_right, count) in sorted(counts.items()):
            print(f"{kind:<24}{named_right:>6}{count:>6}")
        print(f"{'all':<24}{right:>6}{all_of_them:>6}")
        print("\n".join(missed))
    assert right >= RIGHT_KIND * all_of_them
