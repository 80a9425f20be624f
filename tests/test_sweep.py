"""The sweep against oracles that share nothing with it, and what it promises besides: order, bits, arguments, kinks."""

import itertools
import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import joblib
import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import Array
from numpy.typing import NDArray

import gradsweep
from gradsweep import _planning
from gradsweep._costs._network_problem import NetworkProblem
from gradsweep._costs._protocol import Chunk, Run
from gradsweep._matrices import Matrix
from gradsweep._schemes import BACKWARD, CENTRAL, FORWARD, Scheme

SCHEMES = {scheme.name: scheme for scheme in (CENTRAL, FORWARD, BACKWARD)}
NAMES = ["identity", "relu", "leaky_relu", "tanh", "sigmoid", "softplus", "silu", "gelu", "gelu_tanh"]

thorough = settings(deadline=None, derandomize=True, max_examples=60)


class Case:
    """A network at a point, with data."""

    def __init__(
        self,
        layers: Sequence[int],
        hidden: str | Sequence[str],
        examples: int,
        seed: int,
        *,
        soft: bool = False,
        spread: float = 1.0,
    ) -> None:
        self.layers = list(layers)
        self.hidden = [hidden] * (len(layers) - 2) if isinstance(hidden, str) else list(hidden)
        self.params = naive.random_params(layers, seed, spread)
        self.x, self.y = naive.random_data(layers, examples, seed, soft=soft)

    def __repr__(self) -> str:
        return f"{'-'.join(map(str, self.layers))} {' '.join(self.hidden)} m={self.x.shape[1]}"

    @property
    def cost(self) -> Any:
        return gradsweep.Network(self.layers, self.hidden).cost(self.x, self.y)

    @property
    def problem(self) -> NetworkProblem:
        problem: NetworkProblem = self.cost.prepare(self.params)
        return problem

    def backprop(self) -> dict[str, Array]:
        return naive.backprop(self.params, self.x, self.y, self.hidden)

    def check(self, gradient: Mapping[str, Any] | None = None, **options: Any) -> gradsweep.Report:
        return gradsweep.check(self.cost, self.params, self.backprop() if gradient is None else gradient, **options)

    def exact(self, step: float, scheme: str) -> dict[str, Array]:
        return naive.exact_quotients(self.params, self.x, self.y, self.hidden, step, scheme)


def cut(problem: NetworkProblem, length: int) -> list[Chunk]:
    """Chunks of so many parameters each, whatever the cache holds."""
    chunks = []
    for layer, shape in enumerate(problem.layer_shapes):
        count = math.prod(shape)
        chunks += [Chunk(((Run(layer, start, min(start + length, count)),),)) for start in range(0, count, length)]
    return chunks


def swept(
    problem: NetworkProblem, scheme: str, step: float, chunks: Iterable[Chunk] | None = None
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Quotients and crossings of every parameter, straight from the chunks: no step is retried."""
    steps = len(SCHEMES[scheme].offsets)
    values = {layer: np.full(math.prod(shape), np.nan) for layer, shape in enumerate(problem.layer_shapes)}
    crossings = {layer: block.copy() for layer, block in values.items()}
    for chunk in problem.chunks(steps, range(len(values))) if chunks is None else chunks:
        done = problem.quotients(chunk, SCHEMES[scheme], step)
        first = 0
        for run in chunk.runs:
            values[run.layer][run.start : run.stop] = done.values[0, first : first + run.size]
            crossings[run.layer][run.start : run.stop] = done.crossings[0, first : first + run.size]
            first += run.size
    return blocks(problem, values), blocks(problem, crossings)


def blocks(problem: NetworkProblem, layers: Mapping[int, Array]) -> dict[str, Array]:
    """The layers' arrays by the names of their blocks."""
    result = {}
    for name in problem.shapes:
        layer = problem.layer_of(name)
        matrix = Matrix(dense=layers[layer].reshape(problem.layer_shapes[layer]))
        result[name] = problem.block(name, matrix).rows(slice(None))
    return result


def require_same_bits(one: Mapping[str, Array], other: Mapping[str, Array]) -> None:
    assert set(one) == set(other)
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name, strict=True)


@st.composite
def small_cases(draw: st.DrawFn, names: Sequence[str] = NAMES, most_units: int = 7) -> Case:
    layers = draw(st.lists(st.integers(1, most_units), min_size=2, max_size=6))
    hidden = [draw(st.sampled_from(names)) for _ in layers[2:]]
    return Case(layers, hidden, draw(st.integers(1, 6)), draw(st.integers(0, 2**16)), soft=draw(st.booleans()))


# ---- the oracles themselves ----------------------------------------------------------------------------------------------


