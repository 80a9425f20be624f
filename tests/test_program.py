"""Recorded runs repeated on other changes: the same changes and crossings as a run of the function itself gives."""

import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import gradsweep
from gradsweep._costs import _runs
from gradsweep._differences import _recording
from gradsweep._differences._departure import Departure
from gradsweep._differences._lanes import Lanes
from gradsweep._differences._program import Program
from gradsweep._differences._propagation import perturbed, perturbed_entry, propagate
from gradsweep._differences._recording import Recording
from gradsweep._differences._slab import Slab, one_hot

Array = NDArray[np.float64]
STEP = 1e-7
LABELS = np.array([0, 2, 1, 1])
MASK = np.array([[1.0, 0.0, 2.0], [0.5, 1.0, 1.0], [1.0, 1.0, 0.0], [3.0, 1.0, 1.0]])
FEATURES = np.random.default_rng(5).standard_normal((4, 4))


def matrices(seed: int = 0) -> tuple[Array, Array, Array]:
    """A matrix of 4 by 3, one of 3 by 4 and a vector of 3."""
    generator = np.random.default_rng(seed)
    return generator.standard_normal((4, 3)), generator.standard_normal((3, 4)), generator.standard_normal(3)


def program_of(function: Callable[..., Any], arrays: Sequence[Array], *, infinite: bool = False) -> Program | None:
    """A run with nothing perturbed, recorded."""
    lanes = Lanes(1, infinite=infinite)
    lanes.recording = Recording()
    arguments = [perturbed(each, np.zeros((*each.shape, 1)), lanes) for each in arrays]
    return propagate(lambda given: function(*given), arguments, lanes, fills=False).program


def in_place(x: Any, w: Any, b: Any) -> Any:
    """Operators in place, on the whole array and on parts of it, and views of what was written."""
    z = x @ w
    z += 1.0
    z[:, 1:3] *= 2.0
    row = z[2]
    z[0] = b.sum()
    z -= z.max(axis=1, keepdims=True)
    before = z * 1.0
    z[np.arange(4), LABELS] = 0.5
    return np.sum(np.exp(z) * before) + np.sum(row * row)


def stacked(x: Any, w: Any, b: Any) -> Any:
    """A recurrent loop, whose states are kept and stacked."""
    state, states = b * 0.0, []
    for row in x:
        state = np.tanh(row * state + b @ w[:, :3])
        states.append(state)
    return np.sum(np.stack(states) ** 3) + np.concatenate([states[0], states[-1]]).mean()


def kept(x: Any, w: Any, b: Any) -> Any:
    """What memory held when something was added to it that does not change, or nothing, before it was written to again."""
    buffer = x * 1.0
    buffer[1] = b
    sums, same, parts = buffer + w.T, np.positive(buffer), np.concatenate([buffer])
    buffer[0] = b * 2.0
    buffer *= 3.0
    return np.sum(sums * sums) + np.sum(same**3) + np.sum(parts * MASK) + np.sum(buffer * buffer) + np.sum(w * w)


def scattered(x: Any, w: Any, b: Any) -> Any:
    """Entries that are added up where they belong."""
    target = x * 0.0
    np.add.at(target, LABELS, w.T)
    return np.sum(target * target) + np.log(b * b).sum()


def softmax(x: Any, w: Any, b: Any) -> Any:
    """Cross-entropy of integer labels."""
    scores = np.maximum(x + b, 0.01) @ w
    e = np.exp(scores - np.max(scores, axis=1, keepdims=True))
    p = e / np.sum(e, axis=1, keepdims=True)
    return -np.log(p[range(4), LABELS]).mean()


