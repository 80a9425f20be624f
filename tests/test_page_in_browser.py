"""Pages in a browser, from disk: they draw, sort, mark and keep to themselves, for mouse, keyboard and screen reader."""

import os
import pathlib
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from test_page import cubes, hostile_report, wrong_report

import gradsweep
from gradsweep._report import Report

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
image = pytest.importorskip("matplotlib.image", reason="matplotlib is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium: apt-get install chromium")

WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}

# What accessibility is held against: the web's guidelines, and what is good practice besides.
RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}}


KINDS: dict[str, Callable[[], Report]] = {
    "fail": wrong_report,
    "pass": cubes,
    "inconclusive": lambda: cubes(step=0.5),
    "screen": lambda: cubes(2.0, mode="screen"),
    "number": lambda: gradsweep.check(lambda w: w**2, 3.0, 6.0),
    "hostile": hostile_report,
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        # A sandbox needs rights that root in a container does not have.
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        with playwright.chromium.launch(executable_path=CHROMIUM, args=options) as running:
            yield running


@dataclass
class Opened:
    """A page in the browser, and what it said and asked for.

    Attributes
    ----------
    page : playwright.sync_api.Page
        The page.
    said : list of str
        Messages of the console, errors, and dialogues.
    requests : list of str
        All that was asked for, but the file itself and what stands in it.
    """

    page: Any
    said: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def hear(self, dialogue: Any) -> None:
        self.said.append(dialogue.message)
        dialogue.dismiss()

    def draw_all(self) -> None:
        """Scroll to the end, as maps are drawn when they come into view."""
        for plot in self.page.locator(".plot").all():
            plot.scroll_into_view_if_needed()
            plot.locator(".main-svg").first.wait_for(state="attached")


Open = Callable[..., Opened]


@pytest.fixture
def opened(browser: Any, tmp_path: pathlib.Path) -> Iterator[Open]:
    """Opens the page of a report; whatever it says or asks for, at any time, is a failure."""
    contexts, pages = [], []

    def open_it(report: Report, viewport: dict[str, int] | None = None, scheme: str = "light") -> Opened:
        path = tmp_path / "report.html"
        report.save(path)
        context = browser.new_context(viewport=viewport or WIDE, color_scheme=scheme, reduced_motion="reduce")
        contexts.append(context)
        found = Opened(context.new_page())
        pages.append(found)
        found.page.on("console", lambda message: found.said.append(message.text))
        found.page.on("pageerror", lambda error: found.said.append(str(error)))
        found.page.on("dialog", found.hear)
        own = path.as_uri()
        found.page.on(
            "request", lambda request: found.requests.append(request.url) if not request.url.startswith((own, "data:")) else None
        )
        found.page.goto(own)
        found.page.locator(".plot").first.wait_for()
        return found

    yield open_it
    assert [found.said for found in pages] == [[]] * len(pages)
    assert [found.requests for found in pages] == [[]] * len(pages)
    for context in contexts:
        context.close()


def names(page: Any) -> list[str]:
    """First column of the table of blocks."""
    texts: list[str] = page.locator("#blocks-table tbody th").all_inner_texts()
    return texts


class TestDrawing:
    def test_all_of_it_and_nothing_from_elsewhere(self, opened: Open) -> None:
        found = opened(wrong_report())
        found.draw_all()
        assert found.page.locator(".heatmaplayer image").count() == 6
        assert found.page.locator("#curves .scatterlayer .js-line").count() >= 6

    def test_hover_shows_values(self, opened: Open) -> None:
        """Over a cell of the row that is zero: its entry, and both gradients."""
        report = wrong_report()
        found = opened(report)
        plot = found.page.locator('[data-map="0"]')
        plot.scroll_into_view_if_needed()
        layer = plot.locator(".heatmaplayer image")
        layer.wait_for()
        box = layer.bounding_box()
        rows = report.blocks[0].shape[0]
        found.page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 5.5 / rows)
        label = plot.locator(".hoverlayer .hovertext")
        label.wait_for()
        shown = label.text_content()
        index = re.search(r"\[5, (\d+)\]", shown)
        assert index is not None
        assert "analytic 0.000000e+00" in shown
        assert f"numeric {report.numeric['W1'][5, int(index[1])]:.6e}" in shown
        assert "relative difference 1.0e+00" in shown

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_texts_of_plots_can_be_read(self, opened: Open, scheme: str) -> None:
        """They follow the page's colours, by the system's choice and by the switch."""
        found = opened(cubes(2.0), scheme=scheme)
        found.draw_all()
        text = found.page.locator(".plot .xtick text").first

        def brightness() -> tuple[float, float]:
            ink, paper = (
                np.mean([int(value) for value in re.findall(r"\d+", colour)[:3]])
                for colour in (
                    text.evaluate("each => getComputedStyle(each).fill"),
                    found.page.evaluate("getComputedStyle(document.body).backgroundColor"),
                )
            )
            return float(ink), float(paper)

        for chosen in (None, "Dark", "Light"):
            if chosen is not None:
                found.page.get_by_role("radio", name=chosen).check()
            dark = (chosen or scheme).lower() == "dark"
            ink, paper = brightness()
            assert (ink > 200 and paper < 40) if dark else (ink < 40 and paper > 240)


