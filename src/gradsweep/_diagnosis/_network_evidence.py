"""What several blocks say together: which of them are right, and which belong to one layer."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from gradsweep._diagnosis._evidence import Claim, Evidence, Seen, certainty, listed, number, positions
from gradsweep._diagnosis._proportions import SMALL, Scales, fit_scales
from gradsweep._types import Array
from gradsweep._verdict import Status, norm

# Two blocks have the same scale of a unit if they differ by less than this, relatively.
_SAME_SCALE = 1e-5

# Mean cosine between the two gradients of a layer's units from which on they point the same way, and how many it takes.
_SAME_WAY, _UNITS = 0.5, 4

# Blocks of one layer, at most: weights, bias, gain and shift.
_LAYER = 4

# Factors that a mean over examples makes of a bias, if the number of examples is not known, are at least this.
_LEAST_EXAMPLES = 3

# What is left of a gradient outside the span of weights in which it lies but for rounding, and of one that does not lie there.
_INSIDE, _OUTSIDE = 1e-6, 1e-2

_SLOPES = "Compare each activation with its derivative, and with what the derivative is taken at."


@dataclass(frozen=True, eq=False)
class Layers:
    """The blocks of a network, from input to loss.

    Attributes
    ----------
    blocks : sequence of Seen
        All of them.
    evidence : mapping of str to Evidence
        Those that are wrong, and finite.
    """

    blocks: Sequence[Seen]
    evidence: Mapping[str, Evidence]
    _others: dict[str, Evidence] = field(default_factory=dict, init=False)

    @cached_property
    def names(self) -> list[str]:
        """Names from input to loss."""
        return [seen.name for seen in self.blocks]

    @cached_property
    def _place(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.names)}

    def of(self, name: str, tolerance: float) -> Evidence:
        """A block's gradients, ready to be fitted, also if they are right."""
        if name in self.evidence:
            return self.evidence[name]
        if name not in self._others:
            self._others[name] = Evidence(self._seen(name), tolerance)
        return self._others[name]

    def _named(self, status: Status) -> list[str]:
        return [seen.name for seen in self.blocks if seen.status is status]

    def _seen(self, name: str) -> Seen:
        return self.blocks[self._place[name]]

    def _bias_of(self, name: str) -> tuple[Seen, tuple[int, ...]] | None:
        """The bias beside a block, and the axes of the block that may be its units; None if there is none.

        The vector that follows next, if an extent suits, else the one that stands before.
        """
        place, shape = self._place[name], self._seen(name).shape
        for other in (place + 1, place - 1):
            if not 0 <= other < len(self.blocks) or not _is_vector(self.blocks[other].shape):
                continue
            units = max(self.blocks[other].shape, default=1)
            axes = tuple(axis for axis, extent in enumerate(shape) if extent == units)
            if axes and units > 1:
                return self.blocks[other], axes
        return None

    def weights_are_right(self, name: str) -> bool:
        """Whether a block is a vector, or one number, and weights of its layer are right: then what flows to both is right."""
        if not _is_vector(self._seen(name).shape):
            return False
        place, size = self._place[name], max(self._seen(name).shape, default=1)
        nearby = sorted(
            range(max(place - _LAYER, 0), min(place + _LAYER, len(self.blocks))), key=lambda other: abs(other - place)
        )
        alike = [self.blocks[other] for other in nearby if self.blocks[other].analytic.size > size]
        weights = next((seen for seen in alike if size == 1 or size in seen.shape), None)
        return weights is not None and weights.status is Status.AGREES

    def as_bias_sum(self, claim: Claim, examples: int | None) -> Claim:
        """The claim; of a factor of biases alone that is the number of examples, that it is one of their sum."""
        factor = claim.evidence.get("factor")
        if claim.kind != "factor" or not isinstance(factor, float) or not factor > 0.0:
            return claim
        right = [name for name in self._named(Status.AGREES) if not _is_vector(self._seen(name).shape)]
        if not right or not all(_is_vector(self._seen(name).shape) for name in claim.blocks):
            return claim
        size = max(factor, 1.0 / factor)
        integer = abs(size - round(size)) <= 1e-6 * size and round(size) >= _LEAST_EXAMPLES
        if not (integer if examples is None else examples > 1 and abs(size - examples) <= 1e-6 * size):
            return claim
        wrong, meant = ("mean", "sum") if factor < 1.0 else ("sum", "mean")
        return replace(
            claim,
            kind="bias_sum",
            cause=f"a {wrong} over {round(size)} examples where a {meant} was meant, for weights are right",
            advice="Look at the sum that forms this gradient.",
        )

    def scaled_units(self, blocks: Sequence[Evidence]) -> list[Claim]:
        """Of blocks in which each unit has a scale of its own, these, together with their biases."""
        claims = []
        for block in blocks:
            found = fit_scales(block)
            if not found:
                continue
            pair = self._bias_of(block.name)
            bias = pair[0] if pair else None
            chosen = next((scales for scales in found if bias is not None and self._has_scales(bias, scales)), None)
            claims.append(_scale_claim(block, chosen or found[0], bias.name if chosen and bias else None))
        return claims

    def _has_scales(self, bias: Seen, scales: Scales) -> bool:
        """Whether the gradient of a bias is off by the same scale of each unit."""
        evidence = self.evidence.get(bias.name)
        if evidence is None or evidence.size != len(scales.values):
            return False
        own = scales.values[evidence.places]
        return norm(np.nan_to_num(own * evidence.numeric) - evidence.analytic) <= _SAME_SCALE * norm(evidence.analytic)

    def masked_units(self, claims: Sequence[Claim]) -> list[Claim]:
        """Layers of which the same units are wrong in weights and bias: what flows into these units is wrong."""
        found = []
        by_name = {claim.blocks[0]: claim for claim in claims if claim.kind in ("rows", "columns", "entries")}
        for name, claim in by_name.items():
            pair = self._bias_of(name) if claim.kind != "entries" else None
            other = by_name.get(pair[0].name) if pair else None
            if pair is None or other is None or other.evidence.get("indices") != claim.evidence[claim.kind]:
                continue
            axis = 0 if claim.kind == "rows" else len(self._seen(name).shape) - 1
            units = [int(unit) for unit in np.ravel(np.array(claim.evidence[claim.kind]))]
            if axis not in pair[1] or claim.evidence.get("factor") == 0.0:
                continue
            common = Claim(
                kind="activation_derivative",
                blocks=(other.blocks[0], name),
                what=f"only {positions('unit', units)} of {self._seen(name).shape[axis]} are wrong, in weights and bias alike",
                cause="a slope, or a mask as of relu or dropout, that is left out or wrong for these units",
                advice=_SLOPES,
                confidence=min(0.99, claim.confidence + 0.02),
                entries=claim.entries + other.entries,
                evidence={"units": tuple(units)},
            )
            cause = "a mistake in what is passed back to these units"
            found += [common, replace(common, kind="from_above", cause=cause, confidence=min(0.98, claim.confidence + 0.01))]
        return found

    def alone(self, name: str) -> Claim:
        """That a block is wrong by itself, if nothing nearer the loss is."""
        right = self._named(Status.AGREES)
        after = [other for other in right if self._place[other] > self._place[name]]
        return _alone(name, [other for other in right if self._place[other] < self._place[name]], after)

    def bounds(self, unexplained: Sequence[str]) -> list[Claim]:
        """What the right blocks say of those that nothing explains.

        Parameters
        ----------
        unexplained : sequence of str
            Names, from input to loss.

        Returns
        -------
        list of Claim
            That the mistake lies above the nearest of them, and what else suits; none if there are none.
        """
        if not unexplained:
            return []
        nearest = unexplained[-1]
        right = self._named(Status.AGREES)
        after = [name for name in right if self._place[name] > self._place[nearest]]
        before = [name for name in right if self._place[name] < self._place[nearest]]
        blocks = list(reversed(unexplained))
        claims = [_alone(nearest, before, after) if len(blocks) == 1 else _spread(blocks, before, after)]
        wrong = self._named(Status.WRONG)
        if wrong[-1] not in unexplained:
            # What lies upstream of a mistake that is explained may follow from it.
            claims = [replace(claims[0], confidence=0.4)]
        if len(blocks) == 1 and self.weights_are_right(nearest):
            claims.append(_wrong_sum(nearest, len(self.evidence[nearest].places)))
        if len(before) <= len(unexplained):
            claims += self._slopes(blocks)
        return claims

    def _slopes(self, blocks: Sequence[str]) -> list[Claim]:
        """Whether a slope between the nearest layer and the loss seems to be left out, or wrong."""
        layer = self._nearest_layer(blocks)
        weights = layer[-1]
        if _is_vector(self._seen(weights).shape):
            return []
        pair = self._bias_of(weights)
        if pair is not None and pair[0].status is Status.AGREES:
            return []  # what reaches the layer is right
        axes = pair[1] if pair else (0, len(self._seen(weights).shape) - 1)
        for axis in axes:
            for following, basis in self._next_weights(weights, self._seen(weights).shape[axis]):
                if _lies_in(self.evidence[weights], axis, basis):
                    return [_left_out(blocks, weights, following)]
        return self._same_way(blocks, layer, axes[0])

    def _nearest_layer(self, blocks: Sequence[str]) -> list[str]:
        """The blocks that fail nearest the loss, up to the first that is no vector."""
        layer = [blocks[0]]
        for name in blocks[1:_LAYER]:
            if not _is_vector(self._seen(layer[-1]).shape):
                break
            layer.append(name)
        return layer

    def _next_weights(self, name: str, units: int) -> Iterator[tuple[str, Array]]:
        """Right matrices, and vectors, toward the loss that have the units of a block, and a basis of what they can pass back.

        Those that can pass back anything say nothing.
        """
        place = self._place[name] + 1
        for seen in self.blocks[place : place + 2 * _LAYER]:
            matrix = seen.parameter.reshape(seen.shape if len(seen.shape) == 2 else (1, -1))
            if seen.status is not Status.AGREES or units not in matrix.shape or not np.isfinite(matrix).all():
                continue
            rows = matrix if matrix.shape[1] == units else matrix.T
            if len(rows) < units:
                yield seen.name, np.linalg.svd(rows, full_matrices=False)[2]

    def _same_way(self, blocks: Sequence[str], layer: Sequence[str], axis: int) -> list[Claim]:
        """Units' gradients that point the way they should, by and large, and are of another size."""
        cosines, ratios = _by_unit(self.evidence[layer[-1]], axis)
        for name in layer[:-1]:
            cosines, ratios = (
                np.concatenate(pair) for pair in zip((cosines, ratios), _by_entry(self.evidence[name]), strict=True)
            )
        if len(cosines) < _UNITS or np.mean(cosines) < _SAME_WAY:
            return []
        larger = bool((ratios >= 1.0).all())
        size = f"{number(float(np.min(ratios)))} to {number(float(np.max(ratios)))} times as large"
        cause = "an activation's derivative that is " + ("left out" if larger else "left out, or wrong")
        return [
            Claim(
                kind="activation_derivative",
                blocks=tuple(blocks),
                what=f"units of {listed(layer)} point the way they should (mean cosine {np.mean(cosines):.2f}), {size}",
                cause=f"{cause}, between {layer[0]} and the loss",
                advice=_SLOPES,
                confidence=0.3 + 0.15 * float(np.mean(cosines)) + (0.04 if larger else 0.0),
                entries=sum(len(self.evidence[name].places) for name in layer),
                evidence={"mean_cosine": float(np.mean(cosines)), "least_ratio": float(np.min(ratios))},
            )
        ]