def normalised(x: Any, w: Any, b: Any) -> Any:
    """Batch norm, a root, quotients of all kinds, a logistic function."""
    z = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-3)
    s = 1.0 / (1.0 + np.exp(-(z * b) @ w))
    return np.sum(s / (2.0 + b.sum())) + np.sum(w / 3.0 - 1.0 / (w * w + 1.0))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "softmax": softmax,
    "in place": in_place,
    "stacked": stacked,
    "scattered": scattered,
    "kept": kept,
    "normalised": normalised,
    "both factors": lambda x, w, b: np.sum((x @ w) ** 2 * (w.T @ x.T)) + np.sum(np.outer(b, b) @ w),
    "einsum": lambda x, w, b: np.einsum("ij,jk,k->i", x, w, FEATURES[0]).sum() + np.einsum("ij,ji->j", x, w) @ b,
    "einsum of rows": lambda x, w, b: np.sum(np.einsum("nd,nkd->nk", x, w.T[np.array([[0, 1], [2, 2], [3, 0], [1, 1]])]) ** 2),
    "kinks": lambda x, w, b: np.sum(np.abs(x)) + np.sum(np.where(w > 0.0, w, 0.1 * w)) + np.sum(np.minimum(b, 0.2) * b),
    "order": lambda x, w, b: np.sum(np.sort(x, axis=0)[1:] * b) + np.median(w) + w[np.argmax(w, axis=0), np.arange(4)].sum(),
    "elements": lambda x, w, b: np.sum(np.sin(x) * np.arctan(x) + np.sqrt(x * x + 1.0)) + np.sum(np.logaddexp(0.0, w) ** 1.5),
    "structure": lambda x, w, b: np.sum(x.reshape(2, 6).T[1:3].ravel() * np.repeat(b, 4)[::3]) + x.T.swapaxes(0, 1)[1, 2] * b[0],
    "dot of a plain array": lambda x, w, b: np.sum(FEATURES.dot(x) * MASK) + 1.0 * np.sum(FEATURES @ w.T),
    "cubes and powers": lambda x, w, b: np.sum(x**3) + np.sum((w * w + 1.0) ** -0.5) + np.sum(b**2) + np.sum(2.0**b),
    "a single entry": lambda x, w, b: -np.log((np.exp(x @ w) / np.sum(np.exp(x)))[1, 2]) + (1.0 / (w * w + 1.0))[1][3],
    "plain cost": lambda x, w, b: 3.0,
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_program_gives_what_the_function_does(name: str, seed: int) -> None:
    """For whole arrays, for single entries, for each argument alone and for all of them together."""
    function, arrays = FUNCTIONS[name], matrices(seed)
    program = program_of(function, arrays)
    assert program is not None
    generator = np.random.default_rng(seed + 10)
    for places in [(0,), (1,), (2,), (0, 2), (0, 1, 2)]:
        for sparse in (False, True):
            lanes, ours = Lanes(5), Lanes(5)
            arguments: list[Any] = list(arrays)
            changes: dict[int, Any] = {}
            for place in places:
                array = arrays[place]
                if sparse:
                    entries, steps = generator.integers(0, array.size, 5), STEP * generator.choice([-1.0, 1.0], 5)
                    changes[place] = one_hot(array.shape, entries, steps)
                    arguments[place] = perturbed_entry(array, entries, steps, lanes)
                else:
                    # Large ones, too, for which series do not do.
                    change = generator.standard_normal((*array.shape, 5)) * [STEP, 1e-9, 1e-5, 1e-3, 0.5]
                    changes[place], arguments[place] = change, perturbed(array, change, lanes)
            whole = [
                perturbed(each, np.zeros((*each.shape, 5)), lanes) if type(each) is np.ndarray else each for each in arguments
            ]
            expected = propagate(lambda given: function(*given), whole, lanes, fills=False)
            found = program.run(changes, ours)
            np.testing.assert_allclose(found, expected.changes, rtol=1e-11, atol=1e-22)
            np.testing.assert_array_equal(ours.crossings, lanes.crossings)
            assert program.base == expected.base


@pytest.mark.parametrize("name", FUNCTIONS)
def test_compiled_sections_give_what_numpy_does(name: str) -> None:
    """With more lanes than a tile is wide; where a change is too large for a section, or crosses a kink, as well."""
    function, arrays = FUNCTIONS[name], matrices()
    program = program_of(function, arrays)
    assert program is not None
    generator = np.random.default_rng(10)
    for places in [(0,), (1,), (2,), (0, 2), (0, 1, 2)]:
        for sizes in ([STEP, -STEP], [1e-3, 1e-9], [0.5, STEP]):
            for sparse in (False, True):
                steps = np.resize(sizes, 301)
                changes: dict[int, Any] = {}
                for place in places:
                    array = arrays[place]
                    if sparse:
                        changes[place] = one_hot(array.shape, generator.integers(0, array.size, len(steps)), steps)
                    else:
                        changes[place] = generator.standard_normal((*array.shape, len(steps))) * steps
                usual, compiled = Lanes(len(steps)), Lanes(len(steps))
                expected = program.run(changes, usual)
                found = program.run(changes, compiled, compiled=True)
                # Large ones may lead to where the function itself cancels.
                rtol = 1e-12 if max(sizes) < 0.1 else 1e-9
                np.testing.assert_allclose(found, expected, rtol=rtol, atol=1e-14 * np.abs(expected).max())
                np.testing.assert_array_equal(compiled.crossings, usual.crossings)
                assert compiled.subtracts == usual.subtracts


