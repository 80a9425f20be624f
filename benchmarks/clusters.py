"""What a chunk of work costs beside the work itself, in worker processes: python benchmarks/clusters.py. Prints JSON.

Two processes each of loky, Dask (a scheduler and two workers, over TCP) and Ray, on this machine; those that are not installed
(``pip install -e ".[cluster]"``) are left out. Chunks sleep, so that it is no matter how many cores there are. For each backend:

``start``
    seconds until the first result, with all that must be started, sent and compared;
``overhead_ms``
    milliseconds of a worker for each chunk, beside those that it sleeps, processes being there;
``bytes_each``
    bytes through the loopback interface for each chunk beyond the first hundred, whoever sent them: run it where nothing else
    uses that. loky has pipes, and processes of one machine share what is in the store of Ray;
``bytes_first``
    the same for the first hundred chunks together, the function and its data among them.
"""

import argparse
import contextlib
import json
import os
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import joblib
import numpy as np

from gradsweep._pools import pools_held
from gradsweep._workers import Workers

_FIRST = 100


def loopback() -> int:
    """Bytes that the loopback interface has carried; -1 where nobody counts them."""
    file = pathlib.Path("/proc/net/dev")
    if not file.exists():
        return -1
    (line,) = (line for line in file.read_text().splitlines() if line.strip().startswith("lo:"))
    return int(line.split(":")[1].split()[0])


@contextlib.contextmanager
def loky() -> Iterator[None]:
    """Processes of joblib's own."""
    with joblib.parallel_config("loky", n_jobs=2):
        yield


@contextlib.contextmanager
def dask() -> Iterator[None]:
    """A scheduler and two workers, all of them processes."""
    from distributed import Client, LocalCluster

    options: dict[str, Any] = {"processes": True, "n_workers": 2, "threads_per_worker": 1}
    with (
        LocalCluster(**options, protocol="tcp", host="127.0.0.1", dashboard_address=None) as cluster,
        Client(cluster),
        joblib.parallel_config("dask"),
    ):
        yield


@contextlib.contextmanager
def ray() -> Iterator[None]:
    """One node with room for two workers."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray
    from ray.util.joblib import register_ray

    options: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    ray.init(num_cpus=2, _node_ip_address="127.0.0.1", object_store_memory=256 * 2**20, **options)
    register_ray()
    try:
        with joblib.parallel_config("ray", n_jobs=2):
            yield
    finally:
        ray.shutdown()


def measure(seconds: float, megabytes: float, chunks: int) -> dict[str, float]:
    """Overheads of the backend that joblib is set to."""
    ballast, here = np.random.default_rng(0).standard_normal(int(megabytes * 2**17)), os.getpid()

    def chunk(number: int) -> float:
        # In the caller so long that what follows is worth processes.
        time.sleep(1.0 if os.getpid() == here else seconds)
        return float(ballast[number % 8])

    workers = Workers(chunk, None, lambda one, other: one == other)

    def run(count: int) -> tuple[list[float], int]:
        carried, ends = loopback(), []
        for _ in workers.run(iter(range(count)), count):
            ends.append(time.perf_counter())
        assert not workers.notes, workers.notes
        return ends, loopback() - carried

    (first, second, *_), carried = run(_FIRST)
    ends, carried_each = run(chunks)
    return {
        "start": second - first,
        "overhead_ms": 1e3 * (2.0 * (ends[-1] - ends[0]) / chunks - seconds),
        "bytes_first": carried,
        "bytes_each": carried_each / chunks,
    }


def main() -> None:
    """Print figures of each backend that is installed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.05, help="that a chunk sleeps")
    parser.add_argument("--megabytes", type=float, default=8.0, help="of data that belong to the function")
    parser.add_argument("--chunks", type=int, default=500)
    parser.add_argument("--backends", nargs="+", choices=["loky", "dask", "ray"], default=["loky", "dask", "ray"])
    given = parser.parse_args()
    starts = {"loky": loky, "dask": dask, "ray": ray}
    result = {}
    for name in given.backends:
        with contextlib.suppress(ImportError), starts[name](), pools_held():
            result[name] = measure(given.seconds, given.megabytes, given.chunks)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
