"""A user's function, named on the command line: found, called, and where it raises an error."""

import importlib
import importlib.util
import inspect
import itertools
import os
import pathlib
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from gradsweep._errors import GradsweepError, InputError
from gradsweep._presenting._text import format_size

_USAGE = "FILE.py:FUNCTION or MODULE:FUNCTION"

# Characters of an error's message that are shown.
_SHOWN = 300

# What a user's code may raise; ``sys.exit`` in a script without ``if __name__ == "__main__"`` among it.
_ERRORS = (Exception, SystemExit)

_OURS = os.path.dirname(os.path.abspath(__file__)) + os.sep


class Target:
    """A function of a user's that returns what is to be checked.

    Parameters
    ----------
    text : str
        ``FILE.py:FUNCTION`` or ``MODULE:FUNCTION``.

    Raises
    ------
    InputError
        There is no such file, module or function, it is no function without arguments, or importing it raises an error. The
        message starts with the file or module.
    """

    def __init__(self, text: str) -> None:
        where, separator, name = text.rpartition(":")
        if not separator or not where or not name:
            raise InputError(f"{text}: {_USAGE} is needed")
        is_file = where.endswith(".py") or "/" in where or os.sep in where
        module = _run_file(where) if is_file else _import_module(where)
        self.where, self.name = where, name
        self._file, self._folder = os.path.abspath(getattr(module, "__file__", None) or ""), _folder_of(module)
        self._function = _function_of(module, where, name)

    def __call__(self) -> tuple[Any, Any, Any]:
        """Cost, parameters and gradient.

        Returns
        -------
        cost, params, gradient : object
            As the function returns them.

        Raises
        ------
        InputError
            The function raises an error, or returns something else than three things.
        """
        try:
            result = self._function()
        except _ERRORS as error:
            raise InputError(_describe(error, self._file, self._folder) or f"{self.where}: {_brief(error)}") from error
        if not isinstance(result, tuple | list) or len(result) != 3:
            what = format_size(len(result), "thing") if isinstance(result, tuple | list) else _kind_of(result)
            raise InputError(f"{self.where}: {self.name} returns {what}, but cost, params and gradient are needed")
        cost, params, gradient = result
        return cost, params, gradient

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn what cost and gradient raise into an InputError that names the line; gradsweep's own get the file's name."""
        try:
            yield
        except InputError as error:
            frames = [] if error.__cause__ is None else _own_frames(error.__cause__, self._folder)
            where = _place_of(frames, self._file)[0] if frames else self.where
            raise InputError(f"{where}: {' '.join(str(error).split())}") from error
        except GradsweepError:
            raise
        except _ERRORS as error:
            described = _describe(error, self._file, self._folder)
            if described is None:
                raise
            raise InputError(described) from error


def _run_file(path: str) -> ModuleType:
    """Run a file as a module of its own name, with its folder on the path, as that of a script is.

    A module that a worker process can import is pickled by its name. One whose name is taken, by a module that is installed or by
    one of the same folder, would hide the other, or be hidden: it gets another name, and is pickled as a whole.
    """
    file = pathlib.Path(path)
    if not file.exists():
        raise InputError(f"{path}: no such file")
    if not file.is_file():
        raise InputError(f"{path}: is not a file")
    if file.suffix != ".py":
        raise InputError(f"{path}: must be a file of Python, with a name that ends in .py")
    file = file.resolve()
    name, folder = file.stem, str(file.parent)
    others = [entry for entry in sys.path if os.path.realpath(entry or os.curdir) != folder]
    # Behind all others a folder hides none of them, in workers either.
    taken = name in sys.modules or _finds(name, others) is not None
    sys.path[:] = [*others, folder] if taken else [folder, *others]
    importlib.invalidate_caches()
    with _import_errors(path, file):
        if not taken and _finds(name, sys.path) == str(file):
            return importlib.import_module(name)
        return _run_under_another_name(file)


def _finds(name: str, path: list[str]) -> str | None:
    """The file, or whatever else it is, that an import of this name would find on a path; None if there is nothing."""
    if name in sys.builtin_module_names:
        return name
    if not name.isidentifier():
        return None
    before = sys.path[:]
    sys.path[:] = path
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    finally:
        sys.path[:] = before
    return None if spec is None else spec.origin or name


def _run_under_another_name(file: pathlib.Path) -> ModuleType:
    """Run a file as a module that cannot be imported by its name, and have it pickled as a whole."""
    import cloudpickle

    stem = "".join(letter if letter.isalnum() else "_" for letter in file.stem)
    names = itertools.chain([f"checked_{stem}"], (f"checked_{stem}_{number}" for number in itertools.count(2)))
    name = next(each for each in names if each not in sys.modules and _finds(each, sys.path) is None)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    cloudpickle.register_pickle_by_value(module)
    spec.loader.exec_module(module)
    return module


def _import_module(name: str) -> ModuleType:
    """Import a module, from the current folder first, as ``python -m`` does."""
    if not all(part.isidentifier() for part in name.split(".")):
        raise InputError(f"{name}: is neither the name of a module nor a file of Python; {_USAGE} is needed")
    here = os.getcwd()
    sys.path[:] = [here, *(entry for entry in sys.path if entry not in ("", here))]
    with _import_errors(name, None):
        return importlib.import_module(name)


@contextmanager
def _import_errors(where: str, file: pathlib.Path | None) -> Iterator[None]:
    """Turn what a module raises while it is imported into an InputError that names its line."""
    try:
        yield
    except _ERRORS as error:
        # Where another name is missing, it is one that the module imports.
        if file is None and isinstance(error, ModuleNotFoundError) and f"{where}.".startswith(f"{error.name}."):
            raise InputError(f"{where}: no such module ({error})") from error
        if isinstance(error, SyntaxError) and error.filename is not None and os.path.exists(error.filename):
            # Of the file itself there is no frame yet.
            raise InputError(f"{_shown(error.filename)}, line {error.lineno}: {_brief(error)}") from error
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(frame.filename)]
        if not frames:
            raise InputError(f"{where}: cannot be imported: {_brief(error)}") from error
        raise InputError(_line_of(error, frames, str(file or frames[0].filename))) from error


def _function_of(module: ModuleType, where: str, name: str) -> Any:
    """The function of this name, if it can be called without arguments."""
    try:
        function: Any = getattr(module, name)
    except AttributeError as error:
        known = [
            each for each, value in vars(module).items() if inspect.isfunction(value) and value.__module__ == module.__name__
        ]
        there = f"; there are {', '.join(known[:8])}" if known else ""
        raise InputError(f"{where}: has no function {name!r}{there}") from error
    if not callable(function):
        raise InputError(f"{where}: {name} is {_kind_of(function)}, not a function")
    try:
        signature = inspect.signature(function)
    except (ValueError, TypeError):  # some that are written in C have none
        return function
    try:
        signature.bind()
    except TypeError as error:
        raise InputError(f"{where}: {name}{signature} needs arguments, but it is called without any") from error
    return function


def _folder_of(module: ModuleType) -> str:
    """The folder in which a user's code lies: that of the file, or of the package."""
    top = sys.modules.get(module.__name__.partition(".")[0], module)
    file = getattr(top, "__file__", None) or getattr(module, "__file__", None) or ""
    return os.path.dirname(os.path.abspath(file)) + os.sep if file else ""


