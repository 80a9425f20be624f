"""What goes wrong around a check: workers that die, costs that hang or are not the same at each call, signals at any moment."""

import dataclasses
import multiprocessing
import os
import pathlib
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cloudpickle
import joblib
import numpy as np
import pytest

import gradsweep
from gradsweep import CostTimeoutError, InputError, Report, WorkerError, _deadlines, _pools, _workers, check, plain
from gradsweep import _journal as journals
from gradsweep._costs import _plain_function, _runs
from gradsweep._processes import Processes, ProcessLostError
from gradsweep._sending import Done, send

# A worker process may not find this file by the name that it was imported under.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

# Where a run is stopped, a thread of loky may look for an item that was just taken back.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception in thread ExecutorManagerThread:pytest.PytestUnhandledThreadExceptionWarning"
)

SOURCES = pathlib.Path(__file__).resolve().parents[1] / "src"
X = np.linspace(-1.0, 1.0, 200)
HERE = os.getpid()


def cubes(x: Any) -> float:
    return float(np.sum(x**3))


def checked(cost: Callable[[Any], Any], **options: Any) -> Report:
    return check(plain(cost), X, 3.0 * X**2, **{"mode": "sweep", **options})


def moved(x: Any, index: int = 150) -> bool:
    """Whether this parameter alone has grown."""
    return bool(x[index] > X[index]) and np.count_nonzero(x != X) == 1


