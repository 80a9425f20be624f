"""Arrays of all layers in one table of addresses.

A kernel that carries changes through a whole network needs each layer's weights and bases. Their shapes differ, a tuple of arrays
would compile a version for each depth, and a copy of all weights in one array would double the memory. So a kernel is given a
table of integers: where each array begins, and its sizes. Who makes such a table keeps the arrays alive while it is used.

The views are made in place, by intrinsics: kernels are compiled without reference counts (see `_compile`), and a function without
them may not return an array.
"""

from typing import TYPE_CHECKING, Any

from numba.core import cgutils, types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

from ._compile import Array


def _view(dimensions: int) -> Any:
    """Generator of code for a C-contiguous array of doubles at an address, of so many dimensions."""
    array_type = types.Array(types.float64, dimensions, "C")

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address, *shape = arguments
        item = context.get_constant(types.intp, 8)
        strides = [item]
        for size in shape[:0:-1]:
            strides.insert(0, builder.mul(strides[0], size))
        array = make_array(array_type)(context, builder)  # type: ignore[no-untyped-call]
        data = builder.inttoptr(address, array.data.type)
        populate_array(  # type: ignore[no-untyped-call]
            array,
            data=data,
            shape=cgutils.pack_array(builder, shape),  # type: ignore[no-untyped-call]
            strides=cgutils.pack_array(builder, strides),  # type: ignore[no-untyped-call]
            itemsize=item,
            meminfo=None,
        )
        return array._getvalue()

    return array_type(*[types.int64] * (dimensions + 1)), generate


if TYPE_CHECKING:

    def vector_at(address: int, size: int) -> Array:
        """The vector of doubles that begins at this address."""

    def matrix_at(address: int, rows: int, columns: int) -> Array:
        """The matrix of doubles that begins at this address."""

    def stack_at(address: int, items: int, rows: int, columns: int) -> Array:
        """The array of three dimensions that begins at this address."""

else:

    @intrinsic
    def vector_at(typing_context: Any, address: Any, size: Any) -> Any:
        """The vector of doubles that begins at this address."""
        del typing_context, address, size
        return _view(1)

    @intrinsic
    def matrix_at(typing_context: Any, address: Any, rows: Any, columns: Any) -> Any:
        """The matrix of doubles that begins at this address."""
        del typing_context, address, rows, columns
        return _view(2)

    @intrinsic
    def stack_at(typing_context: Any, address: Any, items: Any, rows: Any, columns: Any) -> Any:
        """The array of three dimensions that begins at this address."""
        del typing_context, address, items, rows, columns
        return _view(3)