def _describe(error: BaseException, file: str, folder: str) -> str | None:
    """An error and where a user's code raised it, in one line; None if none of it has a part in it."""
    frames = _own_frames(error, folder)
    return _line_of(error, frames, file) if frames else None


def _own_frames(error: BaseException, folder: str) -> list[traceback.FrameSummary]:
    """The lines of a user's own code that led to an error."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if folder and frame.filename.startswith(folder) and _is_users(frame.filename)
    ]
    # A folder may have packages in it that are installed there.
    return [frame for frame in frames if "site-packages" not in frame.filename[len(folder) :]]


def _line_of(error: BaseException, frames: Sequence[traceback.FrameSummary], file: str) -> str:
    """An error with the innermost line of a file, and that of another one if it was raised there."""
    where, led_to = _place_of(frames, file)
    return f"{where}: {_brief(error)}{led_to}"


def _place_of(frames: Sequence[traceback.FrameSummary], file: str) -> tuple[str, str]:
    """The innermost line of a file, and in parentheses that of another one if it led there."""
    last = frames[-1]
    first = next((frame for frame in reversed(frames) if frame.filename == file), last)
    function = "" if first.name.startswith("<") else f", in {first.name}"
    led_to = "" if last.filename == first.filename else f" (raised in {_shown(last.filename)}, line {last.lineno})"
    return f"{_shown(first.filename)}, line {first.lineno}{function}", led_to


def _is_users(filename: str) -> bool:
    """Whether a line of code is neither ours nor of the machinery that imports."""
    return not filename.startswith("<") and filename != importlib.__file__ and not os.path.abspath(filename).startswith(_OURS)


def _shown(filename: str) -> str:
    """Path of a file from the current folder, if it lies in it."""
    path = pathlib.Path(filename)
    return str(path.relative_to(pathlib.Path.cwd())) if path.is_relative_to(pathlib.Path.cwd()) else str(path)


def _brief(error: BaseException) -> str:
    """An error in one line."""
    # A SyntaxError's text names its file and line once more.
    message = " ".join(str(error.msg if isinstance(error, SyntaxError) else error).split())
    text = f"{type(error).__name__}: {message}" if message else type(error).__name__
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _kind_of(value: Any) -> str:
    """What a value is: ``None``, ``an int``, ``a dict``."""
    if value is None:
        return "None"
    noun = type(value).__name__
    return f"{'an' if noun[0].lower() in 'aeiou' else 'a'} {noun}"
