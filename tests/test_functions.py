"""Costs that are functions: by their values, in stacks, compiled, inside objects; and what is wrong with some of them."""

import itertools
import math
import pickle
import random
import threading
import time
import warnings
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from models import attention, classical, convolution, dense, embedding, generative, normalisation, recurrent, sequence
from models._model import Model

import gradsweep
from gradsweep import _filters, _workers
from gradsweep._costs import _value_function
from gradsweep.compat.scipy import approx_fprime, check_grad

MODELS: list[Model] = [
    model
    for module in (attention, classical, convolution, dense, embedding, generative, normalisation, recurrent, sequence)
    for model in module.MODELS
    if model.leaves_numpy
]


def cubes(params: Any) -> float:
    """A cost of Python's own floats, which no difference array can follow."""
    return float(sum(math.exp(float(x)) * float(x) ** 2 for x in np.ravel(params)))


def slopes_of_cubes(params: Any) -> Any:
    return np.exp(params) * (params**2 + 2.0 * params)


# To raise a KeyError by.
EMPTY: dict[str, Any] = {}

X = np.linspace(-1.0, 2.0, 7)


def check_plain(cost: Callable[[Any], Any], params: Any, gradient: Any, **options: Any) -> gradsweep.Report:
    return gradsweep.check(gradsweep.plain(cost), params, gradient, **options)


def _written_windows(x: Any) -> Any:
    copy = 1.0 * x
    np.lib.stride_tricks.sliding_window_view(copy, 2, writeable=True)[0, 0] = 5.0
    return copy**2


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (lambda x: np.sum(3.0 * x, dtype=int), "dtype=int64 makes whole numbers"),
        (lambda x: np.cumsum(3.0 * x, dtype=int), "dtype=int64 makes whole numbers"),
        (lambda x: np.concatenate([x, 3.0 * x], dtype=int, casting="unsafe"), "dtype=int64 makes whole numbers"),
        (lambda x: np.linspace(x[0], 9.0 * x[1], 4, dtype=int), "dtype=int64 makes whole numbers"),
        (lambda x: np.multiply(x, 3.0, dtype=int, casting="unsafe"), "dtype=int64 makes whole numbers"),
        (lambda x: np.full_like(x, 3.0 * x[0], dtype=int), "makes an array of whole numbers"),
        (lambda x: np.full((2, 2), 3.0 * x[0], dtype=int), "makes an array of whole numbers"),
        (_written_windows, "writeable=True"),
    ],
    ids=["sum", "cumsum", "concatenate", "linspace", "ufunc", "full_like", "full", "windows"],
)
def test_what_cannot_be_followed_is_checked_by_values(part: Callable[[Any], Any], reason: str) -> None:
    """Such a check stopped, as if difference arrays were wrong; the report names what it is."""

    def cost(x: Any) -> Any:
        return np.sum(part(x)) + np.sum(x**2)

    x = np.array([0.31, -0.17, 0.52])
    gradient = 2.0 * x * ([1.0, 2.0, 2.0] if part is _written_windows else [1.0, 1.0, 1.0])
    report = gradsweep.check(cost, x, gradient)
    assert (report.verdict, report.evaluated_by) == ("pass", "plain function")
    assert reason in str(report)


def test_arrays_that_are_equal_where_they_are_no_numbers() -> None:
    def cost(x: Any) -> Any:
        holes = np.where(x > 0.0, x, np.nan)
        return np.sum(x**2) * (2.0 if np.array_equal(holes, holes, equal_nan=True) else np.inf)

    report = gradsweep.check(cost, X, 4.0 * X)
    assert (report.verdict, report.evaluated_by) == ("pass", "difference arrays")
    assert gradsweep.check(lambda x: np.sum(x**2) * (1.0 + np.array_equal(x + np.nan, x + np.nan)), X, 2.0 * X).ok


@pytest.mark.parametrize(("factor", "verdict"), [(3.0, "pass"), (2.0, "fail"), (0.0, "inconclusive")])
def test_a_report_is_true_if_it_passes(factor: float, verdict: str) -> None:
    """So that an assertion of the report itself is none that always holds."""
    report = gradsweep.check(lambda w: np.sum(w**3) if factor else 1.0, X, factor * X**2)
    assert report.verdict == verdict
    assert bool(report) == report.ok == (verdict == "pass")


# ---- plain functions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
@pytest.mark.parametrize("seed", [0, 1])
def test_models_that_leave_numpy(model: Model, seed: int) -> None:
    case = model.build(seed)
    report = gradsweep.check(case.cost, case.params, case.gradient)
    assert report.verdict == "pass"
    assert report.evaluated_by == "plain function"
    assert report.reason
    for name, bug in model.bugs(seed).items():
        found = gradsweep.check(case.cost, case.params, bug.gradient)
        assert found.verdict == "fail", name
        every = (*found.blocks, *(found.displaced.blocks if found.displaced else ()))
        assert {block.name for block in every if block.status.value == "wrong"} == set(bug.blocks), name


@pytest.mark.parametrize("scheme", ["forward", "central", "five-point"])
def test_schemes_on_values(scheme: str) -> None:
    report = check_plain(cubes, X, slopes_of_cubes, scheme=scheme)
    assert report.ok
    assert report.scheme == scheme
    assert report.difference < {"forward": 1e-7, "central": 1e-9, "five-point": 1e-11}[scheme]
    wrong = slopes_of_cubes(X)
    wrong[3] *= 1.0 + 1e-5
    found = check_plain(cubes, X, wrong, scheme=scheme)
    assert found.verdict == "fail"
    assert [entry.index for entry in found.worst() if entry.score > 1.0] == [(3,)]


def test_one_wrong_entry_of_many_is_found() -> None:
    generator = np.random.default_rng(0)
    w, x = generator.standard_normal((40, 25)), generator.standard_normal((25, 6))

    def gradient(w: Any) -> Any:
        return (1.0 - np.tanh(w @ x) ** 2) @ x.T

    def cost(w: Any) -> float:
        return float(np.tanh(w @ x).sum())

    assert check_plain(cost, w, gradient).ok
    for row, column in generator.integers((40, 25), size=(5, 2)).tolist():
        wrong = gradient(w)
        wrong[row, column] *= 1.01
        report = check_plain(cost, w, wrong)
        assert report.verdict == "fail"
        assert report.blocks[0].differing == 1
        assert report.worst(1)[0].index == (row, column)


@pytest.mark.parametrize("offset", [0.0, 1e6, 1e9, -1e9])
@pytest.mark.parametrize("size", [1.0, 1e-12])
def test_noise_neither_fails_nor_passes_anything(offset: float, size: float) -> None:
    """With most digits lost to an offset, a right gradient never fails, and one that is twice too large never passes."""

    def cost(w: Any) -> float:
        return offset + size * cubes(w)

    right, doubled = size * slopes_of_cubes(X), 2.0 * size * slopes_of_cubes(X)
    for seed in range(5):
        assert check_plain(cost, X, right, seed=seed).verdict in ("pass", "inconclusive")
        assert check_plain(cost, X, doubled, seed=seed).verdict in ("fail", "inconclusive")
    if offset * size == 0.0:
        assert check_plain(cost, X, right).verdict == "pass"
    if size == 1.0:
        assert check_plain(cost, X, doubled).verdict == "fail"


def test_more_points_where_two_are_too_noisy(monkeypatch: pytest.MonkeyPatch) -> None:
    """An offset of 1e5 leaves two points some digits of the gradient, and four points more of them."""

    def cost(w: Any) -> float:
        return 1e5 + cubes(w)

    four = check_plain(cost, X / 8.0, slopes_of_cubes(X / 8.0))
    monkeypatch.setattr(_value_function, "_NOISY", math.inf)
    two = check_plain(cost, X / 8.0, slopes_of_cubes(X / 8.0))
    assert four.verdict == "pass"
    assert four.difference < 0.1 * two.difference


@pytest.mark.parametrize("mode", ["sweep", "screen"])
@pytest.mark.parametrize("distance", [1e-9, 4e-9, 1e-8, 4e-8])
def test_a_dead_unit_near_its_kink(distance: float, mode: str) -> None:
    """Values show that its bias counts for nothing, as they show one that is given another slope."""
    generator = np.random.default_rng(2)
    x, w = generator.standard_normal((1, 4)), 0.5 * generator.standard_normal(4)
    off = -(x @ w) - 0.3 - distance

    def cost(params: Any) -> float:
        return float(np.sum(np.maximum(x @ params["w"] + params["b"] + off, 0.0)) + 0.1 * np.sum(params["w"] ** 2))

    params = {"w": w, "b": np.array([0.3])}
    assert check_plain(cost, params, {"w": 0.2 * w, "b": np.zeros(1)}, mode=mode).verdict != "fail"
    assert check_plain(cost, params, {"w": 0.2 * w, "b": np.array([0.05])}, mode=mode).verdict == "fail"


