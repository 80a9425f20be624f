"""Other ways to check the same gradients, behind one protocol: `PEERS[name].run(workload, sample)`.

A peer that looks at every entry is timed on a sample of them and its time is multiplied. The function under test then takes a
vector of the sampled entries only, all other parameters being fixed, so that the peer does what it always does on fewer inputs.
That is in its favour: those that copy their input for each evaluation copy the sample here, and all parameters in a real check.

A peer that judges a projection is timed whole. It tells whether the gradient along one random direction is right, or one for each
block, and nothing about single entries.

Each is given the cost in the arrays of its own library, and, where it gives a verdict, the backward pass of the workload as a
hand-written derivative: torch as an `autograd.Function`, jax as a `custom_vjp`, autograd as a `primitive`. Setting up is not
timed, and neither is a first call, which imports, traces and compiles. One thread throughout; XLA's number of threads is settled
when jax starts, so here only if nobody has used jax before in the process.
"""

import functools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from workloads import Array, Workload

from gradsweep import scratch
from gradsweep._textbook import _stratified, run_textbook

# The post's step, and that of torch's and jax's checkers; all others choose their own.
TEXTBOOK_STEP = 1e-7
FRAMEWORK_STEP = 1e-6


@dataclass(frozen=True)
class PeerRun:
    """What a peer takes and finds.

    Attributes
    ----------
    seconds : float
        For the whole gradient: extrapolated from the sample if the peer looks at every entry, else the time itself.
    sample : int
        How many entries were perturbed: all, at once, for a projection.
    entries : int
        How many the seconds are for: all of the workload.
    difference : float or None
        Formula 3 between the peer's numeric gradient and backpropagation, over the sample. None for a projection, which has no
        numeric gradient.
    """

    seconds: float
    sample: int
    entries: int
    difference: float | None