def test_what_no_result_depends_on_is_left_out() -> None:
    """Gradients that a function computes beside its cost are not repeated; what may count a crossing is."""

    def cost(x: Any, w: Any, b: Any) -> Any:
        hidden = np.tanh(x @ w)
        gradient = (1.0 - hidden**2) @ w.T  # noqa: F841
        (x > 0.0).any()
        return np.sum(hidden)

    program = program_of(cost, matrices())
    assert program is not None
    assert [instruction.step.key for instruction in program._instructions] == [np.matmul, np.tanh, np.greater, np.sum]


def test_of_a_softmax_only_what_is_taken_is_divided() -> None:
    """The quotient is part of the step that takes the labels, unless somebody else needs it, too."""
    program = program_of(softmax, matrices())
    assert program is not None
    assert np.divide not in {instruction.step.key for instruction in program._instructions}

    def twice(x: Any, w: Any, b: Any) -> Any:
        p = np.exp(x) / np.sum(np.exp(x))
        return np.sum(p * p) + p[range(3), LABELS[:3]].sum()

    program = program_of(twice, matrices())
    assert program is not None
    assert np.divide in {instruction.step.key for instruction in program._instructions}


def test_values_are_those_of_the_moment() -> None:
    """Arrays, plain ones and others, that are written to after they were used."""
    buffer = np.empty(3)

    def cost(x: Any, w: Any, b: Any) -> Any:
        total = 0.0
        for factor in (1.0, 2.0, 3.0):
            buffer[:] = factor
            total = total + np.sum(buffer * b * b)
        square = b * b
        total = total + np.sum(square * w[:, 0])
        square[...] = 7.0
        return total + square.sum()

    x, w, b = matrices()
    program = program_of(cost, (x, w, b))
    assert program is not None
    change = program.run({2: one_hot((3,), np.array([1]), np.array([STEP]))}, Lanes(1))
    np.testing.assert_allclose(change, (6.0 + w[1, 0]) * STEP * (2.0 * b[1] + STEP), rtol=1e-14)


def test_a_view_of_memory_is_what_it_was() -> None:
    """Read-only views of plain arrays, the largest entry of an array, and an array that is a copy of another one."""
    plain = np.zeros(3)

    def cost(x: Any, w: Any, b: Any) -> Any:
        total = 0.0
        for factor in (1.0, 2.0, 3.0):
            plain[:] = factor
            total = total + np.sum(np.broadcast_to(plain, (4, 3)) * x * x)
        state, before = np.zeros_like(b), np.empty_like(b)
        state[0], state[1:] = b[0] * 2.0, b[1:] ** 2
        largest = state.max()
        for _ in range(2):
            before[...] = state
            state[0] = before[1] * b[2]
            state[1:] = largest
            total = total + np.sum(state * before)
        return total + largest

    _assert_the_same(cost)


def test_axes_that_are_repeated_or_added() -> None:
    """By np.einsum, which repeats axes of length 1, and by exponents of more axes than what they are applied to."""

    def cost(x: Any, w: Any, b: Any) -> Any:
        product = np.einsum("ij,ij->ij", b[:, np.newaxis], w) ** 2
        return np.sum(product * w) + np.sum(np.sum(b ** np.array([[2.0]]), axis=0) * FEATURES[0, :3])

    _assert_the_same(cost)


def test_largest_of_no_rows() -> None:
    """A selection may be empty."""

    def cost(x: Any, w: Any, b: Any) -> Any:
        return np.sum(np.max(x[x[:, 0] > 99.0], axis=1)) + np.sum(b * b)

    _assert_the_same(cost)


def test_changes_of_arrays_without_entries() -> None:
    """Such as the batches of which the last one is empty."""

    def cost(x: Any, w: Any, b: Any) -> Any:
        z = np.tanh((x[x[:, 0] > 99.0] @ w) * np.sum(b) + 1.0) * np.ones((0, w.shape[1]))
        return np.sum(z) + np.sum(w * w) + np.sum(b * b)

    _assert_the_same(cost)


def _assert_the_same(cost: Callable[..., Any]) -> None:
    """A program gives what the function does, for entries of all arguments."""
    arrays = matrices()
    program = program_of(cost, arrays)
    assert program is not None
    for place, array in enumerate(arrays):
        entries, steps = np.arange(array.size), np.full(array.size, STEP)
        lanes, given = Lanes(array.size), list(arrays)
        whole: list[Any] = [perturbed(each, np.zeros((*each.shape, array.size)), lanes) for each in given]
        whole[place] = perturbed_entry(array, entries, steps, lanes)
        expected = propagate(lambda arguments: cost(*arguments), whole, lanes, fills=False)
        found = program.run({place: one_hot(array.shape, entries, steps)}, Lanes(array.size))
        np.testing.assert_allclose(found, expected.changes, rtol=1e-11, atol=1e-22)