def test_backprop_by_hand() -> None:
    """A network of one unit a layer, worked on paper."""
    params = {name: np.array([[value]]) for name, value in {"W1": 0.5, "b1": -0.25, "W2": -1.5, "b2": 0.75}.items()}
    x, y = np.array([[2.0, -1.0]]), np.array([[1.0, 0.0]])
    expected = dict.fromkeys(params, 0.0)
    for value, label in ((2.0, 1.0), (-1.0, 0.0)):
        a = math.tanh(0.5 * value - 0.25)
        error = 1.0 / (1.0 + math.exp(-(-1.5 * a + 0.75))) - label
        back = error * -1.5 * (1.0 - a * a)
        for name, entry in {"W1": back * value, "b1": back, "W2": error * a, "b2": error}.items():
            expected[name] += entry / 2
    got = naive.backprop(params, x, y, ["tanh"])
    assert {name: float(block[0, 0]) for name, block in got.items()} == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("hidden", [*NAMES, ["relu", "tanh"], ["sigmoid", "relu"]], ids=str)
def test_the_oracles_agree(hidden: str | list[str]) -> None:
    """Backprop with exact quotients at a step that leaves no truncation, and these with two forward passes each."""
    case = Case([3, 3, 2, 2], hidden if isinstance(hidden, list) else [hidden] * 2, 3, 11, soft=True)
    assert naive.difference(case.exact(1e-25, "central"), case.backprop()) < 2e-15
    for scheme in SCHEMES:
        exact, plain = case.exact(1e-4, scheme), naive.quotients(case.params, case.x, case.y, case.hidden, 1e-4, scheme)
        noise = naive.rounding_of_quotients(case.params, case.x, case.y, case.hidden, 1e-4)
        assert max(np.abs(exact[name] - plain[name]).max() for name in exact) < noise < 1e-9


# ---- values --------------------------------------------------------------------------------------------------------------


@given(case=small_cases(), scheme=st.sampled_from(sorted(SCHEMES)), step=st.sampled_from([1e-6, 1e-4, 1e-2, 0.3, 2.0]))
@thorough
def test_quotients_agree_with_two_forward_passes(case: Case, scheme: str, step: float) -> None:
    """At any step, large ones and kinks included: both compute the same quotient, one of them with rounding over ε."""
    plain = naive.quotients(case.params, case.x, case.y, case.hidden, step, scheme)
    noise = 4.0 * naive.rounding_of_quotients(case.params, case.x, case.y, case.hidden, step)
    values, _ = swept(case.problem, scheme, step)
    for name in plain:
        np.testing.assert_allclose(values[name], plain[name], rtol=1e-13, atol=noise, err_msg=name)


LARGER = [
    Case([30, 40, 20, 10, 3], ["tanh", "relu", "sigmoid"], 13, 21, soft=True),
    Case([300, 50, 1], "relu", 5, 22),
    Case([20, 130, 70, 1], "tanh", 40, 23),
    Case([1, 300, 1], "sigmoid", 17, 24),
    Case([9, 8, 7, 6, 5, 4, 2], "relu", 33, 25),
    Case([257, 3], [], 40, 26),
]


@pytest.mark.parametrize("scheme", ["central", "forward"])
@pytest.mark.parametrize("case", LARGER, ids=repr)
def test_quotients_of_larger_networks(case: Case, scheme: str) -> None:
    plain = naive.quotients(case.params, case.x, case.y, case.hidden, 1e-3, scheme, entries=40)
    noise = 4.0 * naive.rounding_of_quotients(case.params, case.x, case.y, case.hidden, 1e-3)
    assert noise < 1e-10
    values, _ = swept(case.problem, scheme, 1e-3)
    for name in plain:
        asked = ~np.isnan(plain[name])
        assert asked.sum() == min(40, plain[name].size)
        np.testing.assert_allclose(values[name][asked], plain[name][asked], rtol=0.0, atol=noise, err_msg=name)


TINY = [
    Case([2, 1], [], 2, 31),
    Case([2, 2, 1], "tanh", 2, 32),
    Case([2, 3, 1], "relu", 3, 33),
    Case([2, 2, 2], "sigmoid", 2, 34, soft=True),
    Case([1, 2, 1], "identity", 3, 35, soft=True),
    Case([2, 3, 2, 2], ["relu", "tanh"], 2, 36),
    Case([2, 2, 2, 1], ["sigmoid", "relu"], 2, 37, soft=True),
    Case([1, 2, 1, 2, 2, 1], ["tanh", "sigmoid", "relu", "tanh"], 1, 38),
    # Weights so large that a small change of one unit is a large one for the next layer.
    Case([2, 2, 3, 1], ["identity", "tanh"], 2, 39, spread=8.0),
    Case([2, 3, 2, 2, 1], ["relu", "sigmoid", "tanh"], 2, 40, spread=8.0),
]


