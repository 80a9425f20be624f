"""Reports as files: JSON by its schema, HDF5 by its layout, and either whole or not at all."""

import json
import math
import os
import pathlib
import stat
import subprocess
import sys
from dataclasses import fields, replace
from importlib import metadata, resources
from typing import Any

import h5py
import numpy as np
import pytest

import gradsweep
from gradsweep._errors import DataError, InputError
from gradsweep._presenting._document import describe_report, format_json
from gradsweep._presenting._hdf5_layout import escape
from gradsweep._report import Report
from gradsweep._verdict import Block, Entry, Status

SCHEMA = json.loads(resources.files("gradsweep._presenting").joinpath("report.schema.json").read_text(encoding="utf-8"))


def network_report(change: float = 1.0, **options: Any) -> Report:
    network = gradsweep.Network([4, 3, 2, 1], hidden="tanh", l2=0.1)
    params = network.initialize(0)
    X, Y = np.random.default_rng(0).random((4, 5)), np.array([[0.0, 1.0, 1.0, 0.0, 1.0]])
    gradient = network.gradient(params, X, Y)
    gradient["db2"] = change * gradient["db2"]
    return gradsweep.check(network.cost(X, Y), params, gradient, **options)


def function_report(factor: float = 3.0, **options: Any) -> Report:
    """Names that are no identifiers, a number, and a gradient that is asked for at a second point."""
    params = {"W": np.array([[1.0, 2.0], [0.5, -1.0]]), "a/b%": {"θ": 0.5}}

    def cost(p: Any) -> Any:
        return np.sum(p["W"] ** 3) + p["a/b%"]["θ"] ** 2

    def gradient(p: Any) -> Any:
        return {"W": factor * p["W"] ** 2, "a/b%": {"θ": 2.0 * p["a/b%"]["θ"]}}

    return gradsweep.check(cost, params, gradient, **options)


def kink_report() -> Report:
    return gradsweep.check(lambda w: np.sum(np.maximum(w, 0.0)), np.array([0.0, 1.0]), np.array([0.5, 1.0]))


def plain_report() -> Report:
    return gradsweep.check(lambda w: math.exp(w[0]) + math.sin(w[1]), np.array([0.5, 0.25]), np.array([math.exp(0.5), 2.0]))


def vacuous_report() -> Report:
    return gradsweep.check(lambda w: np.sum(0.0 * w), np.ones(3), np.zeros(3))


def not_finite_report() -> Report:
    return gradsweep.check(lambda w: np.sum(w**2), np.array([1.0, 2.0, 3.0]), np.array([np.nan, np.inf, -np.inf]))


REPORTS = {
    "network": network_report,
    "wrong network": lambda: network_report(3.0),
    "neurons": lambda: network_report(mode="neurons"),
    "screen": lambda: network_report(mode="screen"),
    "wrong screen": lambda: network_report(2.0, mode="screen"),
    "function": function_report,
    "wrong function": lambda: function_report(2.0),
    "screen of a function": lambda: function_report(2.0, mode="screen"),
    "complex": lambda: function_report(scheme="complex"),
    "kink": kink_report,
    "plain": plain_report,
    "step too large": lambda: function_report(step=0.5),
    "vacuous": vacuous_report,
    "not finite": not_finite_report,
}


@pytest.fixture(params=REPORTS)
def report(request: pytest.FixtureRequest) -> Report:
    made: Report = REPORTS[request.param]()
    return made


def saved(report: Report, path: pathlib.Path) -> dict[str, Any]:
    report.save(path)
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    return document


def same(kept: Any, value: Any) -> bool:
    """Whether what was kept is a value, NaN being itself."""
    return bool(kept == value or (kept != kept and value != value))


