"""Worker processes: copies of the function, the same bits however many there are, errors, interrupts and deaths."""

import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import cloudpickle
import joblib
import numpy as np
import pytest

import gradsweep
from gradsweep import _workers
from gradsweep._costs import _chunks, _plain_function
from gradsweep._workers import Workers

# A worker process may not find this file by the name that it was imported under.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

# Where a run is stopped, a thread of loky may look for an item that was just taken back.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception in thread ExecutorManagerThread:pytest.PytestUnhandledThreadExceptionWarning"
)

SOURCES = pathlib.Path(__file__).resolve().parents[1] / "src"


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes are worth their while whatever there is to do, and there are several chunks of little."""
    monkeypatch.setattr(_workers, "_WORTH_PROCESSES", 0.0)
    monkeypatch.setattr(_plain_function, "_MOST_CALLS", 8)
    monkeypatch.setattr(_chunks, "_FEWEST", 16)
    monkeypatch.setattr(_chunks, "_MOST", 16)


def model(seed: int = 0) -> tuple[Callable[[Any], Any], dict[str, Any], dict[str, Any]]:
    """A cost of some layers, its parameters and their gradient."""
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((30, 12))
    params = {"W": generator.standard_normal((12, 20)) / 4.0, "v": generator.standard_normal(20)}

    def cost(params: dict[str, Any]) -> Any:
        return np.sum(np.tanh(x @ params["W"]) @ params["v"]) / len(x)

    t = np.tanh(x @ params["W"])
    slope = (1.0 - t**2) * params["v"] / len(x)
    return cost, params, {"W": x.T @ slope, "v": t.sum(axis=0) / len(x)}


def who(item: int) -> tuple[int, int]:
    return item, os.getpid()


def first_of(one: Any, other: Any) -> bool:
    return bool(one[0] == other[0])


def start(function: Callable[[Any], Any], jobs: int | None = 2) -> Workers[Any, Any]:
    return Workers(function, jobs, first_of)


# ---- where items are evaluated -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("processes")
def test_order_and_processes() -> None:
    workers = start(who)
    results = list(workers.run(iter(range(40)), 40))
    assert [item for item, _ in results] == list(range(40))
    assert results[0][1] == os.getpid()
    assert os.getpid() not in {process for _, process in results[1:]}
    assert not workers.notes


def test_little_work_stays_in_the_caller() -> None:
    results = list(start(who, 4).run(iter(range(200)), 200))
    assert {process for _, process in results} == {os.getpid()}


def test_much_work_does_not() -> None:
    """What decides is the time that is left, as predicted from the items before."""

    def slow(item: int) -> tuple[int, int]:
        time.sleep(0.03)
        return who(item)

    results = list(start(slow).run(iter(range(60)), 60))
    assert len({process for _, process in results}) >= 2


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("jobs", [1, None])
def test_one_worker_never_leaves(jobs: int | None) -> None:
    results = list(start(who, jobs).run(iter(range(10)), 10))
    assert {process for _, process in results} == {os.getpid()}


@pytest.mark.usefixtures("processes")
def test_items_are_generated_as_they_are_needed() -> None:
    made = 0

    def items() -> Iterator[int]:
        nonlocal made
        for item in range(10**6):
            made += 1
            yield item

    results: Any = start(who).run(items(), 10**6)
    for _ in range(30):
        next(results)
    results.close()
    assert made < 10**4


@pytest.mark.usefixtures("processes")
def test_the_function_is_pickled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not sent with each item: workers keep it from one run to the next."""
    import cloudpickle

    sizes = []
    dumps = cloudpickle.dumps

    def counting(value: Any, *args: Any, **options: Any) -> bytes:
        pickled: bytes = dumps(value, *args, **options)
        sizes.append(len(pickled))
        return pickled

    monkeypatch.setattr(cloudpickle, "dumps", counting)
    ballast = np.zeros(10**6)

    def heavy(item: int) -> tuple[int, int]:
        return item, len(ballast)

    workers = start(heavy)
    for _ in range(3):
        assert [item for item, _ in workers.run(iter(range(50)), 50)] == list(range(50))
    assert sum(size >= ballast.nbytes for size in sizes) == 1


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("backend", ["loky", "multiprocessing"])
def test_an_active_configuration_counts(backend: str) -> None:
    workers = start(who, None)
    with joblib.parallel_config(backend=backend, n_jobs=2):
        results = list(workers.run(iter(range(10)), 10))
    assert os.getpid() not in {process for _, process in results[1:]}


