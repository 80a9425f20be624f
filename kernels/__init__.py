"""The compiled kernels: arrays in, arrays out.

Importing one of the modules compiles its kernels once and keeps the machine code on disk (see `_compile`); later imports load it.
Importing this package alone compiles nothing.
"""

import functools

from ._compile import cache_folder as cache_folder
from ._compile import is_compiled as is_compiled
from ._compile import mark_compiled


@functools.cache
def load() -> None:
    """Load the kernels of networks, or compile them if need be, and remember on disk that this was done.

    What a first check does by itself: of use where an image of a container is made, or before something is timed. Those of long
    sweeps of functions are loaded, or compiled, by importing `gradsweep.kernels.sections`.

    Examples
    --------
    >>> from gradsweep import kernels
    >>> kernels.load()
    """
    from . import activations, comparison, dense, forms, losses, squares

    del activations, comparison, dense, forms, losses, squares
    mark_compiled()