class TestJson:
    def test_keeps_to_the_schema(self, report: Report, tmp_path: pathlib.Path) -> None:
        jsonschema = pytest.importorskip("jsonschema")
        jsonschema.validate(saved(report, tmp_path / "report.json"), SCHEMA)

    def test_schema_is_one(self) -> None:
        jsonschema = pytest.importorskip("jsonschema")
        jsonschema.Draft202012Validator.check_schema(SCHEMA)

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda document: document.pop("verdict"),
            lambda document: document.update(verdict="maybe"),
            lambda document: document.update(further=1),
            lambda document: document.update(seconds=None),
            lambda document: document.update(version=2),
            lambda document: document["blocks"][0].update(status="fine"),
            lambda document: document["blocks"][0].update(difference="nan"),
            lambda document: document["blocks"][0]["worst"][0].pop("numeric"),
            lambda document: document["findings"][0].update(confidence=1.5),
            lambda document: document["certificate"].pop("scale"),
            lambda document: document["displaced"].update(blocks=None),
        ],
    )
    def test_schema_tells_what_is_no_report(self, spoil: Any, tmp_path: pathlib.Path) -> None:
        jsonschema = pytest.importorskip("jsonschema")
        document = saved(function_report(2.0), tmp_path / "report.json")
        spoil(document)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(document, SCHEMA)

    def test_schema_knows_every_status(self) -> None:
        assert SCHEMA["$defs"]["block"]["properties"]["status"]["enum"] == [status.value for status in Status]

    def test_holds_all_of_a_report_but_its_arrays(self, report: Report, tmp_path: pathlib.Path) -> None:
        document = saved(report, tmp_path / "report.json")
        assert document["schema"] == "gradsweep-report"
        assert document["version"] == 1
        names = {field.name for field in fields(Report) if not field.name.startswith("_")} - {"numeric", "analytic"}
        assert names <= set(document)
        for name in names - {"blocks", "findings", "displaced", "notes"}:
            kept = document[name]
            assert same(float(kept) if isinstance(getattr(report, name), float) else kept, getattr(report, name))
        assert tuple(document["notes"]) == report.notes
        for kept, block in zip(document["blocks"], report.blocks, strict=True):
            assert set(kept) == {field.name for field in fields(Block)}
            assert (kept["name"], tuple(kept["shape"]), kept["status"]) == (block.name, block.shape, block.status.value)
            assert (kept["interval"] and tuple(kept["interval"])) == block.interval
            assert (kept["sensitivity"] is None) == (block.sensitivity is None)
            for record, entry in zip(kept["worst"], block.worst, strict=True):
                assert set(record) == {field.name for field in fields(Entry)} - {"block"}
                assert same(float(record["analytic"]), entry.analytic)
                assert same(float(record["numeric"]), entry.numeric)
                assert tuple(record["index"]) == entry.index
        for kept, finding in zip(document["findings"], report.findings, strict=True):
            assert (kept["kind"], tuple(kept["blocks"]), kept["message"]) == (finding.kind, finding.blocks, finding.message)
            assert set(kept["evidence"]) == set(finding.evidence)
        assert float(document["certificate"]["scale"]) == report.certificate.scale
        assert document["certificate"]["not_covered"] == list(report.certificate.not_covered)
        assert (document["displaced"] is None) == (report.displaced is None)
        assert document["versions"]["numpy"] == np.__version__
        assert document["versions"]["gradsweep"] == metadata.version("gradsweep")

    def test_covers_what_there_is(self) -> None:
        """The reports above have, between them, all that is optional, and numbers of each kind."""
        documents = [describe_report(make()) for make in REPORTS.values()]
        blocks = [block for document in documents for block in document["blocks"]]
        assert {document["verdict"] for document in documents} == {"pass", "fail", "inconclusive"}
        for optional in ("interval", "looked_at"):
            assert any(block[optional] is None for block in blocks)
            assert any(block[optional] is not None for block in blocks)
        assert any(document["displaced"] for document in documents)
        assert any(document["certificate"]["weakest"] is None for document in documents)
        text = b"".join(format_json(make()) for make in REPORTS.values())
        assert all(f'"{number}"'.encode() in text for number in ("NaN", "Infinity", "-Infinity"))

    def test_any_text(self, tmp_path: pathlib.Path) -> None:
        """The name of a file that is no UTF-8 stands in a report with half a surrogate pair."""
        reason = "caf\udce9.py „θ“ \0 \u2028"
        assert saved(replace(kink_report(), reason=reason), tmp_path / "report.json")["reason"] == reason

    def test_numbers_of_numpy(self, tmp_path: pathlib.Path) -> None:
        found = function_report(2.0)
        evidence: dict[str, Any] = {"count": np.int64(3), "share": np.float64(0.5), "places": ((np.intp(0), 1), (2, 3))}
        changed = replace(found, findings=(replace(found.findings[0], evidence=evidence),))
        kept = saved(changed, tmp_path / "report.json")["findings"][0]["evidence"]
        assert kept == {"count": 3, "share": 0.5, "places": [[0, 1], [2, 3]]}


