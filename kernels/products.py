"""Matrix products with long rows, some of which are added up in cache.

Matrices on the right and results are flat, their rows a stride apart; places are unsigned, as in `activations`.
"""

import numpy as np

from ._compile import Array, Place, kernel, point

#: Lanes that go through one loop before the next one takes them: 16 KB, which are still in L1 then.
STRETCH = 2048


@point
def add_multiple(factor: float, values: Array, first: Place, out: Array, to: Place, lanes: Place) -> None:
    """Add a multiple of a row."""
    for lane in range(lanes):
        out[to + lane] += factor * values[first + lane]


@point
def add_4_terms(
    left: Array, row: int, term: int, right: Array, first: Place, stride: Place, out: Array, to: Place, lanes: Place
) -> None:
    """Add multiples of 4 rows of the right, the first of which begins at `first`: 4 products for 5 loads and a store."""
    a, b, c, d = left[row, term], left[row, term + 1], left[row, term + 2], left[row, term + 3]
    from_b = first + stride
    from_c = from_b + stride
    from_d = from_c + stride
    for lane in range(lanes):
        p, q, r, s = right[first + lane], right[from_b + lane], right[from_c + lane], right[from_d + lane]
        out[to + lane] += a * p + b * q + c * r + d * s


@point
def _add_4_terms_to_4_rows(
    left: Array,
    row: int,
    term: int,
    right: Array,
    first: Place,
    stride: Place,
    out: Array,
    to: Place,
    out_stride: Place,
    lanes: Place,
) -> None:
    """The same for 4 rows: 16 products for 8 loads and 4 stores of a lane, so arithmetic is the limit."""
    w, x, y, z = row, row + 1, row + 2, row + 3
    a, b, c, d = term, term + 1, term + 2, term + 3
    wa, wb, wc, wd = left[w, a], left[w, b], left[w, c], left[w, d]
    xa, xb, xc, xd = left[x, a], left[x, b], left[x, c], left[x, d]
    ya, yb, yc, yd = left[y, a], left[y, b], left[y, c], left[y, d]
    za, zb, zc, zd = left[z, a], left[z, b], left[z, c], left[z, d]
    from_b = first + stride
    from_c = from_b + stride
    from_d = from_c + stride
    to_x = to + out_stride
    to_y = to_x + out_stride
    to_z = to_y + out_stride
    for lane in range(lanes):
        p, q, r, s = right[first + lane], right[from_b + lane], right[from_c + lane], right[from_d + lane]
        out[to + lane] += wa * p + wb * q + wc * r + wd * s
        out[to_x + lane] += xa * p + xb * q + xc * r + xd * s
        out[to_y + lane] += ya * p + yb * q + yc * r + yd * s
        out[to_z + lane] += za * p + zb * q + zc * r + zd * s


@kernel("A2 i A1 u u M1 u u")
def add_product_to_row(
    left: Array, row: int, right: Array, first: Place, stride: Place, out: Array, to: Place, lanes: Place
) -> None:
    """Add left[row] @ right to a stretch of a row.

    Parameters
    ----------
    left : array of shape (rows, terms)
        Left factor.
    row : int
        Which row of it.
    right : array of shape (all,)
        Right factor.
    first, stride : unsigned int
        Place of the stretch in its first row, and the distance of rows.
    out : array of shape (all,)
        Added to.
    to, lanes : unsigned int
        Place of the stretch, and its length.
    """
    terms = left.shape[1]
    for term in range(0, terms - terms % 4, 4):
        add_4_terms(left, row, term, right, first + np.uint64(term) * stride, stride, out, to, lanes)
    for term in range(terms - terms % 4, terms):
        add_multiple(left[row, term], right, first + np.uint64(term) * stride, out, to, lanes)


@kernel("A2 i A1 u u M1 u u u")
def add_product_to_4_rows(
    left: Array, row: int, right: Array, first: Place, stride: Place, out: Array, to: Place, out_stride: Place, lanes: Place
) -> None:
    """The same for this row and the three behind it, to the bit; rows of the result are `out_stride` apart."""
    terms = left.shape[1]
    for term in range(0, terms - terms % 4, 4):
        from_term = first + np.uint64(term) * stride
        _add_4_terms_to_4_rows(left, row, term, right, from_term, stride, out, to, out_stride, lanes)
    for term in range(terms - terms % 4, terms):
        for other in range(4):
            from_term, to_other = first + np.uint64(term) * stride, to + np.uint64(other) * out_stride
            add_multiple(left[row + other, term], right, from_term, out, to_other, lanes)
