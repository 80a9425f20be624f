"""The public names of the package, imported when they are first used."""

import importlib
import sys
from typing import Any

#: Where each public name is defined.
DEFINED_IN = {
    "Certificate": "gradsweep._certificate",
    "CostTimeoutError": "gradsweep._errors",
    "DataError": "gradsweep._errors",
    "Finding": "gradsweep._diagnosis._evidence",
    "GradientError": "gradsweep._errors",
    "GradsweepError": "gradsweep._errors",
    "InputError": "gradsweep._errors",
    "Interrupted": "gradsweep._errors",
    "Network": "gradsweep.network",
    "OracleError": "gradsweep._errors",
    "Progress": "gradsweep._monitor",
    "Report": "gradsweep._report",
    "StepCurve": "gradsweep._step_curves",
    "WorkerError": "gradsweep._errors",
    "assert_gradient": "gradsweep._checking",
    "batched": "gradsweep.functions",
    "check": "gradsweep._checking",
    "gradient_check": "gradsweep.scratch",
    "in_place": "gradsweep.functions",
    "numerical_gradient": "gradsweep._checking",
    "plain": "gradsweep.functions",
    "split": "gradsweep.functions",
}

#: Modules that can be used behind ``import gradsweep`` alone.
MODULES = ("datasets", "functions", "network", "problems", "scratch", "testing")


def find(name: str) -> Any:
    """A public name of the package, which is kept there: the next look finds it without this function."""
    found: Any
    if name in DEFINED_IN:
        found = getattr(importlib.import_module(DEFINED_IN[name]), name)
    elif name in MODULES:
        found = importlib.import_module(f"gradsweep.{name}")
    elif name == "__version__":
        found = _version()
    else:
        raise AttributeError(f"module 'gradsweep' has no attribute {name!r}")
    setattr(sys.modules["gradsweep"], name, found)
    return found


def _version() -> str:
    """The version that is installed."""
    from importlib import metadata  # 10 ms, which only those need who ask

    try:
        return metadata.version("gradsweep")
    except metadata.PackageNotFoundError:  # run from a source tree that was never installed
        return "0+unknown"