def rectified(params: dict[str, Any], at_zero: float) -> tuple[float, dict[str, Any]]:
    """Cost and gradient of a hidden layer of relu on fixed data, with a convention for the slope at 0."""
    generator = np.random.default_rng(7)
    x, y = generator.standard_normal((20, 5)), generator.standard_normal((20, 2))
    z = x @ params["W1"] + params["b1"]
    a = np.maximum(z, 0.0)
    error = a @ params["W2"] + params["b2"] - y
    passed = error @ params["W2"].T / 20.0 * np.where(z == 0.0, at_zero, z > 0.0)
    gradient = {"W1": x.T @ passed, "b1": passed.sum(axis=0), "W2": a.T @ error / 20.0, "b2": error.sum(axis=0) / 20.0}
    return float(np.sum(error**2)) / 40.0, gradient


@pytest.mark.parametrize("mode", ["sweep", "screen"])
@pytest.mark.parametrize("at_zero", [0.0, 0.5, 1.0])
def test_a_hidden_layer_that_starts_at_zero(at_zero: float, mode: str) -> None:
    """All examples are at kinks at once, and no convention need lie between the one-sided slopes of their sum."""
    for seed in range(5):
        generator = np.random.default_rng(seed)
        params = {"W1": np.zeros((5, 6)), "b1": np.zeros(6), "W2": generator.standard_normal((6, 2)), "b2": np.zeros(2)}
        right = rectified(params, at_zero)[1]
        assert check_plain(lambda p: rectified(p, 0.0)[0], params, right, mode=mode).verdict != "fail"
        wrong = {**right, "b2": 1.01 * right["b2"]}
        assert check_plain(lambda p: rectified(p, 0.0)[0], params, wrong, mode=mode).verdict == "fail"
        vast = {**right, "W1": right["W1"] + 100.0}
        assert check_plain(lambda p: rectified(p, 0.0)[0], params, vast, mode=mode).verdict == "fail"


def test_kinks_of_values() -> None:
    """Exactly at a kink, any slope between the one-sided ones will do, and none outside."""
    x = np.array([0.0, 1.0, -2.0])

    def cost(x: Any) -> float:
        return float(sum(max(float(each), 0.0) + 0.1 * float(each) ** 2 for each in x))

    for slope, verdict in ((0.0, "pass"), (0.5, "pass"), (1.0, "pass"), (8.0, "fail"), (-5.0, "fail")):
        report = check_plain(cost, x, np.array([slope, 1.2, -0.4]))
        assert report.verdict == verdict, slope
    assert check_plain(cost, x, np.array([0.0, 1.2, -0.4])).kinks == 1


def test_at_the_edge_of_a_domain() -> None:
    """A cost that raises a math error, or is infinite, on one side has a slope on the other."""

    def raises(x: Any) -> float:
        return float(x[0]) * math.sqrt(1.0 - float(x[1])) ** 3 if x[1] <= 1.0 else math.sqrt(-1.0)

    report = check_plain(raises, np.array([2.0, 1.0]), np.array([0.0, 0.0]))
    assert report.verdict != "fail"
    assert any("math domain error" in note for note in report.notes)

    def infinite(x: Any) -> float:
        return float(x[0] ** 2 + x[1] ** 2) if x[1] >= 0.0 else math.inf

    assert check_plain(infinite, np.array([2.0, 0.0]), np.array([4.0, 0.0])).verdict in ("pass", "inconclusive")
    assert check_plain(infinite, np.array([2.0, 0.0]), np.array([4.0, 1.0])).verdict == "fail"


def test_not_finite_beside_the_parameters() -> None:
    def cost(x: Any) -> float:
        return float(x @ x) if x[1] == 0.5 else math.nan

    report = check_plain(cost, np.array([1.0, 0.5]), np.array([2.0, 1.0]))
    assert report.verdict == "inconclusive"
    assert "cost not finite" in str(report)


def test_what_a_function_does_to_its_containers_is_forgotten() -> None:
    """Caches beside the parameters, popped entries, arrays bound anew: each call has containers of its own."""

    def cost(params: dict[str, Any]) -> float:
        scale = params.pop("scale")
        params["W"] = params["W"] * scale
        params["Z"] = params["W"] ** 2
        return float(np.sum(params["Z"]))

    for scale in (3.0, np.array([3.0])):  # containers are made anew for a number in any case
        params: dict[str, Any] = {"W": np.array([1.0, -2.0]), "scale": scale}
        report = check_plain(cost, params, {"W": 18.0 * params["W"], "scale": 10.0 * scale})
        assert report.ok
        assert list(params) == ["W", "scale"]


