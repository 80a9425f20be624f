"""What the diagnosis is given of a check of a network that failed, and what it says."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from gradsweep._diagnosis._diagnose import diagnose
from gradsweep._diagnosis._evidence import Finding
from gradsweep._findings import Sighting, at_second_call, is_exact, without_weaker
from gradsweep._intermediates import explain_by_intermediates
from gradsweep._network_suspects import suspect_network
from gradsweep._verdict import Status

if TYPE_CHECKING:
    from gradsweep._costs._network_problem import NetworkProblem


@dataclass(frozen=True, eq=False)
class Tested:
    """The gradient under test.

    Attributes
    ----------
    blocks : mapping of str to array
        By the names of the parameters.
    intermediates : mapping of (str, int) to array
        Gradients with respect to activations, ``("A", 1)``, and pre-activations, ``("Z", 1)``, if there are any.
    call : callable, optional
        Gives the blocks once more, if the gradient was given as a function.
    """

    blocks: Mapping[str, NDArray[Any]]
    intermediates: Mapping[tuple[str, int], NDArray[Any]] = field(default_factory=dict)
    call: Callable[[], Mapping[str, NDArray[Any]]] | None = None


def explain_network(
    problem: "NetworkProblem", tested: Tested, sightings: Sequence[Sighting], tolerance: float
) -> tuple[Finding, ...]:
    """What is likely to be wrong with the gradient of a dense network.

    Parameters
    ----------
    problem : NetworkProblem
        The cost.
    tested : Tested
        The gradient under test.
    sightings : sequence of Sighting
        All blocks, in the order of the layers.
    tolerance : float
        Relative, of entries.

    Returns
    -------
    tuple of Finding
        The most convincing first; none if no block is wrong.
    """
    blocks = [sighting.block for sighting in sightings]
    wrong = [block.name for block in blocks if block.status is Status.WRONG]
    if not wrong:
        return ()
    first, second = (tested.call(), tested.call()) if tested.call else (None, None)
    seen = []
    for block, sighting in zip(blocks, sightings, strict=True):
        own = tested.blocks[block.name]
        again = at_second_call(own, first[block.name], second[block.name]) if first and second else None
        seen.append(sighting.seen(problem.parameter(block.name), own, problem.examples, again))
    findings = diagnose(seen, tolerance, order=list(problem.shapes))
    if not any(is_exact(finding) for finding in findings):
        findings = suspect_network(problem, tested.blocks, blocks) + findings
    return without_weaker(explain_by_intermediates(problem, tested.intermediates, wrong) + findings)
