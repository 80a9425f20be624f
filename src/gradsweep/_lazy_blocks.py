"""Blocks by name, which are formed when they are asked for."""

from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from numpy.typing import NDArray


class LazyBlocks(Mapping[str, NDArray[Any]]):
    """A mapping that knows its names, and forms an array only for whoever asks for it.

    Parameters
    ----------
    names : collection of str
        In the order of the parameters.
    """

    def __init__(self, names: Collection[str]) -> None:
        self._names = tuple(names)

    @abstractmethod
    def __getitem__(self, name: str) -> NDArray[Any]:
        """A block, read-only."""

    def __contains__(self, name: object) -> bool:
        """Whether there is a block of this name, which is not formed for that."""
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        """Names, in the order of the parameters."""
        return iter(self._names)

    def __len__(self) -> int:
        """Number of blocks."""
        return len(self._names)

    def __repr__(self) -> str:
        """Names: the values may not have been formed, and may be many."""
        return f"{type(self).__name__}({', '.join(self._names)})"