@pytest.mark.parametrize("step", [1e-300, 1e-12, 1e-7, 1e-3, 0.4, 3.0])
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("case", TINY, ids=repr)
def test_quotients_are_exact(case: Case, scheme: str, step: float) -> None:
    """The quotient at a finite ε to the last digits, where two forward passes leave none or few."""
    values, _ = swept(case.problem, scheme, step)
    exact = case.exact(step, scheme)
    largest = max(float(np.abs(block).max()) for block in exact.values())
    for name, block in exact.items():
        # Entries are sums over examples and paths, whose terms cancel: they are rounded on a larger scale than their own.
        np.testing.assert_allclose(values[name], block, rtol=0.0, atol=3e-15 * largest, err_msg=name)
        np.testing.assert_allclose(values[name], block, rtol=0.0, atol=5e-14 * np.abs(block).max(), err_msg=name)


@pytest.mark.parametrize("hidden", NAMES)
def test_check_reports_exact_quotients(hidden: str) -> None:
    """The post's ε by default, in `Report.numeric`, by the names of the parameters."""
    case = Case([3, 3, 2], hidden, 3, 41, soft=True)
    report = case.check()
    assert (report.scheme, report.step, report.verdict) == ("central", 1e-7, "pass")
    assert naive.difference(report.numeric, case.exact(1e-7, "central")) < 1e-15
    assert {name: block.shape for name, block in report.numeric.items()} == {name: b.shape for name, b in case.params.items()}
    assert report.evaluations == 2 * sum(block.size for block in case.params.values())


BACKPROP = [
    Case([7, 1], [], 9, 51),
    Case([300, 300], [], 3, 52, soft=True),
    Case([1, 1, 1], "tanh", 1, 53),
    Case([64, 20, 1], "tanh", 8, 54),
    Case([64, 20, 1], "relu", 8, 55),
    Case([300, 300, 1], "tanh", 4, 56),
    Case([12, 300, 5], "sigmoid", 40, 57, soft=True),
    Case([40, 30, 20, 2], "relu", 40, 58),
    Case([17, 1, 300, 3], ["tanh", "relu"], 11, 59),
    Case([10, 9, 130, 7, 1], ["relu", "sigmoid", "tanh"], 6, 60),
    Case([25, 20, 15, 10, 5, 1], "tanh", 40, 61),
    Case([25, 20, 15, 10, 5, 4], ["tanh", "identity", "relu", "sigmoid"], 7, 62, soft=True),
    Case([30, 24, 20, 16, 12, 8, 1], "relu", 20, 63),
    Case([5, 33, 3, 40, 1, 7, 2], "tanh", 16, 64),
    Case([6, 5, 4, 3, 4, 5, 6], ["sigmoid", "tanh", "relu", "tanh", "sigmoid"], 40, 65),
    Case([20, 15, 10, 1], "tanh", 12, 66, spread=6.0),  # half saturated
]


@pytest.mark.parametrize("case", BACKPROP, ids=repr)
def test_agrees_with_backprop(case: Case) -> None:
    report = case.check(step=1e-7)
    assert report.verdict == "pass"
    assert naive.difference(report.numeric, case.backprop()) <= 1e-13
    assert report.difference == pytest.approx(naive.difference(report.numeric, case.backprop()), rel=1e-6)
    for block in report.blocks:
        assert block.difference <= 1e-13, block.name


@given(case=small_cases(most_units=12))
@thorough
def test_any_network_agrees_with_backprop(case: Case) -> None:
    report = case.check(step=1e-7)
    assert report.verdict == "pass"
    assert naive.difference(report.numeric, case.backprop()) <= 1e-13


def test_the_cases_cover_what_is_promised() -> None:
    widths = {width for case in BACKPROP for width in case.layers}
    assert {len(case.layers) - 1 for case in BACKPROP} == {1, 2, 3, 4, 5, 6}
    assert min(widths) == 1
    assert max(widths) == 300
    assert {1, 40} <= {case.x.shape[1] for case in BACKPROP}


# ---- order ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scheme", "order", "last"), [("central", 2, 17), ("forward", 1, 34), ("backward", 1, 34)])
@pytest.mark.parametrize(
    "case", [Case([4, 5, 3, 1], "tanh", 6, 71), Case([4, 6, 2], "sigmoid", 5, 72, soft=True), Case([3, 1], [], 4, 73)], ids=repr
)
def test_the_error_falls_as_the_scheme_says(case: Case, scheme: str, order: int, last: int) -> None:
    """Over a ladder down to where subtraction of costs has long lost all digits of the error, in each block."""
    powers = np.arange(4, last)
    right = case.backprop()
    ladder = [swept(case.problem, scheme, 2.0**-power)[0] for power in powers]
    for name in right:
        errors = [np.linalg.norm(values[name] - right[name]) for values in ladder]
        slope = np.polyfit(-powers, np.log2(errors), 1)[0]
        assert slope == pytest.approx(order, abs=0.02), name


# ---- the same bits -------------------------------------------------------------------------------------------------------