class TestHdf5:
    @pytest.mark.parametrize("suffix", [".h5", ".hdf5", ".H5"])
    def test_holds_what_json_holds(self, report: Report, tmp_path: pathlib.Path, suffix: str) -> None:
        path = tmp_path / f"report{suffix}"
        report.save(path)
        document = describe_report(report)
        with h5py.File(path) as file:
            blocks, findings, displaced = (document.pop(name) for name in ("blocks", "findings", "displaced"))
            require_group(file, document)
            require_blocks(file["blocks"], blocks)
            for number, finding in enumerate(findings):
                require_group(file[f"findings/{number}"], finding)
            assert len(file["findings"]) == len(findings)
            assert ("displaced" in file) == (displaced is not None)
            if displaced is not None:
                require_blocks(file["displaced/blocks"], displaced.pop("blocks"))
                require_group(file["displaced"], displaced)

    def test_has_the_numeric_gradient(self, report: Report, tmp_path: pathlib.Path) -> None:
        report.save(tmp_path / "report.h5")
        with h5py.File(tmp_path / "report.h5") as file:
            for block in report.blocks:
                group = file["blocks"][escape(block.name)]
                for name, gradient in {"numeric": report.numeric, "analytic": report.analytic}.items():
                    assert (name in group) == (report.mode != "screen")
                    if name in group:
                        assert group[name].shape == block.shape
                        np.testing.assert_array_equal(group[name], gradient[block.name], strict=True)

    def test_names_with_slashes_are_one_step(self, tmp_path: pathlib.Path) -> None:
        function_report().save(tmp_path / "report.h5")
        with h5py.File(tmp_path / "report.h5") as file:
            assert list(file["blocks"]) == ["W", "['a%2Fb%25'].θ"]
            assert file["blocks/['a%2Fb%25'].θ"].attrs["name"] == "['a/b%'].θ"

    def test_blocks_stand_in_the_order_of_the_parameters(self, tmp_path: pathlib.Path) -> None:
        network_report().save(tmp_path / "report.h5")
        with h5py.File(tmp_path / "report.h5") as file:
            assert list(file["blocks"]) == ["W1", "b1", "W2", "b2", "W3", "b3"]

    def test_any_text(self, tmp_path: pathlib.Path) -> None:
        """HDF5 has neither half a surrogate pair nor a zero within a text."""
        report = replace(kink_report(), reason="caf\udce9.py \0", notes=("caf\udce9",))
        report.save(tmp_path / "report.h5")
        with h5py.File(tmp_path / "report.h5") as file:
            assert file.attrs["reason"] == "caf\\udce9.py \\0"
            assert file["notes"].asstr()[0] == "caf\\udce9"

    def test_many_items(self, tmp_path: pathlib.Path) -> None:
        """Attributes end at 64 KB, lists do not."""
        found = function_report(2.0)
        evidence: dict[str, Any] = {
            "rows": tuple(range(20_000)),
            "of": "x" * 100_000,
            "ragged": ((0,), (1, 2)),
            "mixed": (1, "a"),
        }
        finding = replace(found.findings[0], evidence=evidence, blocks=tuple(map(str, range(5000))))
        replace(found, findings=(finding,)).save(tmp_path / "report.h5")
        with h5py.File(tmp_path / "report.h5") as file:
            group = file["findings/0"]
            np.testing.assert_array_equal(group["evidence/rows"], range(20_000))
            assert len(group["evidence"].attrs["of"]) == 100_000
            assert group["evidence/ragged"].asstr()[:].tolist() == ["[0]", "[1, 2]"]
            assert group["evidence/mixed"].asstr()[:].tolist() == ["1", "a"]
            assert len(group["blocks"]) == 5000

    def test_parameters_that_have_changed(self, tmp_path: pathlib.Path) -> None:
        """Then the numeric gradient is lost, and there is no file, rather than a wrong one."""
        network = gradsweep.Network([4, 3, 1], l2=0.5)
        params = network.initialize(0)
        X, Y = np.eye(4), np.ones((1, 4))
        report = gradsweep.check(network.cost(X, Y), params, network.gradient(params, X, Y), mode="neurons")
        params["W1"] += 1.0
        with pytest.raises(InputError, match="W1 has been changed"):
            report.save(tmp_path / "report.h5")
        assert os.listdir(tmp_path) == []
        report.save(tmp_path / "report.json")


def require_group(group: h5py.Group, items: dict[str, Any]) -> None:
    """The group holds just these items."""
    kept = set(group) | set(group.attrs)
    assert kept - {"blocks", "findings", "displaced", "worst", "numeric", "analytic"} == {
        name for name, value in items.items() if value is not None
    } - {"blocks"}
    for name, value in items.items():
        if isinstance(value, dict):
            require_group(group[escape(name)], value)
        elif isinstance(value, list):
            stored = group[escape(name)]
            assert (stored.asstr()[:].tolist() if stored.dtype.kind == "O" else stored[:].tolist()) == value
        elif value is not None:
            assert same(group.attrs[name], value)