SAME = {
    "array": lambda known, params: known is not None and known["W"] is params["W"],
    "container": lambda known, params: known is params,
    "values": lambda known, params: known is not None and np.array_equal(known["W"], params["W"]),
}


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("same", SAME)
def test_a_function_that_keeps_what_it_computed_for_the_same_arrays(
    same: str, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What changes within an array it does not see: it would be constant, and a gradient of zeros right."""
    monkeypatch.setattr(_workers, "_WORTH_PROCESSES", 0.0)
    known: list[Any] = [None, None]

    def cost(params: dict[str, Any]) -> float:
        if not SAME[same](known[0], params):
            known[:] = [params, np.exp(params["W"])]
        return float(np.sum(known[1] * params["v"]))

    params = {"W": np.array([1.0, -2.0, 0.0]), "v": np.array([0.5, 2.0, 1.0])}
    gradient = {"W": np.exp(params["W"]) * params["v"], "v": np.exp(params["W"])}
    assert check_plain(cost, params, gradient, jobs=jobs).ok
    report = check_plain(cost, params, {"W": np.zeros(3), "v": gradient["v"]}, jobs=jobs)
    assert [block.status.name for block in report.blocks] == ["WRONG", "AGREES"]


@pytest.mark.parametrize("constant", [0.0, 1e8])
def test_what_is_kept_shows_beside_a_large_constant(constant: float) -> None:
    known: list[Any] = [None, None]

    def cost(params: dict[str, Any]) -> float:
        if known[0] is not params["W"]:
            known[:] = [params["W"], np.exp(params["W"])]
        return constant + float(np.sum(known[1] * params["v"]))

    params = {"W": np.array([1.0, -2.0, 0.0]), "v": np.array([0.5, 2.0, 1.0])}
    gradient = {"W": np.exp(params["W"]) * params["v"], "v": np.exp(params["W"])}
    assert check_plain(cost, params, gradient).verdict != "fail"
    report = check_plain(cost, params, {"W": np.zeros(3), "v": gradient["v"]})
    assert [block.status.name for block in report.blocks] == ["WRONG", "AGREES"]


@pytest.mark.parametrize("error", [RuntimeError, AssertionError, ValueError])
def test_a_function_that_raises_where_nobody_asks_for_it(error: type[Exception]) -> None:
    """Where it is found out what it sees, further away than any step, it may raise what it likes."""
    w = np.array([0.2, 0.3, 0.5])

    def cost(params: Any) -> float:
        if np.max(np.abs(params - w)) > 1e-4:
            raise error("too far")
        return float(np.sum(params**3))

    assert check_plain(cost, w, 3.0 * w**2).ok


def test_zeros_beside_huge_parameters_hardly_move() -> None:
    """Where it is found out what the function sees, they may have another unit."""
    seen = []

    def cost(params: dict[str, Any]) -> float:
        seen.append(float(np.abs(params["b"]).max()))
        return float(np.sum((1e-8 * params["w"]) ** 2) + np.sum(params["b"] ** 2 + params["b"]))

    params = {"w": np.array([1e8, -2e8]), "b": np.zeros(2)}
    assert check_plain(cost, params, {"w": 2e-16 * params["w"], "b": np.ones(2)}).ok
    assert max(seen) < 0.1


def test_structures_and_types() -> None:
    """Numbers arrive as floats, containers as they were, arrays of any type as float64."""
    seen = []
    Layer = namedtuple("Layer", ["W", "b"])

    def cost(params: Any) -> float:
        seen.append((type(params), type(params["layer"]), params["layer"].W.dtype, type(params["rate"]), type(params["count"])))
        return float(np.sum(params["layer"].W ** 2) * params["rate"] + params["layer"].b[0] * params["count"])

    w = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    params = OrderedDict(layer=Layer(w, [1, 2]), rate=2.0, count=np.float64(3.0))
    gradient = {"layer": {"W": 4.0 * w, "b": [3.0, 0.0]}, "rate": 55.0, "count": 1.0}
    assert check_plain(cost, params, gradient).ok
    assert set(seen) == {(OrderedDict, Layer, np.dtype(np.float64), float, np.float64)}


def test_nothing_given_is_modified() -> None:
    w: Any = np.linspace(1.0, 2.0, 5)
    w.flags.writeable = False
    gradient = slopes_of_cubes(w)
    gradient.flags.writeable = False
    before = w.tobytes(), gradient.tobytes()
    assert check_plain(cubes, w, gradient).ok
    assert (w.tobytes(), gradient.tobytes()) == before


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_less_precise_parameters(kind: type) -> None:
    w: Any = X.astype(kind)

    def gradient(w: Any) -> Any:
        return slopes_of_cubes(w.astype(np.float64)).astype(kind)

    report = check_plain(cubes, w, gradient)
    assert report.verdict == "pass"
    assert check_plain(cubes, w, 2.0 * gradient(w)).verdict == "fail"


def test_another_function_of_less_precise_parameters() -> None:
    def cost(w: Any) -> float:
        return cubes(w) if w.dtype == np.float64 else 2.0 * cubes(w)

    with pytest.raises(gradsweep.OracleError, match="float32"):
        check_plain(cost, X.astype(np.float32), slopes_of_cubes(X))


def test_the_callers_step() -> None:
    """A step of the caller's is taken as it is: too large, and too small for the noise of values."""
    too_large = check_plain(cubes, X, slopes_of_cubes(X), step=1e-2)
    assert too_large.step == 1e-2
    assert too_large.verdict == "inconclusive"
    assert "step" in str(too_large)
    too_small = check_plain(cubes, X, slopes_of_cubes(X), step=1e-11)
    assert too_small.verdict == "inconclusive"
    assert check_plain(cubes, X, 2.0 * slopes_of_cubes(X), step=1e-2).verdict == "fail"
    assert check_plain(cubes, X, 2.0 * slopes_of_cubes(X), step=1e-11).verdict == "fail"


def test_functions_without_source() -> None:
    """As of ``python -c``, or made by exec."""
    space: dict[str, Any] = {}
    exec("import math\ndef cost(x):\n    return math.exp(float(x[0])) + float(x[1]) ** 2", space)
    report = gradsweep.check(space["cost"], np.array([1.0, 2.0]), np.array([math.e, 4.0]))
    assert report.ok
    assert report.evaluated_by == "plain function"


# ---- costs that are not as they must be ----------------------------------------------------------------------------------

BAD_COSTS: dict[str, tuple[Any, str]] = {
    "vector": (lambda w: w, r"cost returns an array of shape \(7,\)"),
    "None": (lambda w: None, "cost returns None"),
    "complex": (lambda w: complex(np.sum(w)), "complex"),
    "text": (lambda w: "3.0", "cost returns a value of type str"),
    "tuple": (lambda w: (np.sum(w**2), 2.0 * w), r"cost returns a tuple of 2, .*gradsweep\.split\(f\)"),
    "NaN": (lambda w: math.nan, "cost is nan at the given parameters"),
    "infinite": (lambda w: math.inf, "cost is inf at the given parameters"),
    "random": (lambda w: float(np.sum(w)) + random.random(), r"random\.seed\(0\)"),
    "NumPy's random": (lambda w: float(np.sum(w)) + np.random.rand(), r"np\.random\.seed\(0\)"),  # noqa: NPY002
    "modifies": (lambda w: float(w.sort() or np.sum(w)), "cost modifies its parameters"),
}


@pytest.mark.parametrize("name", BAD_COSTS)
@pytest.mark.parametrize("wrap", [gradsweep.plain, lambda cost: cost], ids=["plain", "any"])
def test_bad_costs(name: str, wrap: Callable[[Any], Any]) -> None:
    cost, message = BAD_COSTS[name]
    with pytest.raises(gradsweep.InputError, match=message):
        gradsweep.check(wrap(cost), X[::-1].copy(), np.ones(7))


def test_randomness_that_no_seed_repeats() -> None:
    counter = itertools.count()
    with pytest.raises(gradsweep.InputError, match="two values for the same parameters") as caught:
        check_plain(lambda w: float(np.sum(w)) + next(counter), X, np.ones(7))
    assert "enough here" not in str(caught.value)


def test_the_callers_generators_are_left_as_they_were() -> None:
    np.random.seed(3)  # noqa: NPY002
    random.seed(3)
    expected = np.random.rand(5)[2:].tolist(), [random.random() for _ in range(5)][1:]  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    random.seed(3)
    with pytest.raises(gradsweep.InputError):
        check_plain(lambda w: float(np.random.rand()), X, X)  # noqa: NPY002
    assert np.random.rand(3).tolist() == expected[0]  # noqa: NPY002
    with pytest.raises(gradsweep.InputError):
        check_plain(lambda w: random.random(), X, X)
    assert random.random() != expected[1][0]  # two values were drawn by the cost itself


BESIDE: dict[str, tuple[Callable[[], Any], str]] = {
    "vector": (lambda: np.ones(2), r"cost returns an array of shape \(2,\).* \(when W\[1, 2\] (grows|falls) by"),
    "None": (lambda: None, r"cost returns None.* \(when W\[1, 2\] (grows|falls) by"),
    "complex": (lambda: 1j, r"cost returns a value of type complex.* \(when W\[1, 2\] (grows|falls) by"),
    "key": (lambda: dict[str, int]()["b"], r"cost raises KeyError when W\[1, 2\] (grows|falls) by"),
    "value": (lambda: math.sqrt(-1.0), r"cost raises ValueError when W\[1, 2\] (grows|falls) by .*: math domain error"),
    "zero": (lambda: 1 // 0, r"cost raises ZeroDivisionError when W\[1, 2\] (grows|falls) by"),
}


@pytest.mark.parametrize("name", BESIDE)
def test_bad_at_some_perturbation(name: str) -> None:
    """Only where one entry alone is perturbed: the error says which, by how much, and what was raised."""
    result, message = BESIDE[name]
    here = np.arange(6.0).reshape(2, 3)

    def cost(params: dict[str, Any]) -> Any:
        moved = params["W"] != here
        return result() if moved[1, 2] and np.count_nonzero(moved) == 1 else float(np.sum(params["W"] ** 2))

    with pytest.raises(gradsweep.InputError, match=message) as caught:
        check_plain(cost, {"W": here}, {"W": 2.0 * here})
    if "raises" in message:
        assert type(caught.value.__cause__).__name__ in message


@pytest.mark.parametrize("name", ["None", "key", "value"])
def test_bad_beside_the_parameters_where_difference_arrays_can_follow(name: str) -> None:
    """What is raised at the perturbations at which they are held against the function; no value there is no mistake."""
    here = np.arange(6.0).reshape(2, 3)
    bad = BESIDE[name][0]

    def cost(w: Any) -> Any:
        return np.sum(w**2) if type(w) is not np.ndarray or (w == here).all() else bad()

    if name == "value":
        assert gradsweep.check(cost, here, 2.0 * here).ok
        return
    message = "cost (returns None|raises KeyError).*along direction 0 of all parameters"
    with pytest.raises(gradsweep.InputError, match=message) as caught:
        gradsweep.check(cost, here, 2.0 * here)
    assert caught.value.__cause__ is not None


def branches(w: Any, beyond: float) -> Any:
    """A cost that leaves NumPy where its first parameter is beyond a limit, at which it has neither step nor kink."""
    if w[0] > beyond:
        return math.exp(float(w[0])) + np.sum(w[1:] ** 2)
    return np.exp(w[0]) + np.sum(w[1:] ** 2)


def slopes_of_branches(w: Any) -> Any:
    return np.concatenate([[np.exp(w[0])], 2.0 * w[1:]])


def test_numpy_is_left_behind_a_comparison_that_a_step_decides() -> None:
    def cost(w: Any) -> Any:
        return branches(w, 1.0)

    here = np.array([1.0, 2.0, 3.0])
    report = gradsweep.check(cost, here, slopes_of_branches(here))
    assert report.ok
    assert report.evaluated_by == "plain function"
    assert "float(...)" in report.reason
    # What float(...) loses is no slope of the cost.
    for factor in (0.5, 0.0):
        wrong = slopes_of_branches(here) * np.array([factor, 1.0, 1.0])
        assert gradsweep.check(cost, here, wrong).verdict == "fail"
    np.testing.assert_allclose(gradsweep.numerical_gradient(cost, here), slopes_of_branches(here), rtol=1e-7)


def test_an_error_behind_a_comparison_that_a_step_decides() -> None:
    def cost(w: Any) -> Any:
        return np.sum(w**2) if w[0] == 1.0 else EMPTY["nothing"]

    here = np.array([1.0, 2.0, 3.0])
    for run in (lambda: gradsweep.check(cost, here, 2.0 * here), lambda: gradsweep.numerical_gradient(cost, here)):
        with pytest.raises(gradsweep.InputError, match="cost raises KeyError"):
            run()


def test_numpy_is_left_at_the_second_point() -> None:
    """Another branch is taken there, with which difference arrays were never compared."""

    here = np.array([1.0, 2.0, 3.0])

    def smooth(w: Any) -> Any:
        return branches(w, -math.inf) if abs(w[0] - 0.99) > 0.02 else np.exp(w[0]) + np.sum(w[1:] ** 2)

    report = gradsweep.check(smooth, here, slopes_of_branches)
    assert report.ok
    assert report.evaluated_by == "difference arrays"
    assert not report.reason
    assert report.displaced is not None


def test_errors_of_the_gradient_at_the_second_point() -> None:
    here = np.array([1.0, 2.0, 3.0])

    def raises(w: Any) -> Any:
        return 2.0 * w if (w == here).all() else EMPTY["nothing"]

    def shrinks(w: Any) -> Any:
        return 2.0 * (w if (w == here).all() else w[:2])

    with pytest.raises(gradsweep.InputError, match=r"gradient has shape \(2,\).*at a second point"):
        gradsweep.check(lambda w: np.sum(w**2), here, shrinks)
    report = gradsweep.check(lambda w: np.sum(w**2), here, raises)
    assert report.ok
    assert report.displaced is None
    assert [note for note in report.notes if "KeyError" in note and "second point" in note]


def test_parameters_are_modified_at_some_perturbation() -> None:
    here = np.arange(1.0, 6.0)

    def cost(w: Any) -> float:
        if w[3] != here[3] and np.count_nonzero(w != here) == 1:
            w[0] += 1.0
        return float(w @ w)

    with pytest.raises(gradsweep.InputError, match="cost modifies its parameters"):
        check_plain(cost, here, 2.0 * here)


@pytest.mark.parametrize(
    ("params", "gradient", "message"),
    [
        ({"a": X, "b": X.copy()}, {"a": X}, "lacks 'b'"),
        ({"a": X}, {"a": X, "c": X}, "'c'"),
        ({"a": X}, {"a": X[:3]}, "shape"),
        ({"a": X}, [X], "gradient"),
        ([X, X], [X], "1 item"),
        ({}, {}, "no parameters"),
        (np.empty((0, 3)), np.empty((0, 3)), "no parameters"),
        ({"a": np.array([1.0, math.nan])}, {"a": X[:2]}, "finite"),
        ("text", "text", "params"),
    ],
)
def test_bad_parameters_and_gradients(params: Any, gradient: Any, message: str) -> None:
    def cost(params: Any) -> float:
        return float(sum(np.sum(each**2) for each in (params.values() if isinstance(params, dict) else params)))

    with pytest.raises(gradsweep.InputError, match=message):
        check_plain(cost, params, gradient)


def test_a_gradient_that_is_not_a_number_fails() -> None:
    for value in (math.nan, math.inf):
        wrong = slopes_of_cubes(X)
        wrong[2] = value
        report = check_plain(cubes, X, wrong)
        assert report.verdict == "fail"
        assert report.worst(1)[0].index == (2,)


@pytest.mark.parametrize("mode", ["neurons", "batched"])
def test_modes_that_a_function_has_not(mode: str) -> None:
    with pytest.raises(gradsweep.InputError, match=f"mode: '{mode}'"):
        gradsweep.check(cubes, X, slopes_of_cubes(X), mode=mode)


def test_modes_that_a_function_has() -> None:
    def cost(w: Any) -> Any:
        return np.sum(np.exp(w) * w**2)

    for mode in ("auto", "sweep", "batched"):
        assert gradsweep.check(cost, X, slopes_of_cubes(X), mode=mode).ok
    assert gradsweep.check(gradsweep.batched(lambda w: np.sum(np.exp(w) * w**2, axis=1)), X, slopes_of_cubes, mode="batched").ok


@pytest.mark.parametrize("wrapper", [gradsweep.plain, gradsweep.batched, gradsweep.split])
def test_wrappers_need_functions(wrapper: Any) -> None:
    with pytest.raises(gradsweep.InputError, match="must be a function"):
        wrapper(3.0)
    with pytest.raises(gradsweep.InputError, match="must be a function"):
        gradsweep.in_place(3.0, X)  # type: ignore[arg-type]
    with pytest.raises(gradsweep.InputError, match="must be a function of params"):
        gradsweep.check(3.0, X, X)


# ---- batched functions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ValueError, RuntimeError])
def test_what_a_batched_function_raises_at_the_parameters(kind: type[Exception]) -> None:
    def cost(w: Any) -> Any:
        raise kind("shapes of mine")

    with pytest.raises(kind, match="shapes of mine"):
        gradsweep.check(gradsweep.batched(cost), X, X)


def stacked(params: dict[str, Any]) -> Any:
    assert params["W"].shape[1:] == (4, 3)
    assert params["c"].shape == (len(params["W"]),)
    return np.sum(np.tanh(params["W"] @ X[:3, np.newaxis])[..., 0], axis=1) * params["c"]


def test_batched() -> None:
    params: dict[str, Any] = {"W": np.linspace(-1.0, 1.0, 12).reshape(4, 3), "c": 0.5}
    t = np.tanh(params["W"] @ X[:3])
    gradient = {"W": 0.5 * np.outer(1.0 - t**2, np.ones(3)).reshape(4, 3) * X[:3], "c": t.sum()}
    cost = gradsweep.batched(stacked)
    assert cost(params) == pytest.approx(0.5 * t.sum(), rel=1e-15)
    report = gradsweep.check(cost, params, gradient)
    assert report.ok
    assert report.evaluated_by == "batched function"
    wrong = {**gradient, "c": 1.001 * t.sum()}
    assert [block.name for block in gradsweep.check(cost, params, wrong).blocks if block.differing] == ["c"]


def test_lanes_must_not_depend_on_each_other() -> None:
    def normalised(w: Any) -> Any:
        return np.sum((w - w.mean(axis=0)) ** 2 + w, axis=1)

    with pytest.raises(gradsweep.InputError, match="lanes must not depend on each other"):
        gradsweep.check(gradsweep.batched(normalised), X, X)


@pytest.mark.parametrize(("alone", "together"), [(0.0, np.nan), (np.nan, 0.0), (0.0, np.inf), (np.inf, 0.0), (np.inf, -np.inf)])
def test_lanes_that_are_finite_alone_or_in_company_depend_on_each_other(alone: float, together: float) -> None:
    def f(w: Any) -> Any:
        at_base = bool((w == X).all())
        return np.sum(w**2, axis=1) + (0.0 if at_base else alone if len(w) == 1 else together)

    with pytest.raises(gradsweep.InputError, match="lanes must not depend on each other"):
        gradsweep.check(gradsweep.batched(f), X, 2.0 * X)


@pytest.mark.parametrize("beside", [np.nan, np.inf, -np.inf])
def test_lanes_that_are_finite_nowhere_else_do_not_depend_on_each_other(beside: float) -> None:
    def f(w: Any) -> Any:
        return np.where((w == X).all(axis=1), np.sum(w**2, axis=1), beside)

    assert gradsweep.check(gradsweep.batched(f), X, 2.0 * X).verdict == "inconclusive"


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda w: np.sum(w), r"shape \(\) for parameters stacked 1 times"),
        (lambda w: w, r"shape \(1, 7\)"),
        (lambda w: np.sum(w, axis=1) + 0j, "complex"),
        (lambda w: None, "cost returns"),
        (lambda w: np.sum(w, axis=1)[:, np.newaxis], r"needs one cost for each"),
    ],
)
def test_bad_batched_functions(f: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(gradsweep.InputError, match=message):
        gradsweep.check(gradsweep.batched(f), X, X)


def test_memory_of_stacks_is_bounded() -> None:
    """A block of a million entries is never stacked more than eight times."""
    most = 0

    def f(w: Any) -> Any:
        nonlocal most
        most = max(most, w.nbytes)
        return w[:, :5].sum(axis=1) + (w[:, 5:] ** 2).sum(axis=1)

    w = np.zeros(10**6)
    evaluator = gradsweep.batched(f)
    from gradsweep._costs._batched_function import BatchedCost, BatchedEvaluator
    from gradsweep._trees import read_tree

    assert isinstance(evaluator, BatchedCost)
    costs = BatchedEvaluator(evaluator, read_tree(w), 1).values(np.arange(20), np.full(20, 0.5))
    assert costs.tolist() == [0.5] * 5 + [0.25] * 15
    assert most <= 64 * 2**20


def test_batched_errors_beside_the_parameters() -> None:
    def f(w: Any) -> Any:
        if (w[:, 2] < 1.0).any():
            raise ValueError("must be at least 1")
        return np.sum(w**2, axis=1)

    # Those lanes alone that raise it count as not finite, and the slope is that of the other side.
    w = np.array([3.0, 2.0, 1.0])
    assert gradsweep.check(gradsweep.batched(f), w + 1.0, 2.0 * w + 2.0).ok

    def g(w: Any) -> Any:
        if len(w) > 4:
            raise KeyError("too many")
        return np.sum(w**2, axis=1)

    with pytest.raises(gradsweep.InputError, match="cost raises KeyError on a stack of"):
        gradsweep.check(gradsweep.batched(g), w, 2.0 * w)


# ---- compiled functions --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compiled() -> Any:
    import numba

    @numba.njit
    def cost(w: Any) -> float:
        total = 0.0
        for x in w:
            total += math.exp(x) * x * x
        return total

    return cost


def test_compiled(compiled: Any) -> None:
    w = np.linspace(-1.0, 1.0, 2000)
    report = gradsweep.check(compiled, w, slopes_of_cubes)
    assert report.verdict in ("pass", "inconclusive")
    assert report.evaluated_by == "compiled function"
    short = np.linspace(-1.0, 1.0, 50)
    assert gradsweep.check(compiled, short, slopes_of_cubes).ok
    wrong = slopes_of_cubes(short)
    wrong[7] *= 1.001
    found = gradsweep.check(compiled, short, wrong)
    assert found.verdict == "fail"
    assert found.worst(1)[0].index == (7,)


def test_compiled_in_threads(compiled: Any) -> None:
    w = np.linspace(-1.0, 1.0, 3000)
    alone, several = (gradsweep.numerical_gradient(compiled, w, jobs=jobs) for jobs in (1, 3))
    assert alone.tobytes() == several.tobytes()


def test_compiled_functions_of_other_arguments(compiled: Any) -> None:
    for params in ({"w": X}, [X], X.reshape(1, 7), 3.0):
        with pytest.raises(gradsweep.InputError, match="one vector of float64"):
            gradsweep.check(compiled, params, params)


def test_compiled_functions_that_do_not_compile() -> None:
    import numba

    @numba.njit
    def cost(w: Any) -> Any:
        return w.no_such_attribute

    with pytest.raises(gradsweep.InputError, match="does not compile"):
        gradsweep.check(cost, X, X)


def test_compiled_functions_that_return_vectors_or_raise() -> None:
    import numba

    @numba.njit
    def vector(w: Any) -> Any:
        return 2.0 * w

    with pytest.raises(gradsweep.InputError, match=r"array of shape \(7,\)"):
        gradsweep.check(vector, X, X)

    @numba.njit
    def raises(w: Any) -> float:
        if w[1] != 1.0 and w[0] == 2.0:
            raise IndexError("beside")
        return np.sum(w**2)  # type: ignore[no-any-return]

    with pytest.raises(gradsweep.InputError, match=r"cost raises IndexError when params\[1\] (grows|falls) by"):
        gradsweep.check(raises, np.array([2.0, 1.0]), np.array([4.0, 2.0]))


# ---- objects with parameters inside --------------------------------------------------------------------------------------


class Model_:
    """A model whose layers read the dict, or hold the arrays themselves."""

    def __init__(self, *, aliases: bool, fails: bool = False) -> None:
        generator = np.random.default_rng(0)
        self.params: dict[str, Any] = {"W": generator.standard_normal((3, 4)), "b": [np.zeros(3), 1.5]}
        self.x = generator.standard_normal(4)
        self.layer = self.params["W"]
        self.aliases, self.fails = aliases, fails
        self.calls = 0

    def weights(self) -> Any:
        return self.layer if self.aliases else self.params["W"]

    def loss(self) -> Any:
        self.calls += 1
        if self.fails and self.calls > 3:
            raise RuntimeError("out of order")
        self.hidden = np.tanh(self.weights() @ self.x + self.params["b"][0])
        return np.sum(self.hidden) * self.params["b"][1]

    def backward(self) -> dict[str, Any]:
        slope = (1.0 - self.hidden**2) * self.params["b"][1]
        return {"W": np.outer(slope, self.x), "b": [slope, np.sum(self.hidden)]}


@pytest.mark.parametrize("aliases", [False, True])
def test_in_place(aliases: bool) -> None:
    model = Model_(aliases=aliases)
    before = model.params["W"], model.params["W"].tobytes(), model.params["b"][0], model.params["b"][1]

    def gradient() -> dict[str, Any]:
        model.loss()
        return model.backward()

    cost = gradsweep.in_place(model.loss, model.params)
    report = gradsweep.check(cost, model.params, gradsweep.in_place(gradient, model.params))
    assert report.ok
    assert report.displaced is not None
    assert all(block.status.value == "agrees" for block in report.displaced.blocks)
    assert report.evaluated_by == ("plain function" if aliases else "difference arrays")
    assert ("in_place" in report.reason) == aliases
    right = gradient()
    for name in ("W", "b"):
        wrong = {**right, name: right[name] * 1.01 if name == "W" else [right["b"][0], 1.01 * right["b"][1]]}
        found = gradsweep.check(cost, model.params, wrong)
        assert found.verdict == "fail"
        assert all(block.name.startswith(name) for block in found.blocks if block.differing)
    assert gradsweep.check(gradsweep.plain(cost), model.params, right).evaluated_by == "plain function"
    assert model.params["W"] is before[0]
    assert model.params["b"][0] is before[2]
    assert (model.params["W"].tobytes(), model.params["b"][1]) == (before[1], before[3])


@pytest.mark.parametrize("aliases", [False, True])
def test_in_place_restores_after_errors(aliases: bool) -> None:
    model = Model_(aliases=aliases, fails=True)
    before = model.params["W"], model.params["W"].tobytes(), model.params["b"][1]
    with pytest.raises(Exception, match="out of order"):
        gradsweep.check(
            gradsweep.in_place(model.loss, model.params), model.params, {"W": np.ones((3, 4)), "b": [np.ones(3), 1.0]}
        )
    assert model.params["W"] is before[0]
    assert (model.params["W"].tobytes(), model.params["b"][1]) == before[1:]


def test_in_place_restores_after_an_interrupt() -> None:
    w = np.ones(5)
    calls = itertools.count()

    def cost() -> float:
        if next(calls) == 10:
            raise KeyboardInterrupt
        return float(w @ w)

    with pytest.raises(KeyboardInterrupt):
        gradsweep.check(gradsweep.plain(gradsweep.in_place(cost, w)), w, 2.0 * w)
    assert w.tolist() == [1.0] * 5


def test_in_place_in_single_precision() -> None:
    """What is written is rounded to the type of the live arrays, and steps are as large as that needs."""
    w = np.linspace(0.5, 2.0, 6, dtype=np.float32)
    cost = gradsweep.in_place(lambda: float(np.sum(w.astype(np.float64) ** 3)), w)
    exact = 3.0 * w.astype(np.float64) ** 2
    report = gradsweep.check(cost, w, exact)
    assert report.verdict == "pass"
    assert gradsweep.check(cost, w, 1.01 * exact).verdict == "fail"


def test_gradients_that_read_the_live_arrays() -> None:
    """A backward pass that ignores what it is given is right in the second point, too."""
    model = Model_(aliases=True)
    cost = gradsweep.in_place(model.loss, model.params)
    report = gradsweep.check(cost, model.params, lambda params: model.backward())
    assert report.ok
    assert report.displaced is not None


def test_in_place_of_another_structure() -> None:
    w = np.ones(3)
    for live, params, message in (
        ({"w": w}, {"v": w}, "keys"),
        ([w], [w, 2.0 * w], "length"),
        ([w], [np.ones((3, 1))], "shape"),
        ({"w": w}, [w], "keys"),
    ):
        with pytest.raises(gradsweep.InputError, match=message):
            gradsweep.check(gradsweep.in_place(lambda: float(w @ w), live), params, params)


def test_split_in_place() -> None:
    w = np.linspace(0.5, 2.0, 6)
    cost, gradient = gradsweep.split(gradsweep.in_place(lambda: (float(np.sum(w**3)), 3.0 * w**2), w))
    assert gradsweep.check(cost, w, gradient).ok
    assert not gradsweep.check(cost, w, lambda w: 2.0 * w).ok


def test_in_place_copies_results_that_are_live() -> None:
    w = np.linspace(0.5, 2.0, 6)
    cost = gradsweep.in_place(lambda: 0.5 * float(w @ w), [w])
    assert gradsweep.check(cost, [w], gradsweep.in_place(lambda: [w], [w])).ok


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ((1.0, np.ones(2)), "number in a tuple"),
        (np.arange(3), "dtype int"),
        ("text", "params"),
    ],
)
def test_what_in_place_cannot_change(params: Any, message: str) -> None:
    with pytest.raises(gradsweep.InputError, match=message):
        gradsweep.in_place(lambda: 0.0, params)
    fixed = np.ones(3)
    fixed.flags.writeable = False
    with pytest.raises(gradsweep.InputError, match="read-only"):
        gradsweep.in_place(lambda: 0.0, {"w": fixed})


