"""Pages: whole in one file, nothing from elsewhere, and whatever the user gave escaped."""

import base64
import hashlib
import json
import math
import pathlib
import pickle
import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources
from typing import Any

import numpy as np
import pytest

import gradsweep
from gradsweep._escaping import escape
from gradsweep._presenting._page import format_page
from gradsweep._report import Report
from gradsweep._verdict import Status

VENDOR = resources.files("gradsweep._presenting").joinpath("page", "vendor")

#: Names, notes and texts as nobody should give them; each would be seen by the parser below, or by a browser.
HOSTILE = (
    "</script><img src=x onerror=alert(1)>",
    '" onmouseover="alert(2)" x="',
    "' autofocus onfocus='alert(3)",
    "<!--<script>",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(4)",
    "]]></style><b>&amp;",
)

#: Elements without an end.
VOID = {"meta", "link", "input", "br"}


class Page(HTMLParser):
    """A page as a browser reads it.

    Attributes
    ----------
    elements : list of (str, dict)
        Names and attributes.
    texts : dict of str to list of str
        What stands directly in elements of each name.
    """

    def __init__(self, content: str) -> None:
        super().__init__(convert_charrefs=True)
        self.content = content
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(content)
        self.close()
        assert self._open == []

    @classmethod
    def of(cls, report: Report) -> "Page":
        return cls(format_page(report).decode("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts[self._open[-1]][-1] += data

    def attributes(self, name: str) -> list[str]:
        """Values of an attribute, of all elements."""
        return [
            value for _, attributes in self.elements for key, value in attributes.items() if key == name and value is not None
        ]

    @property
    def text(self) -> str:
        """All that is read, but scripts and styles."""
        return " ".join(" ".join(each) for name, each in self.texts.items() if name not in ("script", "style"))

    @property
    def data(self) -> Any:
        """What the scripts draw."""
        return json.loads(next(text for text in self.texts["script"] if text.startswith("{")), parse_constant=pytest.fail)


def wrong_report() -> Report:
    network = gradsweep.Network([90, 12, 4, 1], hidden="tanh")
    params = network.initialize(0)
    generator = np.random.default_rng(1)
    X, Y = generator.random((90, 6)), (generator.random((1, 6)) < 0.5).astype(float)
    gradient = network.gradient(params, X, Y)
    gradient["dW1"][5] = 0.0
    gradient["dW2"][2, 7] *= 1.01
    return gradsweep.check(network.cost(X, Y), params, gradient)


def hostile_report() -> Report:
    params = {name: np.ones(2) for name in HOSTILE} | {"a\0b": np.ones(1), "caf\udce9": np.ones(1)}
    gradient = {name: 3.0 * value for name, value in params.items()}
    report = gradsweep.check(lambda p: sum(np.sum(value**2) for value in p.values()), params, gradient)
    findings = tuple(replace(finding, message=HOSTILE[0], advice=HOSTILE[3]) for finding in report.findings)
    assert findings
    return replace(report, notes=(*HOSTILE, "\0 caf\udce9 \u202e"), reason=HOSTILE[0], findings=findings)


def cubes(factor: float = 3.0, **options: Any) -> Report:
    w = np.array([1.0, 2.0])
    return gradsweep.check(lambda w: np.sum(w**3), w, factor * w**2, **options)


class TestFile:
    def test_nothing_comes_from_elsewhere(self) -> None:
        page = Page.of(wrong_report())
        assert not {"src", "srcset", "action", "formaction", "srcdoc", "background"} & {
            key for _, attributes in page.elements for key in attributes
        }
        assert all(value.startswith("#") or value == "data:," for value in page.attributes("href"))
        assert not {"iframe", "object", "embed", "base", "form"} & {name for name, _ in page.elements}
        assert "url(" not in page.texts["style"][0]
        assert "@import" not in page.texts["style"][0]

    def test_only_its_own_scripts_may_run(self) -> None:
        page = Page.of(wrong_report())
        (policy,) = (attributes["content"] for name, attributes in page.elements if attributes.get("http-equiv"))
        assert policy is not None
        scripts = [text for text in page.texts["script"] if not text.startswith("{")]
        hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
        rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
        assert rules.pop("script-src") == " ".join(f"'sha256-{each}'" for each in hashes)
        assert rules == {
            "default-src": "'none'",
            "style-src": "'unsafe-inline'",
            "img-src": "data:",
            "base-uri": "'none'",
            "form-action": "'none'",
        }
        assert len(scripts) == 3

    def test_libraries_are_what_the_manifest_says(self) -> None:
        manifest = json.loads(VENDOR.joinpath("manifest.json").read_text(encoding="utf-8"))
        files = {each.name for each in VENDOR.iterdir()}
        assert files == {"manifest.json", *manifest, *(library["licence_file"] for library in manifest.values())}
        for name, library in manifest.items():
            content = VENDOR.joinpath(name).read_bytes()
            assert hashlib.sha256(content).hexdigest() == library["sha256"]
            assert b"</script" not in content.lower()
            assert b"<!--" not in content
            assert "Copyright" in VENDOR.joinpath(library["licence_file"]).read_text(encoding="utf-8")
        assert (
            f"v{manifest['plotly-cartesian.min.js']['version']}".encode()
            in VENDOR.joinpath("plotly-cartesian.min.js").read_bytes()
        )

    def test_licences_go_with_it(self) -> None:
        page = Page.of(cubes())
        for licence in ("plotly-cartesian.LICENSE.txt", "tablesort.LICENSE.txt"):
            assert VENDOR.joinpath(licence).read_text(encoding="utf-8").strip() in "\n".join(page.texts["pre"])

    def test_size(self) -> None:
        """A page of many blocks, each larger than its map; and one of few."""
        names = [f"block {number}" for number in range(60)]
        params = {name: np.ones((40, 40)) for name in names}
        gradient = {name: 3.0 * np.ones((40, 40)) for name in names}
        report = gradsweep.check(lambda p: sum(np.sum(value**2) for value in p.values()), params, gradient)
        assert len(format_page(report)) < 3.5e6
        eight = replace(report, blocks=report.blocks[:8])
        assert 1.5e6 < len(format_page(eight)) < 3.5e6
        assert len(format_page(cubes())) < 1.6e6

    def test_large_blocks_are_maps_of_few_cells(self) -> None:
        network = gradsweep.Network([300, 200, 1])
        params = network.initialize(0)
        X, Y = np.random.default_rng(0).random((300, 2)), np.array([[0.0, 1.0]])
        gradient = network.gradient(params, X, Y)
        gradient["dW1"][123, 45] *= 1.01
        page = Page.of(gradsweep.check(network.cost(X, Y), params, gradient, mode="neurons"))
        (first, *_) = page.data["maps"]
        assert (len(first["z"]), len(first["z"][0])) == (64, 64)
        places = [(row, column) for row in range(64) for column in range(64) if first["z"][row][column] > -3.0]
        assert [first["at"][row][column] for row, column in places] == ["123, 45"]


class TestContent:
    def test_verdict_and_headline(self) -> None:
        page = Page.of(wrong_report())
        assert page.texts["title"] == ["FAIL: the gradient of W1 and W2 is wrong; b1, b2, W3 and b3 agree – gradsweep"]
        assert "".join(page.texts["h1"]).strip() == "the gradient of W1 and W2 is wrong; b1, b2, W3 and b3 agree"

    def test_all_sections_can_be_reached(self) -> None:
        page = Page.of(wrong_report())
        targets = [value[1:] for value in page.attributes("href") if value.startswith("#")]
        identifiers = page.attributes("id")
        assert len(identifiers) == len(set(identifiers))
        assert set(targets) <= set(identifiers)
        assert {"findings", "entries", "blocks", "maps", "curves", "certificate", "settings"} <= set(targets)
        referred = [
            each
            for name in ("aria-labelledby", "aria-describedby", "for")
            for value in page.attributes(name)
            for each in value.split()
        ]
        assert set(referred) <= set(identifiers)

    def test_every_block_stands_in_the_table(self) -> None:
        report = wrong_report()
        page = Page.of(report)
        for number, block in enumerate(report.blocks):
            assert f"block-{number}" in page.attributes("id")
            assert f"{block.difference:.1e}" in page.text
        assert "WRONG: 90 of 1,080 entries" in page.text

    def test_findings_link_to_their_places(self) -> None:
        """A row that is wrong is marked as a whole, an entry by its cell."""
        page = Page.of(wrong_report())
        marks = {
            (attributes["href"], attributes["data-mark"])
            for name, attributes in page.elements
            if name == "a" and "data-mark" in attributes
        }
        assert ("#map-0", "[-0.5, 89.5, 4.5, 5.5]") in marks
        assert ("#map-1", "[6.5, 7.5, 1.5, 2.5]") in marks
        assert "W1, row 5" in page.text

    def test_data_of_a_map(self) -> None:
        page = Page.of(cubes(2.0))
        (drawn,) = page.data["maps"]
        assert drawn["at"] == [["0", "1"]]
        assert drawn["analytic"] == [["2.000000e+00", "8.000000e+00"]]
        assert drawn["numeric"] == [["3.000000e+00", "1.200000e+01"]]
        assert drawn["difference"] == [["2.0e-01", "2.0e-01"]]
        assert drawn["z"] == [[round(math.log10(0.2), 2)] * 2]

    def test_error_against_step(self) -> None:
        page = Page.of(cubes(3.0))
        (first,) = page.data["curves"]
        errors = [each for each in first["error"] if each is not None]
        assert min(errors) < 1e-9
        assert max(errors) > 1e-3
        wrong = Page.of(cubes(2.0)).data["curves"][0]
        assert all(each is None or each > 0.1 for each in wrong["error"])

    def test_order_of_truncation(self) -> None:
        """The reference passes through the errors where these are truncation."""
        (first,) = Page.of(cubes(3.0)).data["curves"]
        pairs = [
            (error, line)
            for step, error, line in zip(first["step"], first["error"], first["truncation"], strict=True)
            if step > 1e-2
        ]
        assert pairs
        assert all(error == pytest.approx(line, rel=0.1) for error, line in pairs)

    def test_truncation_of_a_check_whose_step_is_too_large(self) -> None:
        """Its numeric value is off itself; the reference still passes through the errors of a right gradient."""
        first = Page.of(cubes(3.0, step=0.5)).data["curves"][0]
        lines = zip(first["step"], first["error"], first["truncation"], strict=True)
        pairs = [(error, line) for step, error, line in lines if step > 1e-3]
        assert len(pairs) > 3
        assert all(error == pytest.approx(line, rel=0.1) for error, line in pairs)

    @pytest.mark.parametrize("made", ["pickled", "changed"])
    def test_why_there_are_no_curves(self, made: str) -> None:
        w = np.array([1.0, 2.0])
        scale = [1.0]
        report = gradsweep.check(lambda w: scale[0] * np.sum(w**3), w, 3.0 * w**2)
        if made == "pickled":
            report = pickle.loads(pickle.dumps(report))
        scale[0] = 2.0
        page = Page.of(report)
        assert page.data["curves"] == []
        assert ("this report has no cost" if made == "pickled" else "what it depends on has been changed since") in page.text

    def test_a_cost_that_raises_by_then(self) -> None:
        working = [True]

        def cost(w: Any) -> Any:
            if not working[0]:
                raise OSError("<gone>")
            return np.sum(w**3)

        report = gradsweep.check(cost, np.ones(2), 3.0 * np.ones(2))
        working[0] = False
        assert "<gone>" in Page.of(report).text

    def test_of_a_screen(self) -> None:
        network = gradsweep.Network([20, 12, 1])
        params = network.initialize(0)
        X, Y = np.random.default_rng(0).random((20, 3)), np.array([[0.0, 1.0, 1.0]])
        report = gradsweep.check(network.cost(X, Y), params, network.gradient(params, X, Y), mode="screen")
        page = Page.of(report)
        assert "a screen looks along random directions" in page.text
        assert "95 % interval" in page.text
        assert page.data["maps"] == []

    def test_of_one_number(self) -> None:
        page = Page.of(gradsweep.check(lambda w: w**2, 3.0, 6.0))
        assert page.data["maps"][0]["at"] == [[""]]
        assert "PASS" in page.text

    def test_of_what_is_not_finite(self) -> None:
        report = gradsweep.check(lambda w: np.sum(w**2), np.array([1.0, 2.0, 3.0]), np.array([np.nan, np.inf, 6.0]))
        page = Page.of(report)
        assert page.data["maps"][0]["z"][0][:2] == [1.0, 1.0]
        assert page.data["maps"][0]["analytic"][0][:2] == ["nan", "inf"]

    def test_of_what_is_inconclusive(self) -> None:
        page = Page.of(cubes(step=0.5))
        assert "step too large" in page.text
        assert "INCONCLUSIVE" in page.text
        assert "Use step=1e-07" in page.text
        assert "Use step=1e-07" in cubes(step=0.5)._repr_html_()

    def test_of_a_second_point(self) -> None:
        report = gradsweep.check(lambda w: np.sum(w**3), np.ones(2), lambda w: 3.0 * w**2)
        assert "At a second point" in Page.of(report).text
        assert "At a second point" not in Page.of(cubes()).text

    def test_of_a_check_that_was_interrupted(self) -> None:
        report = cubes()
        block = replace(report.blocks[0], size=1, status=Status.UNFINISHED)
        stopped = replace(
            report, blocks=(block,), numeric={"params": np.array([3.0, np.nan])}, interrupted=True, verdict="inconclusive"
        )
        page = Page.of(stopped)
        assert page.data["maps"][0]["z"][0][1] is None
        assert "not finished: 1 of 2 entries" in page.text
        assert "not compared" in page.text
        assert "not compared" not in Page.of(report).text

    def test_of_a_sample(self) -> None:
        """Of each cell with an entry that was looked at it is this one."""
        params = np.arange(1.0, 201.0)
        report = gradsweep.check(lambda w: np.sum(w**2), params, 2.0 * params, select=5)
        (drawn,) = Page.of(report).data["maps"]
        looked_at = np.flatnonzero(~np.isnan(report.numeric["params"]))
        assert [index for index, z in zip(drawn["at"][0], drawn["z"][0], strict=True) if z is not None] == looked_at.astype(
            str
        ).tolist()

    def test_what_has_been_changed_since_is_said(self) -> None:
        network = gradsweep.Network([3, 2, 1])
        params = network.initialize(0)
        X, Y = np.eye(3), np.ones((1, 3))
        gradient = network.gradient(params, X, Y)
        report = gradsweep.check(network.cost(X, Y), params, gradient)
        gradient["dW1"][:] = 7.0
        assert "W1 has been changed since the check" in Page.of(report).text

    def test_many_blocks(self) -> None:
        params = {f"w{number}": np.ones(2) for number in range(200)}
        gradient = {name: 2.0 * value for name, value in params.items()}
        gradient["w150"] = 3.0 * params["w150"]
        page = Page.of(gradsweep.check(lambda p: sum(np.sum(value**2) for value in p.values()), params, gradient))
        assert len(page.data["maps"]) == 24
        assert "24 of 200 blocks" in page.text
        assert page.data["maps"][0]["analytic"] == [["3.000000e+00"] * 2]


class TestEscaping:
    def test_no_element_and_no_attribute_is_of_the_users(self) -> None:
        """The page has the elements and attributes that it has with harmless names."""
        report = hostile_report()
        page = Page.of(report)
        assert not {"img", "b", "onerror"} & {name for name, _ in page.elements if name != "b"}
        keys = {key for _, attributes in page.elements for key in attributes}
        assert not any(key.startswith("on") for key in keys)
        assert "autofocus" not in keys
        assert not any(value.startswith("javascript:") for value in page.attributes("href"))

    def test_names_are_shown_as_they_are(self) -> None:
        text = Page.of(hostile_report()).text
        for name in HOSTILE:
            assert escape(name) in text or escape(repr(name)) in text
        assert "49" not in re.findall(r"\b49\b", text)

    def test_no_name_is_in_the_data(self) -> None:
        page = Page.of(hostile_report())
        (data,) = (text for text in page.texts["script"] if text.startswith("{"))
        assert not set("<>&") & set(data)
        assert "alert" not in data

    def test_any_text(self) -> None:
        content = format_page(hostile_report())
        assert b"\0" not in content
        text = content.decode("utf-8")
        assert "\\x00 caf\\udce9 \\u202e" in text
        assert "\u202e" not in text

    def test_a_fragment_too(self) -> None:
        page = Page(hostile_report()._repr_html_())
        assert not {"img", "script"} & {name for name, _ in page.elements}
        assert not any(key.startswith("on") for _, attributes in page.elements for key in attributes)
        assert "\0" not in page.content
        page.content.encode("utf-8")


class TestFragment:
    def test_has_no_script_and_no_style_sheet(self) -> None:
        page = Page(wrong_report()._repr_html_())
        assert not {"script", "style", "link", "a"} & {name for name, _ in page.elements}
        assert "FAIL" in page.text
        assert "W1[5, " in page.text
        assert "only row 5" in page.text

    def test_certificate_of_a_pass(self) -> None:
        assert "Would have caught: a block off by a factor of 1 ± 2.0e-07" in Page(cubes()._repr_html_()).text

    def test_is_compact(self) -> None:
        params = {f"w{number}": np.ones(2) for number in range(200)}
        gradient = {name: 3.0 * value for name, value in params.items()}
        report = gradsweep.check(lambda p: sum(np.sum(value**2) for value in p.values()), params, gradient)
        content = report._repr_html_()
        assert "and 188 more" in content
        assert len(content) < 20_000


def test_a_page_is_saved(tmp_path: pathlib.Path) -> None:
    report = wrong_report()
    report.save(tmp_path / "report.HTML")
    assert (tmp_path / "report.HTML").read_bytes() == format_page(report)
