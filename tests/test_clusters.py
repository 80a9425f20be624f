"""More than one machine: workers of Dask and Ray, which know the caller by its messages alone."""

import contextlib
import functools
import importlib.util
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import cloudpickle
import joblib
import numpy as np
import pytest
from joblib.parallel import get_active_backend

import gradsweep
from gradsweep import _execution, _planning, _pools, _sending, _workers
from gradsweep._costs import _chunks, _plain_function
from gradsweep._costs._network_problem import NetworkProblem
from gradsweep._costs._runs import Propagation

# Workers know no module of this name.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

SOURCES = pathlib.Path(__file__).resolve().parents[1] / "src"

pytestmark = [
    pytest.mark.cluster,
    # Both leave sockets and event loops to the garbage collector, some of them after the test that they were of.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning"),
]


def _needs(*modules: str) -> pytest.MarkDecorator:
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{' and '.join(missing)} not installed: pip install -e '.[cluster]'")


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.02)


def loopback() -> int:
    """Bytes that processes of this machine have sent each other by TCP."""
    lines = pathlib.Path("/proc/net/dev").read_text(encoding="utf-8").splitlines()
    (line,) = (line for line in lines if line.strip().startswith("lo:"))
    return int(line.split(":")[1].split()[0])


# ---- two clusters --------------------------------------------------------------------------------------------------------


class DaskCluster:
    """A scheduler and workers, each a process, which talk TCP."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._file = folder / "scheduler.json"
        self._processes: list[subprocess.Popen[bytes]] = []
        self._start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(self._file))
        wait_for(self._file.exists)
        self.workers = [self.join(), self.join()]

    def _start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        environment = {**os.environ, "PYTHONPATH": str(SOURCES)}
        command = [sys.executable, "-m", "distributed.cli.dask_" + arguments[0], *arguments[1:]]
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
        process = subprocess.Popen(command, **quiet)
        self._processes.append(process)
        return process

    def join(self) -> "subprocess.Popen[bytes]":
        """Start a worker, which nobody starts again when it dies."""
        return self._start(
            "worker",
            "--host",
            "127.0.0.1",
            "--nthreads",
            "1",
            "--no-nanny",
            "--no-dashboard",
            "--scheduler-file",
            str(self._file),
        )

    def client(self) -> Any:
        """A client."""
        from distributed import Client

        return Client(scheduler_file=str(self._file))

    def stop(self) -> None:
        """End all processes."""
        for process in self._processes:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def dask_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    cluster = DaskCluster(tmp_path_factory.mktemp("dask"))
    yield cluster
    cluster.stop()


@pytest.fixture
def dask(dask_cluster: DaskCluster) -> Iterator[DaskCluster]:
    """joblib is set to a Dask cluster of two workers."""
    while sum(process.poll() is None for process in dask_cluster.workers) < 2:
        dask_cluster.workers.append(dask_cluster.join())
    with dask_cluster.client() as client:
        client.wait_for_workers(2, timeout=60)
        with joblib.parallel_config("dask"):
            yield dask_cluster


class RayCluster:
    """Two nodes, each with a scheduler, a store and workers of its own: processes, which talk TCP."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        # Else each node would set handlers of signals, which the main thread alone can.
        self._cluster = Cluster(initialize_head=True, head_node_args=self._options(), shutdown_at_exit=False)
        self.address: str = self._cluster.address
        self.others = [self.join()]

    @staticmethod
    def _options() -> dict[str, Any]:
        return {"num_cpus": 1, "object_store_memory": 128 * 2**20, "include_dashboard": False}

    def join(self) -> Any:
        """Start a node."""
        return self._cluster.add_node(**self._options())

    def kill(self) -> None:
        """Kill all processes of a node: not of that one which the caller is on."""
        self._cluster.remove_node(self.others.pop(), allow_graceful=False)

    def processors(self) -> int:
        """How many there are, as far as is known."""
        import ray

        return int(ray.cluster_resources().get("CPU", 0))

    def stop(self) -> None:
        """End all processes."""
        self._cluster.shutdown()


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[RayCluster]:
    """A Ray cluster of two nodes, to which the caller is connected: it takes seconds."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    environment = {"env_vars": {"PYTHONPATH": str(SOURCES)}}
    cluster = RayCluster()
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR", runtime_env=environment)
    yield cluster
    ray.shutdown()
    cluster.stop()


@pytest.fixture
def ray(ray_cluster: RayCluster) -> Iterator[RayCluster]:
    """joblib is set to Ray, with a worker on each node."""
    from ray.util.joblib.ray_backend import RayBackend

    with joblib.parallel_config(RayBackend(), n_jobs=2):
        yield ray_cluster


@pytest.fixture(params=[pytest.param("dask", marks=_needs("dask", "distributed")), pytest.param("ray", marks=_needs("ray"))])
def cluster(request: pytest.FixtureRequest) -> str:
    """Either of them."""
    request.getfixturevalue(request.param)
    return str(request.param)


# ---- the same bits -------------------------------------------------------------------------------------------------------


@pytest.fixture
def worth(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are worth their while whatever there is to do."""
    monkeypatch.setattr(_workers, "_WORTH_PROCESSES", 0.0)
    monkeypatch.setattr(_execution, "_WORTH_PROCESSES", 0.0)
    monkeypatch.setattr(_planning, "_WORTH_WORKERS", 0.0)
    monkeypatch.setattr(_plain_function, "_MOST_CALLS", 16)
    monkeypatch.setattr(_chunks, "_FEWEST", 16)
    monkeypatch.setattr(_chunks, "_MOST", 16)