class TestSorting:
    def test_by_mouse(self, opened: Open) -> None:
        report = wrong_report()
        page = opened(report).page
        assert names(page) == [block.name for block in report.blocks]
        page.get_by_role("button", name="Difference").first.click()
        rising = [block.name for block in sorted(report.blocks, key=lambda block: block.difference)]
        assert names(page) == rising
        heading = page.locator("#blocks-table thead th").nth(2)
        assert heading.get_attribute("aria-sort") == "ascending"
        page.get_by_role("button", name="Difference").first.click()
        assert names(page) == rising[::-1]
        assert heading.get_attribute("aria-sort") == "descending"

    @pytest.mark.parametrize("key", ["Enter", "Space"])
    def test_by_keyboard(self, opened: Open, key: str) -> None:
        page = opened(wrong_report()).page
        page.get_by_role("region", name="All blocks").focus()
        for _ in range(5):
            page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Verdict"
        page.keyboard.press(key)
        page.keyboard.press(key)
        assert page.locator("#blocks-table thead th").nth(4).get_attribute("aria-sort") == "descending"
        assert names(page)[:2] == ["W1", "W2"]

    def test_names_and_numbers_that_are_none(self, opened: Open) -> None:
        params = {"b": np.ones(3), "C": np.ones(1), "a": np.ones(20), "d": np.ones(2)}
        gradient = {name: 2.0 * value for name, value in params.items()}
        gradient["C"] = np.array([np.nan])
        gradient["d"] = np.array([2.0, 3.0])
        report = gradsweep.check(lambda p: sum(np.sum(value**2) for value in p.values()), params, gradient)
        page = opened(report).page
        page.get_by_role("button", name="Block").first.click()
        assert [name.strip("[]'") for name in names(page)] == ["a", "b", "C", "d"]
        page.get_by_role("button", name="Shape").first.click()
        assert [name.strip("[]'") for name in names(page)] == ["C", "d", "b", "a"]
        page.get_by_role("button", name="Difference").first.click()
        assert [name.strip("[]'") for name in names(page)][2:] == ["d", "C"]


