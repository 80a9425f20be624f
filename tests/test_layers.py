"""What blocks say of each other: weights and biases of one layer, and right blocks that bound where a mistake is."""

from typing import Any

import numpy as np
import pytest
from blocks import TOLERANCE, across, drawn, seen

from gradsweep._diagnosis._diagnose import diagnose
from gradsweep._diagnosis._evidence import Finding, Seen, certainty
from gradsweep._types import Array
from gradsweep._verdict import Status

SLOPES = "Compare each activation with its derivative, and with what the derivative is taken at."


def right(name: str, *shape: int, **others: Any) -> Seen:
    values = drawn(*shape, seed=3)
    return seen(values, values, name=name, status=Status.AGREES, **others)


def wrong(name: str, *shape: int, **others: Any) -> Seen:
    """A block that is wrong without a pattern."""
    return seen(drawn(*shape, seed=4), drawn(*shape, seed=5), name=name, **others)


def negative(name: str, *shape: int) -> Seen:
    """A block of which it is known why it is wrong."""
    return seen(-drawn(*shape), drawn(*shape), name=name)


def scaled(name: str, scales: Array, *shape: int) -> Seen:
    """A block whose units have a scale each."""
    return seen(scales * drawn(*shape), drawn(*shape), name=name)


def findings(*blocks: Seen) -> tuple[Finding, ...]:
    return diagnose(blocks, TOLERANCE)


def of_kind(kind: str, *blocks: Seen) -> list[Finding]:
    return [finding for finding in findings(*blocks) if finding.kind == kind]


# ---- scales of units --------------------------------------------------------------------------------------------------------

SCALES = drawn(6, seed=9)


def test_units_with_a_scale_each_are_named_with_their_bias() -> None:
    (found,) = findings(scaled("W", SCALES[:, None], 6, 5), scaled("b", SCALES, 6), right("V", 3, 6))
    low, high = f"{SCALES.min():.7g}", f"{SCALES.max():.7g}"
    assert (found.kind, found.blocks) == ("activation_derivative", ("b", "W"))
    assert found.message == (
        f"b and W: each row of the gradient is a constant of its own ({low} to {high}) times the numerical one, and those of b "
        "with it: consistent with a slope of an activation, or another scale of each unit, that is left out, wrong or "
        "counted twice"
    )
    assert found.advice == SLOPES
    assert found.confidence == pytest.approx(0.97)
    assert found.explained == pytest.approx(1.0)
    assert found.evidence["units"] == 6
    assert found.evidence["least_scale"] == pytest.approx(SCALES.min())
    assert found.evidence["largest_scale"] == pytest.approx(SCALES.max())
    assert found.evidence["entries"] == 30


@pytest.mark.parametrize(
    ("shape", "axis", "noun"), [((6, 5), 0, "row"), ((5, 6), 1, "column"), ((4, 6, 5), 1, "slice along axis 1")]
)
def test_scales_are_those_of_rows_columns_or_slices(shape: tuple[int, ...], axis: int, noun: str) -> None:
    scales = np.expand_dims(SCALES, tuple(other for other in range(len(shape)) if other != axis))
    found = findings(scaled("W", scales, *shape))[0]
    assert (found.kind, found.blocks) == ("activation_derivative", ("W",))
    assert f"each {noun} of the gradient is a constant of its own" in found.message
    assert ") times the numerical one: consistent with a slope" in found.message
    assert found.confidence == pytest.approx(0.8)


