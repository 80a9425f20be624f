"""What several blocks say together: which of them are right, and which belong to one layer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from gradsweep._evidence import Claim, Evidence, Seen, certainty, listed, number
from gradsweep._proportions import Scales, fit_scales
from gradsweep._types import Array
from gradsweep._verdict import Status, norm

# Two blocks have the same scale of a unit if they differ by less than this, relatively.
_SAME_SCALE = 1e-5

# Cosine between the two gradients of a unit from which on they point the same way; share of units of which that must hold.
_SAME_WAY, _MOST_UNITS = 0.5, 0.8

# Factors that a mean over examples makes of a bias, if the number of examples is not known, are at least this.
_LEAST_EXAMPLES = 3


@dataclass(frozen=True, eq=False)
class Layers:
    """The blocks of a network, from input to loss.

    Attributes
    ----------
    blocks : sequence of Seen
        All of them.
    evidence : mapping of str to Evidence
        Those that are wrong.
    """

    blocks: Sequence[Seen]
    evidence: Mapping[str, Evidence]

    @property
    def names(self) -> list[str]:
        """Names from input to loss."""
        return [seen.name for seen in self.blocks]

    def _named(self, status: Status) -> list[str]:
        return [seen.name for seen in self.blocks if seen.status is status]

    def bias_of(self, name: str) -> tuple[Seen, tuple[int, ...]] | None:
        """The bias beside a block, and the axes of the block that may be its units; None if there is none.

        The vector that follows next, if an extent suits, else the one that stands before.
        """
        place = self.names.index(name)
        shape = self.blocks[place].shape
        for other in (place + 1, place - 1):
            if not 0 <= other < len(self.blocks) or not _is_vector(self.blocks[other].shape):
                continue
            units = max(self.blocks[other].shape, default=1)
            axes = tuple(axis for axis, extent in enumerate(shape) if extent == units)
            if axes and units > 1:
                return self.blocks[other], axes
        return None

    def as_bias_sum(self, claim: Claim, examples: int | None) -> Claim:
        """A factor of biases alone is one of their sum over the examples, if it is their number."""
        factor = claim.evidence.get("factor")
        if claim.kind != "factor" or not isinstance(factor, float) or not factor > 0.0:
            return claim
        shapes = {seen.name: seen.shape for seen in self.blocks}
        right = [name for name in self._named(Status.AGREES) if not _is_vector(shapes[name])]
        if not right or not all(_is_vector(shapes[name]) for name in claim.blocks):
            return claim
        size = max(factor, 1.0 / factor)
        mean = (
            abs(size - examples) <= 1e-6 * size
            if examples
            else size >= _LEAST_EXAMPLES and abs(size - round(size)) <= 1e-6 * size
        )
        if not mean or round(size) < 2:
            return claim
        wrong, meant = ("mean", "sum") if factor < 1.0 else ("sum", "mean")
        return replace(
            claim,
            kind="bias_sum",
            cause=f"a {wrong} over {round(size)} examples where a {meant} was meant, for weights are right",
            advice="Look at the sum that forms this gradient.",
            confidence=min(1.0, claim.confidence + 0.005),
        )

    def scaled_units(self, blocks: Sequence[Evidence]) -> list[Claim]:
        """Blocks in which each unit has a scale of its own, together with their biases."""
        claims = []
        for block in blocks:
            found = fit_scales(block)
            if not found:
                continue
            pair = self.bias_of(block.name)
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

    def bounds(self, unexplained: Sequence[str]) -> list[Claim]:
        """What the right blocks say of those that nothing explains."""
        wrong, right = self._named(Status.WRONG), self._named(Status.AGREES)
        last = wrong[-1] if wrong else ""
        # What lies upstream of a mistake that is explained follows from it.
        if not unexplained or (last not in unexplained and len(unexplained) < len(wrong) and self._leads_to(last, unexplained)):
            return []
        nearest = unexplained[-1]
        place = {name: position for position, name in enumerate(self.names)}
        after = [name for name in right if place[name] > place[nearest]]
        before = [name for name in right if place[name] < place[nearest]]
        claims = [self._bound(list(reversed(unexplained)), before, after)]
        if len(unexplained) == 1:
            claims += self._of_one_bias(nearest)
        elif not before or len(before) < len(unexplained):
            claims += self._same_way(list(reversed(unexplained)), after)
        return claims

    def _leads_to(self, last: str, unexplained: Sequence[str]) -> bool:
        """Whether all that is not explained lies before an explained block, so that it may follow from the same mistake."""
        names = self.names
        return all(names.index(name) < names.index(last) for name in unexplained)

    def _bound(self, blocks: list[str], before: list[str], after: list[str]) -> Claim:
        """One finding of the blocks that fail, from the loss to the input."""
        entries = sum(len(self.evidence[name].places) for name in blocks)
        nearest = blocks[0]
        confidence = 0.55
        if len(blocks) == 1:
            what = "the gradient is wrong, with no simple pattern" + (
                f", and {listed([*before, *after])} are right" if before or after else ""
            )
            cause = f"a mistake in the lines that form the gradient of {nearest} itself"
            advice = f"Look at what is multiplied, or summed, to form the gradient of {nearest}."
            if not before:
                cause += ", or between it and what is right"
        elif not before:
            what = "gradients are wrong up to the input, with no simple pattern" + (
                f", and nearer the loss {listed(after)} right" if after else ""
            )
            what = (
                what.replace(f"{listed(after)} right", f"{listed(after)} {'is' if len(after) == 1 else 'are'} right")
                if after
                else what
            )
            between = f"between {after[0]} and {nearest}" if after else f"at the loss, or where it reaches {nearest}"
            cause = f"a mistake in what is passed back {between}"
            advice = f"Look at the steps of the backward pass {between}: products with weights, slopes of activations, sums."
        else:
            what = f"gradients are wrong, with no simple pattern, and {listed([*before, *after])} right"
            cause = f"a mistake on the way back to {listed(blocks)} alone, which the others do not share"
            advice = "Look at the branch that leads to these blocks only."
            confidence = 0.5
        return Claim(
            kind="from_above",
            blocks=tuple(blocks),
            what=what,
            cause=cause,
            advice=advice,
            confidence=confidence,
            entries=entries,
            evidence={"nearest": nearest, "right_nearer_the_loss": tuple(after), "right_nearer_the_input": tuple(before)},
        )

    def _of_one_bias(self, name: str) -> list[Claim]:
        """A bias that alone is wrong, beside weights that are right: what flows through is right, so its sum is not."""
        block = self.evidence[name]
        shapes = {seen.name: seen.shape for seen in self.blocks}
        weights = [right for right in self._named(Status.AGREES) if not _is_vector(shapes[right])]
        extents = {extent for right in weights for extent in shapes[right]}
        if not block.is_vector or not extents & set(block.shape):
            return []
        return [
            Claim(
                kind="bias_sum",
                blocks=(name,),
                what=f"the gradient of this vector is wrong, and that of {listed(weights)} right",
                cause="a sum over the wrong axis, or over some of the examples or time steps only",
                advice="Look at the sum that forms this gradient.",
                confidence=0.5,
                entries=len(block.places),
            )
        ]

    def _same_way(self, blocks: list[str], after: list[str]) -> list[Claim]:
        """Units' gradients that point the same way as they should, and are of another size: slopes that are left out or wrong."""
        nearest = blocks[0]
        weights = next((name for name in blocks if not self.evidence[name].is_vector), None)
        if weights is None or (weights != nearest and self.names.index(nearest) - self.names.index(weights) > 1):
            return []
        block = self.evidence[weights]
        pair = self.bias_of(weights)
        axis = pair[1][0] if pair else 0
        cosines, ratios = _by_unit(block, axis)
        if len(cosines) < 2 or np.mean(cosines > _SAME_WAY) < _MOST_UNITS:
            return []
        larger = bool((ratios > 1.0).all())
        axes = "units' gradients"
        ratio = f"{number(float(ratios.min()))} to {number(float(ratios.max()))}"
        return [
            Claim(
                kind="activation_derivative",
                blocks=tuple(blocks),
                what=f"{axes} of {weights} point the way they should (cosines from {cosines.min():.2f}), {ratio} times as large",
                cause="an activation's derivative that is "
                + ("left out" if larger else "left out or wrong")
                + f" between {weights} and the loss",
                advice="Compare each activation with its derivative, and with what the derivative is taken at.",
                confidence=0.45 if larger else 0.4,
                entries=len(block.places),
                evidence={
                    "least_cosine": float(cosines.min()),
                    "least_ratio": float(ratios.min()),
                    "largest_ratio": float(ratios.max()),
                },
            )
        ]


