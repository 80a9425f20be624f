"""How every kernel is compiled, and where the compiled code is kept.

Numba's cache knows a function by the file it stands in and by that file's own content. A kernel that calls one from *another*
file is therefore served stale when that other file changes (numba issues 1833 and 8396), and an upgrade that keeps time
stamps is not noticed at all. So the folder is named by the content of all kernel files together, and by the versions that
take part in compilation: any change of them is a new, empty folder.

The floating-point flags are named one by one. `contract` lets a product and a sum become one fused instruction, `nsz` ignores
the sign of zero, which lets selections vectorise. `reassoc` and `arcp` would give up digits, `nnan` would remove NaN checks.
`error_model="numpy"` matters for speed, too: Python's division raises on zero, and that branch keeps a loop scalar
(1.3 ns a value instead of 0.2).
"""

import contextlib
import functools
import hashlib
import os
import pathlib
import platform
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias, TypeVar, cast

import llvmlite
import llvmlite.binding
import numba
import numpy
import numpy.typing

Function = TypeVar("Function", bound=Callable[..., Any])

Array: TypeAlias = numpy.typing.NDArray[numpy.float64]

Integers: TypeAlias = numpy.typing.NDArray[numpy.int64]

#: A user's compiled function of one vector.
FlatCost: TypeAlias = Callable[[Array], float]

#: Place in flat memory, or a number of lanes; unsigned in the compiled code.
Place: TypeAlias = int | numpy.uint64

_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    # Kernels allocate nothing, so they need no reference counts. With them every row of lanes pays 30 ns for atomic counters:
    # 45 % of the time where rows are 128 lanes long. An option of Numba's without a documented name, since version 0.20.
    "_nrt": False,
    "fastmath": {"contract", "nsz"},
}


_REORDERING: dict[str, Any] = {**_OPTIONS, "fastmath": {"contract", "nsz", "reassoc"}}


def _fingerprint() -> str:
    """Digest of all kernel sources and of the versions that take part in compilation."""
    digest = hashlib.sha256()
    for name in (numba.__version__, llvmlite.__version__, numpy.__version__):
        digest.update(name.encode())
    digest.update(platform.python_version().encode())
    # A home may be shared by machines of several kinds.
    digest.update(llvmlite.binding.get_host_cpu_name().encode())
    digest.update(llvmlite.binding.get_host_cpu_features().flatten().encode())
    # Numba keeps each installation's code apart; so must the mark that all of it is there.
    digest.update(os.fsencode(pathlib.Path(__file__).resolve().parent))
    for source in sorted(pathlib.Path(__file__).parent.glob("*.py")):
        digest.update(source.name.encode())
        digest.update(source.read_bytes())
    return digest.hexdigest()[:20]


@functools.cache
def cache_folder() -> pathlib.Path | None:
    """Folder of the compiled kernels, or None where none can be written.

    It lies below ``NUMBA_CACHE_DIR`` if that is set, else below ``XDG_CACHE_HOME``, else below ``~/.cache``.

    Returns
    -------
    pathlib.Path or None
        The folder, made if need be. None: kernels are compiled anew in each process.

    Examples
    --------
    >>> from gradsweep import kernels
    >>> folder = kernels.cache_folder()
    >>> folder is None or folder.parent.name
    'gradsweep'
    """
    # The environment, not numba.config.CACHE_DIR: that one is changed below while kernels are being declared.
    own = os.environ.get("NUMBA_CACHE_DIR")
    shared = os.environ.get("XDG_CACHE_HOME")
    try:
        base = pathlib.Path(own or shared or pathlib.Path.home() / ".cache")
        folder = base.absolute() / "gradsweep" / _fingerprint()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, RuntimeError):  # RuntimeError: no home directory can be determined
        return None
    return folder


def is_compiled() -> bool:
    """Whether an earlier process finished compiling just these kernels.

    Returns
    -------
    bool
        True if importing the kernels only loads them; False if it compiles, which takes some seconds.

    Examples
    --------
    >>> from gradsweep import kernels
    >>> kernels.is_compiled() in (True, False)
    True
    """
    folder = cache_folder()
    return folder is not None and (folder / "complete").exists()


