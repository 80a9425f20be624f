"""Memory of a check grows with the vectors that its parameters are, and with nothing else."""

import sys

import memory_growth
import pytest

# Parameters, and how many vectors of theirs a check may take: thirty where all of them move along several directions at once.
_FEW, _MANY = 10**5, 10**6
_ALLOWED = {
    "squares, screen": 40,
    "blocks, 20 entries each": 25,
    "dense, 1000 entries": 25,
    "plain, screen": 25,
    "network, screen": 8,
}


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("case", list(_ALLOWED))
def test_growth(case: str) -> None:
    few, many = (memory_growth.apart(case, size)["peak"] for size in (_FEW, _MANY))
    assert 2.0 < (many - few) / (8 * (_MANY - _FEW)) < _ALLOWED[case]
