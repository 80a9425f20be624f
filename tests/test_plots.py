"""Plots: what is drawn, and that nothing but a figure is made."""

import io
import os
import pathlib
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import gradsweep
from gradsweep._report import Report
from gradsweep._verdict import Status

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

from matplotlib.colors import to_hex


def wrong_report() -> Report:
    params = {"W": np.linspace(-1.0, 2.0, 12).reshape(3, 4), "b": np.array([0.5, 0.25, -1.0])}
    gradient = {"W": 2.0 * params["W"], "b": np.array([1.0, np.nan, -2.0])}
    gradient["W"][1, 2] *= 1.5
    return gradsweep.check(lambda p: np.sum(p["W"] ** 2) + np.sum(p["b"] ** 2), params, gradient)


def drawn(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=50)
    return buffer.getvalue()


def lines(axes: Any) -> dict[str, Any]:
    return {line.get_label(): line for line in axes.lines}


class TestValues:
    def test_points_are_entries(self) -> None:
        values = lines(wrong_report().plot().subfigs[0].axes[0])
        within, above = values["within tolerance and noise (13)"], values["differing by more (1)"]
        assert (above.get_xdata().tolist(), above.get_ydata().tolist()) == (
            [pytest.approx(2 * 7 / 11)],
            [pytest.approx(3 * 7 / 11)],
        )
        np.testing.assert_allclose(within.get_xdata(), within.get_ydata(), rtol=1e-6)

    def test_the_worst_are_marked(self) -> None:
        report = wrong_report()
        values = lines(report.plot().subfigs[0].axes[0])
        (entry,) = (entry for entry in report.worst(10) if entry.score > 1.0 and np.isfinite(entry.analytic))
        assert values["the worst (1)"].get_ydata().tolist() == [entry.analytic]

    def test_axes(self) -> None:
        axes = wrong_report().plot().subfigs[0].axes[0]
        assert (axes.get_xscale(), axes.get_yscale()) == ("symlog", "symlog")
        assert axes.get_title() == "Both gradients: 15 of 15 entries, 1 not finite"
        diagonal = axes.lines[-1]
        np.testing.assert_array_equal(diagonal.get_xdata(), diagonal.get_ydata())


class TestMaps:
    def test_colours(self) -> None:
        """Blue for what agrees, orange to red for what does not, violet for NaN, grey for what is below the noise."""
        params = np.array([1.0, 1.0, 1.0, 0.0])
        gradient = np.array([2.0, 2.2, np.nan, 0.0])
        figure: Any = gradsweep.check(lambda w: np.sum(w**2), params, gradient).plot()
        (mesh,) = figure.subfigs[1].axes[0].collections
        colours = mesh.to_rgba(mesh.get_array()[0])
        red, _, blue = (colours[:2, channel] for channel in range(3))
        assert red[0] < blue[0]
        assert red[1] > blue[1]
        assert [to_hex(colour) for colour in colours[2:]] == ["#8b2fc9", "#b4b4b4"]

    def test_wrong_ones_first_and_how_many(self) -> None:
        params = {f"w{number}": np.ones(2) for number in range(30)}
        gradient = {name: 2.0 * value for name, value in params.items()}
        gradient["w20"] = np.ones(2)
        maps = gradsweep.check(lambda p: sum(np.sum(value**2) for value in p.values()), params, gradient).plot().subfigs[1]
        shown = [axes.get_title() for axes in maps.axes if axes.collections and axes.get_title()]
        assert len(shown) == 12
        assert "w20" in shown[0]
        assert "WRONG: 2 of 2 entries" in shown[0]
        assert "12 of 30 blocks" in maps.get_suptitle()

    def test_a_screen_has_none(self) -> None:
        report = gradsweep.check(lambda w: np.sum(w**2), np.ones(3), 2 * np.ones(3), mode="screen")
        figure = report.plot()
        assert figure.subfigs[1].axes == []
        assert drawn(figure)


class TestCurves:
    def test_slopes(self) -> None:
        w = np.array([1.0, 2.0])
        axes = gradsweep.check(lambda w: np.sum(w**3), w, 3 * w**2).plot().subfigs[0].axes[1]
        by_name = lines(axes)
        for name, slope in (("rounding of 1: 1/ε", -1.0), ("truncation of 1: ε²", 2.0)):
            x, y = (np.log10(side) for side in by_name[name].get_data())
            np.testing.assert_allclose(np.diff(y) / np.diff(x), slope, rtol=1e-6)
        assert {"1: params[0]", "2: params[1]"} & set(by_name)

    def test_why_there_are_none(self) -> None:
        figure = replace(wrong_report(), _plain=None).plot()
        assert "has no cost" in figure.subfigs[0].axes[1].texts[0].get_text()


class TestFigure:
    def test_names_are_no_formulas(self) -> None:
        """Half a formula would be an error when the figure is drawn, and so would half a surrogate pair."""
        names = ["$\\frac{$", "_hidden", "a\nb\0", "caf\udce9", "\\frac{1", "x" * 200]
        params = {name: np.ones(2) for name in names}
        gradient = {name: 3.0 * value for name, value in params.items()}
        assert drawn(gradsweep.check(lambda p: sum(np.sum(value**2) for value in p.values()), params, gradient).plot())

    def test_an_interrupted_check(self) -> None:
        report = gradsweep.check(lambda w: np.sum(w**2), np.ones(3), 2 * np.ones(3))
        block = replace(report.blocks[0], size=1, status=Status.UNFINISHED)
        numeric = {"params": np.array([2.0, np.nan, np.nan])}
        figure: Any = replace(report, blocks=(block,), numeric=numeric, interrupted=True, verdict="inconclusive").plot()
        assert figure.subfigs[1].axes[0].collections[0].get_array().mask.tolist() == [[False, True, True]]
        assert drawn(figure)

    def test_pyplot_is_left_alone(self) -> None:
        program = (
            "import sys\n"
            "import numpy as np, gradsweep\n"
            "gradsweep.check(lambda w: np.sum(w**2), np.ones(2), np.ones(2)).plot()\n"
            "assert 'matplotlib.pyplot' not in sys.modules\n"
        )
        subprocess.run([sys.executable, "-c", program], env=environment(), check=True)

    def test_without_matplotlib(self, tmp_path: pathlib.Path) -> None:
        (tmp_path / "matplotlib.py").write_text("raise ImportError('none here')\n")
        program = (
            "import numpy as np, gradsweep\n"
            "report = gradsweep.check(lambda w: np.sum(w**2), np.ones(2), np.ones(2))\n"
            "try:\n"
            "    report.plot()\n"
            "except ImportError as error:\n"
            "    print(error)\n"
        )
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, capture_output=True, text=True, env=environment(str(tmp_path)), check=True)
        assert done.stdout == 'plots need Matplotlib: pip install "gradsweep[plot]"\n'


def environment(*first: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*first, *(path for path in sys.path if path)])}
