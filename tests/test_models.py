"""Models as people write them, at default settings: right ones pass, planted mistakes fail in the blocks that are wrong."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
from models import attention, classical, convolution, dense, embedding, generative, normalisation, recurrent, sequence
from models._model import Model
from reports import wrong_blocks

import gradsweep
from gradsweep._verdict import Status

MODELS = [
    model
    for module in (attention, classical, convolution, dense, embedding, generative, normalisation, recurrent, sequence)
    for model in module.MODELS
]

# What formula 3 of a right gradient may be where differences were propagated, and parameters are of float64.
EXACT = 1e-12


def label(model: Model) -> str:
    return model.name.replace(",", "").replace(" ", "-")


def planted() -> Iterator[object]:
    for model in MODELS:
        for bug in model.bugs(0):
            yield pytest.param(model, bug, id=f"{label(model)}-{bug.replace(' ', '-')}")


def test_there_are_enough_models_and_most_of_them_run_on_difference_arrays() -> None:
    names = [model.name for model in MODELS]
    assert len(names) == len(set(names)) >= 40
    followed = sum(not model.leaves_numpy for model in MODELS)
    assert followed >= 0.85 * len(MODELS)


@pytest.mark.parametrize("model", MODELS, ids=label)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_right_gradient_passes(model: Model, seed: int) -> None:
    case = model.build(seed)
    report = gradsweep.check(case.cost, case.params, case.gradient)
    assert report.verdict == "pass", str(report)
    assert report.displaced is not None
    assert Status.WRONG not in {block.status for block in report.displaced.blocks}
    if model.leaves_numpy:
        assert report.evaluated_by == "plain function"
        assert "line" in report.reason
        return
    assert report.evaluated_by == "difference arrays", report.reason
    if not model.float32:
        off = {block.name: block.difference for block in report.blocks if block.status is not Status.VACUOUS}
        assert max(off.values()) <= EXACT, off


@pytest.mark.parametrize(("model", "bug"), list(planted()))
def test_a_planted_mistake_fails_where_it_is(model: Model, bug: str) -> None:
    case, mistake = model.build(0), model.bugs(0)[bug]
    report = gradsweep.check(case.cost, case.params, mistake.gradient)
    assert report.verdict == "fail", str(report)
    assert wrong_blocks(report) == set(mistake.blocks), str(report)


@pytest.mark.parametrize("model", [model for model in MODELS if not model.leaves_numpy], ids=label)
def test_one_entry_that_is_off_by_a_thousandth_is_found(model: Model) -> None:
    case = model.build(0)
    values = gradsweep._trees.read_tree(case.params)
    blocks = [np.array(block) for block in values.match(case.gradient(case.params))]
    place = int(np.argmax([leaf.size for leaf in values.blocks]))
    entry = np.unravel_index(int(np.argmax(np.abs(blocks[place]))), blocks[place].shape)
    blocks[place][entry] *= 1.001
    report = gradsweep.check(case.cost, case.params, values.build(blocks))
    assert report.verdict == "fail", str(report)
    assert wrong_blocks(report) == {values.blocks[place].name}
    worst = report.worst(1)[0]
    assert (worst.block, worst.index) == (values.blocks[place].name, tuple(int(i) for i in entry))
    assert [block.differing for block in report.blocks if block.status is Status.WRONG] == [1]


OFFSETS = [1e6, 1e9]


@pytest.mark.parametrize("model", MODELS, ids=label)
@pytest.mark.parametrize("offset", OFFSETS)
def test_a_large_constant_in_the_cost_raises_no_false_alarm(model: Model, offset: float) -> None:
    case = model.build(0)
    report = gradsweep.check(lambda params: case.cost(params) + offset, case.params, case.gradient)
    # To a cost that is a plain number the constant is added outside of NumPy.
    assert report.verdict == "pass" if report.evaluated_by == "difference arrays" else report.verdict != "fail", str(report)


@pytest.mark.parametrize("model", [model for model in MODELS if not model.leaves_numpy], ids=label)
@pytest.mark.parametrize("offset", OFFSETS)
def test_a_large_constant_in_the_cost_hides_no_mistake(model: Model, offset: float) -> None:
    case = model.build(0)
    mistake = next(iter(model.bugs(0).values()))
    report = gradsweep.check(lambda params: case.cost(params) + offset, case.params, mistake.gradient)
    if report.evaluated_by == "difference arrays":
        assert report.verdict == "fail", str(report)
        assert wrong_blocks(report) == set(mistake.blocks)
    else:
        assert report.verdict != "pass", str(report)


@pytest.mark.parametrize("model", [model for model in MODELS if not model.leaves_numpy], ids=label)
def test_a_tiny_gradient_is_judged_like_any_other(model: Model) -> None:
    case, scale = model.build(0), 1e-12
    tree = gradsweep._trees.read_tree(case.params)

    def shrunk(gradient: object) -> object:
        return lambda params: tree.build([scale * block for block in tree.match(gradient(params))])  # type: ignore[operator]

    report = gradsweep.check(lambda params: case.cost(params) * scale, case.params, shrunk(case.gradient))
    assert report.verdict == "pass", str(report)
    mistake = next(iter(model.bugs(0).values()))
    report = gradsweep.check(lambda params: case.cost(params) * scale, case.params, shrunk(mistake.gradient))
    assert report.verdict == "fail", str(report)


def test_the_records_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        MODELS[0].name = "another"
