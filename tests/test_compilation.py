"""What the compiler makes of the kernels, what it keeps on disk, and what is imported when."""

import ast
import json
import math
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
KERNELS = ROOT / "kernels"

#: What kernel files may import besides each other; Numba comes to them through `_compile.py`.
ALLOWED = {"math", "numpy"}
#: No kernels: one chooses options and the cache folder, one loads the rest, one tells the compiler what lies at an address.
EXCEPTIONS = {
    "_compile.py": {"numpy", "numba", "llvmlite", *sys.stdlib_module_names},
    "__init__.py": set(sys.stdlib_module_names),
    "_memory.py": {"numba", "typing"},
}

#: Where the time goes, and how many packed fused instructions are to be found there at least: the power series alone has five,
#: the matrix product sixteen, and each loop comes in several widths.
HOT = {"dense.quotients": 60, "comparison.compare": 16, "forms.change_all": 5}


def run(code: str, cache: pathlib.Path, *, folder: pathlib.Path = ROOT, **environment: str) -> Any:
    """Run code in a fresh interpreter that keeps compiled code in `cache`; what it prints last is read as JSON."""
    # Paths of the tests' own interpreter go along, so that an installation in a virtual environment is found.
    variables = {key: value for key, value in os.environ.items() if not key.startswith("NUMBA_")}
    # Python's own bytecode goes by time stamp and size: it would be the one to serve old code where a test keeps both.
    variables |= {"NUMBA_CACHE_DIR": str(cache), "PYTHONDONTWRITEBYTECODE": "1", **environment}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


# ---- machine code --------------------------------------------------------------------------------------------------------

# Loaded from the cache a kernel has no assembly, so this compiles afresh: where no cache can be.
COMPILE_AFRESH = f"""
import json, numba
import numpy as np
numba.config.CACHE_DIR = "elsewhere"
from gradsweep.kernels import _compile, activations, comparison, dense, forms

delta = np.full((1, 1, 3), 1e-9)
base, activation = np.empty((1, 1, activations.BASE)), np.empty((1, 1))
activations.evaluate(activations.TANH, np.zeros((1, 1)), activation, base)
forms.change_all(activations.TANH, base, delta, np.zeros((1, 3)))

def assembly(name):
    module, function = name.split(".")
    return "\\n".join(getattr(globals()[module], function).inspect_asm().values())

print(json.dumps({{
    "assembly": {{name: assembly(name) for name in {list(HOT)!r}}},
    "changes": delta.ravel().tolist(),
    "folder": str(_compile.cache_folder()),
    "compiled": _compile.is_compiled(),
    "users_folder": numba.config.CACHE_DIR,
}}))
"""