def test_a_bias_stands_behind_its_weights_or_before_them() -> None:
    weights, bias = scaled("W", SCALES[:, None], 6, 5), scaled("b", SCALES, 6)
    for blocks in (
        (weights, bias),
        (bias, weights),
        (bias, weights, right("V", 4, 6)),
        (bias, weights, right("gain", 7)),
        (bias, weights, right("c")),
        (right("U", 4, 4), bias, weights),
        (right("U", 4, 4), weights, bias, right("V", 4, 6)),
    ):
        assert ("b", "W") in [finding.blocks for finding in findings(*blocks)]
    for blocks in ((weights, right("V", 4, 6), bias), (bias, right("V", 4, 6), weights), (weights, right("c", 6), bias)):
        assert ("W",) in [finding.blocks for finding in findings(*blocks)]
    two = (scaled("W", SCALES[:2, None], 2, 7), scaled("b", SCALES[:2], 2))
    assert findings(*two)[0].blocks == ("b", "W")
    assert findings(*reversed(two), right("c"))[0].blocks == ("b", "W")
    slices = (scaled("b", SCALES, 6), scaled("W", SCALES[:, None, None], 6, 5, 1), right("c", 1))
    assert findings(*slices)[0].blocks == ("b", "W")


def test_a_bias_of_other_scales_or_of_none_is_not_named_with_its_weights() -> None:
    weights = scaled("W", SCALES[:, None], 6, 5)
    for bias in (right("b", 6), wrong("b", 6), scaled("b", drawn(6, seed=1), 6), wrong("b", 5), right("b", 5)):
        found = next(finding for finding in findings(weights, bias) if finding.kind == "activation_derivative")
        assert found.blocks == ("W",)
    for off, together in ((0.9e-5, True), (1.1e-5, False)):
        for size in (1e-3, 1.0):
            values = size * SCALES * drawn(6)
            bias = seen(values + off * across(values), size * drawn(6), name="b")
            blocks = [finding.blocks for finding in findings(weights, bias)]
            assert ((("b", "W") in blocks), (("W",) in blocks)) == (together, not together)


def test_a_unit_without_a_gradient_has_no_scale_in_the_bias_either() -> None:
    living = np.arange(6) != 2
    weights = seen(SCALES[:, None] * drawn(6, 5) * living[:, None], drawn(6, 5) * living[:, None])
    found = findings(weights, seen(SCALES * drawn(6) * living, drawn(6) * living, name="b"))[0]
    assert found.blocks == ("b", "W")
    assert found.evidence["units"] == 5


def test_scales_that_are_nearly_one_are_a_guard() -> None:
    for spread, kind in ((1.9e-3, "guard"), (2.1e-3, "activation_derivative")):
        scales = 1.0 + spread * np.linspace(-1.0, 1.0, 6)[:, None]
        found = findings(scaled("W", scales, 6, 5))[0]
        assert found.kind == kind
        assert found.confidence == pytest.approx(0.8)
    scales = 1.0 + 1e-4 * np.linspace(-1.0, 1.0, 6)[:, None]
    found = findings(scaled("W", scales, 6, 5))[0]
    assert "consistent with a norm's ε, or another small constant, that is in the cost or in the gradient alone" in found.message
    assert found.advice == "Compare guards against division by zero in the forward and in the backward pass."


def test_each_scale_is_a_number_that_makes_a_fit_less_certain() -> None:
    left = drawn(2, 3, seed=2)
    scales = np.array([[2.0], [-3.0]])
    gap = np.linalg.norm(scales * drawn(2, 3) - drawn(2, 3))
    block = seen(scales * drawn(2, 3) + 8e-6 * gap * left / np.linalg.norm(left), drawn(2, 3))
    found = findings(block)[0]
    misfit = float(str(found.evidence["residual"]))
    assert found.confidence == pytest.approx(0.8 * certainty(misfit, 6, 2), rel=1e-9)


# ---- units that are wrong in weights and bias -------------------------------------------------------------------------------


def masked(name: str, units: list[int], *shape: int, axis: int = 0, factor: float | None = None) -> Seen:
    """A block in which what belongs to some units is wrong."""
    analytic = drawn(*shape)
    index = (slice(None),) * axis + (units,)
    analytic[index] = analytic[index] + drawn(*shape, seed=8)[index] if factor is None else factor * analytic[index]
    return seen(analytic, drawn(*shape), name=name)


