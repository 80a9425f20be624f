"""The compiled kernels: arrays in, arrays out.

Importing this package compiles every kernel once and keeps the machine code on disk (see `_compile`); later imports load it.
"""

from . import activations as activations
from . import dense as dense
from . import losses as losses
from ._compile import mark_compiled

mark_compiled()
