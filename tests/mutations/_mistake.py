"""What a mistake is: what was done wrong, of which kind it is, and where it shows."""

from collections.abc import Callable
from dataclasses import dataclass

from models._model import Case

#: What a mistake can be, as a finding would name it.
KINDS = (
    "factor",
    "transposed",
    "missing_term",
    "zero",
    "rows",
    "columns",
    "entries",
    "permuted",
    "bias_sum",
    "activation_derivative",
    "accumulated",
    "guard",
    "from_above",
    "non_finite",
    "shape",
    "precision",
)


@dataclass(frozen=True)
class Mistake:
    """A mistake that a model can be written down with.

    Attributes
    ----------
    name : str
        What was done wrong.
    kind : str
        Of `KINDS`, by what was done, whatever the numbers look like.
    blocks : tuple of str
        Names of the blocks that are wrong for it, and of no others.
    accepted : tuple of str
        Kinds that name the same mistake as truly.
    raises : bool
        Whether it is no gradient at all, so that it is refused and not judged.
    later : bool
        Whether the first call gives the right gradient, so that only the second point shows it.
    """

    name: str
    kind: str
    blocks: tuple[str, ...]
    accepted: tuple[str, ...] = ()
    raises: bool = False
    later: bool = False


@dataclass(frozen=True)
class Model:
    """A model whose shapes and numbers follow from a seed, and what can be done wrong in its backward pass.

    Attributes
    ----------
    name : str
        Family and what it is.
    write : callable
        Seed, and name of a mistake or nothing, in; `Case` out, at the same point with any mistake.
    mistakes : tuple of Mistake
        By what is wrong.
    """

    name: str
    write: Callable[[int, str], Case]
    mistakes: tuple[Mistake, ...]

    @property
    def family(self) -> str:
        """Name of the family."""
        return self.name.partition(":")[0]
