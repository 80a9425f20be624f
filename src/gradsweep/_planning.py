"""Which mode, how long it will take, and whether it is worth workers."""

import math
from dataclasses import dataclass

from gradsweep._costs._protocol import Problem, Workload
from gradsweep._sweep import Steps

#: The modes that can be asked for.
MODES = ("auto", "sweep", "batched", "neurons", "screen")

#: Seconds that `auto` lets a check take before it chooses a mode that is less direct.
LONGEST = 10.0

# How much faster several layers together must be than one after the other: less is not worth a word.
_CLEARLY = 0.9

# Quotients that take less than this stay in the caller: a joblib call costs 13 to 20 ms.
_WORTH_WORKERS = 0.05

# How each mode cuts its work.
_CUTS = {
    "sweep": {"stacked": False, "units": False},
    "batched": {"stacked": True, "units": False},
    "neurons": {"stacked": True, "units": True},
}


@dataclass(frozen=True)
class Plan:
    """What will be done.

    Attributes
    ----------
    mode : str
        ``"sweep"``, ``"batched"``, ``"neurons"`` or ``"screen"``.
    reason : str
        Why this one, and how to ask for another; empty where it was asked for.
    seconds : float
        Predicted duration of the check, on one core; NaN for a screen, whose duration depends on what it finds.
    worth_workers : bool
        Whether forming the quotients takes so long that workers are of use.
    """

    mode: str
    reason: str
    seconds: float
    worth_workers: bool


def make_plan(problem: Problem, mode: str, steps: Steps, *, screens: bool = True) -> Plan:
    """Choose the most direct mode that is predicted to take less than ten seconds; a screen if none is.

    Parameters
    ----------
    problem : Problem
        The cost.
    mode : str
        One of `MODES`; any but ``"auto"`` is taken as it is.
    steps : Steps
        Scheme and step.
    screens : bool, default: True
        Whether a screen may be chosen, which has no numeric gradient.

    Returns
    -------
    Plan
        The same for any number of workers.
    """
    from gradsweep._machine import machine

    def workload(name: str) -> Workload:
        return problem.workload(len(steps.scheme.offsets), steps.step, **_CUTS[name])

    reason = ""
    if mode == "auto":
        mode, reason = _choose(*(machine().seconds(workload(name)) for name in _CUTS), screens=screens)
    if mode == "screen":
        return Plan(mode, reason, math.nan, worth_workers=False)
    chosen = workload(mode)
    return Plan(mode, reason, machine().seconds(chosen), machine().numeric_seconds(chosen) > _WORTH_WORKERS)


def _choose(sweep: float, batched: float, neurons: float, *, screens: bool) -> tuple[str, str]:
    """Mode and reason, from the seconds that those take which look at every entry."""
    if screens and min(sweep, batched, neurons) > LONGEST:
        return "screen", f"every entry would take some {describe_seconds(neurons)} (mode='neurons')"
    if min(sweep, batched) > LONGEST:
        return "neurons", f"a sweep would take some {describe_seconds(sweep)} (mode='sweep')"
    if batched < _CLEARLY * sweep:
        return "batched", "layers are narrow, so their perturbations go through the network together (one by one: mode='sweep')"
    return "sweep", "every parameter on its own takes less than ten seconds"


def describe_seconds(seconds: float) -> str:
    """A duration with one digit, as befits a prediction."""
    for size, unit in ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if seconds >= 2.0 * size:
            return f"{float(f'{seconds / size:.0e}'):,.0f} {unit}"
    return f"{float(f'{seconds:.0e}'):.0f} seconds"