@pytest.mark.parametrize(("shape", "axis"), [((6, 5), 0), ((5, 6), 1)])
def test_units_that_are_wrong_in_weights_and_bias_have_a_wrong_slope(shape: tuple[int, ...], axis: int) -> None:
    found = findings(masked("W", [1, 4], *shape, axis=axis), masked("b", [1, 4], 6), right("V", 3, 6))
    assert [finding.kind for finding in found] == [
        "activation_derivative",
        "from_above",
        "rows" if axis == 0 else "columns",
        "entries",
    ]
    assert found[0].blocks == found[1].blocks == ("b", "W")
    assert found[0].message == (
        "b and W: only units 1 and 4 of 6 are wrong, in weights and bias alike: consistent with a slope, or a mask as of relu or "
        "dropout, that is left out or wrong for these units"
    )
    assert found[1].message.endswith("alike: consistent with a mistake in what is passed back to these units")
    assert found[0].advice == found[1].advice == SLOPES
    assert found[0].evidence == {"units": (1, 4), "entries": 12}
    assert found[0].confidence - found[2].confidence == pytest.approx(0.02)
    assert found[1].confidence - found[2].confidence == pytest.approx(0.01)


def test_units_are_masked_only_if_weights_and_bias_say_the_same() -> None:
    weights = masked("W", [1, 4], 6, 5)
    for bias in (masked("b", [1, 3], 6), right("b", 6), wrong("b", 6), masked("b", [1, 4], 5)):
        assert of_kind("activation_derivative", weights, bias, right("V", 3, 6)) == []
    # Columns of which the bias is that of the rows.
    assert of_kind("activation_derivative", masked("W", [1, 4], 6, 5, axis=1), masked("b", [1, 4], 6)) == []
    # Zeros of units are a matter of what is assigned.
    assert of_kind("activation_derivative", masked("W", [1, 4], 6, 5, factor=0.0), masked("b", [1, 4], 6, factor=0.0)) == []
    assert of_kind("activation_derivative", masked("W", [1, 4], 6, 5, factor=3.0), masked("b", [1, 4], 6, factor=3.0)) != []
    # Vectors side by side are no weights and bias.
    assert of_kind("activation_derivative", masked("b", [1, 4], 6), masked("gain", [1, 4], 6)) == []


def test_units_of_several_layers_are_masked_each_for_itself() -> None:
    few = (masked("W3", [3], 40, 7), masked("b3", [3], 40))
    others = (masked("W1", [1, 4], 6, 5), masked("b1", [1, 3], 6))
    zeros = (masked("W2", [0], 7, 6, factor=0.0), masked("b2", [0], 7, factor=0.0))
    more = (masked("W4", [2, 5], 9, 40), masked("b4", [2, 5], 9))
    for blocks, expected in (
        ((*others, *few), [("b3", "W3")]),
        ((*zeros, *few), [("b3", "W3")]),
        ((*few, *more), [("b3", "W3"), ("b4", "W4")]),
    ):
        assert [finding.blocks for finding in of_kind("activation_derivative", *blocks)] == expected
    assert [finding.confidence for finding in of_kind("activation_derivative", *few)] == [0.99]
    assert [finding.confidence for finding in of_kind("from_above", *few)] == [0.98]


# ---- biases -----------------------------------------------------------------------------------------------------------------


def bias(factor: float, examples: int | None = None) -> Seen:
    return seen(factor * drawn(5), drawn(5), name="b", examples=examples)


@pytest.mark.parametrize(
    ("factor", "examples", "words"),
    [
        (1 / 16, 16, "a mean over 16 examples where a sum was meant, for weights are right"),
        (16.0, 16, "a sum over 16 examples where a mean was meant, for weights are right"),
        (2.0, 2, "a sum over 2 examples where a mean was meant"),
        (0.5, 2, "a mean over 2 examples where a sum was meant"),
        (16.0 * (1.0 + 5e-7), 16, "a sum over 16 examples where"),
        (7.0, None, "a sum over 7 examples where a mean was meant"),
        (7.0 * (1.0 + 5e-7), None, "a sum over 7 examples where a mean was meant"),
        (1 / 3, None, "a mean over 3 examples where a sum was meant"),
        (7.0, 16, None),
        (1 / 7, 16, None),
        (16.0 * (1.0 + 2e-6), 16, None),
        (2.0, None, None),
        (0.5, None, None),
        (7.5, None, None),
        (-16.0, 16, None),
        (2.0, 1, None),
    ],
)
def test_a_factor_of_a_bias_that_is_the_number_of_examples_is_one_of_its_sum(
    factor: float, examples: int | None, words: str | None
) -> None:
    found = findings(right("W", 5, 4), bias(factor, examples))[0]
    assert found.kind == ("factor" if words is None else "bias_sum")
    if words is not None:
        assert words in found.message
        assert found.advice == "Look at the sum that forms this gradient."


