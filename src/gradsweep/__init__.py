"""Check hand-written gradients against differences that are propagated, not subtracted."""

from typing import TYPE_CHECKING

__version__: str

if TYPE_CHECKING:
    from gradsweep._certificate import Certificate as Certificate
    from gradsweep._checking import assert_gradient as assert_gradient
    from gradsweep._checking import check as check
    from gradsweep._checking import numerical_gradient as numerical_gradient
    from gradsweep._diagnosis._evidence import Finding as Finding
    from gradsweep._errors import CostTimeoutError as CostTimeoutError
    from gradsweep._errors import DataError as DataError
    from gradsweep._errors import GradientError as GradientError
    from gradsweep._errors import GradsweepError as GradsweepError
    from gradsweep._errors import InputError as InputError
    from gradsweep._errors import Interrupted as Interrupted
    from gradsweep._errors import OracleError as OracleError
    from gradsweep._errors import WorkerError as WorkerError
    from gradsweep._monitor import Progress as Progress
    from gradsweep._report import Report as Report
    from gradsweep._step_curves import StepCurve as StepCurve
    from gradsweep.functions import batched as batched
    from gradsweep.functions import in_place as in_place
    from gradsweep.functions import plain as plain
    from gradsweep.functions import split as split
    from gradsweep.network import Network as Network
    from gradsweep.scratch import gradient_check as gradient_check
else:
    # Each name is imported when it is first used: the pytest plugin is loaded in every run of pytest, and must not load NumPy
    # there. Type checkers are not shown this, or they would take any name for a public one.
    from gradsweep import _lazy

    __all__ = sorted(_lazy.DEFINED_IN)
    __getattr__ = _lazy.find

    def __dir__():
        return sorted({*globals(), *__all__, *_lazy.MODULES, "__version__"} - {"TYPE_CHECKING"})
