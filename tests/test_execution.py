"""Threads, workers and what the caller's own code may do meanwhile."""

import concurrent.futures
import functools
import math
from typing import Any

import joblib
import numpy as np
import pytest
import threadpoolctl

import gradsweep
from gradsweep import _cli, _demo, _planning
from gradsweep._dense import ACTIVATIONS


def problem(seed: int = 0) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    network = gradsweep.Network([30, 20, 10, 1])
    params = network.initialize(seed)
    generator = np.random.default_rng(seed)
    x, y = generator.standard_normal((30, 5)), (generator.random((1, 5)) < 0.5) * 1.0
    return network.cost(x, y), params, network.gradient(params, x, y)


def blas_threads() -> list[int]:
    return [library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]


def test_concurrent_checks() -> None:
    """The same bits as one after the other, and BLAS has its threads back at the end."""
    cost, params, gradient = problem()
    alone = gradsweep.check(cost, params, gradient)
    before = blas_threads()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(lambda _: gradsweep.check(cost, params, gradient), range(40)))
    assert blas_threads() == before
    for report in reports:
        assert all(report.numeric[name].tobytes() == alone.numeric[name].tobytes() for name in alone.numeric)


def test_blas_threads_are_restored_when_a_check_fails() -> None:
    cost, params, gradient = problem()
    before = blas_threads()
    with pytest.raises(gradsweep.InputError):
        gradsweep.check(cost, params, {**gradient, "dW1": np.zeros(3)})
    with pytest.raises(gradsweep.InputError):
        gradsweep.check(cost, {**params, "W1": np.zeros(3)}, gradient)
    assert blas_threads() == before


@pytest.mark.parametrize("backend", ["threading", "loky", "multiprocessing", "sequential"])
def test_any_backend_of_joblib(monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    """Workers of whatever kind give the bits of the caller."""
    cost, params, gradient = problem()
    alone = gradsweep.check(cost, params, gradient)
    monkeypatch.setattr(_planning, "_WORTH_WORKERS", 0.0)
    with joblib.parallel_config(backend=backend, n_jobs=2 if backend != "sequential" else 1):
        report = gradsweep.check(cost, params, gradient)
    assert report.ok
    assert all(report.numeric[name].tobytes() == alone.numeric[name].tobytes() for name in alone.numeric)


def test_a_gradient_that_trains() -> None:
    """A callable that updates the very arrays that were given: the check is of the point at which it was called."""
    cost, params, gradient = problem()
    expected = gradsweep.check(cost, params, gradient)

    def step(own: dict[str, Any]) -> dict[str, Any]:
        for name, block in params.items():
            block -= 0.5 * gradient[f"d{name}"]
        for block in own.values():
            block[...] = math.nan
        return gradient

    report = gradsweep.check(cost, params, step)
    assert report.ok
    assert all(report.numeric[name].tobytes() == expected.numeric[name].tobytes() for name in expected.numeric)


def test_like_in_float32() -> None:
    """A cost that computes in less precision agrees to that precision, and a wrong one does not."""
    network = gradsweep.Network([20, 8, 1])
    for seed in range(20):
        params = network.initialize(seed)
        generator = np.random.default_rng(seed)
        x, y = generator.standard_normal((20, 6)), (generator.random((1, 6)) < 0.5) * 1.0

        def like(own: dict[str, Any], factor: float = 1.0, x: Any = x, y: Any = y) -> Any:
            a = x.astype(np.float32)
            for number, name in enumerate(["tanh", "identity"], start=1):
                z = own[f"W{number}"].astype(np.float32) @ a + own[f"b{number}"].astype(np.float32)
                a = ACTIVATIONS[name].value(z)
            losses = (1 - y) * np.logaddexp(0, z) + y * np.logaddexp(0, -z)
            return np.float32(factor * losses.mean())

        gradient = network.gradient(params, x, y)
        assert gradsweep.check(network.cost(x, y, like=like), params, gradient).ok
        with pytest.raises(gradsweep.OracleError):
            gradsweep.check(network.cost(x, y, like=functools.partial(like, factor=1.1)), params, gradient)


def test_a_crash_is_not_a_wrong_gradient(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 1 is kept for gradients that fail."""

    def crash(*_: object, **__: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(_demo, "run_demo", crash)
    monkeypatch.setattr("sys.argv", ["gradsweep", "demo"])
    with pytest.raises(SystemExit) as caught:
        _cli.main()
    assert caught.value.code == 70
    assert "says nothing of the gradient" in capsys.readouterr().err


def test_deep_networks_are_guarded_in_some_layers_only() -> None:
    """The plain cost is asked a bounded number of times, however many layers there are."""
    asked = 0
    network = gradsweep.Network([3] + [2] * 60 + [1])
    params = network.initialize()
    x, y = np.ones((3, 2)), np.ones((1, 2))
    plain = network.cost(x, y)

    def like(own: dict[str, Any]) -> float:
        nonlocal asked
        asked += 1
        return plain(own)

    assert gradsweep.check(network.cost(x, y, like=like), params, network.gradient(params, x, y)).verdict != "fail"
    assert asked <= 10
