"""Problem files: a dense network, its data, its parameters and the gradient under test in one HDF5 file, by any language.

A file has the data sets ``/X`` and ``/Y``, the groups ``/parameters`` and ``/gradients`` with ``W1``, ``b1``, ``W2``, …, and
attributes at its root that say what the network is. As in :mod:`gradsweep.datasets`, a file is taken for what anybody could
have sent: links to other files are refused, and all shapes are looked at before the first number is read.

========== ======================================= =======================================
name       ``layout = "columns"`` (default)        ``layout = "rows"``
========== ======================================= =======================================
X          (features, examples)                    (examples, features)
Y          (outputs, examples)                     (examples, outputs)
W1, …      (units, inputs)                         (inputs, units)
b1, …      (units, 1) or (units,)                  (1, units), (units, 1) or (units,)
========== ======================================= =======================================

Languages that store arrays by columns, as MATLAB, Fortran and Julia do, write HDF5 with the axes in reverse: what has the shapes
on the left there is a file with ``layout = "rows"``.
"""

import difflib
import functools
import io
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradsweep import _dense
from gradsweep._costs._network import NetworkCost
from gradsweep._errors import DataError, InputError
from gradsweep._hdf5 import damage_named, find_data_set, follow, opened, place_of, read_attributes, read_type, shown
from gradsweep._hdf5_limits import require_chunks, require_layout, require_memory, require_stored
from gradsweep._parameters import (
    format_entry,
    match_gradient,
    match_names,
    quote,
    read_blocks,
    read_numbers,
    require_names,
    without_intermediates,
)
from gradsweep._types import Array
from gradsweep._writing import require_writable, write_whole
from gradsweep.network import Network

if TYPE_CHECKING:
    import h5py  # type: ignore[import-untyped, unused-ignore]

__all__ = ["Problem", "load", "save"]

# Numbers that are read at once: 8 MB.
_BLOCK = 2**20

# Layers are counted in seven digits at most: Python refuses to read numbers of thousands of them.
_NAME = re.compile(r"([Wb])([1-9][0-9]{0,6})")

_ATTRIBUTES = ("hidden", "output", "loss", "l2", "layout")

_LAYOUTS = ("columns", "rows")

# How alike a foreign attribute and one of ours may be: one that is merely misspelt would have no effect.
_ALIKE = 0.75


# eq=False: arrays do not compare to a single truth value.
@dataclass(frozen=True, eq=False)
class Problem:
    """What a problem file holds.

    Attributes
    ----------
    network : Network
        The network.
    X : array of shape (features, examples)
        Inputs.
    Y : array of shape (outputs, examples)
        Labels.
    params : dict of str to array
        W1 of shape (units, inputs), b1 of shape (units, 1), W2, …, in the types in which they are stored.
    gradient : dict of str to array
        The gradient under test, by the names of the parameters, in the types in which it is stored.

    Examples
    --------
    As :func:`load` returns it; made by hand here:

    >>> import numpy as np
    >>> import gradsweep
    >>> from gradsweep.problems import Problem
    >>> network = gradsweep.Network([2, 1])
    >>> params, X, Y = network.initialize(), np.eye(2), np.array([[0.0, 1.0]])
    >>> problem = Problem(network, X, Y, params, network.gradient(params, X, Y))
    >>> gradsweep.check(problem.cost, problem.params, problem.gradient).ok
    True
    """

    network: Network
    X: Array
    Y: Array
    params: dict[str, NDArray[Any]]
    gradient: dict[str, NDArray[Any]]

    @functools.cached_property
    def cost(self) -> NetworkCost:
        """The network's cost on the data, as :func:`gradsweep.check` takes it."""
        return self.network.cost(self.X, self.Y)