def test_tuples_in_place() -> None:
    layers = [(np.ones((2, 2)), np.zeros(2)), (np.full((2, 2), 0.5), np.ones(2))]

    def cost() -> Any:
        a = np.array([0.3, -0.7])
        for w, b in layers:
            a = np.tanh(w @ a + b)
        return np.sum(a)

    numeric = gradsweep.numerical_gradient(gradsweep.in_place(cost, layers), layers)
    plainly = gradsweep.numerical_gradient(gradsweep.plain(gradsweep.in_place(cost, layers)), layers)
    for pair, other in zip(numeric, plainly, strict=True):
        for one, two in zip(pair, other, strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-8)


# ---- cost and gradient of one function -----------------------------------------------------------------------------------


def test_split() -> None:
    def both(w: Any) -> tuple[Any, Any, str]:
        return np.sum(np.exp(w) * w**2), slopes_of_cubes(w), "and more"

    cost, gradient = gradsweep.split(both)
    assert cost(X) == pytest.approx(cubes(X))
    assert gradsweep.check(cost, X, gradient).ok
    assert not gradsweep.check(cost, X, lambda w: 2.0 * gradient(w)).ok
    lone, _ = gradsweep.split(lambda w: np.sum(w))
    with pytest.raises(gradsweep.InputError, match=r"returns \(cost, gradient\)"):
        gradsweep.check(lone, X, np.ones(7))