def _are_right(names: Sequence[str]) -> str:
    return f"{listed(names)} {'is' if len(names) == 1 else 'are'} right"


def _alone(name: str, before: Sequence[str], after: Sequence[str]) -> Claim:
    """One block alone is wrong, with no pattern."""
    others = f", and {_are_right([*before, *after])}" if before or after else ""
    itself = f"a mistake in the lines that form the gradient of {name} itself"
    return Claim(
        kind="from_above",
        blocks=(name,),
        what=f"the gradient is wrong, with no simple pattern{others}",
        cause=itself if before else f"{itself}, or in what is passed back to them",
        advice=f"Look at what is multiplied, and summed, to form the gradient of {name}.",
        confidence=0.55,
        evidence={"nearest": name, "right_nearer_the_loss": tuple(after), "right_nearer_the_input": tuple(before)},
    )


def _spread(blocks: Sequence[str], before: Sequence[str], after: Sequence[str]) -> Claim:
    """Several blocks are wrong with no pattern, given from the loss to the input."""
    nearest = blocks[0]
    if before:
        what = f"gradients are wrong, with no simple pattern, and {_are_right([*before, *after])}"
        cause = "a mistake on the way back that these share, and the others do not"
        advice = f"Look at the branch that leads to {listed(blocks)} only."
    elif after:
        what = f"gradients are wrong up to the input, with no simple pattern, and nearer the loss {_are_right(after)}"
        cause = f"a mistake in what is passed back from {after[0]} to {nearest}"
        advice = f"Look at the steps back from {after[0]} to {nearest}: products with weights, slopes of activations, sums."
    else:
        what = "gradients are wrong from the loss on, with no simple pattern"
        cause = f"a mistake where the backward pass begins, or on the way to {nearest}"
        advice = "Look at the derivative of the loss first."
    return Claim(
        kind="from_above",
        blocks=tuple(blocks),
        what=what,
        cause=cause,
        advice=advice,
        confidence=0.55 if not before else 0.5,
        evidence={"nearest": nearest, "right_nearer_the_loss": tuple(after), "right_nearer_the_input": tuple(before)},
    )


