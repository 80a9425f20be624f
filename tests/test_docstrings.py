"""What is public is documented: parameters, results and errors, and an example, which runs as a doctest."""

import ast
import dataclasses
import functools
import importlib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import gradsweep
from gradsweep._diagnosis._diagnose import KINDS
from gradsweep._diagnosis._evidence import Finding

MODULES = (
    "gradsweep",
    "gradsweep.compat.scipy",
    "gradsweep.datasets",
    "gradsweep.functions",
    "gradsweep.kernels",
    "gradsweep.network",
    "gradsweep.problems",
    "gradsweep.scratch",
    "gradsweep.testing",
)

# In the order in which they stand.
SECTIONS = ("Parameters", "Attributes", "Returns", "Yields", "Raises", "Notes", "References", "Examples")


def public_names(module: str) -> Iterator[str]:
    """What a module says is public; else what it defines, or imports as itself, without an underscore."""
    loaded = importlib.import_module(module)
    if hasattr(loaded, "__all__"):
        yield from loaded.__all__
        return
    source = ast.parse(inspect.getsource(loaded))
    for statement in source.body:
        if isinstance(statement, ast.ImportFrom):
            yield from (alias.name for alias in statement.names if alias.asname == alias.name)
        elif isinstance(statement, ast.FunctionDef | ast.ClassDef) and not statement.name.startswith("_"):
            yield statement.name


PUBLIC = [(module, name) for module in MODULES for name in public_names(module)]
CLASSES = [(module, name) for module, name in PUBLIC if inspect.isclass(getattr(importlib.import_module(module), name))]
METHODS = [
    (module, f"{name}.{member}")
    for module, name in CLASSES
    for member, value in vars(getattr(importlib.import_module(module), name)).items()
    if not member.startswith("_") and (inspect.isfunction(value) or isinstance(value, property | functools.cached_property))
]

# What nobody makes, and a report, a contract or a network leads to.
REACHED = [
    ("gradsweep._costs._network", "NetworkCost"),
    ("gradsweep._report", "Displaced"),
    ("gradsweep._sensitivity", "Sensitivity"),
    ("gradsweep._verdict", "Block"),
    ("gradsweep._verdict", "Entry"),
]


def found(module: str, name: str) -> Any:
    value: Any = importlib.import_module(module)
    for part in name.split("."):
        value = vars(value)[part] if inspect.isclass(value) else getattr(value, part)
    return inspect.unwrap(value) if callable(value) else value