class TestLinks:
    def test_a_finding_marks_its_place(self, opened: Open) -> None:
        report = wrong_report()
        found = opened(report)
        page = found.page
        page.locator("#findings").get_by_role("link", name="W1, row 5").click()
        plot = page.locator('[data-map="0"]')
        mark = plot.locator(".shapelayer path")
        mark.wait_for()
        layer, box = plot.locator(".heatmaplayer image").bounding_box(), mark.bounding_box()
        row = layer["height"] / report.blocks[0].shape[0]
        assert box["y"] + box["height"] / 2 == pytest.approx(layer["y"] + 5.5 * row, abs=2)
        assert row <= box["height"] < row + 14  # with its line
        assert layer["width"] <= box["width"] < layer["width"] + 14
        assert page.locator("#map-0 .marked").inner_text() == "Marked: W1, row 5"
        assert page.evaluate("location.hash") == "#map-0"
        assert 0 <= page.locator("#map-0").bounding_box()["y"] < WIDE["height"] / 2

    def test_an_entry_by_keyboard(self, opened: Open) -> None:
        page = opened(wrong_report()).page
        link = page.locator("#findings").get_by_role("link", name="W2[2, 7]")
        link.focus()
        page.keyboard.press("Enter")
        page.locator("#map-1 .shapelayer path").wait_for()
        assert page.locator("#map-1 .marked").inner_text() == "Marked: W2[2, 7]"
        page.go_back()
        assert page.evaluate("location.hash") == ""

    def test_every_link_leads_to_something_in_view(self, opened: Open) -> None:
        page = opened(wrong_report()).page
        for href in sorted(set(page.locator("a").evaluate_all("all => all.map(each => each.getAttribute('href'))"))):
            page.evaluate("href => { location.hash = href }", href)
            assert page.locator(href).evaluate("each => each.getBoundingClientRect().top < innerHeight"), href


class TestAccessibility:
    @pytest.mark.parametrize(
        ("kind", "scheme"),
        [("fail", "light"), ("fail", "dark"), ("pass", "light"), ("inconclusive", "dark"), ("screen", "light")],
    )
    def test_no_rule_is_broken(self, opened: Open, kind: str, scheme: str) -> None:
        found = opened(KINDS[kind](), scheme=scheme)
        found.draw_all()
        for summary in found.page.locator("summary").all():
            summary.click()
        result = axe.Axe().run(found.page, options=RULES)
        assert result.violations_count == 0, result.generate_report()
        assert len(result.response["passes"]) > 30

    def test_structure_as_it_is_read_aloud(self, opened: Open) -> None:
        page = opened(wrong_report()).page
        snapshot = page.locator("body").aria_snapshot()
        for expected in (
            "- banner:",
            '- heading "FAIL the gradient of W1 and W2 is wrong; b1, b2, W3 and b3 agree" [level=1]',
            '- navigation "Contents"',
            "- main:",
            '- region "What is likely wrong"',
            '- table "All blocks"',
            '- columnheader "Difference"',
            '- rowheader "W1"',
            '- figure "W1 12 × 90"',
            '- img "Map of relative differences; the table below has its worst cells"',
            "- contentinfo:",
        ):
            assert expected in snapshot, expected

    def test_a_map_has_a_table(self, opened: Open) -> None:
        page = opened(wrong_report()).page
        figure = page.locator("#map-1")
        figure.locator("summary").click()
        first = figure.get_by_role("row").nth(1)
        assert first.get_by_role("rowheader").inner_text() == "W2[2, 7]"
        first.get_by_role("link").click()
        figure.locator(".shapelayer path").wait_for()

    def test_focus_can_be_seen(self, opened: Open) -> None:
        page = opened(cubes()).page
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        assert page.evaluate("document.activeElement.getBoundingClientRect().left") >= 0
        for _ in range(6):
            page.keyboard.press("Tab")
            style = "(each => [getComputedStyle(each).outlineStyle, getComputedStyle(each).outlineWidth])(document.activeElement)"
            assert page.evaluate(style) == ["solid", "3px"]

    def test_motion(self, browser: Any, opened: Open) -> None:
        page = opened(cubes()).page
        assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
        page.emulate_media(reduced_motion="no-preference")
        assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "smooth"


