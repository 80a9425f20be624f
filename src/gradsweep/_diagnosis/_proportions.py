"""Fits of one block whose gradient, or gap, is in proportion to something: a factor, a penalty, a scale of each unit."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gradsweep._diagnosis._evidence import Claim, Evidence, Mask, certainty, number
from gradsweep._types import Array
from gradsweep._verdict import norm

# A gap below this share of the gradient is small: a guard against division by zero, a rounding, another form of a function.
SMALL = 2e-3

# Integers up to which a factor, or its inverse, is one, however small the chance.
_INTEGERS = 10**6

# By how much a factor may be off one that has a meaning, at least and at most.
_OFF = (1e-8, 1e-3)

# Entries by which two numbers are fitted, at least, and from which on a gap may be the same in each.
_TWO_FITTED, _ANY_TERM = 6, 3

# Cosine between gap and gradient beyond which the gap is not rounding: in roots of the number of entries, and as such.
_ROOTS, _ALIKE = 4.0, 0.8

# Values of fewer binary digits are such as 0.5 or 3: no rounded ones.
_LEAST_DIGITS = 5

# Of a block of one entry anything is a multiple: no more than this confidence.
_ONE_ENTRY = 0.4

# Standard errors by which a factor may be off, and the most of them, between two integers, by which an integer is still known.
_ERRORS, _BETWEEN_INTEGERS = 5.0, 0.05

# Extents of which the products of two are thought of.
_MULTIPLIED = 12

# Integers up to which a factor that is one, or its inverse, is no chance.
_TELLING_INTEGERS = 1000

# Entries from which on also a factor that has no meaning says something.
_TELLING = 4

# Share of the entries above the noise from which on what holds for them is said of the block.
_MAJORITY = 0.5


@dataclass(frozen=True)
class Meaning:
    """What a factor may mean.

    Attributes
    ----------
    value : float
        The factor, as it would be but for rounding.
    cause : str
        What it is consistent with.
    known : bool
        Whether it is a number of this network, a common slip or a small integer, and not just any number.
    """

    value: float
    cause: str
    known: bool = True

    def with_sign_of(self, factor: float) -> "Meaning":
        """The same of a factor that may be negative."""
        if factor > 0.0:
            return self
        return Meaning(-self.value, f"{self.cause} and a wrong sign" if self.cause else "a wrong sign", self.known)


@dataclass(frozen=True)
class Numbers:
    """Numbers of a network that a factor may be made of.

    Attributes
    ----------
    examples : int or None
        Number of examples, if it is known.
    extents : tuple of int
        Extents of the blocks.
    """

    examples: int | None
    extents: tuple[int, ...]

    def meaning(self, factor: float, own: Sequence[int], off: float) -> Meaning:
        """What a factor means.

        Parameters
        ----------
        factor : float
            As it was fitted.
        own : sequence of int
            Extents of the block itself, which are thought of first.
        off : float
            By how much it may be off, relatively.

        Returns
        -------
        Meaning
            That of the first number that is near enough; if there is none, that of an unknown factor.
        """
        size, room = abs(factor), min(max(off, _OFF[0]), _OFF[1])
        for meaning in itertools.chain(self._known(own), _integer(size, room)):
            if abs(size - meaning.value) <= room * meaning.value:
                return meaning.with_sign_of(factor)
        return Meaning(factor, "a constant that is missing, or counted twice", known=False)

    def _known(self, own: Sequence[int]) -> Iterator[Meaning]:
        """Numbers that have a meaning, the likeliest first."""
        yield Meaning(1.0, "")
        m = self.examples or 1
        if m > 1:
            yield Meaning(float(m), f"a mean over {m} examples that is missing")
            yield Meaning(1.0 / m, f"a mean over {m} examples where a sum was meant, or one that is taken twice")
        yield Meaning(2.0, "a term that is counted twice, or a half that is missing")
        yield Meaning(0.5, "a missing 2, as from the derivative of a square, or a half that is too many")
        if m > 1:
            yield Meaning(m / (m - 1), f"a division by {m - 1} in place of {m}")
            yield Meaning((m - 1) / m, f"a division by {m} in place of {m - 1}")
        extents = [extent for extent in dict.fromkeys([*own, *self.extents]) if extent > 2]
        for extent in extents:
            yield Meaning(float(extent), f"a mean over {extent}, an extent of these blocks, that is missing")
            yield Meaning(1.0 / extent, f"a mean over {extent}, an extent of these blocks, where a sum was meant")
        for extent in extents:
            yield Meaning(math.sqrt(extent), f"a scale of 1/√{extent} that is missing, {extent} an extent of these blocks")
            yield Meaning(
                1 / math.sqrt(extent), f"a scale of 1/√{extent} that is applied twice, {extent} an extent of these blocks"
            )
        pairs = itertools.combinations_with_replacement(extents[:_MULTIPLIED], 2)
        for one, other in itertools.chain(((m, extent) for extent in extents), pairs):
            product = f"{one}·{other} = {one * other}"
            yield Meaning(float(one * other), f"a mean over {product} that is missing")
            yield Meaning(1.0 / (one * other), f"a mean over {product} where a sum was meant")


def _integer(size: float, room: float) -> Iterator[Meaning]:
    """The integer that is nearest to a size, or to its inverse, if it can be told from the next."""
    if not 1.0 / _INTEGERS <= size <= _INTEGERS:
        return
    integer = round(max(size, 1.0 / size))
    if room * integer > _BETWEEN_INTEGERS:
        return
    known = integer <= _TELLING_INTEGERS
    if size > 1.0:
        yield Meaning(float(integer), f"a mean over {integer} that is missing, or a sum that has one term {integer} times", known)
    else:
        yield Meaning(1.0 / integer, f"a mean over {integer} where a sum was meant", known)


def fit_factor(block: Evidence, numbers: Numbers) -> Claim | None:
    """The gradient is a constant times the numerical one, in all entries or in most.

    Parameters
    ----------
    block : Evidence
        The block.
    numbers : Numbers
        What the factor may be made of.

    Returns
    -------
    Claim or None
        None if it is not.
    """
    for on in (block.signal, block.differs & block.signal):
        fitted = factor_on(block, on)
        if fitted is None or np.count_nonzero(on) < _MAJORITY * np.count_nonzero(block.signal):
            continue
        factor, misfit = fitted
        entries = int(np.count_nonzero(on))
        # Standard error of the factor, were what is left random.
        error = misfit * abs(factor - 1.0) / (abs(factor) * math.sqrt(entries))
        if _ERRORS * error >= 1.0:
            return None  # it may as well be 0
        meaning = numbers.meaning(factor, block.shape, _ERRORS * error)
        if abs(meaning.value - 1.0) <= SMALL and (meaning.value == 1.0 or not meaning.known):
            return _uniform_guard(block, factor, misfit, entries)
        if entries == 1 and not meaning.known:
            return None
        some = "" if entries == np.count_nonzero(block.signal) else f" in {entries:,} entries, the others are right"
        confidence = certainty(misfit, entries, 0 if meaning.known else 1)
        if entries == 1 or (entries < _TELLING and not meaning.known):
            # Any factor fits one entry, and one that means nothing may well fit two.
            confidence = min(confidence, _ONE_ENTRY)
        return Claim(
            kind="factor",
            blocks=(block.name,),
            what=f"the gradient is {number(meaning.value)} times the numerical one{some}{block.looked_at()}",
            cause=meaning.cause,
            advice="Look for this factor where the gradient is scaled.",
            confidence=confidence,
            key=float(f"{meaning.value:.6g}"),
            misfit=misfit,
            entries=entries,
            evidence={"factor": factor},
        )
    return None


def factor_on(block: Evidence, on: Mask) -> tuple[float, float] | None:
    """Factor and misfit by which some entries of the gradient are a constant times the numerical one; None if they are not."""
    numeric, analytic = block.numeric[on], block.analytic[on]
    squares = float(numeric @ numeric)
    if not squares:
        return None
    factor = float(analytic @ numeric) / squares
    misfit = block.misfit(analytic - factor * numeric, on)
    return (factor, misfit) if factor and misfit <= block.may_be_left(on) else None


def _uniform_guard(block: Evidence, factor: float, misfit: float, entries: int) -> Claim:
    """The gradient is a constant times the numerical one that is all but 1."""
    return Claim(
        kind="guard",
        blocks=(block.name,),
        what=f"the gradient is 1 {'+' if factor > 1 else '−'} {abs(factor - 1.0):.3g} times the numerical one",
        cause="a small constant, as of log(p + 1e-7) or a norm's ε, that is in the cost or in the gradient alone",
        advice="Compare the guards against division by zero in the forward and in the backward pass.",
        confidence=0.9 * certainty(misfit, entries, 1),
        key="uniform",
        misfit=misfit,
        entries=entries,
        evidence={"factor": factor, "relative_gap": block.relative_gap},
    )


def fit_parameter_as_factor(block: Evidence) -> Claim | None:
    """The gradient is the numerical one times or over the parameter, or its exponential: with respect to something else."""
    theta, on = block.parameter, block.signal
    if not np.isfinite(theta).all() or (len(theta) > 1 and np.ptp(theta) <= 1e-6 * np.max(np.abs(theta))):
        return None
    with np.errstate(all="ignore"):
        kinds = {
            "the numerical one times the parameter": (theta, "a gradient with respect to the parameter's logarithm"),
            "the numerical one over the parameter": (1.0 / theta, "a parameter that is a logarithm, without its own derivative"),
            "the numerical one over exp(parameter)": (
                np.exp(-theta),
                "a gradient with respect to exp(parameter), not to the parameter",
            ),
            "the numerical one times exp(parameter)": (np.exp(theta), "a derivative of exp that is taken twice"),
        }
        for words, (weights, cause) in kinds.items():
            misfit = block.misfit((block.analytic - weights * block.numeric)[on], on)
            if misfit <= block.may_be_left(on):
                return Claim(
                    kind="factor",
                    blocks=(block.name,),
                    what=f"the gradient is {words}{block.looked_at()}",
                    cause=cause,
                    advice="Apply the chain rule to how the parameter enters.",
                    confidence=0.95 * certainty(misfit, int(np.count_nonzero(on)), 0),
                    key=words,
                    misfit=misfit,
                    entries=int(np.count_nonzero(on)),
                    evidence={"factor": words},
                )
    return None


def fit_missing_term(block: Evidence) -> Claim | None:
    """The gap is in proportion to the parameter, to its sign, or constant, wherever the two differ."""
    entries = int(np.count_nonzero(block.differs))
    terms = {"parameter": block.parameter}
    if entries >= _ANY_TERM:
        terms |= {"sign of the parameter": np.sign(block.parameter), "constant": np.ones(len(block.places))}
    for words, term in terms.items():
        fitted = _slope(block, term, block.differs)
        if fitted is None or (entries == 1 and not _is_round(fitted[0])):
            continue
        slope, misfit = fitted
        confidence = certainty(misfit, entries, 1)
        return Claim(
            kind="missing_term",
            blocks=(block.name,),
            what=f"the gradient less the numerical one is {_describe_term(slope, words)}{block.looked_at()}",
            cause=_cause_of_term(slope, words),
            advice="Compare the penalty in the cost with its derivative in the gradient, block by block.",
            confidence=_ONE_ENTRY if entries == 1 else confidence,
            key=(words, float(f"{slope:.6g}")),
            misfit=misfit,
            entries=entries,
            evidence={"coefficient": slope, "term": words},
        )
    return None


def _is_round(value: float) -> bool:
    """Whether a coefficient has no more than two digits, as those have that people choose."""
    return abs(value - float(f"{value:.1e}")) <= 1e-7 * abs(value)


def _slope(block: Evidence, term: Array, on: Mask) -> tuple[float, float] | None:
    """Coefficient and misfit by which the gap is in proportion to a term; None if it is not."""
    size = norm(term[on])
    if not size or not math.isfinite(size):
        return None
    unit = term[on] / size
    slope = float(block.gap[on] @ unit)
    misfit = block.misfit(block.gap[on] - slope * unit, on)
    return (slope / size * block.scale, misfit) if misfit <= block.may_be_left(on) else None


def _describe_term(slope: float, words: str) -> str:
    return f"{number(slope)} in every entry" if words == "constant" else f"{number(slope)} times the {words}"


def _cause_of_term(slope: float, words: str) -> str:
    if words == "constant":
        return "a term linear in the parameter that is " + ("missing" if slope < 0 else "not in the cost")
    penalty = "weight decay" if words == "parameter" else "an L1 penalty"
    size = number(abs(slope))
    if slope < 0:
        return f"{penalty} of λ = {size} that is missing, or one of half of it that has the wrong sign"
    return f"{penalty} of λ = {size} that the cost does not have, or that is counted twice"


def fit_factor_and_term(block: Evidence, numbers: Numbers) -> Claim | None:
    """The gradient is a constant times the numerical one, but for a term in proportion to the parameter; in most entries."""
    for on in (block.signal, block.differs & block.signal):
        entries = int(np.count_nonzero(on))
        fitted = _two_slopes(block, on)
        if fitted is None or entries < _MAJORITY * np.count_nonzero(block.signal):
            continue
        factor, slope, misfit = fitted
        if abs(factor) * norm(block.numeric[on]) <= block.may_be_left(on) * norm(block.gap[on]):
            return _penalty_alone(block, slope, misfit, entries)
        meaning, some = numbers.meaning(factor, block.shape, _ERRORS * misfit), block.looked_at()
        if meaning.value == 1.0:
            return None
        return Claim(
            kind="factor",
            blocks=(block.name,),
            what=f"the gradient is {number(meaning.value)} times the numerical one and {number(slope)} times the parameter{some}",
            cause=f"{meaning.cause}, while a penalty on the parameter is not scaled so",
            advice="Look for this factor where the gradient is scaled, apart from the penalty.",
            confidence=0.95 * certainty(misfit, entries, 2),
            key=float(f"{meaning.value:.6g}"),
            misfit=misfit,
            entries=entries,
            evidence={"factor": factor, "coefficient": slope},
        )
    return None


def _penalty_alone(block: Evidence, slope: float, misfit: float, entries: int) -> Claim:
    """The gradient is in proportion to the parameter, and the rest of the numerical one is not in it."""
    return Claim(
        kind="zero",
        blocks=(block.name,),
        what=f"the gradient is {number(slope)} times the parameter, and nothing else{block.looked_at()}",
        cause="a penalty alone: a gradient of the rest that is never computed, or a path that is cut",
        advice="Look whether this gradient is assigned at all, and under which name.",
        confidence=0.95 * certainty(misfit, entries, 1),
        key=("penalty alone", float(f"{slope:.6g}")),
        misfit=misfit,
        entries=entries,
        evidence={"coefficient": slope},
    )


def _two_slopes(block: Evidence, on: Mask) -> tuple[float, float, float] | None:
    """Coefficients of the numerical gradient and of the parameter in the gradient, and the misfit; None if they are not all."""
    size = norm(block.parameter[on])
    if np.count_nonzero(on) < _TWO_FITTED or not size or not math.isfinite(size):
        return None
    columns = np.column_stack([block.numeric[on], block.parameter[on] / size])
    solution, _, rank, _ = np.linalg.lstsq(columns, block.analytic[on])
    misfit = block.misfit(block.analytic[on] - columns @ solution, on)
    if rank < 2 or misfit > block.may_be_left(on):
        return None
    return float(solution[0]), float(solution[1]) / size * block.scale, misfit


@dataclass(frozen=True, eq=False)
class Scales:
    """A scale for each index along an axis, by which the gradient is the numerical one.

    Attributes
    ----------
    axis : int
        The axis.
    values : array of shape (extent,)
        The scales; NaN where nothing is known.
    misfit : float
        What they leave of the gap.
    entries : int
        Entries that were fitted.
    """

    axis: int
    values: Array
    misfit: float
    entries: int


def fit_scales(block: Evidence) -> list[Scales]:
    """For each axis along which the gradient is the numerical one times a scale of each index: those scales."""
    found = []
    on = block.signal
    if block.is_vector:
        return []
    for axis, extent in enumerate(block.shape):
        index = block.along(axis)[on]
        numeric, analytic = block.numeric[on], block.analytic[on]
        squares = np.bincount(index, numeric * numeric, extent)
        products = np.bincount(index, numeric * analytic, extent)
        scales = np.divide(products, squares, out=np.full(extent, np.nan), where=squares > 0.0)
        fitted = int(np.count_nonzero(squares > 0.0))
        if len(index) < fitted + max(3, fitted // 2) or fitted < 2:
            continue
        misfit = block.misfit(analytic - np.nan_to_num(scales[index]) * numeric, on)
        if misfit <= block.may_be_left(on):
            found.append(Scales(axis, scales, misfit, len(index)))
    return found


def fit_small_gap(block: Evidence) -> list[Claim]:
    """A small gap that is no proportion: a guard, or rounding in a less precise type; both, if it may be either.

    Parameters
    ----------
    block : Evidence
        The block.

    Returns
    -------
    list of Claim
        None, one or two.
    """
    gap, digits = block.relative_gap, _binary_digits(block)
    rounding, held = _rounding_of(digits, gap)
    claims = []
    if rounding:
        sums = f"its values have no more than {digits} binary digits" if held else "the gap has no pattern"
        claims.append(
            Claim(
                kind="precision",
                blocks=(block.name,),
                what=f"the gradient is off by {gap:.1e} of its size, as {rounding} rounds, and {sums}",
                cause=f"a backward pass, or part of it, in {rounding}",
                advice="Look for arrays of a less precise type than the parameters', and for casts.",
                confidence=0.97 if held else 0.56 if _is_systematic(block) else 0.58,
                key=(rounding, held),
                entries=len(block.places),
                evidence={"relative_gap": gap, "type": rounding, "digits": digits},
            )
        )
    if not held and 0.0 < gap <= SMALL:
        claims.append(_small_guard(block))
    return claims


def _small_guard(block: Evidence) -> Claim:
    gap = block.relative_gap
    return Claim(
        kind="guard",
        blocks=(block.name,),
        what=f"the gradient is off by {gap:.1e} of its size in {int(np.count_nonzero(block.differs)):,} entries",
        cause="a constant as in log(p + 1e-7) or a norm's ε, or another form of a function, on one side alone",
        advice="Compare guards against division by zero, and forms of functions, in the forward and the backward pass.",
        confidence=0.65 if _is_systematic(block) else 0.57,
        key="small",
        entries=len(block.places),
        evidence={"relative_gap": gap},
    )


def _is_systematic(block: Evidence) -> bool:
    """Whether the gap goes along with the gradient: of roundings the sum grows as the root of their number only."""
    size = norm(block.gap) * norm(block.numeric)
    along = abs(float(block.gap @ block.numeric))
    count = int(np.count_nonzero(block.signal))
    return along * math.sqrt(count) > _ROOTS * size or (along > _ALIKE * size and count > 2)


#: Types less precise than float64: binary digits of their sums, and which gaps their rounding may leave, relatively.
_TYPES = {"bfloat16": (8, 3e-4, 5e-2), "float16": (17, 3e-5, 2e-2), "float32": (30, 3e-9, 1e-5)}

_DIGITS_OF_FLOAT64 = 53


def _binary_digits(block: Evidence) -> int:
    """Binary digits that the gradient's values have: less than float64's if they were summed in, or of, a less precise type."""
    values = block.seen.analytic.reshape(-1)[block.places]
    values = np.unique(np.abs(values[values != 0.0]))
    if len(values) < 2:
        return _DIGITS_OF_FLOAT64
    mantissas = np.ldexp(np.frexp(values)[0], _DIGITS_OF_FLOAT64).astype(np.int64)
    digits = _DIGITS_OF_FLOAT64 - int(np.log2(np.min(np.bitwise_and(mantissas, -mantissas))))
    return digits if digits >= _LEAST_DIGITS else _DIGITS_OF_FLOAT64


def _rounding_of(digits: int, gap: float) -> tuple[str, bool]:
    """The type whose rounding has the size of the gap, empty if there is none; and whether the values have its digits."""
    for name, (most, low, high) in _TYPES.items():
        if digits <= most and low <= gap <= high:
            return name, True
    for name in ("float32", "float16"):
        _, low, high = _TYPES[name]
        if low <= gap <= min(high, SMALL):
            return name, False
    return "", False