def sections(text: str) -> dict[str, str]:
    """The text under each heading, in order; what stands above the first one under the empty name."""
    parts = re.split(r"^(\w[\w ]*)\n-+\n", textwrap.dedent(text), flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def entries(section: str) -> dict[str, tuple[str, str]]:
    """Type and description of each name in a section, as the lines that are not indented have them."""
    described: dict[str, tuple[str, str]] = {}
    for match in re.finditer(r"^(\S.*)\n((?:[ \t]+\S.*\n?|\n)*)", section + "\n", re.MULTILINE):
        names, _, kind = match[1].partition(" : ")
        described |= {name.strip().lstrip("*"): (kind, match[2].strip()) for name in names.split(",")}
    return described


def raised_in(function: Callable[..., Any]) -> set[str]:
    """Names of the errors that a function raises by itself."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    calls = [node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)]
    return {call.func.id for call in calls if isinstance(call.func, ast.Name)}


def objections(value: Any) -> list[str]:
    """What the documentation of a function, or of a class, lacks."""
    text = inspect.getdoc(value) or ""
    parts = sections(text)
    headings = [name for name in parts if name]
    lacking = [f"unknown section {name}" for name in headings if name not in SECTIONS]
    if not re.match(r"\S.*[.:]\n?", text):
        lacking.append("a first sentence")
    known = [name for name in headings if name in SECTIONS]
    if sorted(known, key=SECTIONS.index) != known:
        lacking.append(f"order of sections: {known}")
    if inspect.isclass(value):
        return lacking + _objections_to_class(value, parts)
    return lacking + _objections_to_function(value, parts)


def _objections_to_class(value: type, parts: dict[str, str]) -> list[str]:
    if dataclasses.is_dataclass(value):
        wanted = [field.name for field in dataclasses.fields(value) if not field.name.startswith("_")]
        return _undescribed(wanted, entries(parts.get("Attributes", "")), "attribute")
    if "__init__" in vars(value):
        wanted = [name for name in inspect.signature(value.__init__).parameters if name != "self"]  # type: ignore[misc]
        return _undescribed(wanted, entries(parts.get("Parameters", "")), "parameter")
    return []


def _objections_to_function(value: Callable[..., Any], parts: dict[str, str]) -> list[str]:
    signature = inspect.signature(value)
    wanted = [name for name in signature.parameters if name != "self"]
    described = entries(parts.get("Parameters", ""))
    lacking = _undescribed(wanted, described, "parameter")
    lacking += [f"parameter {name} is described, but there is none" for name in described if name not in wanted]
    for name, parameter in signature.parameters.items():
        default = parameter.default
        if default is not parameter.empty and name in described and not re.search("default|optional", described[name][0]):
            lacking.append(f"default of {name}")
    if signature.return_annotation not in (None, "None") and not parts.get("Returns", "").strip():
        lacking.append("Returns")
    if signature.return_annotation in (None, "None") and "Returns" in parts:
        lacking.append("Returns is described, but nothing is returned")
    documented = parts.get("Raises", "")
    lacking += [f"Raises {name}" for name in sorted(raised_in(value)) if name not in documented]
    return lacking


def _undescribed(wanted: list[str], described: dict[str, tuple[str, str]], what: str) -> list[str]:
    lacking = [f"{what} {name}" for name in wanted if name not in described]
    return lacking + [f"description of {what} {name}" for name in wanted if name in described and not described[name][1]]


@pytest.mark.parametrize(("module", "name"), PUBLIC)
def test_public_names(module: str, name: str) -> None:
    """All parameters or attributes, what is returned and raised, in numpydoc's sections; and an example."""
    value = found(module, name)
    assert objections(value) == []
    assert ">>> " in sections(inspect.getdoc(value) or "").get("Examples", "")


@pytest.mark.parametrize(("module", "name"), METHODS)
def test_methods(module: str, name: str) -> None:
    """The same of methods, whose example may be that of their class. Of properties there is a sentence."""
    value = found(module, name)
    if isinstance(value, property | functools.cached_property):
        function = value.fget if isinstance(value, property) else value.func
        assert re.match(r"\S.*\.", inspect.getdoc(function) or "")
        return
    owner = found(module, name.partition(".")[0])
    assert objections(value) == []
    examples = [sections(inspect.getdoc(each) or "").get("Examples", "") for each in (value, owner)]
    assert ">>> " in examples[0] or re.search(rf"\.{value.__name__}\(", examples[1])


@pytest.mark.parametrize(("module", "name"), REACHED)
def test_what_public_names_lead_to(module: str, name: str) -> None:
    """Its attributes."""
    assert objections(found(module, name)) == []


def test_all_that_is_public_is_walked() -> None:
    """That nothing slips through: the names of the package, and what other modules define."""
    assert {name for module, name in PUBLIC if module == "gradsweep"} == set(gradsweep.__all__)  # type: ignore[attr-defined]
    assert {module for module, _ in PUBLIC} == set(MODULES)
    assert ("gradsweep.testing", "check_backward") in PUBLIC
    assert ("gradsweep", "Report.save") in METHODS


def test_every_kind_of_finding_has_an_example() -> None:
    """A backward pass that is broken in this way, and the sentence that is said of it; whether it is, the doctest tells."""
    text = inspect.getdoc(Finding) or ""
    parts = sections(text)
    named = re.findall(r"``\"(\w+)\"``", entries(parts["Attributes"])["kind"][1])
    assert sorted(named) == sorted(KINDS)
    assert sorted(re.findall(r"^\[(\w+)\] ", parts["Examples"], re.MULTILINE)) == sorted(KINDS)


class TestObjections:
    """What would be found lacking is."""

    def test_function(self) -> None:
        def undocumented(a: int, b: int = 1) -> int:
            """Text.

            Parameters
            ----------
            b : int
                Something.
            c : int
                Something else.
            """
            if a:
                raise ValueError("a")
            return a + b

        assert objections(undocumented) == [
            "parameter a",
            "parameter c is described, but there is none",
            "default of b",
            "Returns",
            "Raises ValueError",
        ]

    def test_order_and_names_of_sections(self) -> None:
        def disordered(a: int) -> None:
            """Text.

            Raises
            ------
            ValueError
                Never.

            Parameters
            ----------
            a : int

            Example
            -------
            >>> 1
            """

        assert objections(disordered) == [
            "unknown section Example",
            "order of sections: ['Raises', 'Parameters']",
            "description of parameter a",
        ]

    def test_class(self) -> None:
        @dataclasses.dataclass
        class Undocumented:
            """Text.

            Attributes
            ----------
            a : int
                Something.
            """

            a: int
            b: int

        assert objections(Undocumented) == ["attribute b"]
