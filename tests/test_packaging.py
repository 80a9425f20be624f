"""What is installed is what is here: an editable install, as tests have it, would not show a package that is not listed."""

import os
import pathlib
import tomllib

ROOT = pathlib.Path(__file__).parent.parent


def test_every_package_is_listed() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = [  # the kernels are a link
        ".".join(pathlib.Path(folder).relative_to(ROOT / "src").parts)
        for folder, _, files in os.walk(ROOT / "src", followlinks=True)
        if "__init__.py" in files
    ]
    assert sorted(listed) == sorted(found)