# ---- the complex step ----------------------------------------------------------------------------------------------------


def analytic(params: dict[str, Any]) -> Any:
    return np.sum(np.exp(params["w"]) * params["w"] ** 2) * params["c"]


def test_filters_of_warnings_are_left_alone_by_threads() -> None:
    """One check begins before another one and ends before it: neither may put back what the other one has changed."""
    here, filters = {"first": threading.Event(), "second": threading.Event()}, list(warnings.filters)

    def check(name: str, mine: threading.Event, its: threading.Event) -> None:
        def cost(w: Any) -> Any:
            if np.iscomplexobj(w) and not mine.is_set():
                mine.set()
                assert its.wait(60)
                time.sleep(0.2 if name == "second" else 0.0)
            return np.sum(w**3)

        assert gradsweep.check(gradsweep.plain(cost), X, 3.0 * X**2, scheme="complex").ok

    first = threading.Thread(target=check, args=("first", here["first"], here["second"]))
    first.start()
    assert here["first"].wait(60)
    check("second", here["second"], here["first"])
    first.join()
    assert list(warnings.filters) == filters


def test_filters_of_warnings_are_asked_for_while_they_are_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anything may be collected then, and the end of a generator that ran in processes asks for them, too."""
    monkeypatch.setattr(_filters, "_filters", _filters._Filters())
    filters, simplefilter = list(warnings.filters), warnings.simplefilter
    collected: list[bool] = []

    def collecting(*args: Any, **options: Any) -> None:
        if not collected:
            collected.append(True)
            with _filters.filtered("ignore", UserWarning):
                pass
        simplefilter(*args, **options)

    def change() -> None:
        with _filters.filtered("ignore", UserWarning):
            pass

    monkeypatch.setattr(warnings, "simplefilter", collecting)
    thread = threading.Thread(target=change, daemon=True)
    thread.start()
    thread.join(10.0)
    assert collected
    assert not thread.is_alive()
    assert list(warnings.filters) == filters


def test_complex() -> None:
    params = {"w": X, "c": 0.5}
    gradient = {"w": 0.5 * slopes_of_cubes(X), "c": cubes(X)}
    report = gradsweep.check(analytic, params, gradient, scheme="complex")
    assert report.ok
    assert report.difference < 1e-15
    assert report.scheme == "complex"
    gradient["w"][3] *= 1.0 + 1e-6
    found = gradsweep.check(analytic, params, gradient, scheme="complex")
    assert found.verdict == "fail"
    assert found.worst(1)[0].index == (3,)


@pytest.mark.parametrize(
    "cost",
    [
        lambda w: np.sum(np.abs(w) ** 3),
        lambda w: np.linalg.norm(w),
        lambda w: np.sum(np.conj(w) * w),
        lambda w: np.sum(w.real**2),
    ],
    ids=["abs", "norm", "conj", "real"],
)
def test_complex_steps_of_what_is_not_analytic(cost: Callable[[Any], Any]) -> None:
    with pytest.raises(gradsweep.OracleError, match="not analytic"):
        gradsweep.check(cost, X, X, scheme="complex")


@pytest.mark.parametrize(
    "cost",
    [cubes, lambda w: float(np.sum(w**2)), lambda w: [w][0].astype(np.float64).sum()],
    ids=["math", "float", "astype"],
)
def test_complex_steps_of_what_takes_no_complex_numbers(cost: Callable[[Any], Any]) -> None:
    with pytest.raises(gradsweep.InputError, match="accepts complex parameters"):
        gradsweep.check(cost, X, X, scheme="complex")


def test_complex_steps_of_other_kinds() -> None:
    network = gradsweep.Network([2, 3, 1])
    params, x, y = network.initialize(), np.ones((2, 1)), np.ones((1, 1))
    with pytest.raises(gradsweep.InputError, match="scheme: 'complex'"):
        gradsweep.check(network.cost(x, y), params, network.gradient(params, x, y), scheme="complex")
    with pytest.raises(gradsweep.InputError, match="scheme: 'complex'"):
        gradsweep.numerical_gradient(network.cost(x, y), params, scheme="complex")
    with pytest.raises(gradsweep.InputError, match="scheme: 'complex'"):
        gradsweep.check(gradsweep.batched(lambda w: np.sum(w, axis=1)), X, X, scheme="complex")
    live = [X.copy()]
    cost = gradsweep.in_place(lambda: np.sum(live[0] ** 2), live)
    assert gradsweep.check(cost, live, [2.0 * X], scheme="complex").ok


def test_a_step_is_not_for_every_scheme() -> None:
    for layers in ([5, 4, 1], [3, 4, 4, 1]):
        network = gradsweep.Network(layers, hidden="relu")
        generator = np.random.default_rng(0)
        params, x, y = network.initialize(), generator.standard_normal((layers[0], 6)), (generator.random((1, 6)) < 0.5) * 1.0
        gradient = network.gradient(params, x, y)
        for mode in ("sweep", "batched", "neurons"):
            report = gradsweep.check(network.cost(x, y), params, gradient, scheme="five-point", mode=mode)
            assert report.ok
            assert report.difference < 1e-13
            wrong = {**gradient, "dW1": 1.001 * gradient["dW1"]}
            assert gradsweep.check(network.cost(x, y), params, wrong, scheme="five-point", mode=mode).verdict == "fail"


# ---- assertions and numeric gradients ------------------------------------------------------------------------------------


def test_assert_gradient() -> None:
    report = gradsweep.assert_gradient(cubes, X, slopes_of_cubes)
    assert report.ok
    with pytest.raises(AssertionError, match="FAIL: the gradient of params is wrong") as caught:
        gradsweep.assert_gradient(cubes, X, 2.0 * slopes_of_cubes(X), tolerance=1e-6)
    assert isinstance(caught.value, gradsweep.GradientError)
    assert isinstance(caught.value, gradsweep.GradsweepError)
    assert caught.value.report.tolerance == 1e-6
    assert str(caught.value) == str(caught.value.report)
    with pytest.raises(gradsweep.GradientError, match="INCONCLUSIVE"):
        gradsweep.assert_gradient(cubes, X, slopes_of_cubes(X), step=1e-2)


@pytest.mark.parametrize("wrap", [gradsweep.plain, lambda cost: cost], ids=["plain", "any"])
def test_numerical_gradient(wrap: Callable[[Any], Any]) -> None:
    tied = np.array([1.0, 2.0])
    params = {"a": tied, "layers": [tied, (np.float64(3.0), 0.5)], "nothing": None}

    def cost(params: dict[str, Any]) -> Any:
        second, third = params["layers"][1]
        return np.sum(params["a"] ** 2 * params["layers"][0]) * third + second**2

    numeric = gradsweep.numerical_gradient(wrap(cost), params)
    assert list(numeric) == ["a", "layers", "nothing"]
    assert numeric["nothing"] is None
    np.testing.assert_allclose(numeric["a"], 1.5 * tied**2, rtol=1e-9)
    np.testing.assert_allclose(numeric["layers"][0], 1.5 * tied**2, rtol=1e-9)
    np.testing.assert_allclose(numeric["layers"][1], (6.0, 9.0), rtol=1e-9)


def test_numerical_gradient_of_a_network() -> None:
    network = gradsweep.Network([4, 5, 1], l2=0.1)
    params = network.initialize()
    x, y = np.random.default_rng(0).standard_normal((4, 3)), np.ones((1, 3))
    numeric = gradsweep.numerical_gradient(network.cost(x, y), params)
    exact = network.gradient(params, x, y)
    assert list(numeric) == list(params)
    for name, block in numeric.items():
        np.testing.assert_allclose(block, exact[f"d{name}"], rtol=1e-11, atol=1e-15)
        block += 1.0  # the caller's own


# ---- SciPy's checkers ----------------------------------------------------------------------------------------------------


def test_the_script_of_scipys_documentation() -> None:
    def func(x: Any) -> Any:
        return x[0] ** 2 - 0.5 * x[1] ** 3

    def grad(x: Any) -> Any:
        return [2 * x[0], -1.5 * x[1] ** 2]

    assert check_grad(func, grad, [1.5, -1.5]) < 1e-12
    rng = np.random.default_rng()
    assert check_grad(func, grad, [1.5, -1.5], direction="random", seed=rng) < 1e-12

    def quadratic(x: Any, c0: float, c1: float) -> Any:
        "Coordinate vector `x` should be an array of size two."
        return c0 * x[0] ** 2 + c1 * x[1] ** 2

    def quadratic_grad(x: Any, c0: float, c1: float) -> Any:
        return np.array([2 * c0 * x[0], 2 * c1 * x[1]])

    x = np.ones(2)
    c0, c1 = (1, 200)
    eps = np.sqrt(np.finfo(float).eps)
    np.testing.assert_allclose(approx_fprime(x, quadratic, [eps, np.sqrt(200) * eps], c0, c1), [2.0, 400.00004208], rtol=1e-8)
    assert check_grad(quadratic, quadratic_grad, x, c0, c1) < 1e-10
    assert check_grad(quadratic, lambda x, c0, c1: np.zeros(2), x, c0, c1) == pytest.approx(math.hypot(2.0, 400.0))


def test_scipys_checkers_of_vectors() -> None:
    def func(x: Any) -> Any:
        return np.array([x[0] * np.sin(x[1]), np.exp(x[2]), x[0] * x[1] * x[2]])

    def jacobian(x: Any) -> Any:
        return np.array(
            [[np.sin(x[1]), x[0] * np.cos(x[1]), 0.0], [0.0, 0.0, np.exp(x[2])], [x[1] * x[2], x[0] * x[2], x[0] * x[1]]]
        )

    x = np.array([0.3, -1.2, 0.7])
    np.testing.assert_allclose(approx_fprime(x, func), jacobian(x), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(approx_fprime(x, func, 1e-8), jacobian(x), atol=1e-7)
    assert check_grad(func, jacobian, x) < 1e-12
    assert check_grad(func, jacobian, x, direction="random", rng=3) < 1e-12
    assert check_grad(func, lambda x: 2.0 * jacobian(x), x) > 0.1


def test_scipys_signatures() -> None:
    """Every call that is right for SciPy's functions is right for ours."""
    scipy_optimize = pytest.importorskip("scipy.optimize")
    x = np.array([0.3, -1.2])

    def func(x: Any, factor: float) -> Any:
        return factor * np.sum(x**3)

    def grad(x: Any, factor: float) -> Any:
        return factor * 3 * x**2

    calls: list[dict[str, Any]] = [{}, {"epsilon": 1e-7}, {"direction": "random", "rng": 1}]
    for options in (*calls, {"direction": "random", "epsilon": 1e-6, "rng": 1}):
        own, other = check_grad(func, grad, x, 2.0, **options), scipy_optimize.check_grad(func, grad, x, 2.0, **options)
        assert abs(own - other) < 1e-4
    # The slope along one direction tells which one it was.
    for drawn in ({"rng": 1}, {"seed": 1}):
        own, other = (
            function(func, lambda x, factor: factor * x, x, 2.0, direction="random", **drawn)
            for function in (check_grad, scipy_optimize.check_grad)
        )
        assert own == pytest.approx(other, rel=1e-6)
    for epsilon in (1e-6, [1e-6, 1e-5]):
        np.testing.assert_allclose(
            approx_fprime(x, func, epsilon, 2.0), scipy_optimize.approx_fprime(x, func, epsilon, 2.0), rtol=1e-7
        )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: check_grad(cubes, slopes_of_cubes, X, direction="some"), "direction"),
        (lambda: check_grad(cubes, slopes_of_cubes, X, epsilon=[1e-7] * 7, direction="random"), "epsilon"),
        (lambda: check_grad(cubes, slopes_of_cubes, X, direction="random", rng=1, seed=1), "rng and seed"),
        (lambda: approx_fprime(np.ones((2, 2)), cubes), "shape"),
        (lambda: approx_fprime(X, cubes, -1.0), "epsilon"),
        (lambda: approx_fprime(X, cubes, [1e-7, 1e-7]), "epsilon"),
        (lambda: approx_fprime(X, lambda x: np.ones((2, 2))), "shape"),
    ],
)
def test_bad_input_of_scipys_checkers(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_what_scipys_checker_is_given_as_a_gradient() -> None:
    for gradient in (np.ones(3), None, np.ones((2, 2))):
        with pytest.raises(gradsweep.InputError, match="grad returns"):
            check_grad(lambda x: np.sum(x), lambda x, given=gradient: given, X[:2])
    assert check_grad(lambda x: np.sum(x), lambda x: np.ones((2, 1)), X[:2]) < 1e-12


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"v": X}, "params has not the keys"),
        (X, "params has not the keys"),
        ({"w": X[:3], "l": [1.0]}, r"params\['w'\] has shape \(3,\)"),
        ({"w": X, "l": [np.ones(2), np.ones(2)]}, r"params\['l'\] has not the length"),
    ],
)
def test_in_place_with_other_parameters(params: Any, message: str) -> None:
    live: dict[str, Any] = {"w": X.copy(), "l": [1.0]}
    cost = gradsweep.in_place(lambda: float(np.sum(live["w"])), live)
    with pytest.raises(gradsweep.InputError, match=message):
        gradsweep.check(cost, params, params)
    assert np.array_equal(live["w"], X)


