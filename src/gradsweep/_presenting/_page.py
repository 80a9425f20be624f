"""A report as a page: one HTML file with all that it needs, which asks nothing of a network."""

import base64
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

from gradsweep._escaping import escape
from gradsweep._presenting import _document, _text
from gradsweep._presenting import _page_words as words
from gradsweep._presenting._maps import SEVERITY, Scale, map_blocks
from gradsweep._presenting._notes import notes_of
from gradsweep._presenting._page_curves import CurveView, view_curves
from gradsweep._presenting._page_maps import Link, MapView, links_of, view_map
from gradsweep._step_curves import StepCurve
from gradsweep._verdict import Block, Entry

if TYPE_CHECKING:
    import jinja2

#: Entries of the table of those furthest from acceptance.
_WORST = 10

# Scripts of a page, in their order. The hash of each stands in the page's policy, so that no other one can run.
_LIBRARIES = ("plotly-cartesian.min.js", "tablesort.min.js")


class Report(_document.Report, Protocol):
    """What is shown of a report on a page."""

    @property
    def analytic(self) -> Mapping[str, NDArray[Any]]: ...
    def worst(self, k: int = 10) -> list[Entry]: ...
    def step_curves(self, k: int = 3, max_seconds: float = 5.0) -> tuple[StepCurve, ...]: ...


@dataclass(frozen=True)
class BlockView:
    """A line of the table of blocks.

    Attributes
    ----------
    number : int
        Of the block, in the order of the parameters.
    block : Block
        The block.
    map : Link or None
        To its map.
    ranks : tuple of str
        By what each column is sorted: name, shape, difference, interval, noise, status.
    """

    number: int
    block: Block
    map: Link | None
    ranks: tuple[str, ...]


def format_page(report: Report) -> bytes:
    """A report as HTML.

    Parameters
    ----------
    report : Report
        The report.

    Returns
    -------
    bytes
        UTF-8. Whatever was given with the check is escaped: names, lines of code, notes.
    """
    drawn = map_blocks(report)
    scale = Scale.of(report.tolerance)
    maps = [view_map(number, each, scale) for number, each in enumerate(drawn.maps)]
    curves = view_curves(report)
    bundled, own = [_resource(f"vendor/{name}") for name in _LIBRARIES], _resource("page.js")
    return render(
        "page.html.jinja",
        report=report,
        headline=headline(report),
        blocks=_block_views(report.blocks, maps),
        elsewhere=_block_views(report.displaced.blocks, []) if report.displaced else [],
        intervals=any(block.interval is not None for block in report.blocks),
        worst=[(entry, _link_to(maps, entry)) for entry in _worst(report)],
        notes=notes_of(report, bool(_text.wrong_elsewhere(report))),
        findings=[(finding, links_of(finding, maps, report.blocks)) for finding in report.findings],
        maps=maps,
        lost=drawn.lost,
        left_out=drawn.left_out,
        legend=scale,
        curves=curves,
        data=_data(maps, curves, scale, report.tolerance),
        text=_text.format_report(report),
        versions=_document.describe_report(report)["versions"],
        style=_resource("page.css"),
        bundled=bundled,
        own=own,
        policy=_policy([*bundled, own]),
        libraries=_manifest(),
        licence=lambda name: _resource(f"vendor/{name}"),
    )


def _worst(report: Report) -> list[Entry]:
    """Entries that differ, or those that are nearest to it."""
    ranked = report.worst(_WORST)
    return [entry for entry in ranked if not entry.score <= 1.0] or ranked


def headline(report: _text.Report) -> tuple[str, str]:
    """Verdict in capitals, and what is said of it in one line."""
    first, _, _ = _text.format_report(report, _text.WIDEST).partition("\n\n")
    verdict, _, rest = " ".join(first.split()).partition(": ")
    return verdict, rest


def render(template: str, **values: Any) -> bytes:
    """A template, filled in.

    Parameters
    ----------
    template : str
        Its name.
    **values : object
        What it names, beside the functions of `_page_words`, which is ``words``.

    Returns
    -------
    bytes
        UTF-8. What cannot be printed, as half a surrogate pair, or what turns a line around, is written as Python writes it.
    """
    return _environment().get_template(template).render(words=words, **values).encode("utf-8")


@functools.cache
def _environment() -> "jinja2.Environment":
    import jinja2  # 30 ms, which only pages need

    return jinja2.Environment(
        loader=jinja2.FunctionLoader(_resource),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _printable(value: Any) -> Any:
    """What a template puts in, with that escaped in its lines which cannot be printed; what is HTML already stays."""
    return "\n".join(map(escape, value.split("\n"))) if type(value) is str else value


@functools.cache
def _resource(name: str) -> str:
    """A file of the folder ``page``, as it stands."""
    return resources.files("gradsweep._presenting").joinpath("page", *name.split("/")).read_text(encoding="utf-8")


@functools.cache
def _manifest() -> dict[str, dict[str, str]]:
    """What the libraries are: package, version, licence, hash."""
    manifest: dict[str, dict[str, str]] = json.loads(_resource("vendor/manifest.json"))
    return manifest


def _policy(scripts: Sequence[str]) -> str:
    """What a browser may do for this page: run these scripts, apply styles, show pictures that are in the page; no more."""
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{each}'" for each in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
    )


def _data(maps: Sequence[MapView], curves: CurveView, scale: Scale, tolerance: float) -> str:
    """What the scripts draw, as JSON that can stand within a script element: what ends one, or begins a comment, is escaped."""
    document = {
        "low": scale.low,
        "colours": scale.colours(),
        "maps": [each.data for each in maps],
        "curves": [{**each.data, "span": each.span(tolerance)} for each in curves.curves],
        "tolerance": tolerance,
    }
    text = json.dumps(document, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _block_views(blocks: Sequence[Block], maps: Sequence[MapView]) -> list[BlockView]:
    by_name = {each.map.block.name: each for each in maps}
    keys = (
        lambda block: block.name.casefold(),
        lambda block: block.size,
        lambda block: _orderly(block.difference),
        lambda block: _orderly(block.interval[1]) if block.interval else (0, 0.0),
        lambda block: _orderly(block.noise),
        lambda block: (-SEVERITY.index(block.status), block.differing),
    )
    columns = [_ranks([key(block) for block in blocks]) for key in keys]
    return [
        BlockView(number, block, by_name[block.name].link if block.name in by_name else None, ranks)
        for number, (block, ranks) in enumerate(zip(blocks, zip(*columns, strict=True), strict=True))
    ]


def _orderly(value: float) -> tuple[int, float]:
    """A number by which to sort, NaN above all."""
    return (0, value) if value == value else (1, 0.0)


def _ranks(keys: Sequence[Any]) -> list[str]:
    """Of each key how many distinct ones are smaller, with zeros in front: these sort as text."""
    order = {key: rank for rank, key in enumerate(sorted(set(keys)))}
    return [f"{order[key]:09d}" for key in keys]


def _link_to(maps: Sequence[MapView], entry: Entry) -> Link | None:
    return next((each.link_to(entry.index) for each in maps if each.map.block.name == entry.block), None)