MIXED = Case([11, 9, 8, 7, 2], ["tanh", "relu", "sigmoid"], 6, 81, soft=True)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("case", [MIXED, Case([37, 3], [], 5, 82), Case([150, 40, 1], "relu", 3, 83)], ids=repr)
def test_same_bits_for_any_chunk_size(case: Case, scheme: str) -> None:
    problem = case.problem
    values, crossings = swept(problem, scheme, 1e-7)
    layers = range(len(problem.layer_shapes))
    stacked = list(problem.chunks(len(SCHEMES[scheme].offsets), layers, stacked=True))
    for chunks in (stacked, *(cut(problem, length) for length in (1_000, 333, 7))):
        other, crossed = swept(problem, scheme, 1e-7, chunks)
        require_same_bits(values, other)
        require_same_bits(crossings, crossed)


@given(cuts=st.lists(st.integers(0, 10_000), max_size=8), layer=st.integers(0, 3), step=st.sampled_from([1e-10, 1e-7, 1e-4]))
@thorough
def test_same_bits_wherever_the_parameters_are_cut(cuts: list[int], layer: int, step: float) -> None:
    """Also in the middle of a unit, and a chunk of any length."""
    problem = MIXED.problem
    count = math.prod(problem.layer_shapes[layer])
    edges = sorted({0, count, *(cut % count for cut in cuts)})
    whole = problem.quotients(Chunk(((Run(layer, 0, count),),)), CENTRAL, step)
    parts = [problem.quotients(Chunk(((Run(layer, *edge),),)), CENTRAL, step) for edge in itertools.pairwise(edges)]
    np.testing.assert_array_equal(np.hstack([part.values for part in parts]), whole.values)
    np.testing.assert_array_equal(np.hstack([part.crossings for part in parts]), whole.crossings)


@pytest.mark.parametrize("step", [1e-3, 0.1, 2.0])
def test_chunks_agree_where_small_and_large_forms_meet(step: float) -> None:
    """A large step takes its neighbours through the full form; which ones are neighbours depends on the chunk, by a rounding."""
    values, crossings = swept(MIXED.problem, "central", step)
    other, crossed = swept(MIXED.problem, "central", step, cut(MIXED.problem, 1))
    for name in values:
        np.testing.assert_allclose(other[name], values[name], rtol=0.0, atol=1e-15 * np.abs(values[name]).max())
    require_same_bits(crossings, crossed)


def test_chunks_cover_each_parameter_once() -> None:
    for case in (MIXED, Case([150, 40, 30, 1], "relu", 3, 83), Case([5] * 40, "tanh", 2, 85)):
        problem = case.problem
        for stacked, units, steps in itertools.product([False, True], [False, True], [1, 2]):
            for layers in (range(len(problem.layer_shapes)), [1]):
                counts = {
                    layer: problem.layer_shapes[layer][0] if units else math.prod(problem.layer_shapes[layer]) for layer in layers
                }
                covered: dict[int, list[int]] = {layer: [] for layer in layers}
                for chunk in problem.chunks(steps, layers, stacked=stacked, units=units):
                    assert chunk.examples == ((0, case.x.shape[1]) if units else None)
                    for stack in chunk.stacks:
                        assert len({run.layer for run in stack}) == len(stack) >= 1
                        assert stacked or len(stack) == 1
                    for run in chunk.runs:
                        covered[run.layer] += range(run.start, run.stop)
                assert covered == {layer: list(range(count)) for layer, count in counts.items()}


def test_units_of_many_examples_are_shared_out() -> None:
    """There is a quotient for each unit and example, so examples are cut, too; each pair is covered once."""
    problem = Case([3, 70, 60, 50, 2], "tanh", 3000, 86).problem
    seen = np.zeros((4, 70, 3000), dtype=int)
    chunks = list(problem.chunks(2, range(4), stacked=True, units=True))
    assert len({chunk.examples for chunk in chunks}) > 1
    for chunk in chunks:
        assert chunk.examples is not None
        for run in chunk.runs:
            seen[run.layer, run.start : run.stop, slice(*chunk.examples)] += 1
    for layer, (units, _) in enumerate(problem.layer_shapes):
        assert (seen[layer, :units] == 1).all()
        assert not seen[layer, units:].any()