@pytest.fixture(scope="module")
def afresh(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a process says that compiles the kernels, since its cache folder cannot be made: it lies below a file."""
    file = tmp_path_factory.mktemp("cache") / "a file"
    file.write_text("not a folder")
    return run(COMPILE_AFRESH, file / "cache")


def test_kernels_work_without_a_cache(afresh: Any) -> None:
    assert afresh["folder"] == "None"
    assert not afresh["compiled"]
    assert afresh["changes"] == [1e-9] * 3  # tanh 1e-9 to the last digit


def test_the_users_cache_folder_is_left_alone_without_a_cache(afresh: Any) -> None:
    assert afresh["users_folder"] == "elsewhere"


def has_packed_fma() -> bool:
    """Whether this processor has AVX2 and FMA, so that packed fused instructions are to be expected."""
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        return False
    from llvmlite import binding

    features = binding.get_host_cpu_features()
    return bool(features.get("avx2") and features.get("fma"))


@pytest.mark.skipif(not has_packed_fma(), reason="packed double FMA is looked for on x86-64 with AVX2 and FMA only")
@pytest.mark.parametrize("name", HOT)
def test_hot_loops_are_packed(afresh: Any, name: str) -> None:
    """Doubles side by side, product and sum in one instruction: what makes a value cost 0.2 ns."""
    code = afresh["assembly"][name]
    packed = re.findall(r"^\s*vfn?madd\d+pd\s.*%[yz]mm\d+", code, re.MULTILINE)
    assert len(packed) >= HOT[name], f"{name} has {len(packed)} packed fused instructions"


# ---- cache ---------------------------------------------------------------------------------------------------------------

# Two steps from 0, a small and a large one, through `dense.quotients` and the activation it takes from another file: a network
# 1-1-1-1 with weights 1, identity, tanh and identity units, and a squared error whose slope is 1.
ENTER = """
import json, numba
import numpy as np
numba.config.CACHE_DIR = "elsewhere"
from package.kernels import _compile, activations, dense, losses

one, label, base = np.ones((1, 1)), -np.ones((1, 1)), [np.empty((1, 1, activations.BASE)) for _ in range(4)]
codes = [activations.IDENTITY, activations.TANH, activations.IDENTITY]
for code, each in zip(codes, base):
    activations.evaluate(code, np.zeros((1, 1)), np.empty((1, 1)), each)
losses.evaluate(losses.SQUARED_ERROR, np.zeros((1, 1)), label, np.empty(1), base[3])
address = lambda array: array.ctypes.data
network = np.zeros((4, dense.FIELDS), dtype=np.int64)
for row, code in enumerate(codes):
    network[row] = 1, 1, code, address(one), address(base[row]), address(one), 1
network[3, :6] = 1, 1, losses.SQUARED_ERROR, address(label), address(base[3]), address(base[3])

def enter(step):
    rows, layers = np.empty((2, 8)), np.empty((3, dense.SCRATCH_CELLS))
    scheme, values, runs = np.array([[step], [1.0]]), np.zeros((1, 1)), np.array([[0, 0, 1, 0]])
    dense.quotients(network, runs, scheme, -1, rows, layers, values, np.zeros((1, 0)))
    return float(values[0, 0])

# Those with a cache; functions that are made part of others have none.
functions = [*vars(activations).values(), *vars(dense).values()]
kernels = [each for each in functions if hasattr(each, "stats") and each.stats.cache_path]
print(json.dumps({
    "small": enter(1e-5),
    "large": enter(2.0),
    "hits": sum(sum(each.stats.cache_hits.values()) for each in kernels),
    "misses": sum(sum(each.stats.cache_misses.values()) for each in kernels),
    "folder": str(_compile.cache_folder()),
    "users_folder": numba.config.CACHE_DIR,
}))
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder with a copy of the kernels in a package of its own."""
    return copied(tmp_path_factory.mktemp("copy"))


def copied(folder: pathlib.Path) -> pathlib.Path:
    """The folder, with a copy of the kernels in a package of its own."""
    shutil.copytree(KERNELS, folder / "package" / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "package" / "__init__.py").touch()
    return folder


def compiled(cache: pathlib.Path) -> dict[str, int]:
    """Files of compiled code below a folder, and when each was written."""
    return {str(path.relative_to(cache)): path.stat().st_mtime_ns for path in cache.rglob("*.nb[ci]")}


def test_compiled_code_is_kept_and_never_stale(package: pathlib.Path) -> None:
    """A constant of one file changes, which a kernel in another file was compiled with; Numba alone would not notice."""
    cache = package / "cache"
    first = run(ENTER, cache, folder=package)
    kept = compiled(cache)
    assert kept
    assert pathlib.Path(first["folder"]).is_relative_to(cache)
    for size, step in (("small", 1e-5), ("large", 2.0)):
        change = math.tanh(step)
        assert first[size] == pytest.approx(change + change**2 / 2, rel=1e-15)
    assert first["hits"] == 0
    assert first["misses"] >= 5  # those of activations, losses, products and of the dense network

    again = run(ENTER, cache, folder=package)
    assert compiled(cache) == kept  # nothing was written anew
    assert (again["hits"], again["misses"]) == (first["misses"], 0)
    assert (again["small"], again["large"], again["folder"]) == (first["small"], first["large"], first["folder"])

    # Another coefficient in the place of the first one, in a function that a kernel of another file is made of.
    source = package / "package" / "kernels" / "activations.py"
    stamp = source.stat()
    text = source.read_text(encoding="utf-8")
    assert text.count("delta * (c1 + delta *") == 1
    source.write_text(text.replace("delta * (c1 + delta *", "delta * (c3 + delta *"), encoding="utf-8")
    os.utime(source, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # an upgrade may keep time stamps
    changed = run(ENTER, cache, folder=package)
    assert abs(changed["small"] - first["small"]) > 0.1 * first["small"]
    assert changed["folder"] != first["folder"]
    assert {name: compiled(cache)[name] for name in kept} == kept  # the old version's code is still there for the old version

    assert first["users_folder"] == again["users_folder"] == changed["users_folder"] == "elsewhere"


def start(cache: pathlib.Path, folder: pathlib.Path, **environment: str) -> subprocess.Popen[str]:
    """A fresh interpreter that enters the kernels of a folder, and is not waited for."""
    variables = {key: value for key, value in os.environ.items() if not key.startswith("NUMBA_")}
    variables |= {"NUMBA_CACHE_DIR": str(cache), "PYTHONDONTWRITEBYTECODE": "1", **environment}
    command = [sys.executable, "-W", "error", "-c", ENTER]
    return subprocess.Popen(command, cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> Any:
    """What it has found, when it has said nothing else."""
    printed, complaints = process.communicate(timeout=300)
    assert (process.returncode, complaints) == (0, "")
    found = json.loads(printed)
    for size, step in (("small", 1e-5), ("large", 2.0)):
        change = math.tanh(step)
        assert found[size] == pytest.approx(change + change**2 / 2, rel=1e-15)
    return found


#: What may become of a file of the cache, by a full disk, a crash, or a hand.
DAMAGES: list[Callable[[bytes], bytes]] = [
    lambda content: b"",
    lambda content: content[:1],
    lambda content: content[: len(content) // 2],
    lambda content: content[:-1],
    lambda content: b"no machine code",
    lambda content: bytes(len(content)),
    lambda content: b"\x80\x04" + content[5:],
]


def test_two_processes_with_a_cold_cache_and_one_that_is_damaged(tmp_path: pathlib.Path) -> None:
    """Both compile, whoever is first, and what they keep is whole; files that are not are as good as none, and are replaced."""
    package, cache = copied(tmp_path), tmp_path / "cache"
    both = [start(cache, package) for _ in range(2)]
    for process in both:
        assert finish(process)["folder"].startswith(str(cache))
    again = finish(start(cache, package))
    assert again["misses"] == 0
    assert again["hits"] >= 5

    # The kernel of dense networks takes longest to be compiled.
    files = sorted(file for file in cache.rglob("*.nb[ci]") if not file.name.startswith("dense."))
    assert len(files) >= len(DAMAGES)
    damaged = {file: DAMAGES[number % len(DAMAGES)](file.read_bytes()) for number, file in enumerate(files)}
    for file, content in damaged.items():
        file.write_bytes(content)
    finish(start(cache, package))
    assert all(file.read_bytes() != content for file, content in damaged.items())
    assert finish(start(cache, package))["misses"] == 0


@pytest.fixture
def read_only(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder into which nothing can be written, not even by root."""
    folder = tmp_path / "read only"
    folder.mkdir()
    if os.geteuid() != 0:
        folder.chmod(0o555)
        yield folder
        folder.chmod(0o755)
        return
    command = ["mount", "-t", "tmpfs", "-o", "ro,size=64k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("root can write everywhere, and no file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_folder_that_cannot_be_written(read_only: pathlib.Path) -> None:
    """Kernels are compiled for this process alone, and the command line says so in one line."""
    variables = {key: value for key, value in os.environ.items() if not key.startswith("NUMBA_")}
    command = [sys.executable, "-W", "error", "-m", "gradsweep", "demo", "--quiet"]
    variables |= {"NUMBA_CACHE_DIR": str(read_only), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == (
        "gradsweep: compiling the kernels; this takes some seconds, each time, since no folder can be written to keep them in\n"
    )


# ---- imports -------------------------------------------------------------------------------------------------------------


def imports(source: pathlib.Path) -> list[tuple[int, str]]:
    """Level and name of each module that a file imports, wherever in it."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(0, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            # `from . import dense` names modules of the package itself.
            found += [(node.level, node.module)] if node.module else [(node.level, alias.name) for alias in node.names]
    return found


@pytest.mark.parametrize("source", sorted(KERNELS.glob("*.py")), ids=lambda path: path.name)
def test_kernels_import_nothing_from_above(source: pathlib.Path) -> None:
    """Arrays in, arrays out: a kernel that could reach the library would not be one."""
    allowed = EXCEPTIONS.get(source.name, ALLOWED)
    siblings = {path.stem for path in KERNELS.glob("*.py")}
    found = imports(source)
    assert found
    for level, module in found:
        name = module.split(".")[0]
        assert (level == 0 and name in allowed) or (level == 1 and name in siblings), (
            f"{source.name} imports {'.' * level}{module}"
        )


def test_import_loads_nothing_slow(tmp_path: pathlib.Path) -> None:
    """Compiler, workers and HDF5 are imported when they are first needed, and NumPy when the first name is."""
    code = "import sys, json, gradsweep{}; print(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    assert "numpy" not in run(code.format(""), tmp_path)
    modules = run(code.format("; gradsweep.check"), tmp_path)
    assert "numpy" in modules
    assert not {"numba", "llvmlite", "joblib", "h5py", "rich", "typer"} & set(modules)
    assert not list(tmp_path.iterdir())