def test_in_place_where_the_cost_raises_beside_the_parameters() -> None:
    live = {"w": X.copy()}
    empty: dict[str, float] = {}

    def cost() -> float:
        return float(np.sum(live["w"])) if live["w"][0] == X[0] else empty["nothing"]

    with pytest.raises(gradsweep.InputError, match="cost raises KeyError when"):
        gradsweep.check(gradsweep.in_place(cost, live), live, {"w": np.ones(7)})
    assert np.array_equal(live["w"], X)


# ---- found by review: small parameters, second points out of the domain, arrays that are written to ----------------------


@pytest.mark.parametrize("size", [1e-8, 1e-10, 1e-12, 1e-30])
@pytest.mark.parametrize(
    ("cost", "gradient"),
    [
        (lambda p: np.sum(np.log(p)), lambda p: 1.0 / p),
        (lambda p: np.sum(np.sqrt(p)), lambda p: 0.5 / np.sqrt(p)),
        (lambda p: np.sum(1.0 / p), lambda p: -1.0 / p**2),
    ],
)
def test_parameters_nearer_to_a_singularity_than_the_step(cost: Any, gradient: Any, size: float) -> None:
    point = np.array([1.0, size])
    assert gradsweep.check(cost, point, gradient).verdict == "pass"
    wrong = gradient(point) * np.array([1.0, 1.001])
    assert gradsweep.check(cost, point, wrong).verdict == "fail"


