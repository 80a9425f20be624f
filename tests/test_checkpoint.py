"""A check that was ended goes on from its checkpoint, and gives the same bits."""

import functools
import json
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from typing import Any

import filelock
import h5py
import numpy as np
import pytest

import gradsweep
from gradsweep import DataError, InputError, Interrupted, Network, Report, check, plain
from gradsweep import _checkpoint as checkpoints
from gradsweep import _journal as journals
from gradsweep._costs import _plain_function as plain_function
from gradsweep._differences import _recording
from gradsweep._errors import GradsweepError
from gradsweep._writing import write_whole

X = np.random.default_rng(0).normal(size=(6, 40))
EDGES = np.linspace(-1.0, 1.0, 160)


def point() -> dict[str, Any]:
    rng = np.random.default_rng(1)
    return {"W": rng.normal(size=(30, 6)), "b": rng.normal(size=30), "v": rng.normal(size=30)}


class Counting:
    """A small network in NumPy, which counts its calls; and ends at one of them, if that is asked for."""

    def __init__(self, end: int | None = None) -> None:
        self.calls, self.end = 0, end

    def __call__(self, params: Any) -> Any:
        self.calls += 1
        if self.calls == self.end:
            raise KeyboardInterrupt
        return np.mean((params["v"] @ np.tanh(params["W"] @ X + params["b"][:, np.newaxis])) ** 2)


def backward(params: Any) -> dict[str, Any]:
    hidden = np.tanh(params["W"] @ X + params["b"][:, np.newaxis])
    output = params["v"] @ hidden
    d_output = 2.0 * output / len(output)
    d_z = np.outer(params["v"], d_output) * (1.0 - hidden**2)
    return {"W": d_z @ X.T, "b": d_z.sum(axis=1), "v": hidden @ d_output}