class Model:
    """A small network in NumPy, which counts its calls in the caller."""

    def __init__(self) -> None:
        generator = np.random.default_rng(0)
        self.x, self.calls = generator.standard_normal((30, 12)), 0
        self.params = {"W": generator.standard_normal((12, 40)) / 4.0, "v": generator.standard_normal(40)}

    def __call__(self, params: Any) -> Any:
        self.calls += 1
        return np.sum(np.tanh(self.x @ params["W"]) @ params["v"]) / len(self.x)

    def gradient(self) -> dict[str, Any]:
        t = np.tanh(self.x @ self.params["W"])
        slope = (1.0 - t**2) * self.params["v"] / len(self.x)
        return {"W": self.x.T @ slope, "v": t.sum(axis=0) / len(self.x)}


def plain_report(jobs: int | None) -> tuple[gradsweep.Report, int]:
    model = Model()
    report = gradsweep.check(gradsweep.plain(model), model.params, model.gradient(), mode="sweep", jobs=jobs)
    return report, model.calls


def numpy_report(jobs: int | None) -> tuple[gradsweep.Report, int]:
    model = Model()
    return counted(
        Propagation, "__call__", lambda: gradsweep.check(model, model.params, model.gradient(), mode="sweep", jobs=jobs)
    )


def counted(of: type, name: str, run: Callable[[], gradsweep.Report]) -> tuple[gradsweep.Report, int]:
    """A report, and how often a method was called here, which is known by its name elsewhere."""
    calls, method = 0, getattr(of, name)

    def counting(self: Any, *arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        return method(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(of, name, counting)
        return run(), calls


def network_report(jobs: int | None) -> tuple[gradsweep.Report, int]:
    network = gradsweep.Network([300, 200, 100, 1])
    generator = np.random.default_rng(0)
    params, x = network.initialize(0), generator.standard_normal((300, 40))
    y = (generator.random((1, 40)) < 0.5) * 1.0
    gradient, cost = network.gradient(params, x, y), network.cost(x, y)
    return counted(NetworkProblem, "quotients", lambda: gradsweep.check(cost, params, gradient, mode="sweep", jobs=jobs))


@pytest.mark.usefixtures("worth")
@pytest.mark.parametrize("kind", [plain_report, numpy_report, network_report])
def test_the_same_bits_as_here(cluster: str, kind: Callable[[int | None], tuple[gradsweep.Report, int]]) -> None:
    """And most of it is computed there."""
    (alone, here), (report, left) = kind(1), kind(None)
    assert report.ok
    assert not report.notes
    assert report.evaluations == alone.evaluations
    assert all(report.numeric[name].tobytes() == block.tobytes() for name, block in alone.numeric.items())
    assert left <= 0.7 * here


@pytest.mark.usefixtures("worth", "cluster")
def test_the_function_travels_once(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """Not with each chunk, nor is it made anew for each."""
    pickled = 0

    def counting(self: Any, protocol: Any) -> Any:
        nonlocal pickled
        pickled += isinstance(self.pickled, np.ndarray)  # else it is a reference
        return object.__reduce_ex__(self, protocol)

    class Ballast:
        """Leaves a file behind wherever it is unpickled."""

        def __init__(self) -> None:
            self.array = np.ones(10**5)

        def __setstate__(self, state: dict[str, Any]) -> None:
            self.__dict__ = state
            (tmp_path / f"{os.getpid()}-{time.monotonic_ns()}").touch()

    ballast = Ballast()

    def function(item: int) -> float:
        time.sleep(0.01)
        return float(ballast.array[item])

    monkeypatch.setattr(_sending.Sent, "__reduce_ex__", counting, raising=False)
    workers = _workers.Workers(function, None, lambda one, other: one == other)
    for _ in range(3):
        assert list(workers.run(iter(range(100)), 100)) == [1.0] * 100
    assert not workers.notes
    assert pickled <= 3  # or not at all: an array is sent without what holds it
    processes = [file.name.split("-")[0] for file in tmp_path.iterdir()]
    assert 1 <= len(set(processes)) == len(processes) <= 2


# ---- workers that come and go --------------------------------------------------------------------------------------------


class Slow:
    """A cost that takes 5 ms, and leaves a file with the name of each process it runs in.

    Elsewhere a call that moves an entry, or one that comes after it, waits for what is said of that entry: how long a process
    takes to start, or Ray to find one in the place of one that is lost (3 s were seen), is nothing that a test may count on.
    """

    def __init__(self, folder: pathlib.Path, waits: "Mapping[int, Callable[[Slow], bool]] | None" = None) -> None:
        self.folder, self.waits, self.here = folder, dict(waits or {}), os.getpid()
        self.x = np.linspace(-1.0, 1.0, 160)

    def __call__(self, params: Any) -> float:
        (self.folder / str(os.getpid())).touch()
        time.sleep(0.005)
        if os.getpid() != self.here:
            moved = int(np.argmax(params != self.x))
            for entry, condition in self.waits.items():
                if moved >= entry:
                    wait_for(functools.partial(condition, self))
        return float(np.sum(params**3))

    def others(self) -> set[int]:
        """The processes, but for this one."""
        return {int(file.name) for file in self.folder.iterdir()} - {os.getpid()}

    def check(self, **options: Any) -> gradsweep.Report:
        return gradsweep.check(gradsweep.plain(self), self.x, 3.0 * self.x**2, mode="sweep", **options)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> gradsweep.Report:
    """Its report without workers."""
    return Slow(tmp_path_factory.mktemp("alone")).check(jobs=1)


def begun(count: int) -> Callable[[Slow], bool]:
    """So many other processes have evaluated a cost, or begun to."""
    return lambda cost: len(cost.others()) >= count


@contextlib.contextmanager
def meanwhile(function: Callable[[], None]) -> Iterator[None]:
    """Something else that happens."""
    thread = threading.Thread(target=function)
    thread.start()
    yield
    thread.join()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.usefixtures("worth", "cluster")
def test_a_worker_that_is_killed_is_made_up_for(alone: gradsweep.Report, tmp_path: pathlib.Path) -> None:
    folder, killed = tmp_path / "processes", tmp_path / "killed"
    folder.mkdir()
    cost = Slow(folder, {0: begun(2), 80: lambda _: killed.exists()})

    def kill() -> None:
        wait_for(lambda: len(cost.others()) >= 2)
        os.kill(min(cost.others()), signal.SIGKILL)
        killed.touch()

    with meanwhile(kill):
        report = cost.check()
    assert killed.exists()
    assert report.ok
    assert report.numeric["params"].tobytes() == alone.numeric["params"].tobytes()


@_needs("dask", "distributed")
@pytest.mark.usefixtures("worth")
def test_all_workers_are_killed_and_others_come(dask: DaskCluster, tmp_path: pathlib.Path) -> None:
    """The function is there for who comes later, though all who had it are gone."""
    cost = Slow(tmp_path, {0: begun(2), 80: begun(4)})
    known: set[int] = set()

    def replace() -> None:
        wait_for(lambda: len(cost.others()) >= 2)
        known.update(cost.others())
        for process in known:
            os.kill(process, signal.SIGKILL)
        dask.workers.append(dask.join())
        dask.workers.append(dask.join())

    with meanwhile(replace):
        report = cost.check()
    assert report.ok
    assert len(cost.others() - known) == 2


@_needs("ray")
@pytest.mark.usefixtures("worth", "ray")
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_data_are_sent_to_each_node_once(tmp_path: pathlib.Path) -> None:
    """By way of its store, from which its workers read them."""
    from ray import get_runtime_context
    from ray.experimental import get_object_locations

    ballast = np.random.default_rng(0).random(4 * 10**6)

    def function(item: int) -> float:
        (tmp_path / get_runtime_context().get_node_id()).touch()
        wait_for(lambda: item == 0 or len(list(tmp_path.iterdir())) == 2)  # the first is evaluated by the caller as well
        time.sleep(0.01)
        return float(ballast[item])

    before = loopback()
    workers = _workers.Workers(function, None, lambda one, other: one == other)
    for _ in range(3):
        assert list(workers.run(iter(range(60)), 60)) == ballast[:60].tolist()
    assert not workers.notes
    assert workers._shipment
    reference = workers._shipment.on(get_active_backend()[0]).pickled.reference

    def places() -> set[str]:
        """Nodes that have it, of which the caller is told some time after."""
        (place,) = get_object_locations([reference]).values()
        return set(place["node_ids"])

    wait_for(lambda: places() == {node.name for node in tmp_path.iterdir()})
    # Others may use it meanwhile, but not that much: with each item it would be gigabytes.
    assert ballast.nbytes <= loopback() - before < 3 * ballast.nbytes


def check_what_ends_processes() -> None:
    """Check a cost that ends each process but this one when an entry grows."""
    here, x = os.getpid(), np.linspace(-1.0, 1.0, 160)

    def cost(params: Any) -> float:
        if os.getpid() != here and params[100] > x[100]:
            os._exit(1)
        return float(np.sum(params**3))

    gradsweep.check(gradsweep.plain(cost), x, 3.0 * x**2, mode="sweep")


@_needs("dask", "distributed")
@pytest.mark.usefixtures("worth", "dask")
def test_a_cost_that_dask_gives_up() -> None:
    """It is said, where joblib alone would wait for ever."""
    from distributed import default_client

    def allow(failures: int, dask_scheduler: Any = None) -> int:
        before = int(dask_scheduler.allowed_failures)
        dask_scheduler.allowed_failures = failures
        return before

    before = default_client().run_on_scheduler(allow, 0)
    try:
        with pytest.raises(gradsweep.WorkerError, match="a worker process died"):
            check_what_ends_processes()
    finally:
        default_client().run_on_scheduler(allow, before)


@_needs("ray")
@pytest.mark.usefixtures("worth", "ray")
def test_a_cost_that_ends_every_process() -> None:
    """It is given some, and no more."""
    with pytest.raises(gradsweep.WorkerError, match="a worker process died"):
        check_what_ends_processes()


@_needs("ray")
@pytest.mark.usefixtures("worth", "ray")
def test_a_loop_in_c_is_ended_with_its_process(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    """The next check has a process again."""
    monkeypatch.setattr(_pools, "_GRACE", 2.0)
    here, x = os.getpid(), np.linspace(-1.0, 1.0, 160)

    def cost(params: Any) -> float:
        if os.getpid() != here and params[100] > x[100]:
            (tmp_path / str(os.getpid())).touch()
            sum(range(10**12))
        return float(np.sum(params**3))

    with pytest.raises(gradsweep.CostTimeoutError, match=r"within 2 s when one of params\[\d+\] to params\[\d+\] moves"):
        gradsweep.check(gradsweep.plain(cost), x, 3.0 * x**2, mode="sweep", timeout=2.0)
    (process,) = (int(file.name) for file in tmp_path.iterdir())
    wait_for(lambda: not pathlib.Path(f"/proc/{process}").exists())


@_needs("ray")
@pytest.mark.usefixtures("worth")
def test_a_node_is_killed_and_another_joins(ray: RayCluster, alone: gradsweep.Report, tmp_path: pathlib.Path) -> None:
    """What is left goes on meanwhile, and whoever joins late is given work."""
    cost = Slow(tmp_path, {0: begun(2), 80: begun(3)})
    known: set[int] = set()
    killed: list[bool] = []

    def replace() -> None:
        wait_for(lambda: len(cost.others()) == 2)
        known.update(cost.others())
        ray.kill()
        wait_for(lambda: sum(pathlib.Path(f"/proc/{process}").exists() for process in known) == 1)
        killed.append(True)
        ray.others.append(ray.join())

    with meanwhile(replace):
        report = cost.check()
    assert killed
    assert report.ok
    assert report.numeric["params"].tobytes() == alone.numeric["params"].tobytes()
    assert report.evaluations == alone.evaluations
    assert cost.others() - known


#: Gives up results at the moment at which one is there, again and again, and writes down how often it did.
GIVES_UP = """
import sys, joblib, ray
from ray.util.joblib.ray_backend import RayBackend
from gradsweep import _pools, _sending

ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR", runtime_env={"env_vars": {"PYTHONPATH": sys.argv[2]}})
with joblib.parallel_config(RayBackend(), n_jobs=2):
    shipment = _pools.Shipment(_sending.send(lambda item: item, None))
    for count in range(1, 301):
        outcomes = _pools.evaluated(shipment, iter(range(100)), None)
        assert next(outcomes).value == 0
        outcomes.close()
with open(sys.argv[3], "w") as file:
    file.write(str(count))
"""


@_needs("ray")
def test_results_that_are_not_wanted_any_more(ray_cluster: RayCluster, tmp_path: pathlib.Path) -> None:
    """Ray ends a process that cancels a task just as it is done: the caller's, in one of six interrupted checks."""
    counted = tmp_path / "count"
    command = [sys.executable, "-c", GIVES_UP, ray_cluster.address, str(SOURCES), str(counted)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert counted.read_text() == "300"


# ---- what a check does meanwhile -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("worth", "cluster")
def test_progress_interrupts_and_checkpoints(
    alone: gradsweep.Report, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C ends it with what there is; the next run goes on there, with the same bits."""
    monkeypatch.setattr(_pools, "_WAVE", 0.3)
    folder, path, far, ended = (tmp_path / name for name in ("processes", "run.h5", "far", "ended"))
    folder.mkdir()

    def is_ended(_: Slow) -> bool:
        far.touch()
        return ended.exists()

    cost = Slow(folder, {100: is_ended})

    def interrupt() -> None:
        wait_for(far.exists)
        time.sleep(0.2)  # so that results are waited for: that is when a person interrupts
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with meanwhile(interrupt), pytest.raises(gradsweep.Interrupted) as caught:
            cost.check(checkpoint=path)
    finally:
        signal.signal(signal.SIGINT, before)
        ended.touch()
    (block,) = caught.value.report.blocks
    assert 0 < block.size < 160
    told: list[gradsweep.Progress] = []
    report = cost.check(progress=told.append, checkpoint=path)
    assert report.ok
    assert len({progress.done for progress in told}) > 2
    assert report.numeric["params"].tobytes() == alone.numeric["params"].tobytes()
    assert report.evaluations == alone.evaluations


@pytest.mark.usefixtures("worth", "cluster")
def test_a_cost_that_hangs_there() -> None:
    """Code in Python is ended in whatever thread it runs."""
    here, x = os.getpid(), np.ones(300)

    def cost(params: Any) -> float:
        time.sleep(0.005)
        while params[170] < 1.0 and os.getpid() != here:
            pass
        return float(params @ params)

    with pytest.raises(gradsweep.CostTimeoutError, match=r"does not return within 2 s when params\[170\] falls by"):
        gradsweep.check(gradsweep.plain(cost), x, 2.0 * x, mode="sweep", timeout=2.0)