def test_chunk_of_one_entry() -> None:
    problem = MIXED.problem
    values, _ = swept(problem, "central", 1e-7)
    for name, block in values.items():
        for place in ((0, 0), (block.shape[0] - 1, block.shape[1] - 1), (block.shape[0] // 2, block.shape[1] // 2)):
            alone = problem.quotients(problem.chunk_of(name, place), CENTRAL, 1e-7)
            assert alone.values.tolist() == [[block[place]]]


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Threads in which quotients were formed."""
    seen: set[int] = set()
    original = NetworkProblem.quotients

    def quotients(self: NetworkProblem, chunk: Chunk, scheme: Scheme, step: float) -> Any:
        seen.add(threading.get_ident())
        return original(self, chunk, scheme, step)

    monkeypatch.setattr(NetworkProblem, "quotients", quotients)
    return seen


def test_same_bits_for_any_number_of_workers(threads: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that is large enough to be shared. Its relu layer has a unit at the kink and one within a step of it."""
    monkeypatch.setattr(_planning, "_WORTH_WORKERS", 0.0)
    case = Case([500, 90, 64, 1], ["relu", "tanh"], 24, 84)
    case.x[:, 0] = 0.0
    case.params["b1"][3], case.params["b1"][7] = 0.0, 4e-8
    here = threading.get_ident()
    alone = case.check(jobs=1)
    assert threads == {here}
    assert alone.verdict == "pass"
    assert alone.kinks > 0
    assert alone.crossed > alone.kinks

    def run(jobs: int | None) -> gradsweep.Report:
        threads.clear()
        report = case.check(jobs=jobs)
        assert threads - {here}, "nothing was handed to a worker"
        return report

    reports = [run(2), run(3)]
    with joblib.parallel_config(backend="threading", n_jobs=2):
        reports.append(run(None))
    for report in reports:
        require_same_bits(alone.numeric, report.numeric)
        assert report.blocks == alone.blocks
        assert (report.evaluations, report.crossed, report.kinks) == (alone.evaluations, alone.crossed, alone.kinks)


def test_a_little_work_stays_in_the_caller(threads: set[int]) -> None:
    """A call of joblib takes longer than the whole check."""
    with joblib.parallel_config(backend="threading", n_jobs=2):
        report = MIXED.check(jobs=2)
    assert threads == {threading.get_ident()}
    require_same_bits(report.numeric, MIXED.check().numeric)


# ---- arguments -----------------------------------------------------------------------------------------------------------


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    result = array.copy()
    result.flags.writeable = False
    return result


def scattered(array: NDArray[Any]) -> NDArray[Any]:
    """The same entries, a part of a larger array, every other one and backwards."""
    room = np.full((2 * array.shape[0] + 1, 3 * array.shape[1] + 2), 77, dtype=array.dtype)
    view = room[-2::-2, 1:-1:3]
    view[...] = array
    return view


LAYOUTS: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "plain": np.array,
    "read-only": read_only,
    "Fortran order": np.asfortranarray,
    "non-contiguous": scattered,
    "big-endian": lambda array: array.astype(array.dtype.newbyteorder(">")),
    "transposed": lambda array: np.ascontiguousarray(array.T).T,
}


@pytest.mark.parametrize("dtype", ["f8", "f4", "i8", "i1"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_arguments_are_read_in_any_layout_and_never_written(layout: str, dtype: str) -> None:
    # No relu: small whole numbers would put its units exactly at the kink.
    case = Case([5, 4, 3, 2], ["tanh", "sigmoid"], 6, 91)
    scale = 1.0 if dtype[0] == "f" else 2.0  # whole numbers that are not all 0

    def make(array: Array) -> NDArray[Any]:
        return LAYOUTS[layout]((scale * array if dtype[0] == "f" else np.round(scale * array)).astype(dtype))

    given_params = {name: make(block) for name, block in case.params.items()}
    given_x, given_y = make(case.x), LAYOUTS[layout](case.y.astype(dtype))
    case.params = {name: np.array(block, dtype=np.float64, order="C") for name, block in given_params.items()}
    case.x, case.y = np.array(given_x, dtype=np.float64, order="C"), np.array(given_y, dtype=np.float64, order="C")
    gradient = {f"d{name}": LAYOUTS[layout](block) for name, block in case.backprop().items()}
    given = [*given_params.values(), given_x, given_y, *gradient.values()]
    before = [(array.tobytes(), array.dtype, array.strides, array.flags.writeable, id(array)) for array in given]
    rooms = [array.base.copy() for array in given if array.base is not None]

    report = gradsweep.check(gradsweep.Network(case.layers, case.hidden).cost(given_x, given_y), given_params, gradient)

    assert report.verdict == "pass"
    require_same_bits(report.numeric, case.check().numeric)
    assert before == [(array.tobytes(), array.dtype, array.strides, array.flags.writeable, id(array)) for array in given]
    for room, array in zip(rooms, [array for array in given if array.base is not None], strict=True):
        np.testing.assert_array_equal(array.base, room)


def test_functions_of_the_caller_are_given_copies() -> None:
    case = Case([3, 4, 1], "tanh", 5, 92)
    right = case.backprop()
    before = {name: block.copy() for name, block in case.params.items()}

    def wipe(params: dict[str, Any]) -> None:
        for block in params.values():
            block[...] = 0.0

    def gradient(params: dict[str, Any]) -> dict[str, Array]:
        wipe(params)
        return right

    def like(params: dict[str, Any]) -> float:
        value = naive.cost(params, case.x, case.y, case.hidden)
        wipe(params)
        return value

    cost = gradsweep.Network(case.layers, case.hidden).cost(case.x, case.y, like=like)
    assert gradsweep.check(cost, case.params, gradient).verdict == "pass"
    require_same_bits(case.params, before)

    def wrong(params: dict[str, Any]) -> float:
        return 1.5 * like(params)

    cost = gradsweep.Network(case.layers, case.hidden).cost(case.x, case.y, like=wrong)
    with pytest.raises(gradsweep.OracleError):
        gradsweep.check(cost, case.params, gradient)
    require_same_bits(case.params, before)


def test_a_problem_can_be_asked_again() -> None:
    """Rooms are reused between chunks; nothing of one may be left in the next."""
    problem = MIXED.problem
    first, _ = swept(problem, "central", 1e-7)
    swept(problem, "forward", 1e300)
    swept(problem, "forward", 0.5, cut(problem, 1))
    again, _ = swept(problem, "central", 1e-7)
    require_same_bits(first, again)


# ---- kinks ---------------------------------------------------------------------------------------------------------------


@given(
    case=small_cases(names=["relu", "relu", "tanh"]),
    step=st.sampled_from([0.1, 0.5, 2.0]),
    scheme=st.sampled_from(sorted(SCHEMES)),
)
@thorough
def test_crossings_are_counted_exactly(case: Case, step: float, scheme: str) -> None:
    counted = naive.crossings(case.params, case.x, case.hidden, step, [o for o, _ in naive.SCHEMES[scheme] if o])
    _, crossings = swept(case.problem, scheme, step)
    for name in counted:
        np.testing.assert_array_equal(crossings[name], counted[name], err_msg=name)


def test_the_cases_do_cross() -> None:
    case = Case([3, 7, 5, 1], "relu", 6, 101)
    _, crossings = swept(case.problem, "central", 0.5)
    assert [int(crossings[name].max()) > 1 for name in ("W1", "b1", "W2", "b2", "W3", "b3")] == [True] * 4 + [False] * 2


def zero_weights() -> Case:
    """A layer of relu units that are all exactly at their kink for every example, inputs of both signs."""
    case = Case([3, 4, 1], "relu", 5, 111)
    case.params["W1"][...] = 0.0
    case.params["b1"][...] = 0.0
    return case


def zero_weights_inside() -> Case:
    """The same in the second of two relu layers, one output more."""
    case = Case([3, 4, 3, 2], "relu", 4, 112, soft=True)
    case.params["W2"][...] = 0.0
    case.params["b2"][...] = 0.0
    return case


def zero_inputs_and_biases() -> Case:
    """Two examples are black pictures: without biases every unit of every layer is at its kink there."""
    case = Case([3, 4, 3, 1], "relu", 6, 113)
    case.x[:, [1, 4]] = 0.0
    case.params["b1"][...] = 0.0
    case.params["b2"][...] = 0.0
    return case


def a_dead_row() -> Case:
    """A single unit with zero weights among others, behind a tanh layer."""
    case = Case([4, 5, 4, 1], ["tanh", "relu"], 3, 114)
    case.params["W2"][2, :] = 0.0
    case.params["b2"][2] = 0.0
    return case


#: Kinks are found and judged alike in every mode.
in_every_mode = pytest.mark.parametrize("mode", ["sweep", "batched", "neurons"])

KINKED: list[Callable[[], Case]] = [zero_weights, zero_weights_inside, zero_inputs_and_biases, a_dead_row]


def one_sided(case: Case) -> tuple[dict[str, Array], dict[str, Array]]:
    """Smaller and larger of the two slopes of each entry, exactly."""
    rising, falling = case.exact(1e-40, "forward"), case.exact(1e-40, "backward")
    below = {name: np.minimum(rising[name], falling[name]) for name in rising}
    above = {name: np.maximum(rising[name], falling[name]) for name in rising}
    return below, above


def possible(case: Case) -> tuple[dict[str, Array], dict[str, Array]]:
    """The same, widened by what backpropagation may give with some slope for each unit at its kink."""
    below, above = one_sided(case)
    problem = case.problem
    for name in problem.shapes:
        least, most = (bound.rows(slice(None)) for bound in problem.subgradients(name))
        below[name], above[name] = np.minimum(below[name], least), np.maximum(above[name], most)
    return below, above


def kinks_of(below: Mapping[str, Array], above: Mapping[str, Array]) -> int:
    scale = max(float(np.abs(block).max()) for block in above.values())
    return sum(int((above[name] - below[name] > 1e-13 * scale).sum()) for name in above)


@in_every_mode
@pytest.mark.parametrize("make", KINKED)
def test_the_usual_slopes_at_kinks_pass(make: Callable[[], Case], mode: str) -> None:
    """Backward passes that take relu'(0) for 0, 1/2 or 1 are right; one that takes each unit's own is at least no mistake."""
    case = make()
    generator = np.random.default_rng(10)
    below, above = possible(case)
    usual: list[Any] = [np.zeros, np.ones, lambda shape: np.full(shape, 0.5)]
    for kink in [*usual, lambda shape: generator.integers(0, 2, shape) * 1.0, *[generator.random] * 3]:
        gradient = naive.backprop(case.params, case.x, case.y, case.hidden, kink)
        verdict = case.check(gradient, mode=mode).verdict
        assert verdict == "pass" if kink in usual else verdict != "fail"
        for name, block in gradient.items():
            slack = 1e-15  # of sums of numbers near 1
            assert (below[name] - slack <= block).all()
            assert (block <= above[name] + slack).all()


@in_every_mode
@pytest.mark.parametrize("factor", [-3.0, -1.0, 0.0, 2.0])
def test_a_wrong_gradient_does_not_hide_at_kinks(factor: float, mode: str) -> None:
    """A black picture and zero biases: bounds on what some backward pass might give are wide, and prove nothing."""
    case = Case([20, 50, 50, 50, 50, 1], "relu", 16, 31)
    for number in range(1, 6):
        case.params[f"b{number}"][...] = 0.0
    case.x[:, 0] = 0.0
    right = case.backprop()
    assert case.check(right, mode=mode).verdict == "pass"
    assert case.check({**right, "b1": factor * right["b1"]}, mode=mode).verdict != "pass"
    report = case.check({**right, "W1": factor * right["W1"]}, mode=mode)
    assert report.verdict == "fail"
    assert [block.name for block in report.blocks if block.differing] == ["W1"]


@in_every_mode
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("make", KINKED)
def test_what_is_no_number_does_not_hide_at_kinks(make: Callable[[], Case], value: float, mode: str) -> None:
    """Neither in an interval of slopes nor near a convention."""
    case = make()
    below, above = one_sided(case)
    name = max(below, key=lambda name: float((above[name] - below[name]).max()))
    place = np.unravel_index(int((above[name] - below[name]).argmax()), below[name].shape)
    gradient = case.backprop()
    gradient[name][place] = value
    report = case.check(gradient, mode=mode)
    assert report.verdict == "fail"
    assert [block.name for block in report.blocks if block.differing] == [name]


@pytest.mark.parametrize("seed", range(300))
def test_kinks_up_to_rounding(seed: int) -> None:
    """Weights with one decimal and whole data: z that should be 0 is 1e-17 here and -1e-17 there, and both are right."""
    generator = np.random.default_rng(seed)
    case = Case([int(generator.integers(2, 30)), int(generator.integers(1, 9)), 1], "relu", int(generator.integers(1, 30)), seed)
    for name in case.params:
        case.params[name] = np.round(generator.uniform(-1.0, 1.0, case.params[name].shape), 1)
    case.x = generator.integers(-3, 4, case.x.shape).astype(float)
    network = gradsweep.Network(case.layers, case.hidden)
    assert case.check(network.gradient(case.params, case.x, case.y)).verdict != "fail"
    assert case.check(case.backprop()).verdict != "fail"


def test_bounds_on_slopes_are_attained() -> None:
    """In the last hidden layer: there is no slack in them by which a wrong gradient could slip through."""
    case = zero_weights()
    problem = case.problem
    least, most = (np.hstack([problem.subgradients(name)[side].rows(slice(None)) for name in ("W1", "b1")]) for side in (0, 1))
    # What a unit passes on to an entry has the sign of its output weight times that of p − y times that of the input.
    probability = naive.sigmoid(naive.pre_activations(case.params, case.x, case.hidden)[-1])
    error = case.params["W2"].T @ (probability - case.y)
    inputs = np.vstack([case.x, np.ones((1, case.x.shape[1]))])
    parts = error[:, np.newaxis, :] * inputs[np.newaxis, :, :] / case.x.shape[1]
    np.testing.assert_allclose(least, np.minimum(parts, 0).sum(axis=2), rtol=1e-13, atol=1e-16)
    np.testing.assert_allclose(most, np.maximum(parts, 0).sum(axis=2), rtol=1e-13, atol=1e-16)


@in_every_mode
@pytest.mark.parametrize("scheme", ["central", "forward"])
@pytest.mark.parametrize("make", KINKED)
def test_any_gradient_between_the_slopes_passes(make: Callable[[], Case], scheme: str, mode: str) -> None:
    case = make()
    below, above = one_sided(case)
    assert kinks_of(below, above) >= 6
    generator = np.random.default_rng(9)
    for share in (0.0, 0.5, 1.0, None):
        between = {}
        for name in below:
            part = generator.random(below[name].shape) if share is None else share
            between[name] = below[name] + part * (above[name] - below[name])
        report = case.check(between, scheme=scheme, mode=mode)
        assert report.verdict == "pass", share
        assert report.kinks >= kinks_of(below, above)
        assert report.crossed >= (1 if mode == "neurons" else report.kinks)
        assert report.difference < (1e-13 if scheme == "central" else 1e-9)


@in_every_mode
@pytest.mark.parametrize("scheme", ["central", "forward"])
@pytest.mark.parametrize("make", KINKED)
def test_a_gradient_beyond_the_slopes_fails(make: Callable[[], Case], scheme: str, mode: str) -> None:
    """By a hundredth of the gap, in one entry, on either side."""
    case = make()
    below, above = possible(case)
    inner_below, inner_above = one_sided(case)
    for name in below:
        gap = above[name] - below[name]
        if not gap.max() > 1e-3:
            continue
        row, column = divmod(int(gap.argmax()), gap.shape[1])
        for side, sign in ((below, -1.0), (above, 1.0)):
            wrong = {key: 0.5 * (inner_below[key] + inner_above[key]) for key in below}
            wrong[name][row, column] = side[name][row, column] + sign * 0.01 * gap[row, column]
            report = case.check(wrong, scheme=scheme, mode=mode)
            assert report.verdict == "fail", name
            assert [block.name for block in report.blocks if block.differing] == [name]
            worst = report.worst(1)[0]
            assert (worst.block, worst.index, worst.kink) == (name, (row, column), True)


@in_every_mode
@pytest.mark.parametrize("make", KINKED)
def test_a_wrong_entry_away_from_the_kinks_fails(make: Callable[[], Case], mode: str) -> None:
    case = make()
    below, above = one_sided(case)
    wrong = {name: block.copy() for name, block in below.items()}
    last = f"b{len(case.layers) - 1}"
    np.testing.assert_allclose(above[last], below[last])
    wrong[last][0, 0] *= 1.001
    report = case.check(wrong, mode=mode)
    assert report.verdict == "fail"
    assert [block.name for block in report.blocks if block.differing] == [last]


def near_kink(distance: float) -> Case:
    """One unit's pre-activation is this far from its kink for one example, by its bias; the input there is 1 or less."""
    case = Case([2, 3, 1], "relu", 4, 121)
    case.x[:, 2] = [1.0, -0.5]
    case.params["b1"][1] = distance - (case.params["W1"][1] @ case.x[:, 2])
    assert naive.pre_activations(case.params, case.x, case.hidden)[0][1, 2] == pytest.approx(distance, rel=1e-6)
    return case


@in_every_mode
@pytest.mark.parametrize(("scheme", "step"), [("central", 1e-7), ("forward", 1e-10)])
@pytest.mark.parametrize("distance", [0.9, 0.3, 1e-4, -1e-4, -0.3, -0.9])
def test_a_kink_within_the_step_is_no_matter(scheme: str, step: float, distance: float, mode: str) -> None:
    """The quotient across it is neither side's slope; the smaller step finds the right one, and a right gradient passes."""
    case = near_kink(distance * step)
    right = case.backprop()
    plain, crossings = swept(case.problem, scheme, step)
    crossed = sum(int((block > 0).sum()) for block in crossings.values())
    # b1 of the unit and one or both of its weights, in the direction or directions that are looked at.
    assert crossed >= 1 or (scheme == "forward" and distance > 0)
    report = case.check(scheme=scheme, step=step, mode=mode)
    assert report.verdict == "pass"
    # Of a unit's pre-activation there is only one, and it takes the whole step, to the right if the scheme looks there only.
    of_unit = 0 if scheme == "forward" and distance > 0 else 1
    assert (report.crossed, report.kinks) == (of_unit if mode == "neurons" else crossed, 0)
    assert report.difference < (1e-13 if scheme == "central" else 1e-9)
    if crossed:
        assert naive.difference(plain, right) > 1e-6
        # The other side's slope is wrong here, and so is their mean.
        other = near_kink(-distance * step).backprop()
        for share in (0.5, 1.0):
            wrong = {name: right[name] + (share * (other[name] - right[name]) if name in ("W1", "b1") else 0.0) for name in right}
            failed = case.check(wrong, scheme=scheme, step=step, mode=mode)
            assert failed.verdict == "fail"
            assert {block.name for block in failed.blocks if block.differing} == {"W1", "b1"}


def test_a_network_without_kinks_has_none() -> None:
    case = Case([3, 4, 1], "tanh", 5, 122)
    case.params["W1"][...] = 0.0
    case.params["b1"][...] = 0.0
    report = case.check()
    assert (report.verdict, report.crossed, report.kinks) == ("pass", 0, 0)


def test_quotients_without_kinks_are_not_repeated() -> None:
    """What a crossing costs is paid for crossings only."""
    case = near_kink(3e-8)
    report = case.check()
    size = sum(block.size for block in case.params.values())
    assert 2 * size < report.evaluations <= 2 * size + 2 * (math.prod(case.params["W1"].shape) + len(case.params["b1"]))
