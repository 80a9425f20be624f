"""A report as plain data, which its files have in common; and that as JSON."""

import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gradsweep._certificate import Certificate
from gradsweep._diagnosis._evidence import Finding
from gradsweep._presenting import _text
from gradsweep._types import Array
from gradsweep._verdict import Block

#: What files call themselves, and the version of what stands in them: it rises where a reader of the last one would misread them.
SCHEMA, VERSION = "gradsweep-report", 1


class Displaced(_text.Displaced, Protocol):
    """What is kept of a second point."""

    @property
    def evaluations(self) -> int: ...


class Report(_text.Report, Protocol):
    """What is kept of a report, beside what is shown of it."""

    @property
    def numeric(self) -> Mapping[str, Array]: ...
    @property
    def analytic(self) -> Mapping[str, NDArray[Any]]: ...
    @property
    def displaced(self) -> Displaced | None: ...
    @property
    def findings(self) -> Sequence[Finding]: ...
    @property
    def certificate(self) -> Certificate: ...


def describe_report(report: Report) -> dict[str, Any]:
    """All of a report but its arrays.

    Parameters
    ----------
    report : Report
        The report.

    Returns
    -------
    dict of str to object
        Dicts, lists, texts, numbers, truth values, and None for what there is not. Numbers may be NaN or infinite.
    """
    displaced = report.displaced
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "verdict": report.verdict,
        "difference": report.difference,
        "tolerance": report.tolerance,
        "precision": report.precision,
        "mode": report.mode,
        "reason": report.reason,
        "predicted": report.predicted,
        "scheme": report.scheme,
        "step": report.step,
        "evaluations": report.evaluations,
        "seconds": report.seconds,
        "crossed": report.crossed,
        "kinks": report.kinks,
        "evaluated_by": report.evaluated_by,
        "interrupted": report.interrupted,
        "notes": list(report.notes),
        "blocks": [_describe_block(block) for block in report.blocks],
        "findings": [_plain(finding) for finding in report.findings],
        "certificate": _describe_certificate(report.certificate),
        "displaced": displaced
        and {
            "size": displaced.size,
            "evaluations": displaced.evaluations,
            "blocks": [_describe_block(block) for block in displaced.blocks],
        },
        "versions": {"gradsweep": _own_version(), "numpy": np.__version__, "python": platform.python_version()},
    }


def format_json(report: Report) -> bytes:
    """A report as JSON.

    Parameters
    ----------
    report : Report
        The report.

    Returns
    -------
    bytes
        UTF-8, as ``report.schema.json`` beside this file has it. JSON has no numbers that are not finite: these are the texts
        ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``. What there is not is null.
    """
    text = json.dumps(_finite(describe_report(report)), allow_nan=False, ensure_ascii=False, indent=1)
    # Half a surrogate pair, as in the name of a file that is no UTF-8, becomes the \udcff by which JSON writes it, too.
    return (text + "\n").encode("utf-8", "backslashreplace")


def _describe_block(block: Block) -> dict[str, Any]:
    described: dict[str, Any] = _plain(block)
    for entry in described["worst"]:
        del entry["block"]
    return described


def _describe_certificate(certificate: Certificate) -> dict[str, Any]:
    scale, entry = certificate.weakest()
    return {
        "scale": certificate.scale,
        "entry": certificate.entry,
        "weakest": {"scale": scale, "entry": entry} if certificate.blocks else None,
        "blocks": [block.name for block in certificate.blocks],
        "not_covered": list(certificate.not_covered),
    }


def _plain(value: Any) -> Any:
    """Records and mappings as dicts, sequences as lists, NumPy's numbers as Python's."""
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return value.value if isinstance(value, Enum) else value


def _finite(value: Any) -> Any:
    """The same with texts in the place of numbers that are not finite."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0.0 else "-Infinity"
    return value


def _own_version() -> str | None:
    from importlib import metadata  # 10 ms, which only files need

    try:
        return metadata.version("gradsweep")
    except metadata.PackageNotFoundError:  # run from a source tree that was never installed
        return None
