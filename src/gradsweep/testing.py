"""Tests of single layers: what a hand-written backward pass must keep to beside being right.

A backward pass may have the right gradient and yet spoil a training run: it changes the cotangent that it was given, adds to
gradients that should be replaced, hands out a buffer that the next call overwrites, divides by the number of examples once more.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

from gradsweep._contract._belongings import Belongings, owner_of
from gradsweep._contract._clauses import Clause as Clause
from gradsweep._contract._clauses import Trial
from gradsweep._contract._layers import Held, Layer
from gradsweep._errors import GradientError
from gradsweep._presenting._layout import Piece, join, wrap
from gradsweep._presenting._text import WIDTH, format_report
from gradsweep._report import Report
from gradsweep._settings import read_settings

# What stands before the lines of a report within that of a contract.
_INDENT = "  "

_SIGNS = {"holds": "holds", "broken": "BROKEN", "inconclusive": "INCONCLUSIVE", "not applicable": "not applicable"}


# eq=False: a report holds arrays, which do not compare to a single truth value.
@dataclass(frozen=True, eq=False)
class Contract:
    """What a backward pass keeps to, clause by clause. Its text is ``str(contract)``.

    Attributes
    ----------
    clauses : tuple of Clause
        ``repeatable``, ``buffers``, ``untouched``, ``linear``, ``zero``, ``batch``, ``shapes``, ``memory`` and ``derivative``, in
        this order, each with its outcome, evidence and advice.
    report : Report or None
        Of the clause ``derivative``: the check of sum(cotangent * output). None if there was none.
    calls : tuple of str
        How forward and backward were called.
    forward_passes, backward_passes : int
        How often each was called, without the check of the last clause.
    seed : int
        Of cotangents and noise.

    Examples
    --------
    >>> import numpy as np
    >>> from gradsweep.testing import check_backward
    >>> def forward(x):
    ...     return np.tanh(x), x
    >>> def backward(dout, cache):
    ...     dout *= 1 - np.tanh(cache) ** 2
    ...     return dout
    >>> contract = check_backward(forward, backward, {"x": np.array([0.5, -1.0])})
    >>> [clause.name for clause in contract.clauses if clause.outcome == "broken"]
    ['untouched', 'memory']
    >>> contract.report.verdict
    'pass'
    """

    clauses: tuple[Clause, ...]
    report: Report | None
    calls: tuple[str, str]
    forward_passes: int
    backward_passes: int
    seed: int

    @property
    def ok(self) -> bool:
        """Whether no clause is broken or inconclusive."""
        return all(clause.outcome in ("holds", "not applicable") for clause in self.clauses)

    def __bool__(self) -> bool:
        """As `ok`, so that ``assert check_backward(...)`` is what it looks like."""
        return self.ok

    def __getitem__(self, name: str) -> Clause:
        """The clause of this name; KeyError if there is none."""
        found = {clause.name: clause for clause in self.clauses}
        return found[name]

    def __str__(self) -> str:
        """The contract as plain text: what is broken first, a line or more for each clause, then the report if it is needed.

        It is at most 80 columns wide.
        """
        width = max(len(clause.name) for clause in self.clauses)
        lines = [*_wrapped(_headline(self.clauses), "", "      "), ""]
        for call in self.calls:
            lines += _wrapped(call, "  ", "    ")
        lines.append("")
        for clause in self.clauses:
            lines += _clause_lines(clause, width)
        if self.report is not None and not self.report.ok:
            report = format_report(self.report, WIDTH - len(_INDENT))
            lines += ["", *(f"{_INDENT}{line}".rstrip() for line in report.splitlines())]
        passes = f"{self.forward_passes} forward and {self.backward_passes} backward passes"
        return "\n".join([*lines, "", f"  seed {self.seed}; {passes}, without those of the derivative"])


def check_backward(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    inputs: Any,
    *,
    cache: str | None = None,
    parameters: Any = None,
    gradients: Any = None,
    accumulates: bool = False,
    batched: Any = None,
    seed: int = 0,
) -> Contract:
    """Check the backward pass of a layer against its forward pass, and all else that a backward pass must keep to.

    Parameters
    ----------
    forward : callable
        ``forward(*inputs)`` returns the output, an array of floating type, or several in a tuple; or ``(output, cache)``, or
        ``(output1, output2, cache)``.
    backward : callable
        Takes the cotangent, that is the gradient with respect to the output, of several outputs a tuple of them or each as an
        argument of its own; and behind it what `cache` says. It returns a gradient for each input in the order of the arguments
        of `forward`, or for each that has a floating type; or a dict of them, ``x``, ``dx``, ``grad_x`` or ``x_grad``. None
        stands for an input without a gradient, which is then not looked at.
    inputs : dict of str to array, or sequence of array
        A dict goes by the names of the arguments of `forward`, a tuple or list by position. Of integers and truth values, as
        indices, labels and masks, there is no gradient. What is neither array nor number is for a function around `forward`.
    cache : str, optional
        ``"returned"``: ``backward(cotangent, cache)`` with what `forward` returned behind its outputs. ``"arguments"``:
        ``backward(cotangent, *inputs)``. ``"kept"``: ``backward(cotangent)``, of an object that keeps what it needs. By default
        the one that goes with what `forward` returns and with the number of arguments that `backward` takes; if several do, that
        is an error.
    parameters : array, nesting of dicts, lists and tuples, or callable, optional
        Arrays that the layer holds, as ``layer.params``: the very arrays, which are changed in place and put back. Or what
        returns them.
    gradients : the same structure, or callable, optional
        Where the layer leaves the gradients of `parameters`, as ``layer.grads``, by the names that :func:`gradsweep.check` knows.
        A callable if it puts other arrays there, ``lambda: {"w": layer.dw}``.
    accumulates : bool, default: False
        Whether these gradients add up over calls until somebody clears them; else each call replaces them.
    batched : sequence of str or int, or mapping of these to int, optional
        Names, or positions, of inputs that have an axis of examples, the first one, or that which is given. Outputs have it
        where the first of these inputs has. By default, and for layers whose examples depend on each other, as batch norm, that
        clause is not looked at.
    seed : int, default: 0
        Of cotangents, of noise, and of the check.

    Returns
    -------
    Contract
        Nine clauses; all are looked at, whichever of them are broken. Nothing is printed, and nothing given is modified: arrays
        and generators that belong to `parameters`, to `gradients`, or to the object whose methods `forward` and `backward` are,
        have their contents of before the call, and so have NumPy's and Python's global generators.

    Raises
    ------
    InputError
        An argument of another type, name or value than is needed. `forward` or `backward` raises an error, from which this one is
        chained, or returns nothing of use. It is a ValueError, too.

    Notes
    -----
    With u and v for random cotangents whose entries have both signs and a size of at least one half, and B for the backward pass
    behind a forward pass of its own, the clauses are these:

    - ``repeatable``: both passes give the same twice, and so does a second backward pass behind one forward pass.
    - ``buffers``: what lies in `gradients` before the call, noise as well as the gradients of the call before, is replaced, or
      with `accumulates` added to. Without them: what backward returns does not add up over calls.
    - ``untouched``: neither pass changes inputs, outputs, cotangents, arrays in the cache, parameters, or a global generator.
    - ``linear``: B(−48u + 80v) = −48 B(u) + 80 B(v).
    - ``zero``: B(0) = 0.
    - ``batch``: outputs and gradients of examples apart are those of the batch; of what has no axis of examples, their sum.
    - ``shapes``: a gradient has shape and dtype of its input or parameter.
    - ``memory``: no result shares memory with an argument or another result, or lies where that of the next call will.
    - ``derivative``: B(u) is the gradient of sum(u * output), by :func:`gradsweep.check`, at a second point, too.

    Two gradients are the same if no entry differs by more than 2¹³ roundings of the largest in its block; in ``linear`` and
    ``batch`` also if they differ by no more than rounding of the backward pass itself, which is measured.

    Examples
    --------
    As people write layers in courses:

    >>> import numpy as np
    >>> from gradsweep.testing import check_backward
    >>> def affine_forward(x, w, b):
    ...     return x @ w + b, (x, w, b)
    >>> def affine_backward(dout, cache):
    ...     x, w, b = cache
    ...     return dout @ w.T, x.T @ dout, dout.sum(axis=0)
    >>> rng = np.random.default_rng(0)
    >>> inputs = {"x": rng.standard_normal((4, 3)), "w": rng.standard_normal((3, 2)), "b": rng.standard_normal(2)}
    >>> check_backward(affine_forward, affine_backward, inputs, batched=("x",)).ok
    True

    A layer that holds its parameters, and forgets that there may have been gradients before:

    >>> class Scale:
    ...     def __init__(self):
    ...         self.params = {"scale": np.array([0.5, 2.0])}
    ...         self.grads = {"scale": np.zeros(2)}
    ...     def forward(self, x):
    ...         self.x = x
    ...         return self.params["scale"] * x
    ...     def backward(self, dout):
    ...         self.grads["scale"] += np.sum(dout * self.x, axis=0)
    ...         return self.params["scale"] * dout
    >>> layer = Scale()
    >>> x = rng.standard_normal((4, 2))
    >>> contract = check_backward(layer.forward, layer.backward, {"x": x}, parameters=layer.params, gradients=layer.grads)
    >>> contract["buffers"].outcome, contract["derivative"].outcome
    ('broken', 'holds')
    >>> check_backward(
    ...     layer.forward, layer.backward, {"x": x}, parameters=layer.params, gradients=layer.grads, accumulates=True
    ... ).ok
    True
    """
    settings = read_settings("auto", "central", None, None, None, seed)
    held = Held(parameters, gradients, accumulates)
    belongings = Belongings(*_owned(forward, backward, parameters, gradients), *_held_now(held))
    try:
        layer = Layer(forward, backward, inputs, cache, held)
        trial = Trial(layer, batched, settings.seed)
        clauses = trial.clauses()
    finally:
        belongings.restore()
    return Contract(clauses, trial.report, layer.calls, *trial.passes, settings.seed)


class Options(TypedDict, total=False):
    """The keyword arguments of :func:`check_backward`.

    Examples
    --------
    What the layers of a test suite have in common:

    >>> import numpy as np
    >>> from gradsweep.testing import Options, assert_backward
    >>> common: Options = {"cache": "arguments", "batched": ["x"], "seed": 3}
    >>> assert_backward(np.tanh, lambda dout, x: dout * (1 - np.tanh(x) ** 2), {"x": np.ones((4, 3))}, **common).ok
    True
    """

    cache: str | None
    parameters: Any
    gradients: Any
    accumulates: bool
    batched: Any
    seed: int


def assert_backward(
    forward: Callable[..., Any], backward: Callable[..., Any], inputs: Any, **options: Unpack[Options]
) -> Contract:
    """Check a backward pass, and raise an error unless it keeps to all clauses: one line of a test.

    Parameters
    ----------
    forward, backward, inputs
        As of :func:`check_backward`.
    **options
        The keyword arguments of :func:`check_backward`.

    Returns
    -------
    Contract
        As of :func:`check_backward`.

    Raises
    ------
    GradientError
        A clause is broken, or the derivative could not be verified. An AssertionError, whose message is the contract, and whose
        `report` is the contract as well.
    InputError
        As of :func:`check_backward`.

    Examples
    --------
    >>> import numpy as np
    >>> from gradsweep.testing import assert_backward
    >>> x = np.array([0.5, -1.0, 2.0])
    >>> contract = assert_backward(np.exp, lambda dout, x: dout * np.exp(x), (x,), cache="arguments")
    >>> assert_backward(np.exp, lambda dout, x: dout * x, (x,), cache="arguments")
    Traceback (most recent call last):
        ...
    gradsweep._errors.GradientError: FAIL: backward breaks 1 of 9 clauses: derivative
    ...
    """
    __tracebackhide__ = True  # pytest shows the line of the test, and the contract
    contract = check_backward(forward, backward, inputs, **options)
    if not contract.ok:
        raise GradientError(contract)
    return contract


def _owned(*functions: Any) -> list[Any]:
    """Objects whose methods these are, and containers among them."""
    return [owner_of(each) if callable(each) else each for each in functions if each is not None]


def _held_now(held: Held) -> list[Any]:
    """What callables return for parameters and gradients before anything is called."""
    return [held.live if callable(held.parameters) else None, held.buffers() if callable(held.gradients) else None]


def _headline(clauses: Sequence[Clause]) -> str:
    """What is broken, or that nothing is."""
    named = {
        outcome: [clause.name for clause in clauses if clause.outcome == outcome]
        for outcome in ("holds", "broken", "inconclusive", "not applicable")
    }
    if named["broken"]:
        return f"FAIL: backward breaks {len(named['broken'])} of {len(clauses)} clauses: {', '.join(named['broken'])}"
    if named["inconclusive"]:
        return f"INCONCLUSIVE: backward could not be verified: {', '.join(named['inconclusive'])}"
    if not named["not applicable"]:
        return f"PASS: backward keeps all {len(clauses)} clauses"
    return f"PASS: backward keeps {len(named['holds'])} clauses; not applicable: {', '.join(named['not applicable'])}"


def _clause_lines(clause: Clause, width: int) -> list[str]:
    """Name, outcome and evidence of a clause, and advice below it."""
    indent = " " * (width + 4)
    text = f"{_SIGNS[clause.outcome]}: {clause.evidence}"
    lines = _wrapped(text, f"  {clause.name:<{width}}  ", indent)
    return lines + _wrapped(f"help: {clause.advice}", indent, f"{indent}  ") if clause.advice else lines


def _wrapped(text: str, first: str, rest: str) -> list[str]:
    """A sentence as lines of plain text."""
    return [join(line) for line in wrap([Piece(text)], WIDTH, first, rest)]