def _positive(p: Any) -> Any:
    assert (p > 0.0).all(), "probabilities"
    return -np.sum(np.log(p) * np.array([3.0, 6.0, 1.0, 1.0]))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "cost",
    [
        _positive,
        lambda p: -np.sum(np.log(np.clip(p, 1e-12, 1.0)) * np.array([3.0, 6.0, 1.0, 1.0])),
        lambda p: -np.nansum(np.log(p) * np.array([3.0, 6.0, 1.0, 1.0])),
        lambda p: -np.sum(np.log(np.abs(p)) * np.array([3.0, 6.0, 1.0, 1.0])) if (p > 0.0).all() else 1e10,
    ],
)
def test_the_second_point_stays_where_parameters_have_a_meaning(cost: Any, seed: int) -> None:
    p = np.array([0.3, 0.6, 0.05, 0.05])
    report = gradsweep.check(cost, p, lambda p: -np.array([3.0, 6.0, 1.0, 1.0]) / p, seed=seed)
    assert report.verdict == "pass"
    assert report.displaced is not None


def test_correlations_stay_between_minus_one_and_one() -> None:
    for seed in range(5):
        r = np.array([0.9, -0.95, 0.5])
        cost = lambda r: np.sum(np.sqrt(1.0 - np.clip(r, -1.0, 1.0) ** 2))  # noqa: E731
        assert gradsweep.check(cost, r, lambda r: -r / np.sqrt(1.0 - r**2), seed=seed).verdict == "pass"