def test_a_factor_of_biases_is_one_of_their_sum_only_beside_right_weights() -> None:
    assert of_kind("bias_sum", bias(7.0)) == []
    assert of_kind("bias_sum", right("c", 4), bias(7.0)) == []
    assert of_kind("bias_sum", right("W", 5, 4), seen(7.0 * drawn(5, 4), drawn(5, 4), name="V")) == []
    assert of_kind("bias_sum", right("W", 5, 4), bias(7.0), seen(7.0 * drawn(3, 4), drawn(3, 4), name="V")) == []
    theta = drawn(5, seed=7)
    assert findings(right("W", 5, 4), seen(theta * drawn(5), drawn(5), parameter=theta, name="b"))[0].kind == "factor"
    some = np.array([7.0, 7.0, 1.0, 1.0, 1.0])
    assert findings(right("W", 5, 4), seen(some * drawn(5), drawn(5), name="b"))[0].kind == "entries"
    assert len(of_kind("bias_sum", right("W", 5, 4), bias(7.0), seen(7.0 * drawn(1, 3), drawn(1, 3), name="c"))) == 1


SUMS = [
    ("beside right weights", True, [right("W", 5, 4), wrong("b", 5)]),
    ("before them", True, [wrong("b", 5), right("W", 4, 5)]),
    ("a column", True, [right("W", 5, 4), wrong("b", 5, 1)]),
    ("one number", True, [right("W", 3, 4), wrong("s", 1)]),
    ("one number without axes", True, [right("W", 3, 4), wrong("s")]),
    ("no weights", False, [right("a", 5), wrong("b", 5)]),
    ("one number alone", False, [right("a"), wrong("s")]),
    ("other units", False, [right("W", 3, 4), wrong("b", 5)]),
    ("weights that are wrong", False, [negative("W", 5, 4), wrong("b", 5)]),
    ("wrong weights that are nearer", False, [right("W", 5, 4), negative("V", 5, 3), wrong("b", 5)]),
    ("right weights that are nearer", True, [negative("W", 5, 4), right("V", 5, 3), wrong("b", 5)]),
    ("right weights behind and wrong ones before", False, [negative("W", 5, 4), wrong("b", 5), right("V", 3, 5)]),
    ("wrong weights behind and right ones before", True, [right("W", 5, 4), wrong("b", 5), negative("V", 3, 5)]),
    ("four blocks before", True, [right("W", 5, 4), *(right(f"c{n}", 3) for n in range(3)), wrong("b", 5)]),
    ("five blocks before", False, [right("W", 5, 4), *(right(f"c{n}", 3) for n in range(4)), wrong("b", 5)]),
    ("a matrix", False, [right("W", 5, 4), wrong("V", 4, 5)]),
]


@pytest.mark.parametrize(("blocks", "expected"), [pytest.param(blocks, fits, id=name) for name, fits, blocks in SUMS])
def test_a_vector_that_is_wrong_beside_right_weights_may_be_a_wrong_sum(blocks: list[Seen], expected: bool) -> None:
    found = of_kind("bias_sum", *blocks)
    assert bool(found) == expected
    if expected:
        assert (
            "the gradient of this vector is wrong, and that of the weights beside it right: consistent with" in found[0].message
        )
        assert found[0].message.endswith(" a sum over the wrong axis, or over some of the examples or time steps only")
        assert found[0].advice == "Look at the sum that forms this gradient."
        assert found[0].confidence == 0.5
        assert found[0].blocks in (("b",), ("s",))
        assert found[0].evidence["entries"] == max(max(block.shape, default=1) for block in blocks if block.name in ("b", "s"))