class TestHostileNames:
    def test_are_inert(self, opened: Open) -> None:
        """No dialogue, no message, no element; the fixture looks at what the page says."""
        found = opened(hostile_report())
        found.draw_all()
        page = found.page
        assert page.locator("img, b:not(.notes b)").count() == 0
        for link in page.locator("a[data-mark]").all()[:6]:
            link.click()
        page.mouse.move(300, 300)
        assert page.evaluate("document.querySelectorAll('[onerror], [onmouseover], [onfocus]').length") == 0
        assert "</script><img src=x onerror=alert(1)>" in page.locator("#blocks-table").inner_text()

    def test_a_script_that_is_put_in_does_not_run(self, browser: Any, tmp_path: pathlib.Path) -> None:
        """Were something not escaped after all, the policy would hold it."""
        path = tmp_path / "report.html"
        cubes().save(path)
        content = path.read_text(encoding="utf-8")
        extra = "<img src=x onerror='window.caught = 1'><script>window.caught = 2</script><img src='http://127.0.0.1:9/x.png'>"
        path.write_text(content.replace("<main", f"{extra}<main"), encoding="utf-8")
        page = browser.new_page()
        refused: list[str] = []
        page.on("console", lambda message: refused.append(message.text))
        page.goto(path.as_uri())
        page.locator(".plot").first.wait_for()
        assert page.evaluate("window.caught === undefined")
        assert len([text for text in refused if "Content Security Policy" in text]) >= 3
        page.close()


class TestPictures:
    @pytest.mark.parametrize(
        ("kind", "viewport", "scheme"),
        [
            ("fail", WIDE, "light"),
            ("fail", NARROW, "dark"),
            ("hostile", NARROW, "light"),
            ("inconclusive", NARROW, "light"),
            ("number", WIDE, "light"),
            ("pass", WIDE, "dark"),
            ("screen", NARROW, "dark"),
        ],
        ids=lambda value: str(value["width"]) if isinstance(value, dict) else value,
    )
    def test_nothing_is_blank_and_nothing_sticks_out(
        self, opened: Open, tmp_path: pathlib.Path, kind: str, viewport: dict[str, int], scheme: str
    ) -> None:
        found = opened(KINDS[kind](), viewport=viewport, scheme=scheme)
        found.draw_all()
        page = found.page
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        for summary in page.locator("summary").all():
            summary.click()
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        page.evaluate("scrollTo(0, 0)")
        path = tmp_path / "page.png"
        page.screenshot(path=path)
        picture = np.round(255.0 * image.imread(path)[:, :, :3]).astype(np.uint8)
        assert picture.shape[:2] == (viewport["height"], viewport["width"])
        grounds, counts = np.unique(picture.reshape(-1, 3), axis=0, return_counts=True)
        assert 0.5 < counts.max() / counts.sum() < 0.99
        assert (grounds[counts.argmax()].mean() > 240) == (scheme == "light")
        # Every quarter of the first screen has something on it.
        assert all(
            len(np.unique(part.reshape(-1, 3), axis=0)) > 5 for part in np.array_split(picture[: 3 * len(picture) // 4], 3)
        )

    @pytest.mark.parametrize("viewport", [WIDE, NARROW], ids=["wide", "narrow"])
    def test_no_text_of_a_plot_is_cut_off(self, opened: Open, viewport: dict[str, int]) -> None:
        found = opened(wrong_report(), viewport=viewport)
        found.draw_all()
        outside = found.page.evaluate(
            """() => [...document.querySelectorAll(".plot")].flatMap((plot) => {
              const frame = plot.getBoundingClientRect();
              return [...plot.querySelectorAll("text")].filter((text) => {
                const box = text.getBoundingClientRect();
                return box.width && (box.left < frame.left - 1 || box.right > frame.right + 1 || box.bottom > frame.bottom + 1);
              }).map((text) => text.textContent);
            })"""
        )
        assert outside == []
