"""Aliases of the types that appear all over the package."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]

#: Named parameters as a caller gives them: anything that NumPy can read as an array of real numbers.
Parameters: TypeAlias = Mapping[str, Any]

#: A gradient of the same names, or a function of the parameters that returns one.
Gradient: TypeAlias = Parameters | Callable[[dict[str, Any]], Parameters]
