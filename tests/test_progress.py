"""How far a check is, and what is left of one that is interrupted."""

import functools
import io
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import gradsweep
from gradsweep import InputError, Interrupted, Network, Progress, Report, check, plain
from gradsweep import _monitor as monitor
from gradsweep import _quotients as quotients
from gradsweep import _sweep as sweeps
from gradsweep._costs import _plain_function as plain_function
from gradsweep._costs._network_numerics import NetworkNumerics
from gradsweep._costs._network_problem import NetworkProblem
from gradsweep._presenting import _progress as presenting

WEIGHTS = np.linspace(-1.0, 1.0, 300)


def cubes(params: dict[str, Any]) -> Any:
    """A cost of two blocks, of 300 and of 7 parameters."""
    return np.sum(params["w"] ** 3) + np.sum(params["w"][:7] * params["b"])


def gradient_of_cubes(params: dict[str, Any]) -> dict[str, Any]:
    """Its gradient."""
    dw = 3.0 * params["w"] ** 2
    dw[:7] += params["b"]
    return {"w": dw, "b": params["w"][:7].copy()}


def given() -> dict[str, Any]:
    return {"w": WEIGHTS.copy(), "b": np.ones(7)}


class Interrupting:
    """A cost that is interrupted at one of its calls, as by Ctrl-C."""

    def __init__(self, call: int, cost: Callable[[Any], Any] = cubes) -> None:
        self.call, self.cost, self.calls = call, cost, 0

    def __call__(self, params: Any) -> Any:
        self.calls += 1
        if self.calls == self.call:
            raise KeyboardInterrupt
        return self.cost(params)


@pytest.fixture
def seen() -> list[Progress]:
    """What was told."""
    return []


@pytest.fixture(autouse=True)
def _all_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress after each chunk, and chunks of 16 calls."""
    monkeypatch.setattr(monitor, "_INTERVAL", 0.0)
    monkeypatch.setattr(plain_function, "_MOST_CALLS", 16)


class TestProgress:
    """What a callback is given."""

    @pytest.mark.parametrize("kind", [plain, lambda cost: cost, functools.partial(gradsweep.plain)])
    def test_function(self, kind: Callable[[Any], Any], seen: list[Progress]) -> None:
        """Both phases, from the first chunk to the last."""
        check(kind(cubes), given(), gradient_of_cubes, progress=seen.append)
        phases = {progress.phase: progress.total for progress in seen if progress.unit == "parameters"}
        assert phases == {"sweep": 307, "second point": 71}
        for phase, total in phases.items():
            done = [progress.done for progress in seen if progress.phase == phase]
            assert done == sorted(done)
            assert done[-1] == total
        seconds = [progress.seconds for progress in seen]
        assert seconds == sorted(seconds)
        assert seen[-1].remaining == 0.0

    @pytest.mark.parametrize("mode", ["sweep", "batched"])
    def test_network(self, mode: str, seen: list[Progress]) -> None:
        """Of a network all of its parameters, whatever goes together."""
        network = Network([40, 30, 20, 1])
        params = network.initialize(0)
        X, Y = np.ones((40, 50)), np.ones((1, 50))
        check(network.cost(X, Y), params, network.gradient(params, X, Y), mode=mode, progress=seen.append)
        assert {(progress.phase, progress.total) for progress in seen} == {("sweep", 40 * 30 + 30 + 30 * 20 + 20 + 20 + 1)}
        assert seen[-1].done == seen[-1].total

    def test_gradient_as_arrays_has_no_second_point(self, seen: list[Progress]) -> None:
        """What is not going to happen is not waited for."""
        check(cubes, given(), gradient_of_cubes(given()), progress=seen.append)
        assert {progress.phase for progress in seen} == {"sweep"}

    def test_result_is_the_same(self) -> None:
        """Who looks at the progress changes nothing."""
        reports = [check(cubes, given(), gradient_of_cubes, progress=progress) for progress in (None, lambda progress: None)]
        for name in ("w", "b"):
            np.testing.assert_array_equal(reports[0].numeric[name], reports[1].numeric[name], strict=True)

    @pytest.mark.parametrize("progress", [1, "bar", [], 0.5])
    def test_what_is_no_callback(self, progress: Any) -> None:
        """Neither true nor false nor a function."""
        with pytest.raises(InputError, match=r"^progress must be True, False, None or a function"):
            check(cubes, given(), gradient_of_cubes, progress=progress)

    def test_what_a_callback_raises(self) -> None:
        """It is the caller's, and goes through."""

        def fail(progress: Progress) -> None:
            raise ZeroDivisionError("of the callback")

        with pytest.raises(ZeroDivisionError, match="of the callback"):
            check(cubes, given(), gradient_of_cubes, progress=fail)


