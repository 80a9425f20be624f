"""The picture of a page in the README: python benchmarks/page_picture.py [--output FILE]. Needs Chromium and playwright."""

import argparse
import pathlib
import shutil
import tempfile

import numpy as np

import gradsweep

_FIGURE = pathlib.Path(__file__).parent / "figures" / "page.png"

# Pixels across; down it is as long as what is shown.
_WIDTH = 1100


def make_report() -> gradsweep.Report:
    """A network with two mistakes in its gradient: two rows that are zero, and one entry that is off by one per cent."""
    network = gradsweep.Network([96, 24, 12, 1], hidden="tanh")
    params = network.initialize(seed=0)
    rng = np.random.default_rng(1)
    X, Y = rng.random((96, 16)), (rng.random((1, 16)) < 0.5).astype(float)
    gradient = network.gradient(params, X, Y)
    gradient["dW1"][[5, 9]] = 0.0
    gradient["dW2"][3, 20] *= 1.01
    return gradsweep.check(network.cost(X, Y), params, gradient)


def take_picture(report: gradsweep.Report, output: pathlib.Path) -> None:
    """Open the page of a report, mark what its first finding is about, and keep what is seen from there to the curves."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = pathlib.Path(folder, "report.html")
        report.save(path)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": _WIDTH, "height": 900}, color_scheme="light", reduced_motion="reduce")
        page.goto(path.as_uri())
        for plot in page.locator(".plot").all():
            plot.scroll_into_view_if_needed()
            plot.locator(".main-svg").first.wait_for(state="attached")
        page.locator("#findings a[data-mark]").first.click()
        page.locator(".shapelayer path").wait_for()
        page.locator("#entries, #blocks").evaluate_all("all => all.forEach(each => each.remove())")
        page.evaluate("scrollTo(0, 0)")
        end = page.locator("#maps figure").nth(1).bounding_box()
        assert end is not None
        page.screenshot(
            path=output, full_page=True, clip={"x": 0, "y": 0, "width": _WIDTH, "height": end["y"] + end["height"] + 12}
        )
        browser.close()


def main() -> None:
    """Read the command line, and take the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=pathlib.Path, default=_FIGURE)
    take_picture(make_report(), parser.parse_args().output)


if __name__ == "__main__":
    main()