def load(
    path: str | os.PathLike[str],
    *,
    hidden: str | Sequence[str] | None = None,
    output: str | None = None,
    loss: str | None = None,
    l2: float | None = None,
) -> Problem:
    """Read a problem file.

    Parameters
    ----------
    path : str or os.PathLike
        HDF5 file with ``/X``, ``/Y``, ``/parameters`` and ``/gradients``. Gradients may be called ``W1``, ``dW1``, ``grad_W1`` or
        ``W1_grad``; ``dA1`` and ``dZ1`` may stand beside them and are ignored. The layers' sizes are those of the weights.
    hidden : str or sequence of str, optional
        Activation of the hidden layers, as :class:`gradsweep.Network` takes it. By default what the attribute ``hidden`` says:
        one name, several with commas between them, or an array of names. It has to be said by one of them.
    output, loss : str, optional
        Output and loss, of which one is enough. By default what the attributes ``output`` and ``loss`` say.
    l2 : float, optional
        λ of the penalty. By default the attribute ``l2``, else 0.

    Returns
    -------
    Problem
        Network, data, parameters and gradient.

    Raises
    ------
    DataError
        The file cannot be read as this layout. The message starts with the path.
    InputError
        `path` is no path, or another argument is of no use.

    Notes
    -----
    What a file says of its size is not believed. All arrays together may have 1 GiB, however little of them is stored: they may
    be of one value, or never have been written. Beyond that there may be 1032 bytes of them for each byte of the file, which is
    the most that gzip can do, and never more than there is memory for, with what each unit gives for each example. Chunks are
    looked at before HDF5 unpacks them, so that those of gzip are unpacked twice. Nothing is known of filters that are plug-ins of
    HDF5: install those that you trust.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import h5py
    >>> import numpy as np
    >>> import gradsweep
    >>> from gradsweep import problems
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "problem.h5")
    ...     with h5py.File(path, "w") as file:
    ...         file["X"], file["Y"] = np.array([[1.0, 2.0]]), np.array([[0.5, 0.0]])
    ...         file["parameters/W1"], file["parameters/b1"] = np.array([[2.0]]), np.array([1.0])
    ...         file["gradients/dW1"], file["gradients/db1"] = np.array([[6.25]]), np.array([3.75])
    ...         file.attrs["output"] = "identity"
    ...     problem = problems.load(path)
    >>> problem.network
    Network([1, 1], hidden=[], output='identity')
    >>> gradsweep.check(problem.cost, problem.params, problem.gradient).verdict
    'pass'
    """
    place = place_of(path)
    given = {name: value for name, value in zip(_ATTRIBUTES, (hidden, output, loss, l2), strict=False) if value is not None}
    with opened(place) as file:
        described = _Attributes(file, place)
        reader = _Reader(file, place, described.layout)
        reader.require_no_others()
        layers = reader.layers()
        network = described.network(layers, given)
        gradients = reader.gradients()
        reader.require_shapes(layers, gradients)
        reader.require_room(layers)
        x, y = reader.matrix("X"), reader.matrix("Y")
        params = {name: reader.block(f"parameters/{name}", name) for name in reader.shapes(layers)}
        gradient = {name: reader.block(path, name, finite=False) for name, path in gradients.items()}
    problem = Problem(network, x, y, params, gradient)
    try:
        problem.cost.read(params)
    except InputError as error:
        raise DataError(f"{place}: {error}") from error
    return problem