def test_what_is_raised_at_the_second_point_alone_is_no_error() -> None:
    table = np.arange(10.0) ** 2

    def cost(p: Any) -> Any:
        return table[int(p["k"])] * p["w"]

    for seed in range(4):
        report = gradsweep.check(cost, {"k": 9.0, "w": 2.0}, lambda p: {"k": 0.0, "w": table[int(p["k"])]}, seed=seed)
        assert report.verdict == "pass"


@pytest.mark.parametrize("rows", [3, 30])
@pytest.mark.parametrize("wrong", ["", "W", "v"])
def test_what_changes_is_written_into_a_copy_of_another_parameter(rows: int, wrong: str) -> None:
    generator = np.random.default_rng(0)
    params = {"W": generator.normal(size=(rows, 4)), "v": generator.normal(size=4)}

    def cost(p: Any) -> Any:
        x = p["W"].copy()
        x[0] = p["v"]
        x[1] += p["v"]
        return np.sum(np.sin(x))

    def gradient(p: Any) -> Any:
        x = p["W"].copy()
        x[0], x[1] = p["v"], x[1] + p["v"]
        slope = np.cos(x)
        result = {"W": slope.copy(), "v": slope[0] + slope[1]}
        result["W"][0] = 0.0
        return {name: 1.01 * value if name == wrong else value for name, value in result.items()}

    report = gradsweep.check(cost, params, gradient)
    assert report.verdict == ("fail" if wrong else "pass")
    assert report.evaluated_by == "difference arrays"
    assert [block.name for block in report.blocks if block.status.name == "WRONG"] == ([wrong] if wrong else [])


def test_values_that_cancel_inside_a_saturated_cost_are_no_disagreement() -> None:
    generator = np.random.default_rng(7)
    X, y, w = 100.0 * generator.normal(size=(5, 3)), np.array([0.0, 1.0, 1.0, 0.0, 1.0]), np.array([0.1, 0.2, -0.1])

    def probabilities(w: Any) -> Any:
        return 1.0 / (1.0 + np.exp(-(X @ w)))

    def cost(w: Any) -> Any:
        a = probabilities(w)
        return -np.mean(y * np.log(a + 1e-8) + (1.0 - y) * np.log(1.0 - a + 1e-8))

    def gradient(w: Any) -> Any:
        a = probabilities(w)
        return X.T @ ((-y / (a + 1e-8) + (1.0 - y) / (1.0 - a + 1e-8)) * a * (1.0 - a)) / 5.0

    assert gradsweep.check(cost, w, gradient).verdict == "pass"


def test_what_a_model_keeps_can_be_pickled_afterwards() -> None:
    kept: list[Any] = []

    def cost(p: Any) -> Any:
        kept.append(np.sum(p**4))
        kept.append(p * 2.0)
        return kept[-2]

    gradsweep.check(cost, np.array([1.0, 2.0]), lambda p: 4.0 * p**3)
    again = pickle.loads(pickle.dumps(kept))
    assert all(isinstance(each, np.float64) or type(each) is np.ndarray for each in again)


@pytest.mark.parametrize("bias", [0.0, 10.0, 1e3, 1e6])
def test_rounding_of_a_bias_before_batch_norm_where_inputs_are_off_centre(bias: float) -> None:
    generator = np.random.default_rng(7)
    X, V, W = generator.normal(size=(16, 3)) + 20.0, generator.normal(size=(16, 4)), generator.normal(size=(3, 4))

    def normalised(p: Any) -> Any:
        z = X @ p["W"] + p["b"]
        scale = np.sqrt(z.var(0) + 1e-5)
        return (z - z.mean(0)) / scale, scale

    def gradient(p: Any) -> Any:
        x, scale = normalised(p)
        d = 3.0 * x**2 * V
        dz = (d - d.mean(0) - x * (d * x).mean(0)) / scale
        return {"W": X.T @ dz, "b": dz.sum(0)}

    def cost(p: Any) -> Any:
        return np.sum(normalised(p)[0] ** 3 * V)

    params = {"W": W, "b": np.full(4, bias)}
    assert gradsweep.check(cost, params, gradient).verdict == "pass"
    assert gradsweep.check(cost, params, lambda p: {**gradient(p), "b": gradient(p)["b"] + 1e-3}).verdict == "fail"


@pytest.mark.parametrize("factor", [1.0, 0.5, 1.25, 0.0])
def test_kinks_that_cancel_hide_no_mistake(factor: float) -> None:
    """The stable form of the cross-entropy has two kinks at a logit of 0, and is smooth there."""
    generator = np.random.default_rng(0)
    inputs, labels = generator.standard_normal((20, 3)), (generator.random(20) < 0.5).astype(float)

    def cost(w: Any) -> Any:
        z = inputs @ w
        return np.mean(np.maximum(z, 0.0) - z * labels + np.log1p(np.exp(-np.abs(z))))

    gradient = inputs.T @ (0.5 - labels) / len(labels)
    report = gradsweep.check(cost, np.zeros(3), factor * gradient)
    # What a backward pass of one convention might give is inconclusive, anything else is wrong.
    assert report.ok == (factor == 1.0), str(report)
    np.testing.assert_allclose(report.numeric["params"], gradient, rtol=1e-12)


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e-12, 1e-30])
def test_a_number_that_is_lost_in_a_tiny_cost_is_missed(scale: float) -> None:
    """Difference arrays are held against the plain function on the scale of its own values."""

    def cost(x: Any) -> Any:
        return scale * (np.sum(x**2) + float(np.sum(x**3)))

    report = gradsweep.check(cost, X, scale * (2.0 * X + 3.0 * X**2))
    assert report.evaluated_by == "plain function"
    assert "float" in report.reason
    assert report.verdict != "fail", str(report)


def test_a_cost_that_is_zero_but_for_rounding_is_no_disagreement() -> None:
    """A perfect fit: the cost is a rest of numbers near 1, on whose scale it is rounded."""
    generator = np.random.default_rng(0)
    inputs, weights = generator.standard_normal((40, 5)), generator.standard_normal(5)
    targets = inputs @ weights

    def cost(w: Any) -> Any:
        return np.mean((inputs @ w - targets) ** 2)

    report = gradsweep.check(cost, weights, lambda w: 2.0 * inputs.T @ (inputs @ w - targets) / len(targets))
    assert report.verdict != "fail", str(report)
    assert report.evaluated_by == "difference arrays"


def test_a_gradient_that_can_be_had_nearby_alone_needs_no_note() -> None:
    here = np.array([1.0, 2.0, 3.0])

    def gradient(w: Any) -> Any:
        assert np.max(np.abs(w - here)) < 0.1
        return 2.0 * w

    report = gradsweep.check(lambda w: np.sum(w**2), here, gradient)
    assert report.ok
    assert report.displaced is not None
    assert report.displaced.size < 0.1
    assert not report.notes


def softmax(x: Any) -> Any:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("scale", [1.0, 10.0, 20.0, 30.0])
@pytest.mark.parametrize("seed", range(5))
def test_a_saturated_softmax_is_rounded_by_its_backward_pass(scale: float, seed: int) -> None:
    """Where p is nearly 1, c - c·p has lost the digits that the difference form still has."""
    generator = np.random.default_rng(seed)
    x, c = scale * generator.standard_normal((5, 4)), generator.standard_normal((5, 4))

    def backward(x: Any) -> Any:
        p = softmax(x)
        return p * (c - np.sum(c * p, axis=1, keepdims=True))

    report = gradsweep.check(lambda x: np.sum(c * softmax(x)), x, backward)
    assert report.verdict == "pass", str(report)
    wrong = gradsweep.check(lambda x: np.sum(c * softmax(x)), x, lambda x: backward(x) - 1e-3 * softmax(x) * (1.0 - softmax(x)))
    assert wrong.verdict == "fail", str(wrong)