# ---- what right blocks say --------------------------------------------------------------------------------------------------


def above(*blocks: Seen) -> Finding:
    (found,) = of_kind("from_above", *blocks)
    return found


def test_a_block_that_is_wrong_alone_is_a_matter_of_its_lines() -> None:
    found = above(right("U", 3, 4), wrong("W", 4, 3), right("V", 5, 4))
    assert found.message == (
        "W: the gradient is wrong, with no simple pattern, and U and V are right: consistent with a mistake in the lines "
        "that form the gradient of W itself"
    )
    assert found.advice == "Look at what is multiplied, and summed, to form the gradient of W."
    assert found.evidence == {"nearest": "W", "right_nearer_the_loss": ("V",), "right_nearer_the_input": ("U",)}
    assert found.confidence == 0.55
    assert (
        "and U is right: consistent with a mistake in the lines that form the gradient of W itself"
        in above(right("U", 3, 4), wrong("W", 4, 3)).message
    )
    assert above(wrong("W", 4, 3), right("V", 5, 4)).message.endswith(
        "and V is right: consistent with a mistake in the lines that form the gradient of W itself, or in what is passed "
        "back to them"
    )
    assert "no simple pattern: consistent with" in above(wrong("W", 4, 3)).message


def test_blocks_that_are_wrong_from_the_loss_on_are_a_matter_of_the_loss() -> None:
    found = above(wrong("W1", 4, 3), wrong("W2", 5, 4))
    assert found.blocks == ("W2", "W1")
    assert found.message == (
        "W2 and W1: gradients are wrong from the loss on, with no simple pattern: consistent with a mistake where the "
        "backward pass begins, or on the way to W2"
    )
    assert found.advice == "Look at the derivative of the loss first."
    assert found.evidence == {"nearest": "W2", "right_nearer_the_loss": (), "right_nearer_the_input": ()}
    assert found.confidence == 0.55


def test_blocks_that_are_wrong_up_to_the_input_are_bounded_by_what_is_right() -> None:
    found = above(wrong("W1", 4, 3), wrong("W2", 5, 4), right("W3", 3, 5), right("W4", 2, 3))
    assert found.message == (
        "W2 and W1: gradients are wrong up to the input, with no simple pattern, and nearer the loss W3 and W4 are right: "
        "consistent with a mistake in what is passed back from W3 to W2"
    )
    assert found.advice == "Look at the steps back from W3 to W2: products with weights, slopes of activations, sums."
    assert found.evidence["right_nearer_the_loss"] == ("W3", "W4")
    assert found.confidence == 0.55


def test_blocks_that_are_wrong_between_right_ones_share_a_branch() -> None:
    found = above(right("W0", 3, 3), wrong("W1", 4, 3), wrong("W2", 5, 4), right("W3", 3, 5))
    assert found.message == (
        "W2 and W1: gradients are wrong, with no simple pattern, and W0 and W3 are right: consistent with a mistake on the "
        "way back that these share, and the others do not"
    )
    assert found.advice == "Look at the branch that leads to W2 and W1 only."
    assert found.evidence["right_nearer_the_input"] == ("W0",)
    assert found.confidence == 0.5


def test_what_lies_upstream_of_an_explained_block_may_follow_from_it() -> None:
    assert above(wrong("W1", 4, 3), negative("W2", 5, 4)).confidence == 0.4
    assert above(negative("W1", 4, 3), wrong("W2", 5, 4)).confidence == 0.55


def test_most_rows_without_a_pattern_are_said_beside_what_is_right() -> None:
    analytic = np.where(np.arange(10)[:, None] < 7, drawn(10, 4, seed=5), drawn(10, 4))
    found = above(right("U", 3, 4), seen(analytic, drawn(10, 4)), right("V", 4, 10))
    assert found.evidence == {"nearest": "W", "right_nearer_the_loss": ("V",), "right_nearer_the_input": ("U",)}
    assert found.message.startswith("W: the gradient is wrong, with no simple pattern, and U and V are right")


