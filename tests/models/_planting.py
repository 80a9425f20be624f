"""Models from functions that write one down for a seed, right or with one named mistake in its backward pass."""

from collections.abc import Callable, Mapping

from models._model import Bug, Case, Model


def planted(
    name: str, write: Callable[[int, str], Case], bugs: Mapping[str, tuple[str, ...]], *, leaves_numpy: bool = False
) -> Model:
    """The model that `write(seed, bug)` writes down; no bug is "". `bugs` has the blocks that each one makes wrong."""

    def spoilt(seed: int) -> dict[str, Bug]:
        return {bug: Bug(write(seed, bug).gradient, blocks) for bug, blocks in bugs.items()}

    return Model(name, lambda seed: write(seed, ""), spoilt, leaves_numpy=leaves_numpy)