def save(
    path: str | os.PathLike[str],
    network: Network,
    X: ArrayLike,
    Y: ArrayLike,
    params: Mapping[str, Any],
    gradient: Mapping[str, Any],
) -> None:
    """Write a problem file, by columns.

    Parameters
    ----------
    path : str or os.PathLike
        Where to; a file of this name is replaced when the new one is complete, and not before.
    network : Network
        The network, without dropout masks, which the file has no place for.
    X : array_like of shape (features, examples)
        Inputs.
    Y : array_like of shape (outputs, examples)
        Labels.
    params : mapping of str to array_like
        W1, b1, W2, …
    gradient : mapping of str to array_like
        The gradient under test, by the same names, or as in ``dW1``, ``grad_W1``, ``W1_grad``. It is stored by the names of the
        parameters.

    Raises
    ------
    InputError
        An argument of another shape, name, type or value than is needed.
    DataError
        The file cannot be written. The message starts with the path.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> import gradsweep
    >>> from gradsweep import problems
    >>> network = gradsweep.Network([2, 3, 1], hidden="relu")
    >>> params = network.initialize()
    >>> X, Y = np.array([[1.0, 2.0], [0.0, 1.0]]), np.array([[0.0, 1.0]])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "problem.h5")
    ...     problems.save(path, network, X, Y, params, network.gradient(params, X, Y))
    ...     problem = problems.load(path)
    >>> problem.network
    Network([2, 3, 1], hidden=['relu'])
    >>> np.array_equal(problem.params["W2"], params["W2"])
    True
    """
    place = place_of(path)
    if any(mask is not None for mask in network.dropout_masks):
        raise InputError("network has dropout masks, for which a problem file has no place")
    cost = network.cost(X, Y)
    read_blocks(params, "params", cost.shapes)
    tested = match_gradient(gradient, "gradient", cost.shapes)
    arrays = {"X": _storable(X, "X"), "Y": _storable(Y, "Y")}
    arrays |= {f"parameters/{name}": _storable(params[name], name) for name in cost.shapes}
    arrays |= {f"gradients/{name}": _storable(tested[name], name) for name in cost.shapes}
    require_writable(place)
    require_memory(sum(array.nbytes for array in arrays.values()), place, "the file, which is made in memory,")
    with damage_named(place, "cannot be written"):
        content = _format_problem(network, arrays)
    write_whole(place, content)


