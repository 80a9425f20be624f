"""The diagnosis: each kind of mistake is named, from whole blocks and from samples, and what has no pattern is given none."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models import attention, classical, convolution, dense, embedding, normalisation, recurrent, sequence

import gradsweep
from gradsweep._diagnosis._diagnose import KINDS, diagnose
from gradsweep._diagnosis._evidence import Finding, Seen
from gradsweep._samples import sample_places
from gradsweep._types import Array
from gradsweep._verdict import Status

TOLERANCE = 1e-7


def drawn(*shape: int, seed: int = 0) -> Array:
    """Numbers away from 0, all different."""
    generator = np.random.default_rng([seed, *shape])
    values: Array = generator.choice([-1.0, 1.0], shape) * generator.uniform(0.2, 2.0, shape)
    return values


def seen(name: str, analytic: Array, numeric: Array, **others: Any) -> Seen:
    """A block, whole, or at some `places`; wrong unless the two gradients are the same."""
    given = {"parameter": drawn(*analytic.shape, seed=7), "noise": np.zeros(analytic.shape), "places": None, **others}
    wrong = not np.array_equal(analytic, numeric)
    given.setdefault("status", Status.WRONG if wrong else Status.AGREES)
    if given["places"] is not None:
        numeric, given["noise"] = numeric.reshape(-1)[given["places"]], given["noise"].reshape(-1)[given["places"]]
    return Seen(name=name, shape=analytic.shape, analytic=analytic, numeric=numeric, **given)


def right(name: str, *shape: int) -> Seen:
    values = drawn(*shape, seed=3)
    return seen(name, values, values)


def one(*blocks: Seen, order: tuple[str, ...] = ()) -> Finding:
    """The first finding."""
    return diagnose(blocks, TOLERANCE, order=order)[0]


def kinds(*blocks: Seen) -> list[str]:
    return [finding.kind for finding in diagnose(blocks, TOLERANCE)]


def seen_from(report: gradsweep.Report, params: Any, gradient: Any, *, again: Any = None) -> list[Seen]:
    """The blocks of a check, as a diagnosis wants them."""
    tree = gradsweep._trees.read_tree(params)
    tested = [np.asarray(block, dtype=np.float64) for block in tree.match(gradient)]
    second = [None] * len(tested) if again is None else [np.asarray(block, dtype=np.float64) for block in tree.match(again)]
    return [
        Seen(
            name=leaf.name,
            shape=leaf.shape,
            status=block.status,
            parameter=tree.values[leaf.start : leaf.stop].reshape(leaf.shape),
            analytic=values.reshape(leaf.shape),
            places=None,
            numeric=np.asarray(report.numeric[leaf.name], dtype=np.float64),
            noise=np.zeros(leaf.shape),
            again=None if other is None else other.reshape(leaf.shape),
        )
        for leaf, block, values, other in zip(tree.blocks, report.blocks, tested, second, strict=True)
    ]


# ---- one block, whole and from a sample -------------------------------------------------------------------------------------

SQUARE, KERNEL = drawn(20, 20), drawn(8, 4, 3, 5)
THETA = drawn(20, 20, seed=7)
ROWS = np.where(np.arange(20)[:, None] == 4, 1.7 * SQUARE + drawn(20, 20, seed=1), SQUARE)
ENTRY = SQUARE.copy()
ENTRY[2, 5] += 1.0

WHOLE_OR_SAMPLED: dict[str, tuple[str, Array, Array]] = {
    "three times": ("factor", 3.0 * SQUARE, SQUARE),
    "wrong sign": ("factor", -KERNEL, KERNEL),
    "three times, but not the penalty": ("factor", 3.0 * (SQUARE - 0.1 * THETA) + 0.1 * THETA, SQUARE),
    "log of the parameter": ("factor", SQUARE * THETA, SQUARE),
    "transpose": ("transposed", SQUARE.T, SQUARE),
    "transpose, but not of the penalty": ("transposed", (SQUARE - 0.1 * THETA).T + 0.1 * THETA, SQUARE),
    "reshaped by columns": ("transposed", drawn(12, 20).T.reshape(12, 20), drawn(12, 20)),
    "reshaped to columns": ("transposed", drawn(12, 20).reshape(20, 12).T, drawn(12, 20)),
    "axes of a kernel": ("transposed", np.ascontiguousarray(KERNEL.transpose(0, 3, 1, 2)).reshape(KERNEL.shape), KERNEL),
    "no weight decay": ("missing_term", SQUARE - 0.01 * THETA, SQUARE),
    "no L1 penalty": ("missing_term", SQUARE - 0.01 * np.sign(THETA), SQUARE),
    "a constant": ("missing_term", SQUARE + 0.5, SQUARE),
    "zero": ("zero", np.zeros_like(SQUARE), SQUARE),
    "kernel not turned round": ("permuted", KERNEL[:, :, ::-1, ::-1], KERNEL),
    "gates exchanged": ("permuted", np.concatenate([SQUARE[:, 5:10], SQUARE[:, :5], SQUARE[:, 10:]], axis=1), SQUARE),
    "one step late": ("permuted", np.roll(SQUARE, 1, axis=0), SQUARE),
    "heads interleaved": ("permuted", SQUARE.reshape(20, 4, 5).transpose(0, 2, 1).reshape(20, 20), SQUARE),
    "scale of each row": ("activation_derivative", drawn(20, 1, seed=2) * SQUARE, SQUARE),
    "small gap along the gradient": ("guard", SQUARE * (1.0 + 1e-6 * drawn(20, 20, seed=5) ** 2), SQUARE),
    "float32": ("precision", SQUARE.astype(np.float32).astype(np.float64), SQUARE),
    "float16": ("precision", SQUARE.astype(np.float16).astype(np.float64), SQUARE),
    "no pattern": ("from_above", drawn(20, 20, seed=4), SQUARE),
}


@pytest.mark.parametrize("sampled", [False, True], ids=["whole", "sampled"])
@pytest.mark.parametrize("mistake", WHOLE_OR_SAMPLED)
def test_a_mistake_is_named(mistake: str, sampled: bool) -> None:
    kind, analytic, numeric = WHOLE_OR_SAMPLED[mistake]
    places = sample_places(numeric.shape) if sampled else None
    finding = one(seen("W", analytic, numeric, places=places))
    assert finding.kind == kind, finding
    assert finding.blocks == ("W",)
    assert "consistent with" in finding.message
    assert finding.message.startswith("W: ")
    if kind != "from_above":
        assert finding.confidence > 0.55
    if not np.isnan(finding.explained):
        assert finding.explained == pytest.approx(1.0, abs=1e-9)
    if sampled and kind in ("factor", "transposed", "missing_term"):
        assert f"of {numeric.size:,}" in finding.message


@pytest.mark.parametrize("mistake", WHOLE_OR_SAMPLED)
def test_numbers_of_any_size_make_no_difference(mistake: str) -> None:
    kind, analytic, numeric = WHOLE_OR_SAMPLED[mistake]
    for scale in (2.0**-800, 2.0**800):
        assert one(seen("W", scale * analytic, scale * numeric)).kind == kind


@pytest.mark.parametrize("factor", [-1.0, 2.0, 0.5, 3.0, 1 / 3, 17.0, 209.0, 1 / 209, 208 / 209, 4.5, np.sqrt(20)])
def test_factors_are_as_they_are(factor: float) -> None:
    finding = one(seen("W2", factor * SQUARE, SQUARE, examples=209))
    assert finding.kind == "factor"
    assert finding.evidence["factor"] == pytest.approx(factor, rel=1e-12)


def test_a_factor_that_is_the_number_of_examples_is_said_to_be_that() -> None:
    finding = one(seen("W2", 209.0 * SQUARE, SQUARE, examples=209))
    assert finding.message == (
        "W2: the gradient is 209.0 times the numerical one: consistent with a mean over 209 examples that is missing"
    )
    assert finding.evidence["entries"] == SQUARE.size


def test_a_factor_is_found_beneath_noise() -> None:
    noise = 1e-5 * drawn(20, 20, seed=9)
    finding = one(seen("W", 2.0 * SQUARE, SQUARE + noise, noise=np.abs(noise)))
    assert finding.kind == "factor"
    assert "2.0 times" in finding.message


def test_a_factor_of_small_blocks_is_certain_by_their_number() -> None:
    blocks = [seen(f"b{n}", 0.777 * drawn(2, seed=n), drawn(2, seed=n)) for n in range(5)]
    single, several = one(blocks[0]), one(*blocks)
    assert single.kind == "from_above"
    assert (several.kind, several.blocks) == ("factor", ("b4", "b3", "b2", "b1", "b0"))


def test_a_factor_near_one_is_a_guard() -> None:
    assert one(seen("W", 1.0000003 * SQUARE, SQUARE)).kind == "guard"


def test_a_factor_of_most_entries_is_one_of_the_block() -> None:
    analytic = 12.0 * SQUARE.reshape(-1)
    analytic[-1] = SQUARE[-1, -1]
    finding = one(seen("params", analytic, SQUARE.reshape(-1)))
    assert finding.kind == "factor"
    assert "in 399 entries, the others are right" in finding.message


def test_what_holds_for_several_blocks_is_one_finding() -> None:
    blocks = [seen(name, 16.0 * values, values) for name, values in (("W1", SQUARE), ("b1", drawn(20)), ("W2", drawn(3, 20)))]
    findings = diagnose([*blocks, right("b2", 3)], TOLERANCE)
    assert [finding.kind for finding in findings] == ["factor"]
    assert findings[0].blocks == ("W2", "b1", "W1")
    assert findings[0].message.startswith("W2, b1 and W1: ")


def test_the_penalty_of_several_blocks_is_one_finding() -> None:
    blocks = []
    for name, values in (("W1", SQUARE), ("W2", drawn(3, 20)), ("scale", drawn())):
        theta = drawn(*values.shape, seed=8)
        blocks.append(seen(name, values - 0.37 * theta, values, parameter=theta))
    finding = one(*blocks)
    assert finding.kind == "missing_term"
    assert finding.blocks[-2:] == ("W2", "W1")
    assert finding.evidence["coefficient"] == pytest.approx(-0.37)


def test_two_mistakes_are_two_findings() -> None:
    blocks = (seen("W1", SQUARE.T, SQUARE), right("b1", 20), seen("W2", -drawn(3, 20), drawn(3, 20)), right("b2", 3))
    assert {(finding.kind, finding.blocks) for finding in diagnose(blocks, TOLERANCE)} == {
        ("transposed", ("W1",)),
        ("factor", ("W2",)),
    }


# ---- where a block is wrong -------------------------------------------------------------------------------------------------


def test_rows_are_named() -> None:
    finding = one(seen("E", ROWS, SQUARE))
    assert (finding.kind, finding.evidence["rows"]) == ("rows", (4,))
    assert "only row 4 of 20 is wrong" in finding.message


def test_columns_at_zero_are_named() -> None:
    analytic = SQUARE.copy()
    analytic[:, [3, 4, 5, 11]] = 0.0
    finding = one(seen("W", analytic, SQUARE))
    assert (finding.kind, finding.evidence["columns"]) == ("columns", (3, 4, 5, 11))
    assert "columns 3 to 5 and 11 of 20 are wrong, where the gradient is zero" in finding.message


def test_most_rows_without_a_pattern_may_be_a_matter_of_the_lines_that_form_them() -> None:
    analytic = np.where(np.arange(20)[:, None] < 13, drawn(20, 20, seed=5), SQUARE)
    assert kinds(seen("W", analytic, SQUARE), right("b", 20)) == ["rows", "from_above"]


def test_slices_along_an_axis_of_a_kernel_are_named() -> None:
    analytic = KERNEL.copy()
    analytic[..., -1] *= 2.0
    finding = one(seen("K", analytic, KERNEL))
    assert finding.kind == "columns"
    assert "index (axis 3) 4 of 5 is wrong, 2.0 times the numerical one there" in finding.message


def test_an_entry_is_named() -> None:
    finding = one(seen("W", ENTRY, SQUARE))
    assert (finding.kind, finding.evidence["indices"]) == ("entries", ((2, 5),))


def test_entries_of_a_vector_are_named() -> None:
    analytic = drawn(30)
    analytic[4:10] += drawn(6, seed=2)
    finding = one(seen("b", analytic, drawn(30)))
    assert finding.kind == "entries"
    assert "entries 4 to 9 of 30 are wrong" in finding.message


def test_rows_without_a_gradient_are_not_counted_as_right() -> None:
    numeric = SQUARE * (np.arange(20)[:, None] < 8)
    analytic = numeric + (np.arange(20)[:, None] < 8) * drawn(20, 20, seed=5)
    assert one(seen("E", analytic, numeric)).kind == "from_above"


def test_rows_are_seen_in_a_sample() -> None:
    places = sample_places(SQUARE.shape, 128)
    finding = one(seen("E", np.where(np.arange(20)[:, None] >= 10, 0.0, SQUARE), SQUARE, places=places))
    assert finding.kind == "rows"
    assert "128 entries looked at, of 400" in finding.message


def test_units_that_are_wrong_in_weights_and_bias_are_masked() -> None:
    units = np.isin(np.arange(20), [1, 5, 8])
    weights = seen("W", SQUARE + units * drawn(20, 20, seed=5), SQUARE)
    bias = seen("b", drawn(20) + units * drawn(20, seed=5), drawn(20))
    found = diagnose([weights, bias, right("V", 3, 20)], TOLERANCE)
    assert [finding.kind for finding in found[:2]] == ["activation_derivative", "from_above"]
    assert found[0].evidence["units"] == (1, 5, 8)


# ---- orders -----------------------------------------------------------------------------------------------------------------


def test_rows_in_any_order_are_found() -> None:
    order = np.random.default_rng(0).permutation(50)
    finding = one(seen("E", drawn(50, 7)[order], drawn(50, 7)))
    assert finding.kind == "permuted"
    assert "rows of the gradient are those of the numerical one in another order" in finding.message


def test_rows_in_any_order_are_seen_in_a_sample() -> None:
    order = np.roll(np.random.default_rng(0).permutation(20), 3)
    finding = one(seen("E", SQUARE[order], SQUARE, places=sample_places(SQUARE.shape)))
    assert finding.kind == "permuted"
    assert "entries looked at, of 400" in finding.message
    belong, stand = (np.array(finding.evidence[side]) for side in ("belong_at", "stand_at"))
    assert np.array_equal(order[stand], belong)


def test_columns_in_any_order_are_found() -> None:
    order = np.random.default_rng(1).permutation(50)
    assert "columns of the gradient" in one(seen("E", drawn(7, 50)[:, order], drawn(7, 50))).message


def test_a_transposed_matrix_in_a_flat_vector_is_found() -> None:
    numeric = drawn(100)
    analytic = numeric.copy()
    analytic[3:87] = numeric[3:87].reshape(7, 12).T.reshape(-1)
    finding = one(seen("params", analytic, numeric))
    assert finding.kind == "transposed"
    assert "a matrix of 7 by 12" in finding.message


def test_many_random_numbers_are_not_taken_for_others_in_another_order() -> None:
    values = np.random.default_rng(0).standard_normal((2, 100_000))
    assert kinds(seen("params", values[0], values[1])) == ["from_above"]


def test_swapped_blocks_are_one_finding() -> None:
    query, key = drawn(6, 5, seed=1), drawn(6, 5, seed=2)
    finding = one(seen("Wq", key, query), seen("Wk", query, key), right("Wo", 5, 6))
    assert (finding.kind, finding.blocks) == ("permuted", ("Wk", "Wq"))
    assert finding.evidence["Wq"] == "Wk"
    assert finding.evidence["Wk"] == "Wq"


def test_the_gradient_of_another_block_is_found_in_a_sample() -> None:
    key = right("Wk", 20, 20)
    places = sample_places((20, 20))
    finding = one(seen("Wq", key.analytic, SQUARE, places=places), key)
    assert (finding.kind, finding.blocks, finding.evidence["Wq"]) == ("permuted", ("Wq",), "Wk")


# ---- biases -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("examples", [None, 16])
@pytest.mark.parametrize("shape", [(5,), (5, 1), (1, 5)])
def test_a_mean_of_biases_alone_is_one_of_their_sum(examples: int | None, shape: tuple[int, ...]) -> None:
    finding = one(right("W", 5, 4), seen("b", drawn(*shape) / 16, drawn(*shape), examples=examples))
    assert finding.kind == "bias_sum"
    assert "a mean over 16 examples where a sum was meant" in finding.message


def test_a_factor_that_weights_have_too_is_a_factor() -> None:
    assert kinds(right("E", 4, 4), seen("W", drawn(5, 4) / 16, drawn(5, 4)), seen("b", drawn(5) / 16, drawn(5))) == ["factor"]


def test_a_bias_summed_over_everything_is_found() -> None:
    numeric = drawn(5)
    finding = one(right("W", 5, 4), seen("b", np.full(5, numeric.sum()), numeric))
    assert finding.kind == "bias_sum"
    assert "the sum over all of them" in finding.message


def test_a_bias_summed_over_the_wrong_axis_has_the_right_sum() -> None:
    deltas = drawn(6, 6)
    finding = one(right("W", 6, 4), seen("b", deltas.sum(axis=0), deltas.sum(axis=1)))
    assert finding.kind == "bias_sum"
    assert "their sum is right" in finding.message


def test_a_bias_wrong_without_a_pattern_beside_right_weights_is_its_sum_or_its_lines() -> None:
    assert kinds(right("W", 5, 4), seen("b", drawn(5, seed=2), drawn(5))) == ["from_above", "bias_sum"]


# ---- slopes -----------------------------------------------------------------------------------------------------------------


def test_one_example_gives_weights_and_bias_the_same_scales() -> None:
    delta, inputs, slope = drawn(5, 1), drawn(1, 4), 1.0 - np.tanh(drawn(5, 1, seed=2)) ** 2
    weights = seen("W1", delta @ inputs, slope * delta @ inputs)
    bias = seen("b1", delta, slope * delta)
    finding = one(weights, bias, right("W2", 3, 5), right("b2", 3, 1))
    assert (finding.kind, finding.blocks) == ("activation_derivative", ("b1", "W1"))
    assert finding.confidence > 0.9


def network(slope: Callable[[Array], Array], *, transposed: bool = False) -> list[Seen]:
    """A network of three layers on several examples; in the middle one the slope is what is given, or weights are transposed."""
    X, W2, W3 = drawn(4, 9), drawn(6, 6, seed=1), drawn(3, 6, seed=2)
    W1 = 0.4 * drawn(6, 4, seed=3)
    A1 = np.tanh(W1 @ X)
    A2 = np.tanh(0.4 * W2 @ A1)
    delta3 = W3 @ A2 - drawn(3, 9, seed=4)
    delta2 = 0.4 * (W3.T @ delta3) * (1.0 - A2**2)
    delta1 = (W2.T @ delta2) * (1.0 - A1**2)
    wrong2 = delta2 if transposed else 0.4 * (W3.T @ delta3) * slope(A2)
    wrong1 = ((W2 if transposed else W2.T) @ wrong2) * (1.0 - A1**2)
    blocks = [("W1", wrong1 @ X.T, delta1 @ X.T, W1), ("b1", wrong1.sum(axis=1), delta1.sum(axis=1), drawn(6))]
    blocks += [("W2", wrong2 @ A1.T, delta2 @ A1.T, W2), ("b2", wrong2.sum(axis=1), delta2.sum(axis=1), drawn(6))]
    blocks += [("W3", delta3 @ A2.T, delta3 @ A2.T, W3), ("b3", delta3.sum(axis=1), delta3.sum(axis=1), drawn(3))]
    return [seen(name, analytic, numeric, parameter=theta) for name, analytic, numeric, theta in blocks]


def test_a_slope_left_out_leaves_what_the_next_weights_pass_back() -> None:
    finding = one(*network(np.ones_like))
    assert finding.kind == "activation_derivative"
    assert finding.evidence["spanned_by"] == "W3"
    assert finding.confidence > 0.8


def test_a_slope_left_out_is_seen_before_a_vector_of_weights_too() -> None:
    X, A, v, error = drawn(9, 4), np.tanh(drawn(9, 6, seed=1)), drawn(6, seed=2), drawn(9, seed=3)
    passed = np.outer(error, v)
    blocks = [seen("W", X.T @ passed, X.T @ (passed * (1.0 - A**2)))]
    blocks += [
        seen("b", passed.sum(axis=0), (passed * (1.0 - A**2)).sum(axis=0)),
        dataclasses.replace(right("v", 6), parameter=v),
    ]
    finding = one(*blocks, right("c"))
    assert (finding.kind, finding.evidence["spanned_by"]) == ("activation_derivative", "v")


def test_a_wrong_slope_comes_after_where_the_mistake_is() -> None:
    findings = diagnose(network(lambda a: 1.0 - np.abs(a)), TOLERANCE)
    assert [finding.kind for finding in findings] == ["from_above", "activation_derivative"]
    assert findings[0].blocks == ("b2", "W2", "b1", "W1")
    assert findings[0].evidence["right_nearer_the_loss"] == ("W3", "b3")
    assert "what is passed back from W3 to b2" in findings[0].message


def test_weights_not_transposed_are_bounded_by_what_is_right() -> None:
    findings = diagnose(network(lambda a: 1.0 - a**2, transposed=True), TOLERANCE)
    assert findings[0].kind == "from_above"
    assert findings[0].blocks == ("b1", "W1")
    assert "what is passed back from W2 to b1" in findings[0].message


def test_order_says_what_is_nearer_the_loss() -> None:
    blocks = network(lambda a: 1.0 - a**2, transposed=True)
    order = tuple(block.name for block in blocks)
    finding = one(*reversed(blocks), order=order)
    assert finding.blocks == ("b1", "W1")
    assert finding.evidence["right_nearer_the_loss"] == ("W2", "b2", "W3", "b3")


def test_one_block_among_right_ones_is_a_matter_of_its_own_lines() -> None:
    finding = one(right("W1", 6, 4), seen("W2", drawn(6, 6, seed=2), drawn(6, 6)), right("W3", 3, 6))
    assert finding.kind == "from_above"
    assert finding.message == (
        "W2: the gradient is wrong, with no simple pattern, and W1 and W3 are right: consistent with a mistake in the lines that "
        "form the gradient of W2 itself"
    )


def test_what_lies_upstream_of_an_explained_block_comes_second() -> None:
    findings = diagnose([seen("W1", drawn(6, 4, seed=2), drawn(6, 4)), seen("W2", -SQUARE, SQUARE)], TOLERANCE)
    assert [(finding.kind, finding.blocks) for finding in findings] == [("factor", ("W2",)), ("from_above", ("W1",))]
    assert findings[1].confidence < 0.5


# ---- statuses, calls, numbers that are not finite ---------------------------------------------------------------------------


@pytest.mark.parametrize("status", [Status.AGREES, Status.VACUOUS, Status.NOISY, Status.STEP_TOO_LARGE])
def test_nothing_is_said_of_what_does_not_fail(status: Status) -> None:
    assert diagnose([seen("W", 2.0 * SQUARE, SQUARE, status=status)], TOLERANCE) == ()


def test_no_blocks_no_findings() -> None:
    assert diagnose([], TOLERANCE) == ()


def test_kinks_are_said_to_be_that() -> None:
    assert kinds(seen("W", 2.0 * SQUARE, SQUARE, status=Status.AT_KINKS), right("b", 3)) == ["kink"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_counted(value: float) -> None:
    analytic = SQUARE.copy()
    analytic[3, 4] = analytic[5, 6] = value
    findings = diagnose([seen("W1", analytic, SQUARE), seen("W2", -SQUARE, SQUARE)], TOLERANCE)
    assert findings[0].kind == "non_finite"
    assert findings[0].evidence["first"] == (3, 4)
    assert "in 2 of 400 entries, the first [3, 4]" in findings[0].message
    assert findings[1].kind == "factor"


def test_a_cost_that_is_not_finite_beside_the_point_is_said_to_be_that() -> None:
    numeric = SQUARE.copy()
    numeric[0, 0] = np.nan
    finding = one(seen("W", SQUARE, numeric, status=Status.NOT_FINITE))
    assert finding.kind == "non_finite"
    assert finding.evidence["side"] == "numerical gradient"


def test_a_gradient_that_adds_up_is_found() -> None:
    blocks = [seen("W", 2.0 * SQUARE, SQUARE, again=3.0 * SQUARE), seen("b", 2.0 * drawn(5), drawn(5), again=3.0 * drawn(5))]
    found = diagnose(blocks, TOLERANCE)
    assert {finding.kind for finding in found} == {"factor", "accumulated"}
    accumulated = next(finding for finding in found if finding.kind == "accumulated")
    assert accumulated.blocks == ("b", "W")
    assert "added to and not cleared" in accumulated.message


def test_a_gradient_that_changes_between_calls_is_found() -> None:
    finding = one(seen("W", drawn(20, 20, seed=2), SQUARE, again=drawn(20, 20, seed=3)))
    assert finding.kind == "accumulated"
    assert "state that one call leaves to the next" in finding.message


# ---- one entry, and others at the edge --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_one_number_is_explained_with_little_confidence(shape: tuple[int, ...]) -> None:
    numeric = np.full(shape, 0.37)
    for analytic, kind in ((2.0 * numeric, "factor"), (np.zeros(shape), "zero")):
        finding = next(f for f in diagnose([seen("s", analytic, numeric), right("W", 4, 3)], TOLERANCE) if f.kind == kind)
        assert finding.confidence < (0.5 if kind == "factor" else 1.0)
    assert "factor" not in kinds(seen("s", 1.2345678 * numeric, numeric))


def test_a_block_without_entries_is_passed_over() -> None:
    assert diagnose([seen("W", np.empty((0, 3)), np.empty((0, 3)), status=Status.WRONG)], TOLERANCE) == ()


@pytest.mark.parametrize(("shape", "place"), [((1000, 1200), (648, 177)), ((1_200_000,), 777_777)])
def test_large_blocks_are_fitted_in_part(shape: tuple[int, ...], place: object) -> None:
    numeric = np.random.default_rng(0).standard_normal(shape)
    assert one(seen("W", 3.0 * numeric, numeric)).kind == "factor"
    analytic = numeric.copy()
    analytic.reshape(-1)[777_777] += 1.0
    finding = one(seen("W", analytic, numeric))
    assert finding.kind == "entries"
    assert finding.evidence["indices"] == (place,)


def test_findings_are_read_only_and_few() -> None:
    generator = np.random.default_rng(0)
    blocks = [seen(f"W{n}", (n + 2) * SQUARE + 0.01 * n, SQUARE) for n in range(4)]
    blocks += [seen(f"V{n}", generator.standard_normal() * drawn(9, n + 3), drawn(9, n + 3)) for n in range(9)]
    findings = diagnose(blocks, TOLERANCE)
    assert 1 < len(findings) <= 6
    assert [finding.confidence for finding in findings] == pytest.approx(
        sorted((finding.confidence for finding in findings), reverse=True), abs=2e-3
    )
    assert all(finding.kind in KINDS and 0.0 <= finding.confidence <= 1.0 for finding in findings)
    with pytest.raises(dataclasses.FrozenInstanceError):
        findings[0].kind = "another"  # type: ignore[misc]
    with pytest.raises(TypeError):
        findings[0].evidence["factor"] = 1.0  # type: ignore[index]


def test_nothing_that_was_given_is_changed() -> None:
    analytic, numeric = 2.0 * SQUARE, SQUARE.copy()
    for array in (analytic, numeric):
        array.flags.writeable = False
    diagnose([seen("W", analytic, numeric)], TOLERANCE)
    assert np.array_equal(analytic, 2.0 * numeric)


# ---- no pattern where there is none -----------------------------------------------------------------------------------------

shapes = st.lists(st.integers(1, 9), min_size=0, max_size=4).map(tuple)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(shapes=st.lists(shapes, min_size=1, max_size=5), seed=st.integers(0, 2**32 - 1), near=st.booleans())
def test_random_errors_are_given_no_pattern(shapes: list[tuple[int, ...]], seed: int, near: bool) -> None:
    generator = np.random.default_rng(seed)
    blocks = []
    for number, shape in enumerate(shapes):
        numeric = np.asarray(generator.standard_normal(shape))
        gap = np.asarray(generator.standard_normal(shape))
        # All entries off by some tens of percent, either sign, or another gradient altogether.
        blocks.append(seen(f"W{number}", numeric * (1.0 + 0.3 * gap) if near else gap, numeric))
    named = {finding.kind for finding in diagnose(blocks, TOLERANCE) if finding.confidence > 0.3}
    # What is near points the same way; that is all that is said of it.
    assert named <= {"from_above", "activation_derivative"}
    assert "from_above" in named


@settings(max_examples=100, deadline=None, derandomize=True)
@given(shape=shapes, seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([1e-300, 1.0, 1e300]), bad=st.floats())
def test_any_numbers_can_be_diagnosed(shape: tuple[int, ...], seed: int, scale: float, bad: float) -> None:
    generator = np.random.default_rng(seed)
    arrays = [np.asarray(scale * generator.integers(-1, 2, shape)) for _ in range(3)]
    if arrays[0].size:
        arrays[seed % 3].reshape(-1)[0] = bad
    block = Seen("W", shape, Status.WRONG, arrays[0], arrays[1], None, arrays[2], np.zeros(shape), again=arrays[1])
    for finding in diagnose([block, right("b", 3)], TOLERANCE):
        assert 0.0 <= finding.confidence <= 1.0


# ---- samples ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (1,), (5,), (1000,), (40, 30), (30, 30), (8, 4, 3, 5), (1, 500), (3, 1, 700)])
@pytest.mark.parametrize("count", [1, 16, 128])
def test_a_sample_is_ascending_and_of_the_right_size(shape: tuple[int, ...], count: int) -> None:
    places = sample_places(shape, count)
    size = int(np.prod(shape, dtype=np.int64))
    assert len(places) == min(count, size)
    assert (np.diff(places) > 0).all()
    assert places.min() >= 0
    assert places.max() < size
    assert np.array_equal(places, sample_places(shape, count))


def test_a_sample_has_corners_a_row_a_column_and_pairs() -> None:
    places = sample_places((30, 30), 128)
    rows, columns = np.unravel_index(places, (30, 30))
    assert {0, 29, 870, 899} <= set(places.tolist())
    assert np.bincount(rows).max() == 30
    assert np.bincount(columns).max() == 30
    pairs = set(zip(rows.tolist(), columns.tolist(), strict=True))
    assert sum((column, row) in pairs for row, column in pairs) >= 32


# ---- planted mistakes -------------------------------------------------------------------------------------------------------

MODELS = {
    model.name: model
    for module in (attention, classical, convolution, dense, embedding, normalisation, recurrent, sequence)
    for model in module.MODELS
}

PLANTED = [
    ("causal attention, one head, a mask of -1e9", "scale forgotten", "factor"),
    ("four heads by reshape, a mask of minus infinity", "width of all heads in the scale", "factor"),
    ("two heads by einsum", "queries for keys", "permuted"),
    ("attention across two sequences, padded", "bias of the mean over the source", "bias_sum"),
    ("logistic regression, flat vector", "no mean in dw", "factor"),
    ("logistic regression, flat vector", "no penalty", "missing_term"),
    ("multiclass hinge in loops", "no mean", "factor"),
    ("multiclass hinge in loops", "penalty halved", "missing_term"),
    ("multiclass hinge", "db averaged twice", "bias_sum"),
    ("Gaussian process", "length, not its logarithm", "entries"),
    ("matrix factorisation with a mask", "items not penalised", "missing_term"),
    ("depthwise convolution, average pooling, channels last", "rows and columns of the kernel exchanged", "transposed"),
    ("deep network, examples in columns", "dW2 without the mean", "factor"),
    ("deep network, examples in columns", "no penalty", "missing_term"),
    ("deep network, examples in columns", "biases summed", "bias_sum"),
    ("class with caches on self, leaky relu", "factor 2 forgotten", "factor"),
    ("class with caches on self, leaky relu", "dW3 from before the activation", "from_above"),
    ("nested dict of layers, softplus", "bias averaged", "bias_sum"),
    ("named tuple, GELU in its tanh form", "slope of the exact form", "guard"),
    ("residual network", "skip forgotten", "from_above"),
    ("residual network", "blocks in reverse order", "permuted"),
    ("mean of embeddings, texts of unequal length", "a token that occurs twice counted once", "rows"),
    ("RNN, preallocated states", "dW transposed", "transposed"),
    ("RNN, preallocated states", "= for += of a word", "columns"),
    ("RNN on embeddings, list of states", "no mean over time", "factor"),
    ("linear state space, innovations", "sign of dC", "factor"),
    ("linear state space, innovations", "dA transposed", "transposed"),
    ("conditional random field in a class", "end from the first step", "permuted"),
    ("best path with a margin", "half of the penalty", "missing_term"),
]


@pytest.mark.parametrize(("name", "bug", "kind"), PLANTED)
def test_a_planted_mistake_is_named(name: str, bug: str, kind: str) -> None:
    model = MODELS[name]
    case, mistake = model.build(0), model.bugs(0)[bug]
    report = gradsweep.check(case.cost, case.params, mistake.gradient)
    blocks = seen_from(report, case.params, mistake.gradient(case.params))
    finding = diagnose(blocks, report.tolerance)[0]
    assert finding.kind == kind, finding
    assert set(finding.blocks) <= set(mistake.blocks)


def test_a_gradient_that_accumulates_is_named() -> None:
    case = MODELS["RNN, preallocated states"].build(0)
    buffers: dict[str, Array] = {}

    def gradient(params: Any) -> Any:
        for name, value in case.gradient(params).items():
            buffers[name] = buffers.get(name, 0.0) + value
        return {name: value.copy() for name, value in buffers.items()}

    gradient(case.params)
    second, third = gradient(case.params), gradient(case.params)
    report = gradsweep.check(case.cost, case.params, second)
    blocks = seen_from(report, case.params, second, again=third)
    assert {finding.kind for finding in diagnose(blocks, report.tolerance)} == {"accumulated", "factor"}