def _wrong_sum(name: str, entries: int) -> Claim:
    """A vector that alone is wrong, beside weights that are right: what flows to both is right, so its sum is not."""
    return Claim(
        kind="bias_sum",
        blocks=(name,),
        what="the gradient of this vector is wrong, and that of the weights beside it right",
        cause="a sum over the wrong axis, or over some of the examples or time steps only",
        advice="Look at the sum that forms this gradient.",
        confidence=0.5,
        entries=entries,
    )


def _left_out(blocks: Sequence[str], weights: str, following: str) -> Claim:
    return Claim(
        kind="activation_derivative",
        blocks=tuple(blocks),
        what=f"the gradient of {weights} is what {following} passes back, combined over examples but not scaled by unit",
        cause=f"the derivative of the activation between {weights} and {following} being left out",
        advice=_SLOPES,
        confidence=0.9,
        evidence={"spanned_by": following},
    )


def _lies_in(block: Evidence, axis: int, basis: Array) -> bool:
    """Whether the gradient under test lies in a span, along an axis, and the numerical one does not."""
    if block.seen.places is not None:
        return False
    outside = []
    for values in (block.seen.analytic, block.seen.numeric):
        units = np.moveaxis(values.reshape(block.shape), axis, 0).reshape(block.shape[axis], -1) / block.scale
        left = units - basis.T @ (basis @ units)
        outside.append(norm(left.reshape(-1)) / max(norm(units.reshape(-1)), np.finfo(np.float64).tiny))
    return outside[0] <= _INSIDE and outside[1] >= _OUTSIDE


