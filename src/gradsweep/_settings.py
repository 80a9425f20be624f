"""How to check: what the caller may choose, once it has been looked at."""

import contextlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from gradsweep._errors import InputError
from gradsweep._execution import read_jobs
from gradsweep._parameters import Precision
from gradsweep._planning import MODES
from gradsweep._schemes import COMPLEX, LEAST_STEP, Scheme, find_scheme, known
from gradsweep._selection import Selection, read_selection

#: What the post calls fine.
TOLERANCE = 1e-7

# Where the gradient is less precise than float64, its rounding alone exceeds 1e-7: 1.2e-4 for float32, whose backward passes
# are commonly right to 1e-6 and, over some layers, to 1e-5.
_ROUNDINGS = 1024.0

# A year: alarm clocks take no seconds beyond some count.
_LONGEST_TIMEOUT = 366.0 * 86400.0

# Half precision would get a tolerance of 1, which accepts anything: it is held to this, and inconclusive where that is too much.
_LARGEST_TOLERANCE = 1e-2


@dataclass(frozen=True)
class Settings:
    """The keyword arguments of `check`.

    Attributes
    ----------
    mode : str
        One of `MODES`.
    scheme : Scheme
        How quotients are formed.
    step, tolerance : float, optional
        As they were given.
    jobs : int or None
        Workers.
    seed : int
        Of all that is random.
    max_evaluations : int, optional
        What a screen may take, in changes or values of the cost.
    max_seconds : float, optional
        The same in seconds.
    select : tuple of str, int or None
        Which entries are looked at; None: all.
    """

    mode: str
    scheme: Scheme
    step: float | None
    tolerance: float | None
    jobs: int | None
    seed: int
    max_evaluations: int | None = None
    max_seconds: float | None = None
    select: Selection | None = None

    def described(self) -> dict[str, str]:
        """What a result depends on, by the names of the arguments: not the number of workers."""
        names = ("mode", "step", "tolerance", "seed", "max_evaluations", "max_seconds", "select")
        return {"scheme": self.scheme.name, **{name: repr(getattr(self, name)) for name in names}}

    def tolerance_for(self, precision: Precision) -> float:
        """The tolerance, or what it is by default for gradients of this precision."""
        if self.tolerance is not None:
            return self.tolerance
        return min(max(TOLERANCE, _ROUNDINGS * precision.epsilon), _LARGEST_TOLERANCE)


def read_settings(
    mode: Any = "auto",
    scheme: Any = "central",
    step: Any = None,
    tolerance: Any = None,
    jobs: Any = None,
    seed: Any = 0,
    max_evaluations: Any = None,
    max_seconds: Any = None,
    select: Any = None,
) -> Settings:
    """Check the keyword arguments; InputError, with the name of the argument, if one is of no use."""
    if not isinstance(mode, str) or mode not in MODES:
        raise InputError(f"mode: {mode!r} is not known; known are {known(MODES)}")
    start = _read_whole(seed, "seed", 0)
    width = _read_positive(step, "step")
    if width is not None and width < LEAST_STEP:
        raise InputError(f"step must be at least {LEAST_STEP:g}, not {step!r}")
    allowed = _read_positive(tolerance, "tolerance")
    if allowed is not None and allowed >= 1.0:
        raise InputError(f"tolerance must be below 1, since |g - ĝ| is never more than |g| + |ĝ|, not {tolerance!r}")
    most = None
    if max_evaluations is not None:
        most = _read_whole(max_evaluations, "max_evaluations", 1)
    seconds = _read_positive(max_seconds, "max_seconds")
    for name, value in (("max_evaluations", most), ("max_seconds", seconds)):
        if value is not None and mode != "screen":
            raise InputError(f"{name} is for mode='screen'; any other one looks at every entry")
    chosen = find_scheme(scheme)
    if mode == "screen" and chosen is COMPLEX:
        raise InputError("scheme: 'complex' is for single parameters, and so not for mode='screen'")
    selection = read_selection(select)
    if selection is not None and mode in ("neurons", "screen"):
        raise InputError(f"select is for single entries, and so not for mode={mode!r}, which looks at all of them at once")
    return Settings(mode, chosen, width, allowed, read_jobs(jobs), start, most, seconds, selection)


def read_timeout(value: Any) -> float | None:
    """Seconds that a call of the cost may take; InputError if they are no such thing."""
    seconds = _read_positive(value, "timeout")
    if seconds is not None and seconds > _LONGEST_TIMEOUT:
        raise InputError(f"timeout must be at most {_LONGEST_TIMEOUT:g} seconds, not {value!r}")
    return seconds


def _read_whole(value: Any, argument: str, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InputError(f"{argument} must be a whole number of at least {least}, not {value!r}")
    return int(value)


def _read_positive(value: Any, argument: str) -> float | None:
    if value is None:
        return None
    number = math.nan
    if isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):  # an integer of hundreds of digits
            number = float(value)
    if not 0.0 < number < math.inf:
        raise InputError(f"{argument} must be a positive finite number, not {value!r}")
    return number
