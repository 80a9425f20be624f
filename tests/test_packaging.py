"""What is installed is what is here: an editable install, as tests have it, would not show a package that is not listed."""

import ast
import importlib
import inspect
import os
import pathlib
import subprocess
import sys
import tomllib
from importlib import metadata
from typing import Any

import pytest

import gradsweep
from gradsweep import _lazy

ROOT = pathlib.Path(__file__).parent.parent


def _settings() -> Any:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_package_is_listed() -> None:
    listed = _settings()["tool"]["setuptools"]["packages"]
    found = [  # the kernels are a link
        ".".join(pathlib.Path(folder).relative_to(ROOT / "src").parts)
        for folder, _, files in os.walk(ROOT / "src", followlinks=True)
        if "__init__.py" in files
    ]
    assert sorted(listed) == sorted(found)


def test_every_data_file_is_listed() -> None:
    listed = _settings()["tool"]["setuptools"]["package-data"]
    found = {
        path.relative_to(ROOT / "src")
        for path in (ROOT / "src" / "gradsweep").rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert {pathlib.Path(package.replace(".", "/")) / name for package, names in listed.items() for name in names} == found


def test_the_entry_point_of_the_plugin_is_a_module() -> None:
    (name,) = _settings()["project"]["entry-points"]["pytest11"].values()
    assert importlib.import_module(name).pytest_addoption


def test_public_names_are_those_that_type_checkers_see() -> None:
    """They are imported when they are first used, from a table; type checkers read the imports."""
    tree = ast.parse((ROOT / "src" / "gradsweep" / "__init__.py").read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    assert len(imports) == len(block.body)
    assert {alias.asname: node.module for node in imports for alias in node.names} == _lazy.DEFINED_IN
    assert all(alias.name == alias.asname for node in imports for alias in node.names)
    for name, module in _lazy.DEFINED_IN.items():
        assert getattr(gradsweep, name) is getattr(importlib.import_module(module), name)
    # What it has beside them is a submodule, or stands for itself.
    beside = {name for name in dir(gradsweep) if not name.startswith("_")} - set(_lazy.DEFINED_IN)
    assert set(_lazy.MODULES) <= beside
    assert all(inspect.ismodule(getattr(gradsweep, name)) for name in beside)


def test_modules_can_be_used_behind_the_import_of_the_package() -> None:
    """Each that has public names and is no package: nobody has to know which of them some other import has loaded."""
    code = "import gradsweep\nfor name in {names!r}: assert getattr(gradsweep, name).__name__ == f'gradsweep.{{name}}'"
    done = subprocess.run([sys.executable, "-c", code.format(names=_lazy.MODULES)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    modules = {path.stem for path in (ROOT / "src" / "gradsweep").glob("*.py") if not path.name.startswith("_")}
    assert modules - {"pytest_plugin"} == set(_lazy.MODULES)


def test_the_version_is_that_of_the_package_that_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gradsweep.__version__ == metadata.version("gradsweep")
    assert "__version__" in dir(gradsweep)

    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    monkeypatch.delitem(vars(gradsweep), "__version__")
    assert gradsweep.__version__ == "0+unknown"
    vars(gradsweep).pop("__version__")


def test_the_package_loads_nothing_before_it_is_used() -> None:
    program = (
        "import sys\n"
        "before = 'importlib.metadata' in sys.modules\n"
        "import gradsweep\n"
        "assert not {'numpy', 'numba', 'joblib', 'h5py'} & set(sys.modules), sorted(sys.modules)\n"
        "assert ('importlib.metadata' in sys.modules) == before\n"
        "assert gradsweep.__version__[0].isdigit()\n"
        "assert callable(gradsweep.scratch.gradient_check)\n"
        "assert 'numpy' in sys.modules\n"
        "assert not hasattr(gradsweep, 'chekc')\n"
        "from gradsweep import *\n"
        "assert callable(check) and issubclass(InputError, ValueError)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