def test_infinite_values_do_not_change() -> None:
    """A mask of minus infinity before a softmax."""
    mask = np.where(np.tri(4, dtype=bool), 0.0, -np.inf)

    def cost(x: Any, w: Any, b: Any) -> Any:
        scores = x @ w + mask
        e = np.exp(scores - scores.max(axis=1, keepdims=True))
        total = np.logaddexp(np.where(b[0] > 9.0, b[0], -np.inf), np.sum(w))
        return np.sum(e / e.sum(axis=1, keepdims=True) * FEATURES) + total

    arrays = matrices()
    program = program_of(cost, arrays, infinite=True)
    assert program is not None
    change = np.random.default_rng(0).standard_normal((4, 3, 2)) * STEP
    lanes = Lanes(2, infinite=True)
    expected = propagate(lambda given: cost(perturbed(given, change, lanes), *arrays[1:]), arrays[0], lanes, fills=False)
    found = program.run({0: change}, Lanes(2, infinite=True))
    assert np.isfinite(program.run({2: one_hot((3,), np.array([0, 1]), np.full(2, STEP))}, Lanes(2, infinite=True))).all()
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, expected.changes, rtol=1e-12)


def test_crossings_are_counted() -> None:
    """In comparisons, maxima and where a lane changes sides."""
    arrays = (np.array([1e-9, 1.0, -1.0]), np.array([0.5, 0.5 + 1e-9]))

    def cost(x: Any, y: Any) -> Any:
        return np.sum(np.maximum(x, 0.0)) + np.max(y) + (1.0 if (x > 0.0)[0] else 2.0)

    program = program_of(cost, arrays)
    assert program is not None
    lanes = Lanes(2)
    program.run({0: one_hot((3,), np.array([0, 1]), np.full(2, -STEP))}, lanes)
    assert lanes.crossings.tolist() == [2, 0]
    lanes = Lanes(2)
    program.run({1: one_hot((2,), np.array([0, 1]), np.full(2, STEP))}, lanes)
    assert lanes.crossings.tolist() == [1, 0]


