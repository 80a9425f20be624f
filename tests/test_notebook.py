"""A report in a notebook, executed by a kernel."""

import base64
import os
import sys
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
pytest.importorskip("ipykernel", reason="ipykernel is not installed")

CODE = """
import numpy as np
import gradsweep

w = np.array([1.0, 2.0])
report = gradsweep.check(lambda w: np.sum(w**3), w, 2 * w**2)
report
"""


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Cells of the notebook, with their outputs."""
    cells = [nbformat.v4.new_code_cell(code) for code in (CODE, "%matplotlib inline\nreport.plot()")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    folder = tmp_path_factory.mktemp("notebook")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "IPYTHONDIR": str(folder),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    client = nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    client.execute(env=environment)
    return notebook.cells


def test_shows_a_report(cells: Any) -> None:
    (output,) = cells[0].outputs
    shown = output["data"]["text/html"]
    assert "FAIL" in shown
    assert "0.6667" in shown
    assert "params[1]" in shown
    assert "<script" not in shown


def test_draws_a_plot(cells: Any) -> None:
    (output,) = cells[1].outputs
    assert base64.b64decode(output["data"]["image/png"]).startswith(b"\x89PNG")
