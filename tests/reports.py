"""What tests ask of a report."""

import gradsweep
from gradsweep._verdict import Block, Status


def names_of_wrong(blocks: tuple[Block, ...]) -> set[str]:
    """Names of the blocks, at one of the two points, that are wrong."""
    return {block.name for block in blocks if block.status is Status.WRONG}


def wrong_blocks(report: gradsweep.Report) -> set[str]:
    """Names of the blocks that are wrong at the given parameters."""
    return names_of_wrong(report.blocks)