def test_workers_of_workers() -> None:
    """Work within a worker of the caller's stays there, and nothing is said about it."""

    def nested() -> tuple[set[int], list[str]]:
        def slow(item: int) -> tuple[int, int]:
            time.sleep(0.03)
            return item, os.getpid()

        workers = Workers(slow, 2, lambda one, other: True)
        return {process for _, process in workers.run(iter(range(60)), 60)} - {os.getpid()}, workers.notes

    for others, notes in joblib.Parallel(n_jobs=2)(joblib.delayed(nested)() for _ in range(2)):
        assert not others
        assert not notes


@pytest.mark.usefixtures("processes")
def test_threads_are_never_used() -> None:
    workers = start(who, None)
    with joblib.parallel_config(backend="threading", n_jobs=2):
        results = list(workers.run(iter(range(10)), 10))
    assert {process for _, process in results} == {os.getpid()}
    assert len(workers.notes) == 1
    assert "threads" in workers.notes[0]


# ---- the same bits -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("wrap", [gradsweep.plain, lambda cost: cost], ids=["plain", "difference arrays"])
def test_bits_do_not_depend_on_the_number_of_workers(wrap: Callable[[Any], Any]) -> None:
    cost, params, gradient = model()
    alone = gradsweep.check(wrap(cost), params, gradient, jobs=1)
    assert alone.ok
    for jobs in (2, 4):
        report = gradsweep.check(wrap(cost), params, gradient, jobs=jobs)
        assert report.ok
        assert report.evaluations == alone.evaluations
        assert not report.notes
        assert all(report.numeric[name].tobytes() == alone.numeric[name].tobytes() for name in params)


class Stateful:
    """A model that counts its calls and keeps what it computes on itself: two calls at once would mix it up."""

    def __init__(self) -> None:
        self.calls = 0
        self.hidden: Any = None

    def loss(self, params: dict[str, Any]) -> float:
        self.calls += 1
        self.hidden = np.sin(params["a"])
        return float(np.sum(self.hidden * params["b"]))


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("kind", ["closure", "lambda", "bound method", "class"])
def test_what_is_sent_to_processes(kind: str) -> None:
    """Functions that no module holds, and objects with state: each process has its own."""
    params = {"a": np.linspace(0.1, 1.0, 30), "b": np.linspace(-1.0, 2.0, 30)}
    gradient = {"a": np.cos(params["a"]) * params["b"], "b": np.sin(params["a"])}
    own = Stateful()
    factor = np.ones(30)

    def closure(params: dict[str, Any]) -> float:
        return float(np.sum(factor * np.sin(params["a"]) * params["b"]))

    class Callable_:
        def __call__(self, params: dict[str, Any]) -> float:
            return closure(params)

    cost: Any = {"closure": closure, "lambda": lambda params: closure(params), "bound method": own.loss, "class": Callable_()}[
        kind
    ]
    report = gradsweep.check(gradsweep.plain(cost), params, gradient, jobs=2)
    assert report.ok
    assert not report.notes
    if kind == "bound method":
        assert 0 < own.calls < report.evaluations  # most of them in copies


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("wrap", [gradsweep.plain, lambda cost: cost], ids=["plain", "difference arrays"])
def test_what_cannot_be_pickled_stays(wrap: Callable[[Any], Any]) -> None:
    cost, params, gradient = model()
    lock = threading.Lock()

    def locked(params: dict[str, Any]) -> Any:
        with lock:
            return cost(params)

    report = gradsweep.check(wrap(locked), params, gradient, jobs=2)
    assert report.ok
    assert len(report.notes) == 1
    assert "cannot be sent to worker processes" in report.notes[0]
    assert "lock" in report.notes[0]
    assert "one worker" in " ".join(str(report).split())


@pytest.mark.usefixtures("processes")
def test_a_process_that_gives_other_values_is_not_used() -> None:
    """As where a module of the function's was changed after it was imported: pickled by name, it is the old one again."""
    here = os.getpid()

    def elsewhere(item: int) -> tuple[int, int]:
        return (item, here) if os.getpid() == here else (item + 1, here)

    workers = start(elsewhere)
    assert [item for item, _ in workers.run(iter(range(10)), 10)] == list(range(10))
    assert "another value" in workers.notes[0]


# ---- errors, deaths, interrupts ------------------------------------------------------------------------------------------