# ---- slopes -----------------------------------------------------------------------------------------------------------------


def same_way(ratios: Array, *shape: int, cosine: float = 1.0) -> Array:
    """A gradient whose rows have such a component along the numerical ones, and such a cosine with them."""
    numeric = drawn(*shape)
    rows = [row + across(row) * np.sqrt(1.0 / cosine**2 - 1.0) for row in numeric]
    return np.asarray(ratios[:, None] * rows)


@pytest.mark.parametrize("larger", [True, False])
def test_units_that_point_the_right_way_may_lack_a_slope(larger: bool) -> None:
    ratios = np.array([1.2, 1.7, 1.4, 2.9]) if larger else np.array([1.2, 0.7, 1.4, 2.9])
    block = seen(same_way(ratios, 4, 6, cosine=0.8), drawn(4, 6))
    (found,) = of_kind("activation_derivative", block)
    least = f"{ratios.min():.6g}"
    assert found.message == (
        f"W: units of W point the way they should (mean cosine 0.80), {least} to 2.9 times as large: consistent with an "
        f"activation's derivative that is left out{'' if larger else ', or wrong'}, between W and the loss"
    )
    assert found.advice == SLOPES
    assert found.confidence == pytest.approx(0.3 + 0.15 * 0.8 + (0.04 if larger else 0.0))
    assert found.evidence["mean_cosine"] == pytest.approx(0.8)
    assert found.evidence["least_ratio"] == pytest.approx(ratios.min())
    assert found.evidence["entries"] == 24


def test_units_that_point_elsewhere_or_are_few_say_nothing_of_a_slope() -> None:
    ratios = np.array([1.2, 1.7, 1.4, 2.9])
    for cosine, fits in ((0.49, False), (0.51, True)):
        block = seen(same_way(ratios, 4, 6, cosine=cosine), drawn(4, 6))
        assert bool(of_kind("activation_derivative", block)) == fits
    assert of_kind("activation_derivative", seen(same_way(ratios[:3], 3, 6, cosine=0.8), drawn(3, 6))) == []
    # Where more is right on the way to the input than is wrong, slopes are.
    block = seen(same_way(ratios, 4, 6, cosine=0.8), drawn(4, 6))
    assert of_kind("activation_derivative", right("U", 5, 5), block) != []
    assert of_kind("activation_derivative", right("U", 5, 5), right("T", 5, 5), block) == []
    # A unit without a gradient is none.
    analytic, numeric = same_way(ratios, 4, 6, cosine=0.8), drawn(4, 6)
    for values in (analytic, numeric):
        values[1] = 0.0
    assert of_kind("activation_derivative", seen(analytic, numeric)) == []
    for side in (0, 1):
        pair = [same_way(np.array([1.2, 1.7, 1.4, 2.9, 1.0, 1.1]), 6, 6, cosine=0.8), drawn(6, 6)]
        pair[side][2] = 0.0
        (found,) = of_kind("activation_derivative", seen(*pair))
        assert found.evidence["mean_cosine"] == pytest.approx(0.8)


def test_units_of_weights_and_bias_are_counted_together() -> None:
    ratios = np.array([1.2, 1.7, 1.4])
    weights = seen(same_way(ratios, 3, 6, cosine=0.8), drawn(3, 6))
    bias = seen(np.array([1.3, 2.1, 1.9]) * drawn(3), drawn(3), name="b")
    (found,) = of_kind("activation_derivative", weights, bias)
    assert found.blocks == ("b", "W")
    assert found.evidence["mean_cosine"] == pytest.approx((3 * 0.8 + 3 * 1.0) / 6)
    assert found.evidence["least_ratio"] == pytest.approx(1.2)
    assert found.evidence["entries"] == 21
    columns = seen(same_way(ratios, 3, 6, cosine=0.8).T, drawn(3, 6).T)
    assert of_kind("activation_derivative", columns, bias)[0].evidence["mean_cosine"] == pytest.approx(0.9)
    assert "units of b and W point" in found.message
    assert "between b and the loss" in found.message