def require_blocks(group: h5py.Group, blocks: list[dict[str, Any]]) -> None:
    """The group holds just these blocks."""
    assert list(group) == [escape(block["name"]) for block in blocks]
    for block in blocks:
        inner, entries = group[escape(block["name"])], block.pop("worst")
        require_group(inner, block)
        assert inner["worst/index"].shape == (len(entries), len(block["shape"]))
        for number, entry in enumerate(entries):
            assert inner["worst/index"][number].tolist() == entry.pop("index")
            assert all(same(inner["worst"][name][number], value) for name, value in entry.items())


class TestPlaces:
    @pytest.mark.parametrize("name", ["report", "report.htm", "report.txt", "report.h5.gz", ".json", "json"])
    def test_other_suffixes(self, tmp_path: pathlib.Path, name: str) -> None:
        with pytest.raises(InputError, match=r"^path must end in \.html, \.json, \.h5 or \.hdf5, not '.*'$"):
            kink_report().save(tmp_path / name)
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize("path", [None, 3, b"report.json"])
    def test_no_path(self, path: Any) -> None:
        with pytest.raises(InputError, match=r"^path must be a str or os\.PathLike"):
            kink_report().save(path)

    @pytest.mark.parametrize("suffix", [".html", ".json", ".h5"])
    def test_where_nothing_can_be_written(self, tmp_path: pathlib.Path, suffix: str) -> None:
        (tmp_path / f"folder{suffix}").mkdir()
        (tmp_path / "file").write_text("")
        os.mkfifo(tmp_path / f"pipe{suffix}")
        places = {"nowhere/report": "no file can be written in its folder", "folder": "is a directory"}
        places |= {"file/report": "no file can be written in its folder", "pipe": "is not a regular file", "a\0b": "is no path"}
        for place, message in places.items():
            path = f"{tmp_path}/{place}{suffix}"
            with pytest.raises(DataError, match=message) as error_info:
                kink_report().save(path)
            assert str(error_info.value).strip("'").startswith(path.replace("\0", "\\x00"))
        assert sorted(os.listdir(tmp_path)) == sorted(["file", f"folder{suffix}", f"pipe{suffix}"])

    @pytest.mark.parametrize("suffix", [".html", ".json", ".h5"])
    def test_relative_path(self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
        monkeypatch.chdir(tmp_path)
        kink_report().save(f"report{suffix}")
        assert os.listdir(tmp_path) == [f"report{suffix}"]

    @pytest.mark.parametrize("suffix", [".html", ".json", ".h5"])
    def test_replaces_a_file(self, tmp_path: pathlib.Path, suffix: str) -> None:
        """Behind a link the file that it leads to. A new file has the permissions that other new files have."""
        target, link = tmp_path / f"target{suffix}", tmp_path / f"link{suffix}"
        target.write_text("of before")
        link.symlink_to(target)
        (tmp_path / "other").touch()
        kink_report().save(link)
        assert link.is_symlink()
        assert b"of before" not in target.read_bytes()
        assert stat.S_IMODE(target.stat().st_mode) == stat.S_IMODE((tmp_path / "other").stat().st_mode)
        assert len(os.listdir(tmp_path)) == 3

    @pytest.mark.parametrize("suffix", [".html", ".json", ".h5"])
    @pytest.mark.parametrize(
        ("error", "raised"), [(OSError("no space left"), DataError), (KeyboardInterrupt(), KeyboardInterrupt)]
    )
    def test_a_file_is_whole_or_as_it_was(
        self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, suffix: str, error: BaseException, raised: type
    ) -> None:
        path = tmp_path / f"report{suffix}"
        path.write_text("of before")

        def break_off(*_: object) -> None:
            assert len(os.listdir(tmp_path)) == 2  # all has been written, beside it
            raise error

        monkeypatch.setattr(os, "replace", break_off)
        with pytest.raises(raised):
            kink_report().save(path)
        assert path.read_text() == "of before"
        assert os.listdir(tmp_path) == [path.name]

    @pytest.mark.parametrize("suffix", [".html", ".json", ".h5"])
    def test_a_disk_that_is_full(self, tmp_path: pathlib.Path, suffix: str) -> None:
        """Of a process that may write no more than some bytes to a file, the same is seen."""
        program = (
            "import resource, signal, sys\n"
            "import numpy as np, gradsweep\n"
            "w = np.ones(4000)\n"
            "report = gradsweep.check(lambda w: np.sum(w**2), w, 2 * w)\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))\n"
            "try:\n"
            "    report.save(sys.argv[1])\n"
            "except gradsweep.DataError as error:\n"
            "    print(error)\n"
        )
        path = tmp_path / f"report{suffix}"
        command = [sys.executable, "-c", program, str(path)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
        assert done.stdout.startswith(f"{path}: cannot be written: ")
        assert os.listdir(tmp_path) == []