class TestNoise:
    """What comes before the first quotient, where only values of a cost can be had."""

    MODES = ("sweep", "screen")

    @pytest.mark.parametrize("mode", MODES)
    def test_progress(self, mode: str, seen: list[Progress]) -> None:
        """In words, before anything else, and not at the second point once more."""
        check(plain(cubes), given(), gradient_of_cubes, mode=mode, progress=seen.append)
        phases = [progress.phase for progress in seen]
        assert list(dict.fromkeys(phases)) == ["measuring noise", "choosing steps", mode, "second point"]
        # No phase comes back.
        assert phases == sorted(phases, key=list(dict.fromkeys(phases)).index)
        for phase in ("measuring noise", "choosing steps"):
            own = [progress for progress in seen if progress.phase == phase]
            assert [progress.done for progress in own] == sorted(progress.done for progress in own)
            assert 0 < own[0].done <= own[-1].done <= own[-1].total
            assert len({progress.total for progress in own}) == 1
            assert {progress.unit for progress in own} == {"values"}
            assert all(math.isnan(progress.remaining) for progress in own)
        done = [progress.done for progress in seen if progress.phase == "second point"]
        assert done[0] == 0  # while noise is measured there
        assert done == sorted(done)

    def test_difference_arrays_have_none(self, seen: list[Progress]) -> None:
        """They know their rounding."""
        check(cubes, given(), gradient_of_cubes, progress=seen.append)
        assert {progress.unit for progress in seen} == {"parameters"}

    @pytest.mark.parametrize("mode", MODES)
    def test_interrupt(self, mode: str) -> None:
        """Nothing has been compared, and the report says so."""

        for phase in ("measuring noise", "choosing steps"):

            def stop(progress: Progress, phase: str = phase) -> None:
                if progress.phase == phase:
                    raise KeyboardInterrupt

            whole = functools.partial(check, plain(cubes), given(), gradient_of_cubes)
            report = partly(functools.partial(whole, mode=mode, progress=stop))
            assert report.verdict == "inconclusive"
            assert [(block.name, block.size, block.status.value) for block in report.blocks] == [
                ("w", 0, "not finished"),
                ("b", 0, "not finished"),
            ]
            assert all(np.isnan(block).all() for block in report.numeric.values())
            assert report.mode == mode
            assert report.evaluations > 0
            text = " ".join(str(report).split())
            assert text.startswith("INCONCLUSIVE: interrupted before anything was compared")
            assert "nothing is known of the gradient yet" in text
            assert "nan" not in text

    @pytest.mark.parametrize("kind", [plain, lambda cost: cost])
    @pytest.mark.parametrize("mode", MODES)
    def test_at_any_call(self, kind: Callable[[Any], Any], mode: str) -> None:
        """From the first call for the sake of quotients to the last: there is always a report, and it never passes."""
        whole = Interrupting(0)
        check(kind(whole), given(), gradient_of_cubes, mode=mode)
        # Two calls at first, one before the gradient, and one in the end are no part of it.
        for call in range(4, whole.calls, max(whole.calls // 60, 1)):
            cost = Interrupting(call)
            report = partly(functools.partial(check, kind(cost), given(), gradient_of_cubes, mode=mode))
            assert report.verdict == "inconclusive"
            assert report.evaluations <= cost.calls or kind is not plain

    def test_batched(self) -> None:
        """Stacks of perturbations, too."""
        w = np.linspace(0.5, 1.5, 200)
        whole = Interrupting(0, lambda w: np.sum(w**3, axis=-1))
        check(gradsweep.batched(whole), w, 3.0 * w**2)
        for call in range(4, whole.calls):
            cost = Interrupting(call, lambda w: np.sum(w**3, axis=-1))
            report = partly(functools.partial(check, gradsweep.batched(cost), w, 3.0 * w**2))
            assert report.verdict == "inconclusive"

    def test_while_a_mode_is_chosen(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Quotients by which the time of a sweep is predicted are none of the check's."""
        monkeypatch.setattr("gradsweep._function_checking.LONGEST", 0.0)
        w = np.linspace(0.5, 1.5, 200)
        whole = Interrupting(0, lambda w: np.sum(w**3, axis=-1))
        assert check(gradsweep.batched(whole), w, 3.0 * w**2).mode == "screen"
        reports = []
        for call in range(4, whole.calls):
            cost = Interrupting(call, lambda w: np.sum(w**3, axis=-1))
            try:
                check(gradsweep.batched(cost), w, 3.0 * w**2)
            except Interrupted as error:
                reports.append(error.report)
        assert {report.verdict for report in reports} == {"inconclusive"}
        assert {report.mode for report in reports} == {"sweep", "screen"}

    def test_saved(self, tmp_path: Any) -> None:
        """It is a report like any other, and every kind of file has a place for it."""
        report = partly(lambda: check(plain(Interrupting(12)), given(), gradient_of_cubes))
        for kind in ("json", "h5", "html"):
            report.save(tmp_path / f"report.{kind}")
        assert '"step": "NaN"' in (tmp_path / "report.json").read_text(encoding="utf-8")

    def test_checkpoint(self, tmp_path: Any) -> None:
        """What was measured is not measured again."""
        with pytest.raises(Interrupted):
            check(plain(Interrupting(40)), given(), gradient_of_cubes, checkpoint=tmp_path / "run.h5")
        first, second = Interrupting(0), Interrupting(0)
        whole = check(plain(first), given(), gradient_of_cubes)
        report = check(plain(second), given(), gradient_of_cubes, checkpoint=tmp_path / "run.h5")
        assert second.calls < first.calls
        assert report.blocks == whole.blocks


class TestPrediction:
    """When the check will end, by a clock of the test's own."""

    @staticmethod
    def _follow(monkeypatch: pytest.MonkeyPatch, ends: list[float], later: int = 0) -> list[tuple[float, Progress]]:
        """Progress of chunks of ten parameters that end at these times; what was told, and when."""
        now = [0.0]
        monkeypatch.setattr("time.perf_counter", lambda: now[0])
        told: list[tuple[float, Progress]] = []
        own = monitor.Monitor(lambda progress: told.append((now[0], progress)))
        total = 10 * len(ends)
        own.plan({"sweep": total, "second point": later} if later else {"sweep": total})

        def chunks() -> Iterator[int]:
            for number, end in enumerate(ends, start=1):
                now[0] = end
                yield number

        with own.phase("sweep"), own.counting(total):
            assert list(own.follow(chunks(), lambda number: number / len(ends))) == list(range(1, len(ends) + 1))
        return told

    def test_even_work(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What goes on as it began is predicted from the first chunk on."""
        for now, progress in self._follow(monkeypatch, [0.5 * n for n in range(1, 41)]):
            assert now + progress.remaining == pytest.approx(20.0)

    def test_slow_start(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Processes take two seconds to start; after a tenth of the run the prediction is right within 30 %."""
        ends = [2.0 + 0.1 * n for n in range(1, 201)]
        for now, progress in self._follow(monkeypatch, ends):
            if progress.done >= progress.total / 10:
                assert progress.remaining == pytest.approx(ends[-1] - now, rel=0.3, abs=0.3)

    def test_later_phases_count(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A second point that looks at as many parameters takes as long again."""
        told = self._follow(monkeypatch, [1.0, 2.0, 3.0, 4.0], later=40)
        assert [progress.remaining for _, progress in told] == pytest.approx([7.0, 6.0, 5.0, 4.0])

    def test_nothing_to_predict_from(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A share of 0 is no share that is known."""
        told: list[Progress] = []
        own = monitor.Monitor(told.append)
        own.plan({"sweep": 10})
        with own.phase("sweep"), own.counting(10):
            list(own.follow([1, 2], lambda number: 0.0))
        assert len(told) == 2
        assert all(math.isnan(progress.remaining) for progress in told)


class TestShown:
    """What a person sees on stderr."""

    @staticmethod
    def _shown(monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> str:
        stream = io.StringIO()
        monkeypatch.setattr(stream, "isatty", lambda: terminal)
        monkeypatch.setattr("sys.stderr", stream)
        monkeypatch.setattr(presenting, "_PATIENCE", 0.0)
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "80")
        check(cubes, given(), gradient_of_cubes, progress=True)
        return stream.getvalue()

    def test_lines(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where there is no terminal, a line every ten seconds; so one here."""
        (line,) = self._shown(monkeypatch, terminal=False).splitlines()
        assert line.startswith("sweep: ")
        assert "/307 parameters [" in line

    def test_bar(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """On a terminal a bar, which is gone in the end."""
        text = self._shown(monkeypatch, terminal=True)
        assert "71/71" in text
        assert "\x1b[2K" in text.rpartition("71/71")[2]

    def test_nothing_within_a_second(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        """Most checks take milliseconds."""
        monkeypatch.setattr(presenting, "_PATIENCE", math.inf)
        check(cubes, given(), gradient_of_cubes, progress=True)
        assert capsys.readouterr() == ("", "")


def partly(call: Callable[[], Report]) -> Report:
    """The report of a check that is interrupted."""
    with pytest.raises(Interrupted) as caught:
        call()
    assert isinstance(caught.value, KeyboardInterrupt)
    assert not isinstance(caught.value, Exception)
    report = caught.value.report
    assert isinstance(report, Report)
    assert str(caught.value) == str(report)
    assert report.interrupted
    assert report.verdict in ("fail", "inconclusive")
    return report


class TestInterrupt:
    """Ctrl-C ends a check with what it has found."""

    def test_right_so_far(self) -> None:
        """What was compared agrees, and is not called a pass."""
        report = partly(lambda: check(plain(Interrupting(400)), given(), gradient_of_cubes))
        assert report.verdict == "inconclusive"
        block = report.blocks[0]
        assert 0 < block.size < 300
        assert block.status.value == "not finished"
        known = np.isfinite(report.numeric["w"])
        assert np.count_nonzero(known) == block.size
        np.testing.assert_allclose(report.numeric["w"][known], gradient_of_cubes(given())["w"][known], rtol=1e-6, atol=1e-7)
        assert report.displaced is None

    def test_wrong_so_far(self) -> None:
        """What is wrong is wrong, whatever was not looked at."""
        gradient = gradient_of_cubes(given())
        gradient["w"][3] += 1.0
        report = partly(lambda: check(plain(Interrupting(400)), given(), gradient))
        assert report.verdict == "fail"
        assert report.worst(1)[0].index == (3,)
        assert report.blocks[1].status.value == "not finished"

    def test_difference_arrays(self) -> None:
        """A call carries many perturbations, and is lost as a whole."""
        params = {"w": np.linspace(-1.0, 1.0, 5000), "b": np.ones(7)}
        gradient = gradient_of_cubes(params)
        gradient["w"][0] += 1.0
        whole = Interrupting(0)
        check(whole, params, gradient)
        report = None
        for call in range(1, whole.calls):
            try:
                check(Interrupting(call), params, gradient)
            except Interrupted as error:
                report = error.report
                assert report.verdict in ("fail", "inconclusive")
                if 0 < report.blocks[0].size < 5000:
                    break
            except KeyboardInterrupt:  # before anything was compared
                assert report is None
        assert report is not None
        assert report.verdict == "fail"
        assert report.evaluated_by == "difference arrays"
        assert report.worst(1)[0].index == (0,)

    def test_network(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of a network what its chunks have given."""
        network = Network([300, 200, 100, 1])
        rng = np.random.default_rng(0)
        params = network.initialize(0)
        X, Y = rng.random((300, 40)), np.ones((1, 40))
        gradient = network.gradient(params, X, Y)
        gradient["dW1"][0, 5] *= 1.5
        chunks = 0
        evaluate = sweeps._evaluate

        def interrupted(*arguments: Any) -> Any:
            nonlocal chunks
            chunks += 1
            if chunks == 3:
                raise KeyboardInterrupt
            return evaluate(*arguments)

        monkeypatch.setattr(sweeps, "_evaluate", interrupted)
        report = partly(lambda: check(network.cost(X, Y), params, gradient, mode="sweep"))
        assert report.verdict == "fail"
        assert report.blocks[0].status.value == "wrong"
        assert 0 < report.blocks[0].size < 60_000
        assert report.worst(1)[0].index == (0, 5)
        assert np.isnan(report.numeric["W3"]).all()

    def test_network_at_the_second_point(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of a network, too: the first point agrees, and that is no pass yet."""
        network = Network([6, 5, 1])
        params = network.initialize(0)
        X, Y = np.random.default_rng(0).random((6, 4)), np.ones((1, 4))
        quotients, calls = NetworkNumerics.quotients, 0

        def interrupted(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 6:  # of two blocks' weights and biases each at either point
                raise KeyboardInterrupt
            return quotients(*arguments)

        monkeypatch.setattr(NetworkNumerics, "quotients", interrupted)
        report = partly(lambda: check(network.cost(X, Y), params, lambda p: network.gradient(p, X, Y), select=3))
        assert report.verdict == "inconclusive"
        assert [block.status.value for block in report.blocks] == ["agrees"] * 4

    def test_from_a_callback(self) -> None:
        """What shows the progress may be what stops the check, as a window with a button."""

        def stop(progress: Progress) -> None:
            if progress.done >= 100:
                raise KeyboardInterrupt

        report = partly(lambda: check(plain(cubes), given(), gradient_of_cubes, progress=stop))
        assert 100 <= report.blocks[0].size < 300

    def test_evaluations_are_those_of_what_is_known(self) -> None:
        """What is missing was not computed."""
        cost = Interrupting(400)
        report = partly(lambda: check(plain(cost), given(), gradient_of_cubes))
        assert report.evaluations <= cost.calls

    def test_at_the_second_point(self) -> None:
        """The first point was compared whole, and that is no pass yet."""
        whole = Interrupting(0)
        check(plain(whole), given(), gradient_of_cubes)
        report = partly(lambda: check(plain(Interrupting(whole.calls - 40)), given(), gradient_of_cubes))
        assert report.verdict == "inconclusive"
        assert [block.status.value for block in report.blocks] == ["agrees", "agrees"]

    def test_at_any_call(self) -> None:
        """Wherever it comes: nothing that was given is changed, nothing passes, and nothing right is called wrong."""
        whole = Interrupting(0)
        check(plain(whole), given(), gradient_of_cubes)
        for call in range(1, whole.calls + 1, 29):
            params = given()
            with pytest.raises(KeyboardInterrupt) as caught:
                check(plain(Interrupting(call)), params, gradient_of_cubes)
            assert not isinstance(caught.value, Interrupted) or caught.value.report.verdict == "inconclusive"
            np.testing.assert_array_equal(params["w"], WEIGHTS)

    def test_twice(self) -> None:
        """A second Ctrl-C ends what the first one left to do."""

        def cost(params: Any) -> Any:
            calls.append(1)
            if len(calls) >= 400:
                raise KeyboardInterrupt
            return cubes(params)

        calls: list[int] = []
        gradient = gradient_of_cubes(given())
        gradient["w"][3] += 1.0
        with pytest.raises(KeyboardInterrupt) as caught:
            check(plain(cost), given(), gradient)
        assert not isinstance(caught.value, Interrupted)

    def test_saved(self, tmp_path: Any) -> None:
        """It is a report like any other."""
        report = partly(lambda: check(plain(Interrupting(400)), given(), gradient_of_cubes))
        report.save(tmp_path / "report.json")
        report.save(tmp_path / "report.h5")
        assert '"interrupted": true' in (tmp_path / "report.json").read_text(encoding="utf-8")


def test_many_parameters_go_in_parts(seen: list[Progress], monkeypatch: pytest.MonkeyPatch) -> None:
    """Quotients are formed of so many parameters at a time; the progress is that of all of them, and the bits are the same."""
    whole = check(plain(cubes), given(), gradient_of_cubes)
    monkeypatch.setattr(quotients, "_TOGETHER", 50)
    report = check(plain(cubes), given(), gradient_of_cubes, progress=seen.append)
    np.testing.assert_array_equal(report.numeric["w"], whole.numeric["w"])
    assert report.evaluations == whole.evaluations
    done = [progress.done for progress in seen if progress.phase == "sweep"]
    assert done == sorted(done)
    assert done[-1] == 307
    assert len(set(done)) > 6


class TestAtAnyMoment:
    """What is cut off in the middle."""

    @pytest.mark.parametrize("kind", [plain, lambda cost: cost])
    def test_closer_look_that_is_cut_off(self, kind: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing is said of an entry whose closer look has not ended: with steps, but without noise, it is not below that."""
        for limit in ("_KEPT", "_VECTORS"):  # so that the cost is called, and can be interrupted
            monkeypatch.setattr(f"gradsweep._differences._recording.{limit}", 0)
        monkeypatch.setattr(plain_function, "_MOST_CALLS", 1)
        params: dict[str, Any] = {"w": np.linspace(0.5, 1.0, 3), "s": 0.7}
        gradient = {"w": 3.0 * params["w"] ** 2 * np.exp(0.7), "s": 1.01 * np.sum(params["w"] ** 3) * np.exp(0.7)}
        left = [0]

        def idle(own: monitor.Monitor) -> bool:
            left[0] -= own._state is monitor._State.CLOSING
            return own._state is monitor._State.ABANDONED or left[0] < 0

        def cost(given: Any) -> Any:
            return np.sum(given["w"] ** 3) * np.exp(given["s"])

        def interrupted(call: int) -> Report | None:
            try:
                check(kind(Interrupting(call, cost)), params, gradient)
            except Interrupted as end:
                report: Report = end.report
                return report
            except KeyboardInterrupt:
                pass
            return None

        counting = Interrupting(0, cost)
        check(kind(counting), params, gradient)
        monkeypatch.setattr(monitor.Monitor, "_idle", property(idle))
        left[0] = 10**9
        last = max(call for call in range(counting.calls - 12, counting.calls) if interrupted(call) is not None)
        verdicts = set()
        for count in range(0, 200, 2):
            left[0] = count
            report = interrupted(last)
            assert report is not None
            assert report.blocks[1].status.value in ("not finished", "wrong")
            verdicts.add(report.verdict)
        assert verdicts == {"inconclusive", "fail"}

    def test_second_point_of_selected_entries(self, seen: list[Progress]) -> None:
        """Of a network, too, it is a phase of its own, which is known of from the beginning."""
        network = Network([20, 15, 10, 1])
        params = network.initialize(0)
        X, Y = np.ones((20, 50)), np.ones((1, 50))
        check(network.cost(X, Y), params, lambda p: network.gradient(p, X, Y), select=7, progress=seen.append)
        phases = [progress.phase for progress in seen]
        assert phases == sorted(phases, reverse=True)
        assert set(phases) == {"sweep", "second point"}
        assert [progress.remaining > 0.0 for progress in seen] == [True] * (len(seen) - 1) + [False]


def blocks_given() -> dict[str, Any]:
    """Four blocks, for a screen."""
    rng = np.random.default_rng(5)
    return {name: rng.uniform(0.5, 1.5, 60) for name in "abcd"}


def sums(params: dict[str, Any]) -> Any:
    """A cost of them, each of which counts."""
    return sum(np.sum(factor * block**3) for factor, block in enumerate(params.values(), start=1))


def gradient_of_sums(params: dict[str, Any]) -> dict[str, Any]:
    """Its gradient."""
    return {name: 3.0 * factor * block**2 for factor, (name, block) in enumerate(params.items(), start=1)}


def wrong_in(*names: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The same with a wrong entry in some blocks."""

    def gradient(params: dict[str, Any]) -> dict[str, Any]:
        result = gradient_of_sums(params)
        for name in names:
            result[name][11] *= 1.5
        return result

    return gradient


def interrupted_screens(kind: Callable[[Any], Any], gradient: Any) -> Iterator[Report]:
    """Reports of a screen that is interrupted at each of its calls in turn, or some eighty of them, as far as there is one."""
    whole = Interrupting(0, sums)
    check(kind(whole), blocks_given(), gradient, mode="screen")
    for call in range(1, whole.calls + 1, max(whole.calls // 80, 1)):
        with pytest.raises(KeyboardInterrupt) as caught:
            check(kind(Interrupting(call, sums)), blocks_given(), gradient, mode="screen")
        if isinstance(caught.value, Interrupted):
            yield caught.value.report


@pytest.fixture
def _always_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """Difference arrays run the function itself for each chunk, and each block is one of its own."""
    monkeypatch.setattr("gradsweep._differences._recording._KEPT", 0)
    monkeypatch.setattr("gradsweep._differences._recording._VECTORS", 0)
    monkeypatch.setattr("gradsweep._costs._numpy_function._DENSE", 240)


@pytest.mark.usefixtures("_always_called")
class TestScreen:
    """Screens, which look at directions in all blocks, and then at some blocks."""

    KINDS = (plain, lambda cost: cost)

    @pytest.mark.parametrize("kind", KINDS)
    def test_progress(self, kind: Callable[[Any], Any], seen: list[Progress]) -> None:
        """Of a right gradient: two directions in each block, at either point."""
        check(kind(sums), blocks_given(), gradient_of_sums, mode="screen", progress=seen.append)
        screened = [each for each in seen if each.phase in ("screen", "second point")]
        assert {(each.phase, each.total, each.unit) for each in screened} == {
            ("screen", 8, "directions"),
            ("second point", 8, "directions"),
        }
        for phase in ("screen", "second point"):
            done = [each.done for each in screened if each.phase == phase]
            assert done == sorted(done)
            assert done[-1] == 8
            assert len(set(done)) > 2
        assert seen[-1].remaining == 0.0

    @pytest.mark.parametrize("kind", KINDS)
    def test_progress_of_a_search(self, kind: Callable[[Any], Any], seen: list[Progress]) -> None:
        """Blocks that are wrong are counted when their directions are known; and they do not put the second point back."""
        check(kind(sums), blocks_given(), wrong_in("b", "d"), mode="screen", progress=seen.append)
        names = [each.phase for each in seen]
        order = [name for number, name in enumerate(names) if number == 0 or names[number - 1] != name]
        assert [name for name in order if name not in ("measuring noise", "choosing steps")] == [
            "screen",
            "search",
            "second point",
        ]
        for phase, total, unit in (("search", 2, "blocks"), ("second point", 8, "directions")):
            own = [each for each in seen if each.phase == phase]
            assert {(each.total, each.unit) for each in own} == {(total, unit)}
            assert [each.done for each in own] == sorted(each.done for each in own)
            assert own[-1].done == total
        assert all(math.isnan(each.remaining) for each in seen if each.phase == "search")

    @pytest.mark.parametrize("callable_gradient", [True, False])
    def test_progress_of_a_network(self, callable_gradient: bool, seen: list[Progress], monkeypatch: pytest.MonkeyPatch) -> None:
        """Of a network, too."""
        monkeypatch.setattr("gradsweep._costs._network_numerics._TOGETHER", 1)
        network = Network([6, 5, 1])
        params = network.initialize(0)
        X, Y = np.random.default_rng(0).random((6, 4)), np.ones((1, 4))
        gradient = (lambda p: network.gradient(p, X, Y)) if callable_gradient else network.gradient(params, X, Y)
        check(network.cost(X, Y), params, gradient, mode="screen", progress=seen.append)
        expected = ["screen", "second point"] if callable_gradient else ["screen"]
        assert list(dict.fromkeys(each.phase for each in seen)) == expected
        for phase in expected:
            done = [each.done for each in seen if each.phase == phase]
            assert done == list(range(1, 8))  # the last bias is one number
            assert {each.total for each in seen} == {7}

    @pytest.mark.parametrize("kind", KINDS)
    def test_right_so_far(self, kind: Callable[[Any], Any]) -> None:
        """Blocks agree one after the other, and a block agrees only if both of its directions were looked at."""
        counts = set()
        for report in interrupted_screens(kind, gradient_of_sums(blocks_given())):
            assert report.interrupted
            assert report.verdict == "inconclusive"
            statuses = [block.status.value for block in report.blocks]
            agreeing = statuses.count("agrees")
            assert statuses == ["agrees"] * agreeing + ["not finished"] * (4 - agreeing)
            assert [block.size for block in report.blocks] == [60] * agreeing + [0] * (4 - agreeing)
            assert all(block.sensitivity is None for block in report.blocks[agreeing:])
            assert str(report).count("not looked at") >= 4 - agreeing
            counts.add(agreeing)
        assert counts >= {0, 1, 2, 3}

    @pytest.mark.parametrize("kind", KINDS)
    def test_wrong_so_far(self, kind: Callable[[Any], Any]) -> None:
        """A block that is wrong never agrees; and what was found to be wrong is wrong."""
        seen = set()
        for report in interrupted_screens(kind, wrong_in("b", "d")(blocks_given())):
            assert report.verdict == ("fail" if any(block.status.value == "wrong" for block in report.blocks) else "inconclusive")
            statuses = tuple(block.status.value for block in report.blocks)
            assert {statuses[0], statuses[2]} <= {"agrees", "not finished"}
            assert {statuses[1], statuses[3]} <= {"wrong", "not finished"}
            for block in report.blocks:
                assert block.status.value != "wrong" or block.worst[0].index == (11,)
            seen.add(statuses)
            str(report)
        assert ("agrees", "not finished", "agrees", "not finished") in seen
        assert ("agrees", "wrong", "agrees", "not finished") in seen

    def test_undecided_is_said(self) -> None:
        """Directions that differ are no verdict on a block."""
        reports = list(interrupted_screens(plain, wrong_in("b", "d")(blocks_given())))
        texts = [" ".join(str(report).split()) for report in reports]
        wanted = "note: b and d: the check was interrupted; of 2 blocks single entries were yet to decide"
        assert any(wanted in text for text in texts)
        assert any("entries undecided" in text for text in texts)

    @pytest.mark.parametrize("kind", KINDS)
    def test_at_the_second_point(self, kind: Callable[[Any], Any]) -> None:
        """The first point was screened whole, and that is no pass yet."""
        first, both = Interrupting(0, sums), Interrupting(0, sums)
        check(kind(first), blocks_given(), gradient_of_sums(blocks_given()), mode="screen")
        check(kind(both), blocks_given(), gradient_of_sums, mode="screen")
        for call in range(first.calls + 2, both.calls - 1):
            cost = kind(Interrupting(call, sums))
            report = partly(functools.partial(check, cost, blocks_given(), gradient_of_sums, mode="screen"))
            assert report.verdict == "inconclusive"
            assert {block.status.value for block in report.blocks} == {"agrees"}
            assert report.displaced is None

    def test_network(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of a network the blocks whose directions went through it; wherever it comes, none of the others passes."""
        monkeypatch.setattr("gradsweep._costs._network_numerics._TOGETHER", 1)
        network = Network([6, 5, 1])
        params = network.initialize(0)
        X, Y = np.random.default_rng(0).random((6, 4)), np.ones((1, 4))
        gradient = network.gradient(params, X, Y)
        gradient["dW2"][0, 3] *= 1.5
        along = NetworkProblem.along
        screen = functools.partial(check, network.cost(X, Y), params, gradient, mode="screen")

        def interrupted(call: int) -> Interrupting:
            counting = Interrupting(call, lambda arguments: along(*arguments))
            monkeypatch.setattr(NetworkProblem, "along", lambda *arguments: counting(arguments))
            return counting

        whole = interrupted(0)
        assert screen().verdict == "fail"
        seen = set()
        for call in range(1, whole.calls + 1):
            interrupted(call)
            report = partly(screen)
            statuses = dict(zip(params, (block.status.value for block in report.blocks), strict=True))
            assert statuses["W2"] in ("wrong", "not finished")
            seen.add(tuple(statuses.values()))
        assert ("agrees", "not finished", "not finished", "not finished") in seen
        assert ("agrees", "agrees", "not finished", "agrees") in seen

    def test_from_a_callback(self) -> None:
        """What shows the progress may be what stops the screen."""

        def stop(progress: Progress) -> None:
            if progress.phase == "search" and progress.done == 1:
                raise KeyboardInterrupt

        report = partly(
            lambda: check(plain(sums), blocks_given(), wrong_in("b", "d"), mode="screen", max_evaluations=10**6, progress=stop)
        )
        assert [block.status.value for block in report.blocks] == ["agrees", "wrong", "agrees", "not finished"]

    def test_twice(self) -> None:
        """A second Ctrl-C ends what the first one left to do."""

        def cost(params: Any) -> Any:
            calls.append(1)
            if len(calls) >= 70:
                raise KeyboardInterrupt
            return sums(params)

        calls: list[int] = []
        with pytest.raises(KeyboardInterrupt) as caught:
            check(plain(cost), blocks_given(), gradient_of_sums, mode="screen")
        assert not isinstance(caught.value, Interrupted)

    def test_saved(self, tmp_path: Any) -> None:
        """It is a report like any other."""
        for number, report in enumerate(interrupted_screens(plain, wrong_in("b")(blocks_given()))):
            if number % 40 == 0:
                for kind in ("json", "h5", "html"):
                    report.save(tmp_path / f"report{number}.{kind}")
        assert '"interrupted": true' in (tmp_path / "report40.json").read_text(encoding="utf-8")


class TestComplex:
    """Imaginary steps, block by block, each of which is held against real differences."""

    @staticmethod
    def _run(cost: Callable[[Any], Any], gradient: Any, **options: Any) -> Report:
        return check(cost, blocks_given(), gradient, scheme="complex", **options)

    def test_progress(self, seen: list[Progress]) -> None:
        """As of a sweep."""
        self._run(sums, gradient_of_sums, progress=seen.append)
        counted = [each for each in seen if each.unit == "parameters"]
        assert {(each.phase, each.total) for each in counted} == {("sweep", 240), ("second point", 240)}
        for phase in ("sweep", "second point"):
            done = [each.done for each in counted if each.phase == phase]
            assert done == sorted(done)
            assert done[-1] == 240
            assert len(set(done)) > 200

    def test_at_any_call(self) -> None:
        """What was held against real differences is known; a block that was cut off as far as it could still be."""
        whole = Interrupting(0, sums)
        expected = self._run(whole, gradient_of_sums(blocks_given()))
        sizes = set()
        for call in range(4, whole.calls, 5):
            report = partly(functools.partial(self._run, Interrupting(call, sums), gradient_of_sums(blocks_given())))
            assert report.verdict == "inconclusive"
            for block in report.blocks:
                known = np.isfinite(report.numeric[block.name])
                assert np.count_nonzero(known) == block.size
                np.testing.assert_array_equal(report.numeric[block.name][known], expected.numeric[block.name][known])
                sizes.add(block.size)
        assert {0, 60} < sizes

    def test_wrong_so_far(self) -> None:
        """What is wrong is wrong, whatever was not looked at."""
        whole = Interrupting(0, sums)
        self._run(whole, gradient_of_sums(blocks_given()))
        report = partly(lambda: self._run(Interrupting(whole.calls // 2, sums), wrong_in("a")(blocks_given())))
        assert report.verdict == "fail"
        assert report.blocks[0].status.value == "wrong"
        assert report.blocks[3].status.value == "not finished"

    def test_no_time_to_prove(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of a block that could not be held against real differences nothing is said, right or wrong."""
        monkeypatch.setattr(monitor, "_CLOSING", -1.0)

        def cost(params: Any) -> Any:  # the modulus is not analytic: imaginary steps see nothing of it
            return np.sum(np.abs(params["a"]) ** 3)

        params = {"a": np.linspace(0.5, 1.5, 60)}
        for call in range(50, 92, 5):
            interrupting = Interrupting(call, cost)
            for gradient in ({"a": 3.0 * params["a"] ** 2}, {"a": np.zeros(60)}):
                interrupting.calls = 0
                report = partly(functools.partial(check, interrupting, params, gradient, scheme="complex"))
                assert report.verdict == "inconclusive"
                assert report.blocks[0].size == 0

    def test_checkpoint(self, tmp_path: Any) -> None:
        """The next run gives the same bits."""
        whole = Interrupting(0, sums)
        expected = self._run(whole, gradient_of_sums)
        for part in (0.2, 0.5, 0.8):
            path = tmp_path / f"{part}.h5"
            with pytest.raises(Interrupted):
                self._run(Interrupting(int(part * whole.calls), sums), gradient_of_sums, checkpoint=path)
            report = self._run(sums, gradient_of_sums, checkpoint=path)
            assert report.blocks == expected.blocks
            assert report.displaced == expected.displaced
            for name, block in expected.numeric.items():
                np.testing.assert_array_equal(report.numeric[name], block, strict=True)


class TestNeurons:
    """Networks whose pre-activations are perturbed, all of an example before those of the next."""

    NETWORK = Network([40, 30, 20, 1])
    X = np.random.default_rng(0).random((40, 50))
    Y = np.ones((1, 50))

    def _run(self, *, wrong: bool = False, **options: Any) -> Report:
        params = self.NETWORK.initialize(0)

        def gradient(params: Any) -> dict[str, Any]:
            result = dict(self.NETWORK.gradient(params, self.X, self.Y))
            result["dW1"] = result["dW1"] * (1.5 if wrong else 1.0)
            return result

        return check(self.NETWORK.cost(self.X, self.Y), params, gradient, **options)

    @pytest.fixture
    def chunks(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Interrupting]:
        """Makes chunks small, and one of them interrupt the check."""
        monkeypatch.setattr("gradsweep._costs._network_problem._WORK", 2**14)
        evaluate = sweeps._evaluate

        def interrupt(call: int) -> Interrupting:
            counting = Interrupting(call, lambda arguments: evaluate(*arguments))
            monkeypatch.setattr(sweeps, "_evaluate", lambda *arguments: counting(arguments))
            return counting

        return interrupt

    @pytest.mark.parametrize(("mode", "unit"), [("neurons", "pre-activations"), ("sweep", "parameters")])
    def test_progress(self, mode: str, unit: str, seen: list[Progress], chunks: Callable[[int], Interrupting]) -> None:
        """By pre-activations of all examples, and so at the second point, whatever it was at the first."""
        chunks(0)
        self._run(mode=mode, progress=seen.append)
        totals = {"sweep": 51 * 50 if mode == "neurons" else 41 * 30 + 31 * 20 + 21, "second point": 51 * 50}
        units = {"sweep": unit, "second point": "pre-activations"}
        assert list(dict.fromkeys(progress.phase for progress in seen)) == ["sweep", "second point"]
        for phase, total in totals.items():
            own = [progress for progress in seen if progress.phase == phase]
            assert {(progress.total, progress.unit) for progress in own} == {(total, units[phase])}
            done = [progress.done for progress in own]
            assert done == sorted(done)
            assert done[-1] == total
            assert len(set(done)) > 2
        assert seen[-1].remaining == 0.0

    @pytest.mark.parametrize("wrong", [False, True])
    def test_at_any_chunk(self, wrong: bool, chunks: Callable[[int], Interrupting]) -> None:
        """Before the last example nothing is known, and the report says so; at the second point the first one is."""
        whole = chunks(0)
        assert self._run(mode="neurons", wrong=wrong).verdict == ("fail" if wrong else "pass")
        seen = set()
        for call in range(1, whole.calls + 1):
            chunks(call)
            report = partly(functools.partial(self._run, mode="neurons", wrong=wrong))
            statuses = {block.status.value for block in report.blocks}
            if statuses == {"not finished"}:
                assert report.verdict == "inconclusive"
                assert {block.size for block in report.blocks} == {0}
                assert all(np.isnan(block).all() for block in report.numeric.values())
                assert str(report).startswith("INCONCLUSIVE: interrupted before anything was compared")
            else:
                assert report.verdict == ("fail" if wrong else "inconclusive")
                assert statuses == ({"agrees", "wrong"} if wrong else {"agrees"})
            seen.add(frozenset(statuses))
        assert len(seen) == 2

    def test_checkpoint(self, tmp_path: Any, chunks: Callable[[int], Interrupting]) -> None:
        """Chunks that were done are not done again, and the bits are the same."""
        whole = chunks(0)
        expected = self._run(mode="neurons")
        chunks(whole.calls // 2)
        with pytest.raises(Interrupted):
            self._run(mode="neurons", checkpoint=tmp_path / "run.h5")
        again = chunks(0)
        report = self._run(mode="neurons", checkpoint=tmp_path / "run.h5")
        assert again.calls < whole.calls
        assert (report.blocks, report.displaced) == (expected.blocks, expected.displaced)