class Peculiar(Exception):
    """An error that cannot be made anew from its arguments."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("jobs", [1, 2])
def test_errors_arrive_as_they_were_raised(jobs: int) -> None:
    here = np.linspace(1.0, 2.0, 200)

    def cost(x: Any) -> float:
        if x[137] > here[137]:
            raise KeyError("no such entry")
        return float(x @ x)

    with pytest.raises(gradsweep.InputError, match=r"cost raises KeyError when params\[137\] grows by .*no such entry") as caught:
        gradsweep.check(gradsweep.plain(Guarded(cost, here)), here, 2.0 * here, jobs=jobs)
    assert isinstance(caught.value.__cause__, KeyError)
    assert caught.value.__cause__.args == ("no such entry",)


class Guarded:
    """A cost that raises its error only where one parameter alone has moved."""

    def __init__(self, cost: Callable[[Any], float], here: Any) -> None:
        self.cost, self.here = cost, here

    def __call__(self, x: Any) -> float:
        return self.cost(x) if np.count_nonzero(x != self.here) == 1 else float(x @ x)


@pytest.mark.usefixtures("processes")
def test_errors_that_cannot_be_sent_are_told_in_text() -> None:
    def fails(item: int) -> tuple[int, int]:
        if item == 5:
            raise Peculiar(1, 2)
        return who(item)

    with pytest.raises(RuntimeError, match="Peculiar: 1 and 2") as caught:
        list(start(fails).run(iter(range(10)), 10))
    assert any("test_workers.py" in note for note in caught.value.__notes__)


@pytest.mark.usefixtures("processes")
def test_a_worker_that_dies_is_an_error() -> None:
    here = os.getpid()

    def dies(item: int) -> tuple[int, int]:
        if item == 20 and os.getpid() != here:
            os._exit(3)
        return who(item)

    with pytest.raises(gradsweep.WorkerError, match="a worker process died"):
        list(start(dies).run(iter(range(40)), 40))
    # And the next run has new ones.
    assert [item for item, _ in start(who).run(iter(range(10)), 10)] == list(range(10))


def test_an_interrupt_ends_it(tmp_path: pathlib.Path) -> None:
    """Ctrl-C reaches the caller while its workers are at work, and nothing hangs or is left behind."""
    script = tmp_path / "interrupted.py"
    script.write_text(
        textwrap.dedent("""
            import os
            import pathlib
            import signal
            import sys
            import time
            import numpy as np
            import gradsweep

            # Whoever runs the tests in the background of a shell has it ignored.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            here, begun = os.getpid(), sys.argv[1]

            def cost(x):
                if os.getpid() != here:
                    pathlib.Path(begun).touch()
                time.sleep(0.005)
                return float(x @ x)

            x = np.ones(2000)
            try:
                gradsweep.check(gradsweep.plain(cost), x, 2 * x, mode="sweep", jobs=2)
            except KeyboardInterrupt:
                print("interrupted", flush=True)
        """)
    )
    environment = {**os.environ, "PYTHONPATH": str(SOURCES)}
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "begun")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120.0
    while not (tmp_path / "begun").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to workers, too
    output, errors = process.communicate(timeout=120.0)
    assert (output, process.returncode) == ("interrupted\n", 0), errors


@pytest.mark.usefixtures("processes")
def test_an_error_of_the_caller_ends_them(tmp_path: pathlib.Path) -> None:
    """As of a window that shows the progress and is closed; also where the error is kept, as a notebook does."""
    calls = tmp_path / "calls"

    def cost(w: Any) -> float:
        time.sleep(0.005)
        with calls.open("a") as file:
            file.write(".")
        return float(np.sum(w**2))

    def tell(progress: gradsweep.Progress) -> None:
        if progress.phase == "sweep" and progress.done > 60:
            raise RuntimeError("closed")

    w = np.linspace(1.0, 2.0, 1000)
    with pytest.raises(RuntimeError, match="closed") as kept:
        gradsweep.check(gradsweep.plain(cost), w, 2.0 * w, mode="sweep", jobs=2, progress=tell)
    before = calls.stat().st_size
    time.sleep(1.0)
    assert calls.stat().st_size <= before + 100  # what was under way
    assert kept.traceback


@pytest.mark.usefixtures("processes")
def test_blas_has_one_thread_in_workers() -> None:
    def threads(item: int) -> tuple[int, Any]:
        import threadpoolctl

        return item, [library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]

    results = list(start(threads).run(iter(range(6)), 6))
    assert all(count == 1 for _, counts in results[1:] for count in counts)