def _is_vector(shape: tuple[int, ...]) -> bool:
    """Whether no more than one extent is above 1."""
    return sum(extent > 1 for extent in shape) < 2


def _by_unit(block: Evidence, axis: int) -> tuple[Array, Array]:
    """For each unit the cosine between the two gradients, and the ratio of their sizes along the numerical one."""
    index, extent = block.along(axis), block.shape[axis]
    squares = np.bincount(index, block.numeric**2, extent)
    products = np.bincount(index, block.numeric * block.analytic, extent)
    tested = np.bincount(index, block.analytic**2, extent)
    known = (squares > 0.0) & (tested > 0.0)
    return products[known] / np.sqrt(squares[known] * tested[known]), products[known] / squares[known]


def _scale_claim(block: Evidence, scales: Scales, bias: str | None) -> Claim:
    """A scale for each unit."""
    values = scales.values[np.isfinite(scales.values)]
    noun = ("row", "column")[scales.axis] if len(block.shape) == 2 else f"slice along axis {scales.axis}"
    low, high = number(float(values.min())), number(float(values.max()))
    same = f", and those of {bias} with it" if bias else ""
    return Claim(
        kind="activation_derivative",
        blocks=(bias, block.name) if bias else (block.name,),
        what=f"each {noun} of the gradient is a constant of its own ({low} to {high}) times the numerical one{same}",
        cause="a slope of an activation, or another scale of each unit, that is left out, wrong or counted twice",
        advice="Compare each activation with its derivative, and look for gains and deviations that scale units.",
        confidence=(0.97 if bias else 0.8) * certainty(scales.misfit, scales.entries, len(values)),
        misfit=scales.misfit,
        entries=scales.entries,
        evidence={"units": len(values), "least_scale": float(values.min()), "largest_scale": float(values.max())},
    )