def wrong(params: Any) -> dict[str, Any]:
    gradient = backward(params)
    gradient["b"][3] *= 1.1
    return gradient


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 16 calls, and a file that is written after each of them."""
    monkeypatch.setattr(plain_function, "_MOST_CALLS", 16)
    monkeypatch.setattr(journals, "_INTERVAL", 0.0)
    monkeypatch.setattr(journals, "_PATIENCE", 0.0)


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / "run.h5"


def same(one: Report, other: Report) -> bool:
    """Whether two reports are the same, but for the time that they took."""
    assert one.blocks == other.blocks
    assert (one.verdict, one.difference, one.step, one.notes) == (other.verdict, other.difference, other.step, other.notes)
    assert one.displaced == other.displaced
    assert one.evaluations == other.evaluations
    assert [finding.kind for finding in one.findings] == [finding.kind for finding in other.findings]
    for name, block in one.numeric.items():
        np.testing.assert_array_equal(block, other.numeric[name], strict=True)
    return True


def network_check(**options: Any) -> Report:
    network = Network([60, 40, 30, 1], hidden="relu")
    params = network.initialize(0)
    rng = np.random.default_rng(2)
    inputs, labels = rng.normal(size=(60, 300)), (rng.random((1, 300)) < 0.5).astype(np.float64)
    return check(network.cost(inputs, labels), params, lambda p: network.gradient(p, inputs, labels), **options)


def lanes(params: Any) -> Any:
    return np.sum(params["w"] ** 3, axis=1) * np.exp(params["c"])


def numba_check(**options: Any) -> Report:
    import numba

    @numba.njit
    def cost(x: Any) -> Any:
        return np.sum(x**3) + x[0] * x[1]

    def gradient(x: Any) -> Any:
        result = 3.0 * x**2
        result[:2] += x[1::-1]
        return result

    return check(cost, np.linspace(0.5, 1.5, 700), gradient, **options)


CHECKS: dict[str, Callable[..., Report]] = {
    "plain": lambda **options: check(plain(Counting()), point(), backward, **options),
    "plain, wrong": lambda **options: check(plain(Counting()), point(), wrong, **options),
    "difference arrays": lambda **options: check(Counting(), point(), backward, **options),
    "difference arrays, wrong": lambda **options: check(Counting(), point(), wrong, **options),
    "plain screen": lambda **options: check(plain(Counting()), point(), wrong, mode="screen", **options),
    "screen": lambda **options: check(Counting(), point(), wrong, mode="screen", **options),
    "five-point": lambda **options: check(plain(Counting()), point(), backward, scheme="five-point", **options),
    "batched": lambda **options: check(
        gradsweep.batched(lanes),
        {"w": EDGES, "c": 0.5},
        lambda p: {"w": 3 * p["w"] ** 2 * np.exp(p["c"]), "c": np.sum(p["w"] ** 3) * np.exp(p["c"])},
        **options,
    ),
    "compiled": numba_check,
    "kinks": lambda **options: check(lambda w: np.sum(np.maximum(w, 0.0)), np.zeros(200), np.full(200, 0.5), **options),
    "network": network_check,
    "network, batched": lambda **options: network_check(mode="batched", **options),
    "network, neurons": lambda **options: network_check(mode="neurons", **options),
    "network, screen": lambda **options: network_check(mode="screen", **options),
}


class TestSameBits:
    """With a checkpoint, without one, and from one."""

    @pytest.mark.parametrize("name", CHECKS)
    def test_all_kinds(self, name: str, path: pathlib.Path) -> None:
        """Of each kind of cost and mode."""
        run = CHECKS[name]
        assert same(run(), run(checkpoint=path))
        assert same(run(), run(checkpoint=path))

    @pytest.mark.parametrize("jobs", [1, 2])
    def test_number_of_workers(self, jobs: int, path: pathlib.Path) -> None:
        """Who computed the first part does not matter."""
        with pytest.raises(Interrupted):
            check(plain(Counting(300)), point(), backward, checkpoint=path)
        report = check(plain(Counting()), point(), backward, checkpoint=path, jobs=jobs)
        assert same(report, CHECKS["plain"]())

    def test_ended_at_any_call(self, path: pathlib.Path) -> None:
        """Again and again, somewhat further each time, until it is done."""
        expected, runs, ended = CHECKS["plain, wrong"](), 0, True
        while ended:
            runs += 1
            cost = Counting(100)
            try:
                report = check(plain(cost), point(), wrong, checkpoint=path)
                ended = False
            except KeyboardInterrupt:
                assert runs < 50, "it does not get on"
        assert runs > 5
        assert same(report, expected)

    @pytest.mark.parametrize("kind", [plain, lambda cost: cost])
    def test_screen_ended_at_any_call(
        self, kind: Callable[[Any], Any], path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A screen, too: in its directions, in its search, and at the second point."""
        monkeypatch.setattr(_recording, "_KEPT", 0)
        monkeypatch.setattr(_recording, "_VECTORS", 0)
        monkeypatch.setattr(journals, "_INTERVAL", 3600.0)  # what is written is what is there in the end
        screen = functools.partial(check, params=point(), gradient=wrong, mode="screen")
        whole = Counting()
        expected, left = screen(kind(whole)), set()
        for end in range(whole.calls // 20, whole.calls, whole.calls // 10):
            path.unlink(missing_ok=True)
            with pytest.raises(KeyboardInterrupt) as caught:
                screen(kind(Counting(end)), checkpoint=path)
            if isinstance(caught.value, Interrupted):
                left.add(tuple(block.status.value for block in caught.value.report.blocks))
            assert same(screen(kind(Counting()), checkpoint=path), expected)
        assert len(left) > 1

    def test_difference_arrays_go_on(self, path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A call carries many perturbations; those of the calls before the interrupt are not computed again."""
        # So that the function itself is called for each chunk.
        monkeypatch.setattr(_recording, "_KEPT", 0)
        monkeypatch.setattr(_recording, "_VECTORS", 0)
        params = {"W": np.random.default_rng(3).normal(size=(400, 6)), "b": np.zeros(400), "v": np.ones(400)}
        whole = Counting()
        expected = check(whole, params, wrong)
        with pytest.raises(Interrupted):
            check(Counting(whole.calls // 2), params, wrong, checkpoint=path)
        again = Counting()
        assert same(check(again, params, wrong, checkpoint=path), expected)
        assert again.calls < 0.9 * whole.calls


class TestGoesOn:
    """What is in the file is not computed again."""

    def test_calls(self, path: pathlib.Path) -> None:
        """A second run of a check that is done asks for a few values only, by which it is known to be the same."""
        first, second = Counting(), Counting()
        check(plain(first), point(), backward, checkpoint=path)
        check(plain(second), point(), backward, checkpoint=path)
        assert first.calls > 600
        assert second.calls < 60

    def test_after_an_interrupt(self, path: pathlib.Path) -> None:
        """What the first run did, the second one does not do."""
        whole, second = Counting(), Counting()
        check(plain(whole), point(), backward)
        with pytest.raises(Interrupted):
            check(plain(Counting(400)), point(), backward, checkpoint=path)
        check(plain(second), point(), backward, checkpoint=path)
        assert second.calls < whole.calls - 300

    def test_mended_gradient(self, path: pathlib.Path) -> None:
        """A wrong gradient fails; when it is mended the quotients are there already."""
        first, second = Counting(), Counting()
        assert check(plain(first), point(), wrong, checkpoint=path).verdict == "fail"
        report = check(plain(second), point(), backward, checkpoint=path)
        assert same(report, CHECKS["plain"]())
        # The second point, noise of what agrees, and some at the beginning and the end.
        assert second.calls < first.calls // 2

    def test_gradient_that_is_wrong_now(self, path: pathlib.Path) -> None:
        """The other way round: what passed does not pass for ever."""
        assert check(plain(Counting()), point(), backward, checkpoint=path).verdict == "pass"
        assert same(check(plain(Counting()), point(), wrong, checkpoint=path), CHECKS["plain, wrong"]())

    def test_an_error_keeps_what_there_is(self, path: pathlib.Path) -> None:
        """What ends the check need not be an interrupt."""

        def failing(params: Any) -> Any:
            if inner.calls == 400:
                raise MemoryError("no room")
            return inner(params)

        inner, second = Counting(), Counting()
        with pytest.raises(GradsweepError, match="no room"):
            check(plain(failing), point(), backward, checkpoint=path)
        check(plain(second), point(), backward, checkpoint=path)
        assert second.calls < 800


def _with_other_padding(array: Any) -> Any:
    """The same numbers of the x87's 80 bits, the bytes behind which are drawn at random; of other machines, a copy."""
    result = array.copy()
    if np.finfo(array.dtype).nmant == 63:
        padding = result.view(np.uint8).reshape(len(array), -1)[:, 10:]
        padding[:] = np.random.default_rng().integers(0, 256, padding.shape)
    return result


class TestFile:
    """What is in it."""

    def test_is_a_report(self, path: pathlib.Path) -> None:
        """When the check is done it is what `Report.save` writes, with the journal by its side."""
        report = check(plain(Counting()), point(), wrong, checkpoint=path)
        report.save(path.with_name("saved.h5"))
        with h5py.File(path) as file, h5py.File(path.with_name("saved.h5")) as saved:
            assert set(file) == {*saved, "checkpoint"}
            assert {name: str(value) for name, value in file.attrs.items()} == {n: str(v) for n, v in saved.attrs.items()}
            np.testing.assert_array_equal(file["blocks/W/numeric"], saved["blocks/W/numeric"])

    def test_before_the_end(self, path: pathlib.Path) -> None:
        """Until then it says that it is none."""
        with pytest.raises(Interrupted):
            check(plain(Counting(400)), point(), backward, checkpoint=path)
        with h5py.File(path) as file:
            assert file.attrs["schema"] == "gradsweep-checkpoint"
            assert set(file) == {"checkpoint"}

    def test_nothing_else_is_left(self, path: pathlib.Path) -> None:
        """No file beside it but the hidden one that locks it."""
        check(plain(Counting()), point(), backward, checkpoint=path)
        assert {each.name for each in path.parent.iterdir()} == {"run.h5", ".run.h5.lock"}

    def test_is_on_the_disk_before_it_replaces_another(self, path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Else the old one might be gone after a power failure, and the new one empty."""
        order: list[str] = []

        def noted(name: str, function: Callable[..., None]) -> Callable[..., None]:
            def call(*arguments: Any) -> None:
                order.append(name)
                function(*arguments)

            return call

        for name in ("fsync", "replace"):
            monkeypatch.setattr(os, name, noted(name, getattr(os, name)))
        write_whole(str(path), b"content")
        assert order == ["fsync", "replace"]
        assert path.read_bytes() == b"content"

    def test_is_written_every_now_and_then(self, path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Not after each chunk: a large file takes its time."""
        written: list[str] = []

        def write(place: str, content: Any) -> None:
            written.append(place)
            write_whole(place, content)

        monkeypatch.setattr(journals, "_INTERVAL", 3600.0)
        monkeypatch.setattr(checkpoints, "write_whole", write)
        check(plain(Counting()), point(), backward, checkpoint=path)
        assert len(written) == 1

    @pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="long doubles are doubles")
    def test_extended_precision(self, path: pathlib.Path) -> None:
        """Their numbers have bytes that hold nothing, and may be anything; their last digits count."""
        x, slopes = np.array([1, 2, 3], dtype=np.longdouble), np.array([3, 12, 27], dtype=np.longdouble)
        below = np.nextafter(x, np.longdouble(0))
        names = [checkpoints.digest([("x", each)]) for each in (x, _with_other_padding(x), below, _with_other_padding(below))]
        assert names[0] == names[1] != names[2] == names[3]
        for _ in range(3):
            assert check(lambda x: np.sum(x**3), _with_other_padding(x), _with_other_padding(slopes), checkpoint=path).ok

    def test_path_of_any_kind(self, tmp_path: pathlib.Path) -> None:
        """A str will do."""
        check(plain(Counting()), point(), backward, checkpoint=str(tmp_path / "run"))
        assert (tmp_path / "run").exists()

    def test_cost_that_goes_to_another_folder(self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A path is from where the check began."""
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path)

        def cost(params: Any) -> Any:
            os.chdir(tmp_path / "elsewhere")
            return Counting()(params)

        check(plain(cost), point(), backward, checkpoint="run.h5")
        assert sorted(os.listdir(tmp_path)) == [".run.h5.lock", "elsewhere", "run.h5"]
        assert not os.listdir(tmp_path / "elsewhere")


class TestRefused:
    """A file that is not that of this check."""

    @pytest.mark.parametrize(
        ("change", "named"),
        [
            ({"step": 1e-6}, "step"),
            ({"scheme": "forward"}, "scheme"),
            ({"seed": 1}, "seed"),
            ({"tolerance": 1e-5}, "tolerance"),
            ({"mode": "screen"}, "mode"),
        ],
    )
    def test_other_settings(self, change: dict[str, Any], named: str, path: pathlib.Path) -> None:
        """The settings are named."""
        check(plain(Counting()), point(), backward, mode="sweep", checkpoint=path)
        before = path.read_bytes()
        with pytest.raises(DataError, match=rf"run\.h5: is the checkpoint of another check: not the same {named}\."):
            check(plain(Counting()), point(), backward, **{"mode": "sweep", **change}, checkpoint=path)
        assert path.read_bytes() == before

    def test_other_parameters(self, path: pathlib.Path) -> None:
        """One digit of one parameter is enough."""
        check(plain(Counting()), point(), backward, checkpoint=path)
        params = point()
        params["b"][5] = np.nextafter(params["b"][5], 9.0)
        with pytest.raises(DataError, match=r"not the same parameters"):
            check(plain(Counting()), params, backward, checkpoint=path)

    def test_other_cost(self, path: pathlib.Path) -> None:
        """It has another value at the parameters."""
        check(plain(Counting()), point(), backward, checkpoint=path)
        with pytest.raises(DataError, match=r"not the same cost at the parameters"):
            check(plain(lambda params: 2.0 * Counting()(params)), point(), backward, checkpoint=path)

    def test_cost_that_is_the_same_there_alone(self, path: pathlib.Path) -> None:
        """What is in the file is computed once more, a little of it, and is not what it was."""
        check(plain(Counting()), point(), backward, checkpoint=path)
        bias = point()["b"][0]

        def other(params: Any) -> Any:
            return Counting()(params) + 1e-3 * (params["b"][0] - bias) ** 3 + 1e-3 * np.sum(params["W"] - point()["W"])

        with pytest.raises(DataError, match=r"does not give what it gave when this checkpoint was written"):
            check(plain(other), point(), backward, checkpoint=path)

    def test_other_network(self, path: pathlib.Path) -> None:
        """Of a network its kind, too."""
        network_check(checkpoint=path)
        network = Network([60, 40, 30, 1], hidden="tanh")
        inputs, labels = np.ones((60, 3)), np.ones((1, 3))
        params = network.initialize(0)
        with pytest.raises(DataError, match=r"not the same network, cost at the parameters"):
            check(network.cost(inputs, labels), params, network.gradient(params, inputs, labels), checkpoint=path)

    @pytest.mark.parametrize("end", [0, 1, 100, 2000, -1])
    def test_truncated(self, end: int, path: pathlib.Path) -> None:
        """A file that lacks its end says so, and is left as it is."""
        check(plain(Counting()), point(), backward, checkpoint=path)
        damaged = path.read_bytes()[:end]
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"run\.h5: "):
            check(plain(Counting()), point(), backward, checkpoint=path)
        assert path.read_bytes() == damaged

    def test_any_other_file(self, path: pathlib.Path) -> None:
        """HDF5, but no checkpoint: nothing is overwritten."""
        with h5py.File(path, "w") as file:
            file["X"] = np.zeros(3)
        before = path.read_bytes()
        with pytest.raises(DataError, match=r"^[^:]*run\.h5: checkpoint/index is missing, the file holds 'X'$"):
            check(plain(Counting()), point(), backward, checkpoint=path)
        assert path.read_bytes() == before

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda index: index.pop("records"),
            lambda index: index.update(version=2),
            lambda index: index["records"][0].update(count=7_000_000),
            lambda index: index["records"][0].update(kind="quotients"),
            lambda index: index["records"][0].update(fields=["nothing"]),
            lambda index: index.update(decisions=[["", "mode"]]),
            lambda index: index.update(key=[]),
            lambda index: index["decisions"].insert(0, ["", "unheard of", "1"]),
            lambda index: index["decisions"].__setitem__(0, [*index["decisions"][0][:2], "{"]),
            lambda index: index["decisions"].__setitem__(0, [*index["decisions"][0][:2], "-1"]),
            lambda index: index["decisions"].__setitem__(1, [*index["decisions"][1][:2], '["no mode", ""]']),
        ],
    )
    def test_index_that_lies(self, spoil: Callable[[Any], Any], path: pathlib.Path) -> None:
        """Whatever stands in it, it is an error of one line."""
        check(plain(Counting()), point(), backward, checkpoint=path)
        with h5py.File(path, "r+") as file:
            index = json.loads(file["checkpoint/index"][()].tobytes())
            spoil(index)
            del file["checkpoint/index"]
            file["checkpoint/index"] = np.frombuffer(json.dumps(index).encode(), dtype=np.uint8)
        with pytest.raises(DataError, match=r"run\.h5: ") as caught:
            check(plain(Counting()), point(), backward, checkpoint=path)
        assert "\n" not in str(caught.value)

    def test_a_damaged_quotient(self, path: pathlib.Path) -> None:
        """One bit on a disk, deep in the file: it would be another quotient, in which nothing looks wrong."""
        check(plain(Counting()), point(), backward, checkpoint=path)
        with h5py.File(path) as file:
            known = file["checkpoint/4/costs"][10:20].tobytes()
        content = bytearray(path.read_bytes())
        content[content.index(known)] ^= 1
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"^[^:]*run\.h5: checkpoint/4/costs cannot be read"):
            check(plain(Counting()), point(), backward, checkpoint=path)

    @pytest.mark.parametrize("name", ["index", "4/costs counts"])
    def test_a_damaged_list(self, name: str, path: pathlib.Path) -> None:
        """One bit in what says what the quotients are of, and how many there are."""
        check(plain(Counting()), point(), backward, checkpoint=path)
        with h5py.File(path) as file:
            known = file[f"checkpoint/{name}"][()].tobytes()
        content = bytearray(path.read_bytes())
        start = content.index(known)
        # Of the list still a right one: another number, or another letter of a name.
        content[start + (known.index(b'"phase": "') + 10 if name == "index" else 0)] ^= 1
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"^[^:]*run\.h5: checkpoint/{name} cannot be read"):
            check(plain(Counting()), point(), backward, checkpoint=path)

    @pytest.mark.parametrize("chunks", [None, (2**20,)])
    def test_more_numbers_than_there_are(self, chunks: tuple[int] | None, path: pathlib.Path) -> None:
        """A shape alone takes no room in a file, but in memory."""
        check(plain(Counting()), point(), backward, checkpoint=path)
        with h5py.File(path, "r+") as file:
            del file["checkpoint/0/costs"]
            file.create_dataset("checkpoint/0/costs", shape=(2**28,), dtype="f8", chunks=chunks)
        with pytest.raises(DataError, match=r"run\.h5: checkpoint/0/costs has 2147483648 bytes by its shape, but the file has"):
            check(plain(Counting()), point(), backward, checkpoint=path)

    def test_fields_of_other_lengths(self, path: pathlib.Path) -> None:
        """Costs that are fewer than were asked for are not taken for others."""
        check(plain(Counting()), point(), backward, checkpoint=path)
        with h5py.File(path, "r+") as file:
            group = file["checkpoint/0"]
            costs, counts = group["costs"][()], group["costs counts"][()]
            del group["costs"], group["costs counts"]
            counts[0] -= 1
            group["costs"], group["costs counts"] = costs[:-1], counts
        with pytest.raises(DataError):
            check(plain(Counting()), point(), backward, checkpoint=path)


class TestNoFile:
    """Where nothing can be written."""

    def test_no_path(self) -> None:
        """A number is none, nor is nothing; it is said before anything is computed."""
        cost = Counting()
        with pytest.raises(InputError, match=r"^checkpoint must be a str or os\.PathLike, got int"):
            check(plain(cost), point(), backward, checkpoint=3)  # type: ignore[arg-type]
        with pytest.raises(InputError, match=r"^checkpoint must name a file, but it is empty"):
            check(plain(cost), point(), backward, checkpoint="")
        assert cost.calls == 0

    def test_folder(self, tmp_path: pathlib.Path) -> None:
        """Neither is a folder, nor what is in none."""
        with pytest.raises(DataError, match="is a directory"):
            check(plain(Counting()), point(), backward, checkpoint=tmp_path)
        with pytest.raises(DataError, match="no file can be written in its folder"):
            check(plain(Counting()), point(), backward, checkpoint=tmp_path / "missing" / "run.h5")

    @pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write anywhere")
    def test_read_only_folder(self, tmp_path: pathlib.Path) -> None:
        """It is said before anything is computed."""
        tmp_path.chmod(0o500)
        cost = Counting()
        with pytest.raises(DataError, match="no file can be written in its folder"):
            check(plain(cost), point(), backward, checkpoint=tmp_path / "run.h5")
        assert cost.calls == 0

    def test_in_use(self, path: pathlib.Path) -> None:
        """Two checks must not write the same file in turn."""
        with filelock.FileLock(path.with_name(".run.h5.lock")):
            with pytest.raises(DataError, match=r"run\.h5: another check is using this file"):
                check(plain(Counting()), point(), backward, checkpoint=path)
        assert check(plain(Counting()), point(), backward, checkpoint=path).ok

    def test_full_disk(self, path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """An error, when the disk is full; and what was written before is a checkpoint still."""
        count = 0

        def fail(place: str, content: Any) -> None:
            nonlocal count
            count += 1
            if count > 20:
                raise DataError(f"{place}: cannot be written: [Errno 28] No space left on device")
            write_whole(place, content)

        whole = Counting()
        expected = check(plain(whole), point(), backward)
        monkeypatch.setattr(checkpoints, "write_whole", fail)
        with pytest.raises(DataError, match="No space left"):
            check(plain(Counting()), point(), backward, checkpoint=path)
        monkeypatch.setattr(checkpoints, "write_whole", write_whole)
        second = Counting()
        assert same(check(plain(second), point(), backward, checkpoint=path), expected)
        assert second.calls < whole.calls - 100


_RUN = """
    import sys, time
    import numpy as np, gradsweep
    from gradsweep import _journal
    from gradsweep._costs import _plain_function
    _journal._INTERVAL, _journal._PATIENCE, _plain_function._MOST_CALLS = 0.0, 0.0, 8
    w = np.random.default_rng(0).normal(size=300)
    def cost(w):
        time.sleep(0.0005)
        return float(np.sum(np.sin(w) * w[::-1] ** 2))
    def gradient(w):
        return np.cos(w) * w[::-1] ** 2 + 2 * w * np.sin(w[::-1])
    report = gradsweep.check(gradsweep.plain(cost), w, gradient, checkpoint=sys.argv[1] if len(sys.argv) > 1 else None)
    print(report.verdict, report.evaluations, report.numeric["params"].tobytes().hex())
"""


def test_killed_at_random_instants(path: pathlib.Path) -> None:
    """SIGKILL leaves the old file or the new one: after each kill the next run goes on, and the last one has the same bits."""
    command = [sys.executable, "-c", textwrap.dedent(_RUN)]
    expected = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rng = np.random.default_rng(0)
    kills = done = 0
    while kills < 8:
        process = subprocess.Popen([*command, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        begun = time.perf_counter()
        while not path.exists() and process.poll() is None and time.perf_counter() - begun < 60.0:
            time.sleep(0.005)
        time.sleep(float(rng.uniform(0.0, 0.3)))
        process.send_signal(signal.SIGKILL)
        out, errors = process.communicate()
        if process.returncode == 0:  # it was faster
            assert out == expected, errors
            path.unlink()
            done += 1
        else:
            assert process.returncode == -signal.SIGKILL, errors
            kills += 1
            with h5py.File(path) as file:
                assert "checkpoint/index" in file
    assert subprocess.run([*command, str(path)], capture_output=True, text=True, check=True).stdout == expected


class TestAnotherWay:
    """A second run may ask for other things than the first one did: what was computed for those is not taken for these."""

    @pytest.fixture(autouse=True)
    def _written_once(self, monkeypatch: pytest.MonkeyPatch, _small_pieces: None) -> None:
        """The file is written at the end: nothing is interrupted here."""
        monkeypatch.setattr(journals, "_INTERVAL", 3600.0)

    @pytest.mark.parametrize("kind", [plain, lambda cost: cost])
    def test_cost_that_differs_where_parameters_are_zero(self, kind: Callable[[Any], Any], path: pathlib.Path) -> None:
        """The first block is the same, and so is the value: biases begin at 0, and are passed on otherwise now."""
        params = point() | {"b": np.zeros(30)}

        def cost(bias: float) -> Callable[[Any], Any]:
            return lambda given: Counting()({**given, "b": bias * given["b"]})

        gradient = backward(params)
        gradient["b"] = 2.0 * gradient["b"]
        assert check(kind(cost(2.0)), params, gradient, checkpoint=path).verdict == "pass"
        with pytest.raises(DataError, match=r"does not give what it gave when this checkpoint was written"):
            check(kind(cost(1.0)), params, gradient, checkpoint=path)

    @pytest.mark.parametrize("kind", [plain, lambda cost: cost])
    def test_gradient_that_is_another_one_at_the_second_point_alone(self, kind: Callable[[Any], Any], path: pathlib.Path) -> None:
        """As many entries are in dispute there, but not the same ones."""

        def gradient(place: int) -> Callable[[Any], Any]:
            def wrong_elsewhere(params: Any) -> Any:
                result = backward(params)
                result["b"][place] *= 1.0 + (params["b"][place] != point()["b"][place])
                return result

            return wrong_elsewhere

        assert check(kind(Counting()), point(), gradient(3), checkpoint=path).verdict == "fail"
        expected = check(kind(Counting()), point(), gradient(5))
        assert same(check(kind(Counting()), point(), gradient(5), checkpoint=path), expected)

    @pytest.mark.parametrize("kind", [plain, lambda cost: cost])
    def test_another_second_point(self, kind: Callable[[Any], Any], path: pathlib.Path) -> None:
        """The gradient takes one now that it did not take."""

        def near(params: Any) -> Any:
            if np.abs(params["b"] - point()["b"]).max() > 0.1:
                raise ValueError("too far")
            return backward(params)

        first = check(kind(Counting()), point(), near, checkpoint=path)
        second = check(kind(Counting()), point(), backward, checkpoint=path)
        assert first.displaced is not None
        assert second.displaced is not None
        assert first.displaced.size < second.displaced.size
        assert same(second, check(kind(Counting()), point(), backward))

    @pytest.mark.parametrize("kind", [plain, lambda cost: cost])
    def test_screen_of_another_gradient(self, kind: Callable[[Any], Any], path: pathlib.Path) -> None:
        """Other parts of a block are halved."""

        def gradient(row: int) -> Any:
            result = backward(point())
            result["W"][row, 2] *= 2.0
            return result

        assert check(kind(Counting()), point(), gradient(3), mode="screen", checkpoint=path).verdict == "fail"
        for row in (28, 15, 28):
            expected = check(kind(Counting()), point(), gradient(row), mode="screen")
            assert same(check(kind(Counting()), point(), gradient(row), mode="screen", checkpoint=path), expected)

    def test_layers_of_the_same_shape(self, path: pathlib.Path) -> None:
        """At a large step all of a layer is looked at again: of another layer, for another gradient."""
        network = Network([6, 6, 6, 6, 1])
        params = network.initialize(0)
        X = np.random.default_rng(0).normal(size=(6, 20))
        Y = (np.arange(20.0) < 7.0).reshape(1, 20)
        right = network.gradient(params, X, Y)
        run = functools.partial(check, network.cost(X, Y), params, scheme="forward", step=1e-4, mode="sweep")
        numeric = run(right).numeric
        for name in ("W2", "W3", "W1"):
            # What is found at this step itself agrees there: all that is looked at again are the other blocks.
            gradient = {key: right[f"d{key}"] if key == name else np.array(numeric[key]) for key in numeric}
            assert same(run(gradient, checkpoint=path), run(gradient))

    def test_gradient_that_calls_numerical_gradient(self, path: pathlib.Path) -> None:
        """It is no part of the check, and is not in its journal."""

        def gradient(params: Any) -> Any:
            return gradsweep.numerical_gradient(plain(Counting()), params)

        expected = check(plain(Counting()), point(), gradient)
        for _ in range(2):
            assert same(check(plain(Counting()), point(), gradient, checkpoint=path), expected)

    def test_interrupted_gradient(self) -> None:
        """What is left of a numeric gradient is no gradient."""
        with pytest.raises(KeyboardInterrupt) as caught:
            check(plain(Counting()), point(), lambda params: gradsweep.numerical_gradient(plain(Counting(200)), params))
        assert not isinstance(caught.value, Interrupted)

    def test_time_that_is_left(self, path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A screen that had no time for more has it when the beginning need not be computed again."""
        monkeypatch.setattr("gradsweep._screening.Budget.left", 0.0)
        screen = functools.partial(check, plain(Counting()), point(), wrong, mode="screen", max_seconds=3600.0)
        screen(checkpoint=path)
        monkeypatch.undo()
        assert same(screen(checkpoint=path), screen())

    def test_set_of_names(self) -> None:
        """A set is in another order in each process, and yet it is the same check."""
        program = (
            "from gradsweep._settings import read_settings; print(read_settings(select=set('abcdefgh')).described()['select'])"
        )
        found = {
            subprocess.run(
                [sys.executable, "-c", program],
                env={**os.environ, "PYTHONHASHSEED": str(seed)},
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            for seed in range(3)
        }
        assert len(found) == 1

    def test_interrupt_while_a_result_is_added(self) -> None:
        """One field of it is there, and the others are not: it is left out."""
        record = journals.Record("sweep", "costs")
        record.append({"costs": np.zeros(2), "error": np.zeros(0)})
        record.columns["costs"].append(np.ones(2))
        content = journals.Content({}, "", records=[record])
        assert [column.first(record.count)[0].tolist() for column in record.columns.values()] == [[0.0, 0.0], []]
        assert checkpoints.format_checkpoint(content)