def mark_compiled() -> None:
    """Remember that every kernel has been compiled into the cache folder."""
    folder = cache_folder()
    if folder is not None and not numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
        with contextlib.suppress(OSError):  # a full disk costs the next process some seconds, nothing else
            (folder / "complete").touch()


@contextlib.contextmanager
def _numba_cache(folder: pathlib.Path) -> Iterator[None]:
    """Let Numba place a cache in `folder`; the user's own functions keep theirs."""
    before = numba.config.CACHE_DIR  # type: ignore[attr-defined]
    numba.config.CACHE_DIR = str(folder)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        numba.config.CACHE_DIR = before  # type: ignore[attr-defined]


def _forget(folder: pathlib.Path, function: Callable[..., Any]) -> None:
    """Delete the machine code of a function, which a full disk or a crash may have cut off."""
    module = function.__module__.rpartition(".")[2]
    for kept in folder.rglob(f"{module}.{function.__qualname__}-*.nb[ci]"):
        with contextlib.suppress(OSError):
            kept.unlink()


def kernel(signature: str, *, reorder_sums: bool = False) -> Callable[[Function], Function]:
    """Compile a function for one signature, without the interpreter lock, and keep the machine code on disk.

    Parameters
    ----------
    signature : str
        Numba signature in the letters of `_LETTERS`: ``"i A2 M1"`` is an integer, a readable matrix, a writable vector.
        Readable arrays may be read-only, so that a caller's read-only array does not compile a second version.
    reorder_sums : bool, default: False
        Whether sums may be formed in another order, by which a loop over them vectorises.

    Returns
    -------
    callable
        A decorator.
    """
    arguments = tuple(_LETTERS[letter] for letter in signature.split())
    options = _REORDERING if reorder_sums else _OPTIONS

    def decorate(function: Function) -> Function:
        folder = cache_folder()
        if folder is None:
            return cast(Function, numba.njit(arguments, **options)(function))
        for _ in range(2):
            try:
                with _numba_cache(folder):
                    return cast(Function, numba.njit(arguments, cache=True, **options)(function))
            except OSError:  # a full disk: this process goes without
                break
            except Exception:  # what is kept is damaged, and of that anything may be raised; what is wrong itself is raised below
                _forget(folder, function)
        return cast(Function, numba.njit(arguments, **options)(function))

    return decorate


def point(function: Function) -> Function:
    """Compile a function that kernels call in their loops, and make it part of them.

    Inlined by force: left to itself LLVM keeps a call for each row of lanes, which costs 50 ns of argument passing, and does
    not see that the arrays of a matrix product are apart (57 instead of 77 GFLOP/s).
    """
    return numba.njit(forceinline=True, **_OPTIONS)(function)  # type: ignore[no-any-return]


def reducing_point(function: Function) -> Function:
    """The same for a loop that adds up, whose sums may be formed in another order; by that it vectorises."""
    return numba.njit(forceinline=True, **_REORDERING)(function)  # type: ignore[no-any-return]


def part(function: Function) -> Function:
    """Make a function with a single caller part of it, before anything is compiled.

    A `point` is optimised as a library of its own, and once more within each function around it: a long one, three levels deep,
    took twice as long to compile as the same code written in one place.
    """
    return numba.njit(inline="always", **_OPTIONS)(function)  # type: ignore[no-any-return]


def calling(function: Function) -> Function:
    """Compile a loop over calls of a user's compiled function, which is its argument.

    Once for each function, when it is first called; what it calls may allocate, and has options of its own.
    """
    return cast(Function, numba.njit(nogil=True)(function))


def _array(dimensions: int, *, readonly: bool) -> numba.types.Array:
    return numba.types.Array(numba.types.float64, dimensions, "C", readonly=readonly)


_LETTERS = {
    "i": numba.types.int64,
    "u": numba.types.uint64,
    "b": numba.types.boolean,
    "d": numba.types.float64,
    **{f"A{n}": _array(n, readonly=True) for n in (1, 2, 3)},
    **{f"M{n}": _array(n, readonly=False) for n in (1, 2, 3)},
    **{f"I{n}": numba.types.Array(numba.types.int64, n, "C", readonly=True) for n in (1, 2)},
}