def _is_vector(shape: tuple[int, ...]) -> bool:
    """Whether no more than one extent is above 1."""
    return sum(extent > 1 for extent in shape) < 2


def _by_unit(block: Evidence, axis: int) -> tuple[Array, Array]:
    """For each unit the cosine between the two gradients, and the ratio of their sizes along the numerical one."""
    index = block.along(axis)
    squares = np.bincount(index, block.numeric**2)
    products = np.bincount(index, block.numeric * block.analytic)
    tested = np.bincount(index, block.analytic**2)
    known = (squares > 0.0) & (tested > 0.0)
    return products[known] / np.sqrt(squares[known] * tested[known]), products[known] / squares[known]


def _by_entry(block: Evidence) -> tuple[Array, Array]:
    """The same of a vector, each entry of which is a unit."""
    ratios = block.analytic[block.signal] / block.numeric[block.signal]
    ratios = ratios[np.isfinite(ratios)]
    return np.sign(ratios), ratios


def _scale_claim(block: Evidence, scales: Scales, bias: str | None) -> Claim:
    """A scale for each unit; if all are nearly 1, a constant that is added to what they are divided by."""
    values = scales.values[np.isfinite(scales.values)]
    noun = ("row", "column")[scales.axis] if len(block.shape) == 2 else f"slice along axis {scales.axis}"
    low, high = f"{np.min(values):.7g}", f"{np.max(values):.7g}"
    near = bool((np.abs(values - 1.0) <= SMALL).all())
    same = f", and those of {bias} with it" if bias else ""
    cause = "a slope of an activation, or another scale of each unit, that is left out, wrong or counted twice"
    return Claim(
        kind="guard" if near else "activation_derivative",
        blocks=(bias, block.name) if bias else (block.name,),
        what=f"each {noun} of the gradient is a constant of its own ({low} to {high}) times the numerical one{same}",
        cause="a norm's ε, or another small constant, that is in the cost or in the gradient alone" if near else cause,
        advice=_SLOPES if not near else "Compare guards against division by zero in the forward and in the backward pass.",
        confidence=(0.97 if bias else 0.8) * certainty(scales.misfit, scales.entries, len(values)),
        misfit=scales.misfit,
        entries=scales.entries,
        evidence={"units": len(values), "least_scale": float(np.min(values)), "largest_scale": float(np.max(values))},
    )