@dataclass(frozen=True)
class Peer:
    """A way to check a gradient.

    Attributes
    ----------
    name : str
        As a table shows it.
    run : callable
        Workload and size of the sample in, `PeerRun` out; at least one entry of each block is perturbed, whatever the size.
        Raises if the peer rejects the gradient, which is right.
    every_entry : bool
        Whether it looks at each entry, and not at a projection.
    needs : str
        Module that must be installed.
    share : int
        By how much a sample should be smaller than that of the textbook's loop, to take about as long.
    """

    name: str
    run: Callable[[Workload, int], PeerRun]
    every_entry: bool
    needs: str
    share: int = 1

    def sample(self, workload: Workload) -> int:
        """Sample on which this peer takes some hundred milliseconds, or some seconds where each block's one entry does."""
        return max(1, workload.sample // self.share)


@dataclass(frozen=True)
class _Sampled:
    """The sampled entries of a workload: where they are in the joint vector W1, b1, W2, …, and what is right for them."""

    workload: Workload
    indices: NDArray[np.intp]

    @classmethod
    def draw(cls, workload: Workload, sample: int) -> "_Sampled":
        # The same entries as the textbook's loop takes.
        sizes = [workload.params[name].size for name in _names(workload)]
        return cls(workload, np.array(_stratified(sizes, sample, np.random.default_rng(0)), dtype=np.intp))

    def vector(self) -> Array:
        """A copy of all parameters."""
        return np.concatenate([self.workload.params[name].ravel() for name in _names(self.workload)])

    def run(self, seconds: float, numeric: Any) -> PeerRun:
        exact = _join(self.workload, self.workload.gradient)[self.indices]
        found = np.asarray(numeric, dtype=np.float64).ravel()
        assert found.shape == exact.shape
        size = np.linalg.norm(exact) + np.linalg.norm(found)
        difference = float(np.linalg.norm(exact - found) / size) if size else 0.0
        entries = self.workload.size
        return PeerRun(seconds / len(self.indices) * entries, len(self.indices), entries, difference)


def _names(workload: Workload) -> list[str]:
    return [f"{kind}{number}" for number in range(1, len(workload.layers)) for kind in "Wb"]


def _join(workload: Workload, gradient: dict[str, Array]) -> Array:
    """A gradient as a vector, in the order of the joint vector of the parameters."""
    return np.concatenate([gradient[f"d{name}"].ravel() for name in _names(workload)])


def _split(vector: Any, layers: list[int]) -> list[Any]:
    """W1, b1, W2, … as views of a vector of any library, also of one that is traced."""
    return list(scratch.vector_to_dictionary(vector, layers).values())


def _time(call: Callable[[], Any], warm: Callable[[], Any] | None = None) -> tuple[float, Any]:
    """Seconds and result of a call, on one BLAS thread, after another one that is not timed: `warm`, or the call itself."""
    with threadpool_limits(limits=1):
        (warm or call)()
        begun = time.perf_counter()
        result = call()
        return time.perf_counter() - begun, result


# Plain NumPy ------------------------------------------------------------------------------------------------------------------


def _run_textbook_loop(workload: Workload, sample: int) -> PeerRun:
    with threadpool_limits(limits=1):
        done = run_textbook(
            workload.params, workload.gradient, workload.x, workload.y, workload.layers, sample, epsilon=TEXTBOOK_STEP
        )
    return PeerRun(done.seconds_each * workload.size, done.parameters, workload.size, done.difference)


def _run_in_place_loop(workload: Workload, sample: int) -> PeerRun:
    sampled = _Sampled.draw(workload, sample)
    vector = sampled.vector()
    params = scratch.vector_to_dictionary(vector, workload.layers)  # views, made once
    numeric = np.zeros(len(sampled.indices))

    def cost() -> float:
        return scratch.forward_prop_cost(workload.x, params, workload.y)

    def loop() -> Array:
        for row, index in enumerate(sampled.indices):
            kept = vector[index]
            vector[index] = kept + TEXTBOOK_STEP
            cost_plus = cost()
            vector[index] = kept - TEXTBOOK_STEP
            cost_minus = cost()
            vector[index] = kept  # by assignment: adding the step again would not give back the last bit
            numeric[row] = (cost_plus - cost_minus) / (2 * TEXTBOOK_STEP)
        return numeric

    return sampled.run(*_time(loop, warm=cost))


def _sampled_cost(sampled: _Sampled, dtype: type[np.generic] = np.float64) -> Callable[[NDArray[Any]], Any]:
    """The cost as a function of the sampled entries."""
    workload = sampled.workload
    vector = sampled.vector().astype(dtype)
    params = scratch.vector_to_dictionary(vector, workload.layers)

    def cost(entries: NDArray[Any]) -> Any:
        vector[sampled.indices] = entries
        al, _ = scratch.L_model_forward(workload.x, params, "tanh")
        # Not scratch.compute_cost, which returns a float, where a complex step needs the imaginary part.
        return -np.sum(workload.y * np.log(al) + (1 - workload.y) * np.log(1 - al)) / workload.y.shape[1]

    return cost


def _run_numeric(
    differentiate: Callable[[Callable[[NDArray[Any]], Any], Array], Any],
    workload: Workload,
    sample: int,
    dtype: type[np.generic] = np.float64,
) -> PeerRun:
    """A function that takes a cost and a point and returns a numeric gradient."""
    sampled = _Sampled.draw(workload, sample)
    cost = _sampled_cost(sampled, dtype)
    point = sampled.vector()[sampled.indices]
    # To warm up, all sampled entries are given the value of the first, whose derivative alone is taken.
    return sampled.run(*_time(lambda: differentiate(cost, point), warm=lambda: differentiate(cost, point[:1])))


# Libraries that differentiate any function of a vector -------------------------------------------------------------------------


def _run_scipy_two_point(workload: Workload, sample: int) -> PeerRun:
    from scipy import optimize

    # What check_grad calls, which returns nothing but the norm of the difference.
    return _run_numeric(lambda cost, point: optimize.approx_fprime(point, cost), workload, sample)


def _run_scipy(method: str, dtype: type[np.generic], workload: Workload, sample: int) -> PeerRun:
    # The private module: approx_fprime takes two points only, the other methods are public as `jac=` of minimize alone, and
    # scipy.differentiate is another thing, which adapts its steps.
    from scipy.optimize import _numdiff

    return _run_numeric(functools.partial(_numdiff.approx_derivative, method=method), workload, sample, dtype)


def _run_statsmodels(workload: Workload, sample: int) -> PeerRun:
    from statsmodels.tools import numdiff

    return _run_numeric(lambda cost, point: numdiff.approx_fprime(point, cost, centered=True), workload, sample)


def _run_numdifftools(workload: Workload, sample: int) -> PeerRun:
    import numdifftools

    return _run_numeric(lambda cost, point: numdifftools.Gradient(cost)(point), workload, sample)


# torch ------------------------------------------------------------------------------------------------------------------------


def _torch() -> Any:
    import torch

    torch.set_num_threads(1)
    return torch


def _torch_cost(torch: Any, workload: Workload) -> Callable[[list[Any]], Any]:
    """The cost of parameters W1, b1, W2, … as tensors."""
    x, y = torch.tensor(workload.x), torch.tensor(workload.y)

    def cost(params: list[Any]) -> Any:
        a = x
        for w, b in zip(params[:-2:2], params[1:-2:2], strict=True):
            a = torch.tanh(w @ a + b)
        p = torch.sigmoid(params[-2] @ a + params[-1])
        return -(y * torch.log(p) + (1 - y) * torch.log1p(-p)).mean()

    return cost


def _torch_function(torch: Any, forward: Callable[..., Any], backward: Callable[..., Any]) -> Any:
    """A function with a hand-written derivative; both take torch's context first."""
    # Not a class statement, which type checkers refuse: without torch its base has no type.
    function: Any = type(
        "HandWritten", (torch.autograd.Function,), {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    )
    return function.apply


def _run_torch_gradcheck(workload: Workload, sample: int) -> PeerRun:
    torch = _torch()
    from torch.autograd.gradcheck import _get_numerical_jacobian

    sampled = _Sampled.draw(workload, sample)
    vector = torch.tensor(sampled.vector())
    params = _split(vector, workload.layers)
    cost = _torch_cost(torch, workload)

    def hand_written(indices: NDArray[np.intp]) -> tuple[Any, tuple[Any]]:
        """The cost as a function of some entries with its backward pass, and where to check it."""
        where = torch.tensor(indices)

        def forward(context: Any, entries: Any) -> Any:
            # Into a buffer: an entry is all that changes from call to call, and a copy of all parameters would cost more than the
            # network.
            vector[where] = entries
            return cost(params)

        def backward(context: Any, error: Any) -> Any:
            return error * torch.tensor(_join(workload, workload.backprop())[indices])

        return _torch_function(torch, forward, backward), (vector[where].clone().requires_grad_(),)

    def timed(indices: NDArray[np.intp]) -> float:
        function, inputs = hand_written(indices)
        # Called first by itself as well: gradcheck imports half of torch then.
        seconds, accepted = _time(lambda: torch.autograd.gradcheck(function, inputs, eps=FRAMEWORK_STEP))
        vector[torch.tensor(indices)] = inputs[0].detach()  # the buffer holds the last perturbed entry
        assert accepted
        return seconds

    # gradcheck runs the backward pass several times, however many entries there are: what an entry takes is the difference of two
    # samples, or the whole if the clock was too coarse for that.
    count = len(sampled.indices)
    few, all_of_them = timed(sampled.indices[:1]), timed(sampled.indices)
    seconds_each = max(0.0, all_of_them - few) / max(1, count - 1) or all_of_them / count
    # gradcheck keeps its numbers to itself; this is where it takes them from.
    ((numeric,),) = _get_numerical_jacobian(*hand_written(sampled.indices), eps=FRAMEWORK_STEP)
    return sampled.run(seconds_each * count, numeric)


def _run_torch_gradcheck_fast(workload: Workload, sample: int) -> PeerRun:
    del sample  # one projection of each block
    torch = _torch()
    cost = _torch_cost(torch, workload)

    def forward(context: Any, *params: Any) -> Any:
        return cost(list(params))

    def backward(context: Any, error: Any) -> Any:
        gradient = workload.backprop()
        return tuple(error * torch.from_numpy(gradient[f"d{name}"]) for name in _names(workload))

    function = _torch_function(torch, forward, backward)
    # Copies: gradcheck perturbs its inputs in place, and the workload is shared.
    params = tuple(torch.tensor(workload.params[name], requires_grad=True) for name in _names(workload))
    seconds, accepted = _time(lambda: torch.autograd.gradcheck(function, params, eps=FRAMEWORK_STEP, fast_mode=True))
    assert accepted
    return PeerRun(seconds, workload.size, workload.size, None)


# Bytes of the perturbed copies of all parameters that a stacked evaluation takes at once. Powers from 2^20 to 2^28 were tried on
# A to E: torch takes up to half as long with a dozen copies as with one, and no less with more; jax, which makes them anew each
# time, takes ten times as long from 2^24 or 2^25 on.
_TORCH_STACK = 1 << 24
_JAX_STACK = 1 << 22


def _lanes(workload: Workload, sample: int, stack: int) -> int:
    """How many entries are perturbed together, each to both sides."""
    return max(1, min(64, sample, stack // (2 * 8 * workload.size)))


def _run_torch_vmap(workload: Workload, sample: int) -> PeerRun:
    torch = _torch()
    sampled = _Sampled.draw(workload, sample)
    vector = torch.tensor(sampled.vector())
    cost = _torch_cost(torch, workload)
    stacked_cost = torch.func.vmap(lambda one: cost(_split(one, workload.layers)))
    lanes = _lanes(workload, len(sampled.indices), _TORCH_STACK)
    # Made once: for large networks a new stack for each chunk takes longer than the networks.
    stack = vector.repeat(2 * lanes, 1)

    def difference(indices: Any) -> Any:
        rows = torch.arange(len(indices))
        stack[rows, indices] = vector[indices] + FRAMEWORK_STEP
        stack[rows + len(indices), indices] = vector[indices] - FRAMEWORK_STEP
        plus, minus = stacked_cost(stack[: 2 * len(indices)]).reshape(2, -1)
        stack[rows, indices] = stack[rows + len(indices), indices] = vector[indices]
        return (plus - minus) / (2 * FRAMEWORK_STEP)

    chunks = torch.tensor(sampled.indices).split(lanes)
    with torch.no_grad():
        seconds, numeric = _time(lambda: torch.cat([difference(chunk) for chunk in chunks]), warm=lambda: difference(chunks[0]))
    return sampled.run(seconds, numeric)


# jax --------------------------------------------------------------------------------------------------------------------------


def _jax() -> Any:
    # Read when XLA starts.
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
    import jax

    jax.config.update("jax_enable_x64", True)
    return jax


def _jax_cost(jax: Any, workload: Workload) -> Callable[[list[Any]], Any]:
    """The cost of parameters W1, b1, W2, … as arrays of jax."""
    x, y = jax.numpy.asarray(workload.x), jax.numpy.asarray(workload.y)

    def cost(params: list[Any]) -> Any:
        a = x
        for w, b in zip(params[:-2:2], params[1:-2:2], strict=True):
            a = jax.numpy.tanh(w @ a + b)
        p = jax.nn.sigmoid(params[-2] @ a + params[-1])
        return -(y * jax.numpy.log(p) + (1 - y) * jax.numpy.log1p(-p)).mean()

    return cost


def _run_jax_vmap(workload: Workload, sample: int) -> PeerRun:
    jax = _jax()
    sampled = _Sampled.draw(workload, sample)
    vector = jax.numpy.asarray(sampled.vector())
    cost = _jax_cost(jax, workload)
    lanes = _lanes(workload, len(sampled.indices), _JAX_STACK)

    def perturbed_cost(vector: Any, index: Any, step: Any) -> Any:
        return cost(_split(vector.at[index].add(step), workload.layers))

    # The vector is an argument, and no constant that XLA would fold into the program.
    stacked_cost = jax.jit(jax.vmap(perturbed_cost, in_axes=(None, 0, 0)))

    def difference(indices: NDArray[np.intp]) -> Array:
        steps = np.repeat([FRAMEWORK_STEP, -FRAMEWORK_STEP], len(indices))
        plus, minus = np.asarray(stacked_cost(vector, np.tile(indices, 2), steps)).reshape(2, -1)
        return np.asarray((plus - minus) / (2 * FRAMEWORK_STEP))

    # A last chunk that is shorter would be another program: it is filled up, and what is too much is dropped.
    count = len(sampled.indices)
    padded = np.resize(sampled.indices, -(-count // lanes) * lanes)
    chunks = padded.reshape(-1, lanes)
    seconds, numeric = _time(lambda: np.concatenate([difference(chunk) for chunk in chunks]), warm=lambda: difference(chunks[0]))
    # The time is that of the chunks in full.
    return sampled.run(seconds * count / len(padded), numeric[:count])


def _run_jax_check_grads(workload: Workload, sample: int) -> PeerRun:
    del sample  # one projection
    jax = _jax()
    from jax.test_util import check_grads

    compiled = jax.jit(_jax_cost(jax, workload))
    cost = jax.custom_vjp(lambda params: compiled(params))

    def backward(params: Any, error: Any) -> Any:
        del params  # check_grads differentiates at the workload's parameters alone
        gradient = workload.backprop()
        return ([error * gradient[f"d{name}"] for name in _names(workload)],)

    cost.defvjp(lambda params: (compiled(params), params), backward)
    params = [jax.numpy.asarray(workload.params[name]) for name in _names(workload)]
    # Raises where it does not accept. Forward mode is left out: a backward pass has none.
    seconds, _ = _time(lambda: check_grads(cost, (params,), order=1, modes=["rev"], eps=FRAMEWORK_STEP))
    return PeerRun(seconds, workload.size, workload.size, None)


# autograd ---------------------------------------------------------------------------------------------------------------------


def _run_autograd_check_grads(workload: Workload, sample: int) -> PeerRun:
    del sample  # one projection
    from autograd.extend import defvjp, primitive
    from autograd.test_util import check_grads

    def forward(vector: Array) -> float:
        return scratch.forward_prop_cost(workload.x, scratch.vector_to_dictionary(vector, workload.layers), workload.y)

    def backward(result: float, vector: Array) -> Callable[[float], Array]:
        del result, vector  # check_grads differentiates at the workload's parameters alone
        gradient = _join(workload, workload.backprop())
        return lambda error: error * gradient

    cost = primitive(forward)
    defvjp(cost, backward)
    point = _Sampled.draw(workload, 1).vector()
    np.random.seed(0)  # noqa: NPY002 - the generator that check_grads draws its direction from
    # Raises where it does not accept. Forward mode is left out: a backward pass has none.
    seconds, _ = _time(lambda: check_grads(cost, modes=["rev"], order=1)(point))
    return PeerRun(seconds, workload.size, workload.size, None)


_ALL = (
    Peer("textbook loop", _run_textbook_loop, True, "numpy"),
    Peer("textbook loop, in place", _run_in_place_loop, True, "numpy"),
    Peer("scipy 2-point", _run_scipy_two_point, True, "scipy"),
    Peer("scipy 3-point", functools.partial(_run_scipy, "3-point", np.float64), True, "scipy"),
    Peer("scipy complex step", functools.partial(_run_scipy, "cs", np.complex128), True, "scipy"),
    Peer("statsmodels centered", _run_statsmodels, True, "statsmodels"),
    Peer("numdifftools", _run_numdifftools, True, "numdifftools", share=10),
    Peer("torch gradcheck", _run_torch_gradcheck, True, "torch", share=2),
    Peer("torch vmap", _run_torch_vmap, True, "torch", share=4),
    Peer("jax jit(vmap)", _run_jax_vmap, True, "jax", share=2),
    Peer("torch gradcheck, fast mode", _run_torch_gradcheck_fast, False, "torch"),
    Peer("jax check_grads", _run_jax_check_grads, False, "jax"),
    Peer("autograd check_grads", _run_autograd_check_grads, False, "autograd"),
)

PEERS = {peer.name: peer for peer in _ALL}