def test_a_gradient_within_what_the_next_weights_pass_back_lacks_a_slope() -> None:
    weights, passed = drawn(2, 6, seed=1), drawn(5, 2, seed=2)
    slope = drawn(5, 6, seed=3)
    analytic = (passed @ weights).T
    numeric = (passed @ weights * slope).T
    for shape, name in (((2, 6), "V"), ((6, 2), "V")):
        following = right(name, *shape, parameter=weights.reshape(2, 6) if shape == (2, 6) else weights.T)
        (found,) = of_kind("activation_derivative", seen(analytic, numeric), following)
        assert found.message == (
            "W: the gradient of W is what V passes back, combined over examples but not scaled by unit: consistent with the "
            "derivative of the activation between W and V being left out"
        )
        assert found.advice == SLOPES
        assert found.confidence == 0.9
        assert found.evidence == {"spanned_by": "V"}
    # Units along the last axis, weights that are a vector, and others that do not suit in between.
    following = right("V", 2, 6, parameter=weights)
    between = [right(f"g{n}", 3) for n in range(8)]
    vector = right("v", 6, parameter=weights[0])
    alone = (passed[:, :1] @ weights[:1]).T
    bias = seen(alone.sum(axis=1), (alone * slope.T).sum(axis=1), name="b")
    chains: list[tuple[tuple[Seen, ...], list[str]]] = [
        ((seen(analytic.T, numeric.T), following), ["V"]),
        ((seen(alone, alone * slope.T), bias, vector), ["v"]),
        ((seen(analytic, numeric), *between[:7], following), ["V"]),
        ((seen(analytic, numeric), *between[:8], following), []),
    ]
    for blocks, names in chains:
        spanned = [finding.evidence["spanned_by"] for finding in findings(*blocks) if "spanned_by" in finding.evidence]
        assert spanned == names
    # Not if the numerical one lies there as well, or if the weights can pass back anything, are wrong, or stand before.
    following = right("V", 2, 6, parameter=weights)
    other = (drawn(5, 2, seed=6) @ weights).T
    whole = right("V", 6, 6, parameter=drawn(6, 6, seed=1))
    for blocks in (
        (seen(analytic, other), following),
        (seen(analytic, numeric), whole),
        (seen(drawn(6, 5), numeric, places=range(0, 30, 2)), following),
        (seen(analytic, numeric), negative("V", 2, 6)),
        (following, seen(analytic, numeric)),
    ):
        assert all("spanned_by" not in finding.evidence for finding in findings(*blocks))


@pytest.mark.parametrize(
    ("tested", "numerical", "spanned"), [(0.9e-6, 1.1e-2, True), (1.1e-6, 1.1e-2, False), (0.9e-6, 0.9e-2, False)]
)
def test_what_the_next_weights_pass_back_is_met_but_for_rounding(tested: float, numerical: float, spanned: bool) -> None:
    weights = drawn(2, 6, seed=1)
    outside = np.linalg.svd(weights)[2][2:].T @ drawn(4, 5, seed=7)
    one, other = (weights.T @ drawn(2, 5, seed=seed) for seed in (2, 3))
    parts = [outside * np.linalg.norm(each) / np.linalg.norm(outside) for each in (one, other)]
    block = seen(one + tested * parts[0], other + numerical * parts[1])
    found = findings(block, right("V", 2, 6, parameter=weights))
    assert any("spanned_by" in finding.evidence for finding in found) == spanned


def test_a_right_bias_shows_that_what_reaches_its_layer_is_right() -> None:
    ratios = np.array([1.2, 1.7, 1.4, 2.9])
    weights = seen(same_way(ratios, 4, 6, cosine=0.8), drawn(4, 6))
    assert of_kind("activation_derivative", weights, right("b", 4)) == []
    assert of_kind("activation_derivative", weights, right("b", 5)) != []
