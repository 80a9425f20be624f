"""What a pass proves."""

import math
from dataclasses import dataclass

from gradsweep._verdict import Block, Status


@dataclass(frozen=True)
class Certificate:
    """What a check would have caught, and what it has not looked at.

    Attributes
    ----------
    blocks : tuple of Block
        Blocks that agree, if it is known what would have been caught: ``block.sensitivity`` has the smallest errors in each.
    not_covered : tuple of str
        What nothing is proven of, a phrase for each thing.

    Examples
    --------
    >>> import numpy as np, gradsweep
    >>> w = np.array([1.0, 2.0])
    >>> certificate = gradsweep.check(lambda w: np.sum(w**3), w, 3 * w**2).certificate
    >>> f"{certificate.scale:.0e}", f"{certificate.entry:.0e}", certificate.weakest()
    ('2e-07', '2e-07', ('params', 'params'))
    >>> certificate.not_covered
    ('any other point than the given one',)

    A gradient that is given as a function is looked at elsewhere, too:

    >>> gradsweep.check(lambda w: np.sum(w**3), w, lambda w: 3 * w**2).certificate.not_covered
    ()
    """

    blocks: tuple[Block, ...]
    not_covered: tuple[str, ...]

    @property
    def scale(self) -> float:
        """The smallest factor's distance from 1 that would have been caught in each of the blocks."""
        return max((_scale(block) for block in self.blocks), default=math.inf)

    @property
    def entry(self) -> float:
        """The smallest error of a single entry, relative to the largest of its block, that would have been caught anywhere."""
        return max((_entry(block) for block in self.blocks), default=math.inf)

    def weakest(self) -> tuple[str, str]:
        """Names of the blocks that these two are of.

        Returns
        -------
        scale, entry : str
            The block that a factor would have to be furthest from 1 in, and that of the largest error of an entry; empty if
            there are no blocks.
        """
        if not self.blocks:
            return "", ""
        return max(self.blocks, key=_scale).name, max(self.blocks, key=_entry).name


def _scale(block: Block) -> float:
    """The smallest factor's distance from 1 that would have been caught in a block."""
    return block.sensitivity.scale if block.sensitivity else math.inf


def _entry(block: Block) -> float:
    """The smallest error of an entry of a block, relative to the largest one, that would have been caught."""
    return block.sensitivity.relative_entry if block.sensitivity else math.inf


def certify(blocks: tuple[Block, ...], mode: str, *, second_point: bool) -> Certificate:
    """What is proven of these blocks.

    Parameters
    ----------
    blocks : tuple of Block
        All blocks.
    mode : str
        How they were checked.
    second_point : bool
        Whether the gradient was checked at a second point, too.

    Returns
    -------
    Certificate
        Of those that agree.
    """
    gaps = []
    unproven = [block.name for block in blocks if block.status not in (Status.AGREES, Status.VACUOUS)]
    if unproven:
        gaps.append(f"{len(unproven)} of {len(blocks)} blocks, which do not agree")
    agreeing = [block for block in blocks if block.status is Status.AGREES]
    known = tuple(block for block in agreeing if block.sensitivity)
    if len(known) < len(agreeing):
        gaps.append(f"how small an error shows in {len(agreeing) - len(known)} of {len(blocks)} blocks: the budget was spent")
    vacuous = sum(block.vacuous for block in blocks)
    if vacuous:
        gaps.append(f"{vacuous:,} vacuous {'entry' if vacuous == 1 else 'entries'}, whose gradient is below the noise")
    kinks = sum(block.kinks for block in blocks)
    if kinks:
        gaps.append(f"{kinks:,} {'entry' if kinks == 1 else 'entries'} at kinks, where any slope between two is accepted")
    sampled = [block for block in known if block.sensitivity and not block.sensitivity.everywhere]
    if sampled:
        several = f"{len(sampled)} blocks" if len(sampled) > 1 else sampled[0].name
        gaps.append(f"more than the {sum(block.looked_at or 0 for block in sampled)} entries looked at of {several}, at kinks")
    rest = sum(math.prod(block.shape) - block.size for block in agreeing)
    if rest:
        gaps.append(f"{rest:,} {'entry' if rest == 1 else 'entries'} of these blocks, not selected")
    if mode == "screen":
        gaps.append("errors of several entries that happen to cancel along two random directions")
    if not second_point:
        gaps.append("any other point than the given one")
    return Certificate(known, tuple(gaps))
