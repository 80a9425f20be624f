"""The diagnosis: which mistake the evidence of failing blocks is consistent with.

Each failing block is fitted by itself, simple explanations first; what is said of several blocks alike becomes one finding; and
what no fit explains is bounded by which blocks are right: errors spread toward the input only.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np

from gradsweep._diagnosis._confinement import (
    fit_confined,
    fit_one_number,
    fit_sum,
    fit_zero,
    say_accumulated,
    say_at_kinks,
    say_not_finite,
)
from gradsweep._diagnosis._evidence import Claim, Evidence, Finding, Seen
from gradsweep._diagnosis._network_evidence import Layers
from gradsweep._diagnosis._proportions import (
    Numbers,
    fit_factor,
    fit_factor_and_term,
    fit_missing_term,
    fit_parameter_as_factor,
    fit_small_gap,
)
from gradsweep._diagnosis._rearrangements import fit_lookup, fit_order, fit_other_block
from gradsweep._verdict import Status

#: The kinds of findings, those first that are preferred among equally convincing ones.
KINDS = (
    "non_finite",
    "zero",
    "accumulated",
    "factor",
    "transposed",
    "permuted",
    "missing_term",
    "bias_sum",
    "rows",
    "columns",
    "entries",
    "activation_derivative",
    "from_above",
    "precision",
    "guard",
    "kink",
)

# Findings that are kept, and what a finding must explain of ‖g − ĝ‖² if it is a fit.
_MOST, _LEAST_EXPLAINED = 6, 0.9

# Share of the rows of a block from which on most of it is wrong.
_MOST_OF_IT = 0.5

# Confidence from which on a block counts as explained.
_CONVINCING = 0.5

# Kinds that are told by how small a gap is; fewer entries than these may be close by chance, which leaves so much confidence.
_SMALL_GAPS, _SOME, _DOUBTFUL = ("guard", "precision"), 4, 0.3

# Blocks that another one's gradient is looked for among, at most.
_COMPARED = 256

_FAILING = (Status.WRONG, Status.AT_KINKS, Status.NOT_FINITE)


def diagnose(blocks: Sequence[Seen], tolerance: float, *, order: Sequence[str] = ()) -> tuple[Finding, ...]:
    """Say which mistake the evidence is consistent with.

    Parameters
    ----------
    blocks : sequence of Seen
        All blocks, failing or not.
    tolerance : float
        Relative, of entries.
    order : sequence of str, optional
        Names of blocks from input to loss; those that it lacks are taken to stand before. Default: as given.

    Returns
    -------
    tuple of Finding
        The most convincing first, at most six; none if no block fails.

    Examples
    --------
    >>> import numpy as np
    >>> numeric = np.array([[0.5, -1.0], [2.0, 0.25]])
    >>> seen = Seen("W1", (2, 2), Status.WRONG, np.ones((2, 2)), 2 * numeric, None, numeric, np.zeros((2, 2)))
    >>> print(diagnose([seen], 1e-7)[0].message)
    W1: the gradient is 2.0 times the numerical one: consistent with a term that is counted twice, or a half that is missing
    """
    given = {name: place for place, name in enumerate(order)}
    ordered = sorted(blocks, key=lambda seen: given.get(seen.name, -1))
    if all(seen.status not in _FAILING for seen in ordered):
        return ()
    with np.errstate(all="ignore"):
        claims = _merged(_claims(ordered, tolerance), [seen.name for seen in ordered])
    findings = [_with_few_entries(claim.finding()) for claim in claims]
    findings = [each for each in findings if each.confidence > 0.0]
    findings = [each for each in findings if math.isnan(each.explained) or each.explained >= _LEAST_EXPLAINED]
    findings.sort(key=lambda finding: (-round(finding.confidence, 3), KINDS.index(finding.kind)))
    return tuple(findings[:_MOST])


def _with_few_entries(finding: Finding) -> Finding:
    """The finding, with little confidence if it is about a small gap of some numbers, which may be small by chance."""
    entries = finding.evidence.get("entries")
    if finding.kind in _SMALL_GAPS and isinstance(entries, int) and entries < _SOME:
        return replace(finding, confidence=min(finding.confidence, _DOUBTFUL))
    return finding


def _claims(blocks: Sequence[Seen], tolerance: float) -> list[Claim]:
    """All that is said of single blocks, or of several."""
    failing = [seen for seen in blocks if seen.status in _FAILING]
    claims = [claim for seen in blocks if (claim := say_accumulated(seen))]
    claims += [say_at_kinks(seen) for seen in failing if seen.status is Status.AT_KINKS]
    not_finite = [claim for seen in failing if (claim := say_not_finite(seen))]
    claims += not_finite
    left = {seen.name for seen in failing if seen.status is Status.WRONG} - {claim.blocks[0] for claim in not_finite}
    evidence = {seen.name: Evidence(seen, tolerance) for seen in blocks if seen.name in left and seen.numeric.size}
    layers = Layers(blocks, evidence)
    numbers = Numbers(
        examples=next((seen.examples for seen in blocks if seen.examples), None),
        extents=tuple(dict.fromkeys(extent for seen in blocks for extent in seen.shape)),
    )
    fitted = [claim for block in evidence.values() for claim in _explanations(block, layers, numbers)]
    known = {name for claim in fitted for name in claim.blocks}
    fitted += layers.scaled_units([block for block in evidence.values() if block.name not in known])
    claims += layers.masked_units(fitted)
    claims += [replace(layers.alone(claim.blocks[0]), confidence=_CONVINCING) for claim in fitted if _is_unexplained_part(claim)]
    claims += [layers.as_bias_sum(claim, numbers.examples) for claim in _merged(fitted, layers.names)]
    convincing = {name for claim in claims if claim.confidence >= _CONVINCING for name in claim.blocks}
    unexplained = [block for name, block in evidence.items() if name not in convincing]
    small = [found for block in unexplained if (found := fit_small_gap(block))]
    if 2 * len(small) >= len(unexplained):
        # Less than that, and small gaps are what is left upstream of a large one.
        claims += [claim for found in small for claim in found]
    return claims + layers.bounds([block.name for block in unexplained])


def _is_unexplained_part(claim: Claim) -> bool:
    """Whether most of a block is wrong, all of it along some rows or columns, and with no pattern there."""
    share = claim.evidence.get("share")
    return (
        claim.kind in ("rows", "columns") and "factor" not in claim.evidence and isinstance(share, float) and share > _MOST_OF_IT
    )


def _explanations(block: Evidence, layers: Layers, numbers: Numbers) -> list[Claim]:
    """The first explanation of a block that fits, and where its error is if one number alone is explained."""
    first = _explanation(block, layers, numbers)
    if first is None:
        return []
    confined = fit_confined(block) if first.entries == 1 else None
    return [first] if confined is None or confined.kind == first.kind else [first, confined]


def _explanation(block: Evidence, layers: Layers, numbers: Numbers) -> Claim | None:
    """The first explanation of a block that fits, the simplest first."""
    return (
        fit_zero(block)
        or fit_factor(block, numbers)
        or fit_one_number(block)
        or _from_other_block(block, layers)
        or fit_order(block)
        or fit_missing_term(block)
        or fit_parameter_as_factor(block)
        or fit_lookup(block)
        or (fit_sum(block) if layers.weights_are_right(block.name) else None)
        or fit_confined(block)
        or fit_factor_and_term(block, numbers)
    )


def _from_other_block(block: Evidence, layers: Layers) -> Claim | None:
    """The gradient is the numerical one of another block."""
    alike = [seen.name for seen in layers.blocks if seen.shape == block.shape and seen.name != block.name]
    other = fit_other_block(block, [layers.of(name, block.tolerance) for name in alike[:_COMPARED]])
    if other is None:
        return None
    both = other.name in layers.evidence
    return Claim(
        kind="permuted",
        blocks=(block.name,),
        what=f"the gradient is the numerical one of {other.name}",
        cause="gradients that are returned in the wrong order"
        if both
        else f"one gradient that is given for {other.name} as well",
        advice="Look at the names, or the order, under which gradients are returned.",
        confidence=0.99,
        key="given for another",
        misfit=0.0,
        entries=len(other.places),
        evidence={block.name: other.name},
    )


def _merged(claims: Sequence[Claim], names: Sequence[str]) -> list[Claim]:
    """Claims of one kind and key as one, its blocks from the loss to the input."""
    groups: dict[Hashable, list[Claim]] = {}
    for claim in claims:
        alone = claim.key is None
        groups.setdefault((claim.kind, claim.blocks if alone else claim.key), []).append(claim)
    place = {name: position for position, name in enumerate(names)}
    return [_one_of(group, place) for group in groups.values()]


def _together(group: Sequence[Claim]) -> float:
    """Confidence in what was fitted to several blocks with the same outcome: that all of them mislead is less likely than one."""
    return 1.0 - math.prod(1.0 - claim.confidence for claim in group)


def _one_of(group: Sequence[Claim], place: dict[str, int]) -> Claim:
    """One claim of several that say the same."""
    if len(group) == 1:
        return group[0]
    blocks = sorted({name for claim in group for name in claim.blocks}, key=lambda name: -place[name])
    first = max(group, key=lambda claim: claim.entries)
    what = first.what
    if first.key == "given for another":
        what = "each gradient is the numerical one of another block, in this order of " + ", ".join(
            str(value) for claim in sorted(group, key=lambda claim: -place[claim.blocks[0]]) for value in claim.evidence.values()
        )
    misfits = [claim.misfit for claim in group if not math.isnan(claim.misfit)]
    return replace(
        first,
        blocks=tuple(blocks),
        what=what,
        confidence=max(claim.confidence for claim in group) if not misfits else _together(group),
        misfit=max(misfits, default=math.nan),
        entries=sum(claim.entries for claim in group),
        evidence={name: value for claim in reversed(group) for name, value in claim.evidence.items()},
    )
