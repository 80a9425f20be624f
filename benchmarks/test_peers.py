"""Other checkers on the same workloads; each benchmark asserts its result.

The suite runs each once on the smallest sample, and skips those that are not installed: `pip install -e ".[benchmarks]"`.
`pytest benchmarks/test_peers.py --benchmark-enable` takes samples that are worth timing. What counts is `seconds` in
`extra_info`: the time that the plugin measures includes setting up, compiling and the first call.
"""

from typing import Any

import numpy as np
import peers
import pytest
import workloads

import gradsweep
from gradsweep import scratch

# What the order and the step of each leave of the gradient, 30 times what was seen or more.
_BOUNDS = {
    "textbook loop": 1e-6,
    "textbook loop, in place": 1e-6,
    "scipy 2-point": 1e-5,
    "scipy 3-point": 1e-7,
    "scipy complex step": 1e-13,
    "statsmodels centered": 1e-6,
    "numdifftools": 1e-9,
    "torch gradcheck": 1e-7,
    "torch vmap": 1e-7,
    "jax jit(vmap)": 1e-7,
}

# Seconds, and 6 GB for those that judge a projection; years for those that look at every entry.
_LARGE = ("F",)

_COMBINATIONS = [
    pytest.param(peer, name, id=f"{peer.name}-{name}")
    for peer in peers.PEERS.values()
    for name in workloads.NAMES
    if not (peer.every_entry and name in _LARGE)
]


def _skip_large(benchmark: Any, name: str) -> None:
    if name in _LARGE and benchmark.disabled:
        pytest.skip("large: only with --benchmark-enable")


@pytest.mark.parametrize(("peer", "name"), _COMBINATIONS)
def test_peer(benchmark: Any, peer: peers.Peer, name: str) -> None:
    pytest.importorskip(peer.needs)
    _skip_large(benchmark, name)
    workload = workloads.build(name)
    sample = 1 if benchmark.disabled else peer.sample(workload)
    done = benchmark.pedantic(peer.run, args=(workload, sample), rounds=1, iterations=1)
    benchmark.extra_info.update(
        parameters=workload.size, sample=done.sample, seconds=done.seconds, entries=done.entries, difference=done.difference
    )
    assert done.entries == workload.size
    assert done.seconds > 0
    if peer.every_entry:
        # One entry of each block at least.
        assert max(sample, len(workload.params)) <= done.sample <= max(sample, 2 * len(workload.params))
        assert done.difference < _BOUNDS[peer.name]
    else:
        # It would have raised if it had not accepted the gradient.
        assert done.sample == workload.size
        assert done.difference is None


@pytest.mark.parametrize("name", ["torch gradcheck", "torch gradcheck, fast mode", "jax check_grads", "autograd check_grads"])
def test_verdict_is_on_the_hand_written_gradient(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """What is timed is a check: a wrong backward pass makes it fail."""
    peer = peers.PEERS[name]
    pytest.importorskip(peer.needs)
    layers = [6, 5, 4, 1]  # small: torch repeats the check entry by entry to tell what is wrong
    generator = np.random.default_rng(0)
    x, y = generator.random((6, 3)), np.array([[0.0, 1.0, 1.0]])
    params = gradsweep.Network(layers).initialize(seed=0)
    right = workloads.Workload("small", layers, x, y, params, {}, 10).backprop()
    workload = workloads.Workload("small", layers, x, y, params, right, 10)
    peer.run(workload, 10)
    wrong = {**right, "dW2": -right["dW2"]}
    monkeypatch.setattr(workloads.Workload, "backprop", lambda self: wrong)
    with pytest.raises((AssertionError, RuntimeError)):
        peer.run(workload, 10)


@pytest.mark.parametrize("name", workloads.NAMES)
def test_backprop(benchmark: Any, name: str) -> None:
    """One pass forward and backward: what a check is the price of."""
    _skip_large(benchmark, name)
    workload = workloads.build(name)
    gradient = benchmark(workload.backprop)
    benchmark.extra_info.update(parameters=workload.size)
    assert sorted(gradient) == sorted(f"d{block}" for block in workload.params)
    al, caches = scratch.L_model_forward(workload.x, workload.params, "tanh")
    expected = scratch.L_model_backward(al, workload.y, caches, "tanh")
    for block, values in gradient.items():
        np.testing.assert_allclose(values, expected[block], rtol=1e-12, atol=1e-15)