def _format_problem(network: Network, arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """What is to stand in a problem file."""
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, array in arrays.items():
            file[name] = array
        if network.hidden:
            file.attrs["hidden"] = ",".join(network.hidden)
        file.attrs.update({"output": network.output, "loss": network.loss, "l2": network.l2, "layout": _LAYOUTS[0]})
    return buffer.getvalue()


def _storable(value: Any, argument: str) -> NDArray[Any]:
    """An array as it was given, but for types that other languages cannot read."""
    array = read_numbers(value, argument)
    return array.astype(np.float64) if array.dtype.kind == "f" and array.dtype.itemsize > 8 else array


class _Attributes:
    """The attributes at the root of a file, read and looked at.

    Parameters
    ----------
    file : h5py.File
        Open file.
    place : str
        Its path, for messages.
    """

    def __init__(self, file: "h5py.File", place: str) -> None:
        self._place = place
        with damage_named(place, "the attributes cannot be read"):
            names = list(file.attrs)
        self._found = read_attributes(file, [name for name in names if name in _ATTRIBUTES], place)
        for name in names:
            alike = difflib.get_close_matches(name.lower(), _ATTRIBUTES, 1, _ALIKE)
            if alike and name not in _ATTRIBUTES:
                raise DataError(f"{place}: attribute {shown(name)} is not known; if {alike[0]!r} is meant, it must be written so")
        self.layout = self._text("layout")
        if self.layout not in (*_LAYOUTS, None):
            raise DataError(f"{place}: attribute 'layout' must be 'columns' or 'rows', found {self.layout!r}")

    def network(self, layers: list[int], given: Mapping[str, Any]) -> Network:
        """The network that attributes and arguments describe, of which the arguments count.

        Parameters
        ----------
        layers : list of int
            Sizes of its layers.
        given : mapping of str to object
            Arguments of the caller's: hidden, output, loss, l2.

        Returns
        -------
        Network
            Without dropout.
        """
        stored = {"hidden": self._hidden(), "output": self._text("output"), "loss": self._text("loss"), "l2": self._number("l2")}
        chosen = {name: value for name, value in stored.items() if value is not None} | dict(given)
        # An output that was asked for comes with its own loss, and a loss with its own output.
        for name, other in (("output", "loss"), ("loss", "output")):
            if name in given and other not in given:
                chosen.pop(other, None)
        if "output" not in chosen and "loss" not in chosen:
            raise DataError(
                f"{self._place}: what the output and the loss are is not said: attribute 'output' or 'loss' is missing"
            )
        if "hidden" not in chosen and len(layers) > 2:
            raise DataError(f"{self._place}: what the hidden layers' activation is is not said: attribute 'hidden' is missing")
        if "output" not in chosen and chosen["loss"] in _dense.LOSSES:
            chosen["output"] = _dense.LOSSES[chosen["loss"]].output
        try:
            return Network(layers, **chosen)
        except InputError as error:
            if str(error).partition(" ")[0].rstrip(":") in given:
                raise
            raise DataError(f"{self._place}: attribute {error}") from error

    def _hidden(self) -> str | list[str] | None:
        """Names of activations, one or several; None if there are none, as for a network without hidden layers."""
        names = self._texts("hidden")
        if len(names) == 1:
            names = [name.strip() for name in names[0].split(",")] if names[0] else []
        return names[0] if len(names) == 1 else names or None

    def _text(self, name: str) -> str | None:
        texts = self._texts(name)
        if len(texts) > 1:
            raise DataError(f"{self._place}: attribute {name!r} must be one text, found {len(texts)}")
        return texts[0] if texts else None

    def _texts(self, name: str) -> list[str]:
        """Texts of an attribute, one or an array of them; none if there is no such attribute."""
        if name not in self._found:
            return []
        value = self._found[name]
        listed = np.asarray(value, dtype=object).reshape(-1).tolist() if isinstance(value, np.ndarray) else [value]
        texts = [item.decode("utf-8", "replace") if isinstance(item, bytes) else item for item in listed]
        if not texts or not all(isinstance(text, str) for text in texts):
            raise DataError(f"{self._place}: attribute {name!r} must be text, found {shown(value)}")
        # Fortran fills texts up with blanks, C with zeros.
        return [text.strip("\0 ") for text in texts]

    def _number(self, name: str) -> float | None:
        if name not in self._found:
            return None
        value = np.asarray(self._found[name])
        if value.dtype.kind not in "iuf" or value.size != 1:
            raise DataError(f"{self._place}: attribute {name!r} must be a number, found {shown(self._found[name])}")
        return float(value.reshape(()))


class _Reader:
    """The arrays of a file.

    Parameters
    ----------
    file : h5py.File
        Open file.
    place : str
        Its path, for messages.
    layout : str, optional
        ``"columns"`` or ``"rows"``, as the file says it.
    """

    def __init__(self, file: "h5py.File", place: str, layout: str | None) -> None:
        self._file, self._place, self._by_rows = file, place, layout == "rows"
        self._size = os.stat(place).st_size
        self._stored: dict[str, int] = {}
        # Shapes that do not fit are most often those of another language.
        self._hint = "" if layout else "; if matrices are stored transposed, set the attribute layout to 'rows'"
        self._sets = {name: self._find(name) for name in ("X", "Y")}
        self._names = {group: self._list(group) for group in ("parameters", "gradients")}
        for group, names in self._names.items():
            self._sets |= {
                f"{group}/{name}": self._find(f"{group}/{name}") for name in names if not _is_intermediate(group, name)
            }

    def require_no_others(self) -> None:
        """Raise DataError if the file holds anything that belongs to no problem."""
        with damage_named(self._place, "the list of what it holds cannot be read"):
            others = [name for name in self._file if name not in ("X", "Y", "parameters", "gradients")]
        if others:
            raise DataError(f"{self._place}: holds {quote(others)}, which belongs to no problem file")

    def layers(self) -> list[int]:
        """Sizes of the layers, as the weights have them, the inputs first; DataError if they do not fit each other."""
        numbers = []
        for name in self._names["parameters"]:
            match = _NAME.fullmatch(name)
            if match is None:
                raise DataError(f"{self._place}: parameters/{name} is none of W1, b1, W2, …")
            numbers.append(int(match[2]))
        if not numbers:
            raise DataError(f"{self._place}: parameters is empty, but W1, b1, … are needed")
        # A number without all that come before it shows as what is missing; a huge one must not make a huge list.
        count = min(max(numbers), len(numbers))
        wanted = [f"{letter}{number}" for number in range(1, count + 1) for letter in "Wb"]
        self._checked(lambda: require_names("parameters", [name for name in wanted if name not in self._names["parameters"]], []))
        layers: list[int] = []
        for number in range(1, count + 1):
            name = f"parameters/W{number}"
            units, inputs = self._matrix_shape(name)
            if layers and inputs != layers[-1]:
                raise DataError(
                    f"{self._place}: {name} is for {inputs} inputs, but W{number - 1} has {layers[-1]} units{self._hint}"
                )
            layers += [units] if layers else [inputs, units]
        return layers

    def shapes(self, layers: Sequence[int]) -> dict[str, tuple[int, int]]:
        """Names and shapes of the parameters, by columns."""
        return _dense.block_shapes(tuple(layers))

    def gradients(self) -> dict[str, str]:
        """Paths of the gradients, by the names of the parameters."""
        listed, names = self._names["gradients"], sorted(self._names["parameters"], key=lambda name: (int(name[1:]), name))

        def match() -> dict[str, str]:
            keys = match_names(dict.fromkeys(listed), names, "gradients")
            surplus = without_intermediates(name for name in listed if name not in set(keys.values()))
            require_names("gradients", [name for name in names if name not in keys], surplus, gradient=True)
            return {name: f"gradients/{keys[name]}" for name in names}

        found: dict[str, str] = self._checked(match)
        return found

    def require_shapes(self, layers: Sequence[int], gradients: Mapping[str, str]) -> None:
        """Raise DataError unless all shapes fit the layers; nothing is read."""
        features, examples = self._matrix_shape("X")
        if features != layers[0]:
            raise DataError(f"{self._place}: X has {features} features, but W1 is for {layers[0]} inputs{self._hint}")
        outputs = layers[-1]
        self._require_shape("Y", (outputs, examples), [(examples,)] if outputs == 1 else [])
        for name, shape in self.shapes(layers).items():
            # A bias may have one axis, or be a column, whatever the layout.
            others = [(shape[0],), shape] if name[0] == "b" else []
            for path in (f"parameters/{name}", gradients[name]):
                self._require_shape(path, shape, others)

    def require_room(self, layers: Sequence[int]) -> None:
        """Raise DataError if all together has more numbers than the file can store, or needs more memory than there is."""
        kinds = {name: read_type(found, name, self._place) for name, found in self._sets.items()}
        held = sum(_held(name, found.shape, kinds[name]) for name, found in self._sets.items())
        stored = sum(self._stored.values())
        message = f"{self._place}: its arrays have {held} bytes by their shapes, but the file has {self._size}"
        require_stored(held, stored, self._size, message)
        # What each unit gives for each example.
        activations = 8 * sum(layers) * self._matrix_shape("X")[1]
        require_memory(held + activations, self._place, f"this network with {self._matrix_shape('X')[1]} examples")

    def matrix(self, name: str) -> Array:
        """X or Y as float64, by columns: of shape (features or outputs, examples)."""
        return np.atleast_2d(self._read(self._sets[name], name, np.dtype(np.float64), finite=True))

    def block(self, path: str, name: str, *, finite: bool = True) -> NDArray[Any]:
        """A parameter or its gradient by columns, in the type in which it is stored."""
        stored = self._sets[path]
        kind = read_type(stored, path, self._place).newbyteorder("=")
        values = self._read(stored, path, kind, finite=finite)
        return values.reshape(-1, 1) if name[0] == "b" else values

    def _read(self, stored: "h5py.Dataset", name: str, kind: np.dtype[Any], *, finite: bool) -> NDArray[Any]:
        """All numbers of a data set, each once, some examples at a time; transposed where they are stored so."""
        turned = self._by_rows and stored.ndim == 2
        with damage_named(self._place, f"{name} cannot be read"):
            require_chunks(stored, name, self._place)
            values = np.empty(stored.shape[::-1] if turned else stored.shape, dtype=kind)
        target = values.T if turned else values
        for part in _parts(stored):
            with damage_named(self._place, f"{name} cannot be read"):
                block = np.asarray(stored[part])
            with np.errstate(over="ignore"):  # what float64 cannot hold is infinite
                target[part] = block
            if finite and not np.isfinite(target[part]).all():
                first = np.argwhere(~np.isfinite(target[part]))[0].tolist()
                index = tuple(place + (axis.start or 0) for place, axis in zip(first, part, strict=True))
                raise DataError(f"{self._place}: {format_entry(name, index)} is {target[index]}; all entries must be finite")
        return values

    def _matrix_shape(self, name: str) -> tuple[int, int]:
        """Shape of a matrix by columns; DataError if it is none, or empty."""
        shape = self._sets[name].shape
        if len(shape) != 2 or 0 in shape:
            raise DataError(f"{self._place}: {name} has shape {shape}, but a matrix is needed")
        first, second = (int(size) for size in (reversed(shape) if self._by_rows else shape))
        return first, second

    def _require_shape(self, name: str, shape: tuple[int, int], others: Sequence[tuple[int, ...]]) -> None:
        """Raise DataError unless a data set has this shape by columns, or one of others as it lies there."""
        found = tuple(self._sets[name].shape)
        wanted = shape[::-1] if self._by_rows else shape
        if found not in [wanted, *others]:
            raise DataError(f"{self._place}: {name} has shape {found}, but {wanted} is needed{self._hint}")

    def _find(self, name: str) -> "h5py.Dataset":
        """A data set of real numbers, of no more of them than it may really have."""
        found = find_data_set(self._file, name, self._place)
        kind = read_type(found, name, self._place)
        if kind.kind not in "biuf":
            raise DataError(f"{self._place}: {name} must hold real numbers, found {kind}")
        with damage_named(self._place, f"{name} cannot be opened"):
            require_layout(found, name, self._place)
            self._stored[name] = int(found.id.get_storage_size())
        size = math.prod(found.shape)
        message = f"{self._place}: {name} has {size} numbers by its shape, but stores next to none of them"
        require_stored(_held(name, found.shape, kind), self._stored[name], self._size, message)
        return found

    def _list(self, group: str) -> list[str]:
        """Names in a group."""
        import h5py

        with damage_named(self._place, f"{group} cannot be read"):
            found = follow(self._file, group, self._place)
            if not isinstance(found, h5py.Group):
                raise DataError(f"{self._place}: {group} must be a group, found a data set")
            # What is no UTF-8 h5py leaves as it is.
            names = [name if isinstance(name, str) else name.decode("utf-8", "surrogateescape") for name in found]
        if len(names) > len(set(names)):
            raise DataError(f"{self._place}: {group} has two things of the same name")
        return names

    def _checked(self, look: Callable[[], Any]) -> Any:
        """What a look at names returns; its InputError with the path first."""
        try:
            return look()
        except InputError as error:
            raise DataError(f"{self._place}: {error}") from error


def _held(name: str, shape: Sequence[int], kind: np.dtype[Any]) -> int:
    """Bytes of an array when it has been read: X and Y as float64, others as they are stored."""
    return math.prod(shape) * (8 if name in ("X", "Y") else kind.itemsize)


def _is_intermediate(group: str, name: str) -> bool:
    """Whether it is a gradient with respect to activations, which nobody looks at."""
    return group == "gradients" and not without_intermediates([name])


def _parts(stored: "h5py.Dataset") -> Iterator[tuple[slice, ...]]:
    """Parts of a data set that touch each of its chunks once, along the axis along which they can be smallest."""
    shape = stored.shape
    if len(shape) != 2:
        yield (slice(None),) * len(shape)
        return
    # What is not chunked lies there row by row.
    chunk = stored.chunks or (1, shape[1])
    sizes = [chunk[axis] * shape[1 - axis] for axis in (0, 1)]
    axis = int(np.argmin(sizes))
    length = max(_BLOCK // sizes[axis], 1) * chunk[axis]
    for start in range(0, shape[axis], length):
        part = slice(start, min(start + length, shape[axis]))
        yield (part, slice(None)) if axis == 0 else (slice(None), part)