@pytest.mark.parametrize("limit", ["_COPIED", "_KEPT"])
def test_a_record_of_too_much_is_void(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    """Plain arrays are copied, and values kept, up to some size; beyond it the function is run for each chunk."""

    def cost(params: Any) -> Any:
        return np.sum(np.tanh(FEATURES @ params) * MASK)

    params = matrices()[0]
    gradient = FEATURES.T @ (MASK * (1.0 - np.tanh(FEATURES @ params) ** 2))
    first = gradsweep.check(cost, params, gradient)
    monkeypatch.setattr(_recording, limit, 8)
    assert program_of(lambda x: cost(x), [params]) is not None  # four vectors of all parameters are kept in any case
    monkeypatch.setattr(_recording, "_VECTORS", 0)
    assert program_of(lambda x: cost(x), [params]) is None
    second = gradsweep.check(cost, params, gradient)
    assert first.ok
    assert second.ok
    np.testing.assert_allclose(first.numeric["params"], second.numeric["params"], rtol=1e-13)


def test_a_value_of_unknown_origin_makes_a_record_void() -> None:
    """A value that changes and was made by no step that was written down."""
    lanes = Lanes(1)
    lanes.recording = Recording()
    known = perturbed(np.ones(2), np.zeros((2, 1)), lanes)
    lanes.recording = None
    unknown = perturbed(np.ones(2), np.zeros((2, 1)), lanes)
    lanes.recording = Recording()
    lanes.recording.argument(known.operand)
    assert propagate(lambda given: np.sum(given[0] * given[1]), (known, unknown), lanes, fills=False).program is None


def test_the_users_code_is_run_a_few_times_only() -> None:
    """Once for the record, once with jitter, and plainly for the guards: not once for each chunk."""
    runs: list[bool] = []
    x = np.random.default_rng(0).standard_normal((3, 40))

    def cost(params: Any) -> Any:
        runs.append(hasattr(params["W"], "lanes"))
        return np.sum(np.tanh(params["W"] @ x[:, :5] + params["b"]))

    generator = np.random.default_rng(1)
    params = {"W": generator.standard_normal((400, 3)), "b": generator.standard_normal((400, 1))}
    slope = 1.0 - np.tanh(params["W"] @ x[:, :5] + params["b"]) ** 2
    report = gradsweep.check(cost, params, {"W": slope @ x[:, :5].T, "b": slope.sum(axis=1, keepdims=True)})
    assert report.ok
    assert report.evaluations > 2 * 1600
    assert sum(runs) == 2


def test_records_are_not_sent_to_workers() -> None:
    """They would be large; a worker makes its own."""
    record = _runs.Record()
    record.program, record.is_made = program_of(FUNCTIONS["softmax"], matrices()), True
    sent = pickle.loads(pickle.dumps(record))
    assert sent.program is None
    assert not sent.is_made


def test_wrong_rule_for_one_of_many_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block is looked at: a rule that is wrong for single entries of the last one alone does not go unnoticed."""
    rng = np.random.default_rng(0)
    params = [rng.normal(size=(30, 30)) for _ in range(9)] + [rng.normal(size=(3, 1))]
    factor = rng.normal(size=(3, 4))

    def cost(params: Any) -> Any:
        return sum(np.sum(each * each) for each in params[:9]) + np.sum(np.einsum("ij,ij->ij", params[9], factor) ** 2)

    gradient = [2 * each for each in params[:9]] + [2 * params[9] * np.sum(factor**2, axis=1, keepdims=True)]
    assert gradsweep.check(cost, params, gradient).ok
    arguments = _runs.Propagation._arguments

    def last_is_off(self: Any, task: Any) -> Any:
        found = arguments(self, task)
        change = found.get(9)
        if isinstance(change, Slab):
            found[9] = 1.001 * change.dense
        return found

    monkeypatch.setattr(_runs.Propagation, "_arguments", last_is_off)
    with pytest.raises(gradsweep.OracleError, match=r"\[9\]\[0, 0\] grows"):
        gradsweep.check(cost, params, gradient)


@pytest.mark.parametrize(("error", "is_told"), [(AssertionError("a rule of ours"), True), (Departure("np.f cannot"), False)])
def test_rule_that_fails(error: Exception, is_told: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is raised while a record is repeated, the function itself is run; of a mistake of ours the report tells."""
    runs = 0

    def fail(self: Any, *given: Any, **options: Any) -> Any:
        nonlocal runs
        runs += 1
        raise error

    monkeypatch.setattr(Program, "run", fail)
    report = gradsweep.check(lambda w: np.sum(np.tanh(w) ** 2), np.ones(3), 2 * np.tanh(np.ones(3)) / np.cosh(np.ones(3)) ** 2)
    assert report.ok
    assert report.evaluated_by == "difference arrays"
    assert any("could not be repeated" in note and "AssertionError: a rule of ours" in note for note in report.notes) == is_told
    assert (runs == 1) == is_told


@pytest.mark.parametrize("mode", ["sweep", "screen"])
def test_rule_that_fails_at_the_second_point(mode: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another record is made there, and it is told of as well."""
    run = Program.run
    first: list[Any] = []

    def fail_elsewhere(self: Any, *given: Any, **options: Any) -> Any:
        first[:] = first or [self]
        if self is not first[0]:
            raise AssertionError("a rule of ours")
        return run(self, *given, **options)

    monkeypatch.setattr(Program, "run", fail_elsewhere)
    report = gradsweep.check(lambda w: np.sum(np.tanh(w) ** 2), np.ones(3), lambda w: 2 * np.tanh(w) / np.cosh(w) ** 2, mode=mode)
    assert report.ok
    assert any("could not be repeated" in note for note in report.notes)


@pytest.mark.parametrize(
    "make",
    [
        "np.random.default_rng(0).standard_normal(size=(6, 3))",
        "np.random.RandomState(0).normal(size=(6, 3))",
        "(draw := np.random.default_rng(0).normal, draw(size=(6, 3)))[1]",
    ],
)
def test_generators_make_their_own_arrays(make: str) -> None:
    """NumPy's compiled code calls np.empty, too, and must be given an array of its own: the process would end otherwise."""
    names: dict[str, Any] = {"np": np}
    code = f"""
def cost(p):
    x = {make}
    h, unused = np.zeros(6), np.empty(2)
    for t in range(6):
        h[t] = np.tanh(x[t] @ p)
    return np.sum(h)
"""
    script = f"import numpy as np, gradsweep\n{code}\nprint(gradsweep.check(cost, np.ones(3), "
    exec(code, names)
    gradient = gradsweep.numerical_gradient(gradsweep.plain(names["cost"]), np.ones(3))
    done = subprocess.run(
        [sys.executable, "-c", script + f"np.array({gradient.tolist()}), tolerance=1e-5).evaluated_by)"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "difference arrays\n"), done.stderr