def is_there(process: int) -> bool:
    """Whether a process runs: what has ended, and nobody has asked how, does not."""
    try:
        status = pathlib.Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes are worth their while whatever there is to do, in chunks of eight calls; and files are written after each."""
    monkeypatch.setattr(_workers, "_WORTH_PROCESSES", 0.0)
    monkeypatch.setattr(_plain_function, "_MOST_CALLS", 8)
    monkeypatch.setattr(journals, "_INTERVAL", 0.0)
    monkeypatch.setattr(journals, "_PATIENCE", 0.0)


@pytest.fixture(scope="module")
def alone() -> Report:
    """Without any faults, nor workers."""
    return checked(cubes, jobs=1)


def same(one: Report, other: Report) -> bool:
    return one.numeric["params"].tobytes() == other.numeric["params"].tobytes() and one.evaluations == other.evaluations


# ---- workers that die ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["loky", "multiprocessing"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_worker_is_killed_and_what_was_done_is_kept(number: int, backend: str, tmp_path: pathlib.Path, alone: Report) -> None:
    """The next run goes on where it was, and computes the rest alone."""

    def dies(x: Any) -> float:
        if os.getpid() != HERE and moved(2.0 * X - x):  # after all others have grown, and most of them have fallen
            os.kill(os.getpid(), number)
        time.sleep(0.004)  # so that results are written down as they come
        return cubes(x)

    calls = 0

    def counting(x: Any) -> float:
        nonlocal calls
        calls += 1
        return cubes(x)

    path = tmp_path / "run.h5"
    begun = time.monotonic()
    with joblib.parallel_config(backend), pytest.raises(WorkerError, match="a worker process died"):
        checked(dies, jobs=2, checkpoint=path)
    assert time.monotonic() - begun < 60.0
    assert same(checked(counting, jobs=1, checkpoint=path), alone)
    assert calls < 0.7 * alone.evaluations


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_what_a_killed_worker_did_is_done_again(
    method: str, tmp_path: pathlib.Path, alone: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By another one: `multiprocessing.Pool` would wait for it for ever."""
    monkeypatch.setenv("JOBLIB_START_METHOD", method)

    def slow(x: Any) -> float:
        if os.getpid() != HERE:
            (tmp_path / str(os.getpid())).touch()
            time.sleep(0.004)
        return cubes(x)

    killed: list[int] = []

    def kill() -> None:
        wait_for(lambda: len(list(tmp_path.iterdir())) == 2)
        killed.append(min(int(file.name) for file in tmp_path.iterdir()))
        os.kill(killed[0], signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    with joblib.parallel_config("multiprocessing", n_jobs=2):
        report = checked(slow)
    thread.join()
    assert killed
    assert same(report, alone)
    assert not report.notes
    others = {int(file.name) for file in tmp_path.iterdir()}
    assert len(others) > 2
    assert not any(is_there(process) for process in others)


@pytest.fixture
def two() -> Iterator[Processes]:
    """Two processes that wait to be given something."""
    with Processes(2, None) as processes:
        found = processes(send(lambda item: (item, os.getpid()), None), range(8))
        assert [outcome.value[0] for outcome in found if isinstance(outcome, Done)] == list(range(8))
        yield processes


def pids(processes: Processes) -> set[int]:
    """Of processes that answer."""

    def who(item: int) -> int:
        time.sleep(0.05)
        return os.getpid()

    return {outcome.value for outcome in processes(send(who, None), range(8)) if isinstance(outcome, Done)}


def test_a_process_dies_while_it_has_nothing_to_do(two: Processes) -> None:
    """One that waits at a queue which all share would take the queue with it."""
    before = pids(two)
    assert len(before) == 2
    os.kill(min(before), signal.SIGKILL)
    wait_for(lambda: not is_there(min(before)))
    with pytest.raises(ProcessLostError):
        pids(two)
    after = pids(two)
    assert len(after) == 2
    assert not after & before
    assert not any(is_there(process) for process in before)


def test_a_process_dies_and_leaves_a_child(two: Processes, tmp_path: pathlib.Path) -> None:
    """Its end of the pipe lives on in the child."""

    def orphan(item: int) -> int:
        if item == 3 and (child := os.fork()):
            (tmp_path / str(child)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if item == 3:
            time.sleep(60.0)
            os._exit(0)
        return item

    with pytest.raises(ProcessLostError):
        two(send(orphan, None), range(8))
    (child,) = (int(file.name) for file in tmp_path.iterdir())
    assert is_there(child)
    os.kill(child, signal.SIGKILL)


def test_a_result_that_cannot_be_sent(two: Processes) -> None:
    """Is an error, and no loss."""
    outcomes = two(send(lambda item: (yield item), None), range(3))
    assert [type(getattr(outcome, "error", None)) for outcome in outcomes] == [TypeError] * 3
    assert len(pids(two)) == 2


def test_a_function_is_sent_to_each_process_once(two: Processes) -> None:
    """And again after another one, which is no more than some take turns."""
    pickled = 0

    class Counting(np.ndarray[Any, Any]):
        """Counts how often it is sent from here."""

        def __reduce_ex__(self, protocol: Any) -> Any:
            nonlocal pickled
            pickled += os.getpid() == HERE
            return np.asarray(self).__reduce_ex__(protocol)

    sent = send(lambda item: item, None)
    sent = dataclasses.replace(sent, pickled=sent.pickled.view(Counting))
    for _ in range(3):
        two(sent, range(20))
    assert 1 <= pickled <= 2
    pids(two)
    two(sent, range(20))
    assert 2 <= pickled <= 4


def test_parallel_work_within_a_process() -> None:
    """As in joblib's own: in threads, and nothing is said about it."""

    def threads(item: int) -> int:
        if os.getpid() == HERE:
            return 0
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return len(set(joblib.Parallel(n_jobs=2)(joblib.delayed(slow_ident)() for _ in range(4))))

    def slow_ident() -> int:
        time.sleep(0.05)
        return threading.get_ident()

    workers = _workers.Workers(threads, None, lambda one, other: True)
    with joblib.parallel_config("multiprocessing", n_jobs=2):
        results = list(workers.run(iter(range(4)), 4))
    assert results[1:] == [2, 2, 2]
    assert not workers.notes


def test_a_worker_runs_out_of_memory() -> None:
    """Where the system refuses memory, rather than killing whoever asks for it, that is an error of the cost."""

    def greedy(x: Any) -> float:
        if os.getpid() != HERE and moved(x):
            before = resource.getrlimit(resource.RLIMIT_AS)
            size = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (size + 2**26, before[1]))
            try:
                np.ones(2**27)
            finally:
                resource.setrlimit(resource.RLIMIT_AS, before)
        return cubes(x)

    with pytest.raises(InputError, match=r"cost raises \w*MemoryError when params\[150\] (grows|falls) by .*allocate") as caught:
        checked(greedy, jobs=2)
    assert isinstance(caught.value.__cause__, MemoryError)


# ---- costs that hang -----------------------------------------------------------------------------------------------------


def spin(x: Any) -> float:
    """Hangs in Python's own code where one parameter has moved."""
    while moved(x):
        pass
    return cubes(x)


def stop(x: Any) -> float:
    """Hangs in a sleep, which a signal ends."""
    if moved(x):
        time.sleep(3600.0)
    return cubes(x)


def stubborn(x: Any) -> float:
    """Hangs, and takes whatever is raised for an error of its own."""
    while moved(x):
        try:
            time.sleep(0.001)
        except Exception:
            continue
    return cubes(x)


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("cost", [spin, stop, stubborn])
def test_a_call_that_hangs(cost: Callable[[Any], float], jobs: int) -> None:
    """In the caller, and in processes, which are of use later on."""
    begun = time.monotonic()
    with pytest.raises(CostTimeoutError, match=r"^cost does not return within 1\.5 s when params\[150\] grows by \S+(\n|$)"):
        checked(cost, jobs=jobs, timeout=1.5)
    assert time.monotonic() - begun < 60.0
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_call_that_hangs_in_another_thread() -> None:
    """No signal arrives there, but an exception does."""
    with ThreadPoolExecutor(1) as pool, pytest.raises(CostTimeoutError, match=r"when params\[150\] grows"):
        pool.submit(checked, spin, jobs=1, timeout=1.5).result(timeout=60.0)


@pytest.mark.parametrize("backend", ["loky", "multiprocessing"])
def test_a_loop_in_c_is_ended_with_its_process(backend: str, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """It cannot be ended otherwise, and only its chunk is known, where results come one by one."""
    monkeypatch.setattr(_pools, "_GRACE", 2.0)
    file = tmp_path / "process"

    def endless(x: Any) -> float:
        if moved(x) and os.getpid() != HERE:
            file.write_text(str(os.getpid()))
            sum(range(10**12))
        return cubes(x)

    message = r"within 1\.5 s" + r" when one of params\[\d+\] to params\[\d+\] moves by up to" * (backend == "loky")
    with joblib.parallel_config(backend), pytest.raises(CostTimeoutError, match=message) as caught:
        checked(endless, jobs=2, timeout=1.5)
    if backend == "loky":
        first, last = (int(part.split("]")[0]) for part in str(caught.value).split("params[")[1:])
        assert first <= 150 <= last
    wait_for(lambda: not is_there(int(file.read_text())))


def test_difference_arrays_that_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a call that carries many perturbations the parameters are known."""
    # What is recorded and repeated does not call the function again.
    monkeypatch.setattr(_runs.Propagation, "_program", lambda self: None)
    here = threading.get_ident()
    calls = 0

    def cost(x: Any) -> Any:
        nonlocal calls
        calls += 1
        while calls > 30 and threading.get_ident() == here:
            pass
        return np.sum(np.sin(x) ** 3)

    x = np.linspace(-1.0, 1.0, 100_000)
    with pytest.raises(CostTimeoutError, match=r"within 1\.5 s when one of params\[\d+\] to params\[\d+\] moves by up to"):
        check(cost, x, 3.0 * np.sin(x) ** 2 * np.cos(x), mode="sweep", timeout=1.5)


def test_a_cost_that_hangs_at_once() -> None:
    calls = []

    def cost(x: Any) -> float:
        calls.append(1)
        while True:
            pass

    with pytest.raises(CostTimeoutError, match=r"within 1\.5 s at the given parameters$"):
        checked(cost, timeout=1.5)
    assert len(calls) == 1


def test_a_timeout_changes_nothing_else(alone: Report) -> None:
    """Somebody else's alarm is put back, and rings when it would have."""
    rung: list[float] = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: rung.append(time.monotonic()))
    begun = time.monotonic()
    try:
        signal.setitimer(signal.ITIMER_REAL, 1.0)
        for jobs in (1, 2):
            assert same(checked(cubes, jobs=jobs, timeout=5.0), alone)
        wait_for(lambda: bool(rung))
    finally:
        signal.signal(signal.SIGALRM, before)
    assert 0.9 < rung[0] - begun < 60.0


@pytest.mark.parametrize("timeout", [0.0, -1.0, np.nan, np.inf, "1", True, 1e12])
def test_what_is_no_timeout(timeout: Any) -> None:
    with pytest.raises(InputError, match=r"^timeout must be"):
        checked(cubes, timeout=timeout)


@pytest.mark.parametrize("in_thread", [False, True])
def test_deadlines_of_blocks_that_were_not_left_are_over(in_thread: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception may come between the end of a block and what ends its deadline, which would ring for ever."""
    monkeypatch.setattr(_deadlines, "_AGAIN", 0.02)
    late: list[BaseException] = []

    def enter() -> Any:
        manager = _deadlines.deadline(0.02)
        manager.__enter__()
        return manager

    def wait() -> None:
        held = enter()
        try:
            for _ in range(20):
                time.sleep(0.01)
        except _deadlines.OutOfTime as error:
            late.append(error)
        del held

    if in_thread:
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join()
    else:
        handler = signal.getsignal(signal.SIGALRM)
        wait()
        assert signal.getsignal(signal.SIGALRM) is handler
    assert not late


def test_deadlines_of_a_thread_do_not_come_late() -> None:
    """What returns in time is never interrupted afterwards."""

    def spend(seconds: float) -> None:
        # On its own: where a `with` block ends with a loop, Python 3.13.0 leaves the end of that out of the block.
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            pass

    def many() -> int:
        done = 0
        for _ in range(300):
            try:
                with _deadlines.deadline(0.001):
                    spend(0.001)
            except _deadlines.OutOfTime:
                pass
            done += 1
        for _ in range(1000):
            done += 0
        return done

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(many).result() == 300
    assert many() == 300


# ---- costs that are not the same at each call ------------------------------------------------------------------------------


class NowAndThen:
    """A cost that does something else at each seventieth call than at all others."""

    def __init__(self, what: Callable[[], float]) -> None:
        self.what, self.calls = what, 0

    def __call__(self, x: Any) -> float:
        self.calls += 1
        return self.what() if self.calls % 70 == 0 else cubes(x)


def _raise(error: Exception) -> float:
    raise error


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(
    ("what", "described"),
    [
        (lambda: _raise(RuntimeError("busy")), "raises RuntimeError: busy"),
        (lambda: _raise(ValueError("no data")), "raises ValueError: no data"),
        (lambda: _raise(OSError("no such host")), "raises OSError: no such host"),
        (lambda: float("nan"), "is nan"),
    ],
    ids=["error", "undefined", "system", "nan"],
)
def test_a_cost_that_fails_now_and_then(what: Callable[[], float], described: str, jobs: int) -> None:
    """That is no property of the parameters."""
    message = rf"cost is not the same at each call, for the same parameters \(when .*\): at one it {described}, at the next"
    with pytest.raises(InputError, match=message):
        checked(NowAndThen(what), jobs=jobs)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_cost_that_always_fails_somewhere(jobs: int) -> None:
    """That is one."""

    def fails(x: Any) -> float:
        if moved(x):
            raise KeyError("no such entry")
        return cubes(x)

    with pytest.raises(InputError, match=r"cost raises KeyError when params\[150\] grows by .*no such entry"):
        checked(fails, jobs=jobs)


@pytest.mark.parametrize("jobs", [1, 2])
def test_not_a_number_for_some_parameters(jobs: int) -> None:
    """They have no quotient, and so the gradient does not pass."""

    def cost(x: Any) -> float:
        return float("nan") if np.count_nonzero(x != X) == 1 and np.any(x[150:153] != X[150:153]) else cubes(x)

    report = checked(cost, jobs=jobs)
    assert report.verdict != "pass"
    assert np.flatnonzero(np.isnan(report.numeric["params"])).tolist() == [150, 151, 152]
    assert "not finite" in " ".join(str(report).split())


# ---- signals -------------------------------------------------------------------------------------------------------------

PROGRAM = """
    import os, pathlib, signal, sys, time
    import joblib
    import numpy as np
    import gradsweep

    # Whoever runs the tests in the background of a shell has it ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    here, folder = os.getpid(), pathlib.Path(sys.argv[1])

    def cost(x):
        if os.getpid() != here:
            (folder / str(os.getpid())).touch()
            while sys.argv[2] == "hang":
                pass
        time.sleep(0.005)
        return float(x @ x)

    x = np.ones(2000)
    try:
        with joblib.parallel_config(sys.argv[3]):
            gradsweep.check(gradsweep.plain(cost), x, 2 * x, mode="sweep", jobs=2)
    except gradsweep.Interrupted as error:
        print("interrupted,", error.report.verdict, flush=True)
    assert (x == 1.0).all()
"""


@pytest.mark.parametrize("backend", ["loky", "multiprocessing"])
@pytest.mark.parametrize(
    ("number", "to_all", "does"),
    [
        (signal.SIGINT, True, "work"),
        (signal.SIGINT, False, "hang"),
        (signal.SIGTERM, True, "work"),
        (signal.SIGTERM, False, "hang"),
        (signal.SIGKILL, False, "hang"),
    ],
)
def test_no_process_is_left(number: int, to_all: bool, does: str, backend: str, tmp_path: pathlib.Path) -> None:
    """Whatever ends the caller, or all that a terminal has started, while workers are at work."""
    script, folder = tmp_path / "program.py", tmp_path / "processes"
    script.write_text(textwrap.dedent(PROGRAM), encoding="utf-8")
    folder.mkdir()
    process = subprocess.Popen(
        [sys.executable, str(script), str(folder), does, backend],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        start_new_session=True,
    )
    wait_for(lambda: len(list(folder.iterdir())) == 2)
    (os.killpg if to_all else os.kill)(process.pid, number)
    output, _ = process.communicate(timeout=60.0)
    if number == signal.SIGINT:
        assert (output, process.returncode) == ("interrupted, inconclusive\n", 0)
    else:
        assert process.returncode == -number
    wait_for(lambda: not any(is_there(int(file.name)) for file in folder.iterdir()))


# An interrupt within a callback of the garbage collector is told, and lost: Python's own doing.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_object_gets_its_parameters_back_at_any_moment() -> None:
    """Signals that come at moments of their own, a hundred of them."""
    model = {"w": X.copy()}

    def cost() -> float:
        return cubes(model["w"])

    def gradient(x: Any) -> Any:
        return {"w": 3.0 * x["w"] ** 2}

    check(gradsweep.in_place(cost, model), model, gradient)
    begun = time.perf_counter()
    check(gradsweep.in_place(cost, model), model, gradient)
    usual = time.perf_counter() - begun
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    ended = 0
    try:
        for number in range(1, 101):
            try:
                signal.setitimer(signal.ITIMER_REAL, usual * number / 100)
                try:
                    check(gradsweep.in_place(cost, model), model, gradient)
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0.0)
            except KeyboardInterrupt:
                ended += 1
            np.testing.assert_array_equal(model["w"], X)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert ended  # how many of them depends on what else the machine does


# ---- other processes, and several checks at once ---------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_start_methods(method: str, alone: Report, tmp_path: pathlib.Path) -> None:
    def cost(x: Any) -> float:
        command = pathlib.Path("/proc/self/cmdline").read_bytes()
        (tmp_path / str(os.getpid())).write_bytes(command)
        return cubes(x)

    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method(method, force=True)
    try:
        with joblib.parallel_config("multiprocessing", n_jobs=2):
            assert same(checked(cost), alone)
    finally:
        multiprocessing.set_start_method(before, force=True)
    (tmp_path / str(os.getpid())).unlink()
    commands = [file.read_bytes() for file in tmp_path.iterdir()]
    assert len(commands) == 2
    assert all((b"spawn_main" in command) == (method == "spawn") for command in commands)


def nested() -> Report:
    return checked(cubes, jobs=2)


@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing"])
@pytest.mark.filterwarnings("ignore:Multiprocessing-backed parallel loops cannot be nested:UserWarning")
@pytest.mark.filterwarnings("ignore:Loky-backed parallel loops cannot be:UserWarning")
def test_within_a_worker(backend: str, alone: Report) -> None:
    """Two checks, each in a worker of joblib's, that would have two more."""
    for report in joblib.Parallel(n_jobs=2, backend=backend)(joblib.delayed(nested)() for _ in range(2)):
        assert same(report, alone)


def test_two_checks_at_once(alone: Report) -> None:
    """In two threads, with the processes of one."""
    with ThreadPoolExecutor(2) as pool:
        reports = list(pool.map(lambda _: checked(cubes, jobs=2), range(6)))
    assert all(same(report, alone) for report in reports)
    assert not any(report.notes for report in reports)


def test_within_xdist(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests in two processes, each with two workers."""
    monkeypatch.setenv("PYTHONPATH", str(SOURCES))
    pytester.makepyfile(
        """
        import os, time
        import numpy as np
        import pytest
        import gradsweep

        @pytest.mark.parametrize("number", range(2))
        def test_gradient(number):
            here, calls = os.getpid(), []

            def cost(x):
                calls.append(os.getpid() == here)
                time.sleep(0.005)
                return float(np.sum(x**3))

            x = np.linspace(0.5, 1.0, 130)
            report = gradsweep.assert_gradient(gradsweep.plain(cost), x, 3 * x**2, mode="sweep", jobs=2)
            assert not report.notes
            assert len(calls) < 0.7 * report.evaluations
        """
    )
    pytester.runpytest_subprocess("-n", "2", "-p", "no:cacheprovider").assert_outcomes(passed=2)


@pytest.fixture(autouse=True)
def _no_alarm() -> Iterator[None]:
    """Whatever a test does, no alarm is left."""
    yield
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
