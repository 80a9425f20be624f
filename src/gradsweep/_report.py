"""The result of a check."""

import functools
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from numpy.typing import NDArray

from gradsweep._certificate import Certificate, certify
from gradsweep._diagnosis._evidence import Finding
from gradsweep._errors import InputError
from gradsweep._presenting._files import save_report
from gradsweep._presenting._page_fragment import format_fragment
from gradsweep._presenting._plots import plot_report
from gradsweep._presenting._text import format_report
from gradsweep._step_curves import PlainValues, StepCurve
from gradsweep._types import Array
from gradsweep._verdict import Block, Entry

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Displaced:
    """What was found at a second point, away from the given parameters.

    A right gradient at one point can hide a mistake: that biases are missing somewhere does not show where they are 0.

    Attributes
    ----------
    blocks : tuple of Block
        Of each block some entries.
    size : float
        By how much parameters were displaced, at most, relative to the root mean square of their block.
    evaluations : int
        Changes, or values, of the cost that were computed.
    """

    blocks: tuple[Block, ...]
    size: float
    evaluations: int


# eq=False: arrays do not compare to a single truth value.
@dataclass(frozen=True, eq=False)
class Report:
    """What a check found. Its text is ``str(report)``.

    Attributes
    ----------
    verdict : str
        ``"pass"``, ``"fail"`` or ``"inconclusive"``.
    difference : float
        Formula 3 over all entries: ‖g − ĝ‖ / (‖g‖ + ‖ĝ‖). The blocks decide, not this number. At a kink, ĝ is the accepted
        value that is nearest to g.
    tolerance : float
        Relative tolerance of blocks and entries.
    precision : float
        Machine epsilon of the least precise of parameters, gradient, and types to which the cost was seen to round; what is less
        precise than float64 widens the default tolerance.
    blocks : tuple of Block
        In the order of the parameters.
    numeric : mapping of str to array
        The numeric gradient, by the names of the parameters; read-only. In the mode ``"neurons"`` each block is formed when it is
        asked for; with a penalty that takes the weights once more, and is an InputError if they have been changed meanwhile. A
        screen has none: the mapping is empty.
    mode : str
        ``"sweep"``, ``"batched"``, ``"neurons"`` or ``"screen"``.
    reason : str
        Of a network, why ``mode="auto"`` chose this mode, and how to ask for another; empty if it was asked for. Of a function,
        why it was not evaluated on difference arrays: what it did, on which line, and how to write it; empty if it was.
    predicted : float
        Seconds that the check was predicted to take on one core; NaN for a function, of which that is not known beforehand.
    scheme : str
        As it was asked for.
    step : float
        ε; the largest one where each parameter has its own.
    evaluations : int
        Changes of the cost that were computed, or its values: one for each parameter and step, or each unit, example and step;
        those that were looked at again; and those at the second point.
    seconds : float
        Duration of the whole check.
    crossed : int
        Parameters, units' pre-activations, or directions, whose step crossed a kink and that were looked at again with a smaller
        one.
    kinks : int
        Parameters at a kink. Accepted there is any gradient between the two one-sided slopes, and what a backward pass gives that
        takes either slope, or their mean, at all kinks. Of a function of which only values can be had, nothing but the first.
    evaluated_by : str
        ``"kernels"`` (networks), ``"difference arrays"``, ``"batched function"``, ``"compiled function"`` or
        ``"plain function"``: what computed the cost, or its changes. The last three subtract values, so that their noise counts.
    displaced : Displaced or None
        What was found at a second point; None if there was none, as where the gradient was not given as a function.
    findings : tuple of Finding
        Of a gradient that fails: which mistakes the evidence is consistent with, the most convincing first.
    notes : tuple of str
        What else is to be known of how the cost was evaluated, a sentence for each thing.
    analytic : mapping of str to array
        The gradient under test, by the names of `numeric`; read-only. Arrays that were given for a dense network are not copied:
        if they have been changed since, to ask for them is an InputError. A screen has none.
    interrupted : bool
        Whether the check was interrupted. The verdict is then ``"fail"`` or ``"inconclusive"``; the size of a block is the number
        of entries that were compared, and `numeric` is NaN at all others. Of a screen it is 0 where not all directions of a block
        were looked at; all other blocks agree, are wrong, or are not finished, if single entries were yet to decide.

    Examples
    --------
    >>> import numpy as np, gradsweep
    >>> network = gradsweep.Network([2, 3, 1])
    >>> params = network.initialize()
    >>> X, Y = np.array([[1.0], [2.0]]), np.array([[1.0]])
    >>> gradient = network.gradient(params, X, Y)
    >>> gradient["db1"] = 2 * gradient["db1"]
    >>> report = gradsweep.check(network.cost(X, Y), params, gradient)
    >>> report.verdict, [block.name for block in report.blocks if block.differing]
    ('fail', ['b1'])
    """

    verdict: Literal["pass", "fail", "inconclusive"]
    difference: float
    tolerance: float
    precision: float
    blocks: tuple[Block, ...]
    numeric: Mapping[str, Array]
    mode: str
    reason: str
    predicted: float
    scheme: str
    step: float
    evaluations: int
    seconds: float
    crossed: int
    kinks: int
    evaluated_by: str
    displaced: Displaced | None
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    analytic: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    interrupted: bool = False
    _plain: PlainValues | None = field(default=None, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """All but the cost, which may be what cannot be pickled."""
        return {**self.__dict__, "_plain": None}

    @functools.cached_property
    def certificate(self) -> Certificate:
        """What this check would have caught, and what it has not looked at: what a pass proves."""
        return certify(self.blocks, self.mode, second_point=self.displaced is not None)

    @property
    def ok(self) -> bool:
        """Whether the verdict is ``"pass"``."""
        return self.verdict == "pass"

    def __bool__(self) -> bool:
        """As `ok`, so that ``assert gradsweep.check(...)`` is what it looks like."""
        return self.ok

    def worst(self, k: int = 10) -> list[Entry]:
        """Entries that are furthest from acceptance.

        Parameters
        ----------
        k : int, default: 10
            How many, at most. Of a block that is wrong the worst ten are kept, of others fewer.

        Returns
        -------
        list of Entry
            The worst first.

        Examples
        --------
        >>> import numpy as np, gradsweep
        >>> w = np.array([1.0, 2.0])
        >>> (entry,) = gradsweep.check(lambda w: np.sum(w**3), w, np.array([3.0, 11.0])).worst(1)
        >>> entry.block, entry.index, entry.analytic, round(entry.numeric, 9)
        ('params', (1,), 11.0, 12.0)
        """
        entries = [entry for block in self.blocks for entry in block.worst]
        return sorted(entries, key=lambda entry: entry.score, reverse=True)[: max(k, 0)]

    def step_curves(self, k: int = 3, max_seconds: float = 5.0) -> tuple[StepCurve, ...]:
        """How quotients of the worst entries depend on the step, by plain values of the cost, which are subtracted.

        Rounding falls and truncation grows with the step. The gap between a wrong gradient and its quotient does neither: it is
        the same at all steps in between.

        Parameters
        ----------
        k : int, default: 3
            Of how many entries, at most: of each wrong block the worst one first.
        max_seconds : float, default: 5.0
            No further entry is begun after so many seconds. The cost is called some sixty times for each.

        Returns
        -------
        tuple of StepCurve
            The worst entry first.

        Raises
        ------
        InputError
            The cost is not what it was during the check; or the report has been pickled, which leaves the cost behind.

        Examples
        --------
        >>> import numpy as np, gradsweep
        >>> w = np.array([1.0, 2.0])
        >>> report = gradsweep.check(lambda w: np.sum(w**3), w, 2 * w**2)
        >>> (curve,) = report.step_curves(1)
        >>> curve.index, float(np.abs(curve.quotients - curve.numeric).min()) < 1e-8
        ((1,), True)
        """
        if self._plain is None:
            raise InputError("this report has no cost: what was pickled, or made by hand, is without one")
        ranked = self.worst(sum(len(block.worst) for block in self.blocks))
        ranked = [entry for entry in ranked if math.isfinite(entry.analytic) and math.isfinite(entry.numeric)]
        seen: dict[str, int] = {}
        ranks = {}
        for entry in ranked:  # the worst of every block, then the next one of every block
            ranks[entry] = seen[entry.block] = seen.get(entry.block, -1) + 1
        chosen = sorted(ranked, key=lambda entry: (entry.score <= 1.0, ranks[entry]))[: max(k, 0)]
        return self._plain.curves(chosen, max_seconds)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the report to a file.

        Parameters
        ----------
        path : str or os.PathLike
            Where to: ``.html`` for a browser, ``.json`` for programs, or ``.h5`` or ``.hdf5``, which has both gradients, too. A
            file of this name is replaced, once the new one is complete.

        Raises
        ------
        InputError
            If the path ends in another suffix. Or, for HDF5, if a block of a gradient can no longer be had, as `numeric` and
            `analytic` say; a page has that sentence in the place of the block's map.
        DataError
            If the file cannot be written. The message starts with the path.

        Notes
        -----
        HTML is one page with all that it needs, 1.5 MB, and up to 3.5 MB with its maps: verdict, findings with links to what they
        are about, blocks, maps of their entries, error against step, certificate, settings. It asks nothing of a network. A map
        has at most 64 cells down and across, each of which shows the worst of its entries; at most 24 blocks have one, those
        first that are wrong. For the error against the step the cost is called some two hundred times, as `step_curves` says.

        In JSON and HDF5 names are those of the attributes of reports, blocks, entries, findings and certificates. JSON is an
        object with ``"schema": "gradsweep-report"`` and ``"version": 1``; ``report.schema.json`` in the folder ``_presenting`` of
        the package is its JSON Schema. It has no arrays. A number that is not finite is one of the texts ``"NaN"``,
        ``"Infinity"`` and ``"-Infinity"``, and what there is not is null.

        In HDF5 the same is laid out as follows. Numbers and texts are attributes, lists are data sets, what there is not is left
        out. In names of groups ``/`` is written ``%2F``, and ``%`` is written ``%25``; each block has its name as an attribute.

        ============================= ==========================================================================
        place                         holds
        ============================= ==========================================================================
        /                             verdict, difference, …; notes
        /blocks/NAME                  name, size, status, difference, noise, …; shape, interval
        /blocks/NAME/numeric          the numeric gradient, in the shape of the block; of a screen there is none
        /blocks/NAME/analytic         the gradient under test, likewise
        /blocks/NAME/worst            index, of shape (entries, axes); analytic, numeric, noise, kink, score
        /blocks/NAME/sensitivity      scale, entry, largest, everywhere
        /findings/0, /findings/1, …   kind, message, advice, confidence, explained; blocks; the group evidence
        /certificate                  scale, entry; blocks, not_covered; the group weakest
        /displaced                    size, evaluations; its own group blocks; absent without a second point
        /versions                     gradsweep, numpy, python
        ============================= ==========================================================================

        Examples
        --------
        >>> import json, pathlib, tempfile
        >>> import numpy as np, gradsweep
        >>> w = np.array([1.0, 2.0])
        >>> report = gradsweep.check(lambda w: np.sum(w**3), w, 3 * w**2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "report.json")
        ...     report.save(path)
        ...     document = json.loads(path.read_text(encoding="utf-8"))
        ...     report.save(path.with_suffix(".html"))
        ...     page = path.with_suffix(".html").read_text(encoding="utf-8")
        >>> document["schema"], document["verdict"], document["blocks"][0]["shape"]
        ('gradsweep-report', 'pass', [2])
        >>> "PASS: all 2 entries agree" in page
        True
        """
        save_report(self, path)

    def plot(self) -> "Figure":
        """Draw the report with Matplotlib.

        Analytic against numeric values, with the worst entries marked; the error of the worst entries against the step, beside
        the slopes of rounding and truncation; and a map of each block, by the relative differences of its entries.

        Returns
        -------
        matplotlib.figure.Figure
            Not shown, and not known to pyplot: ``figure.savefig(path)`` writes it, and a notebook displays it, behind
            ``%matplotlib inline``.

        Raises
        ------
        ImportError
            Matplotlib is not installed: ``pip install "gradsweep[plot]"``.

        Notes
        -----
        Of a large block each cell shows the worst of its entries. Twelve maps are drawn at most, those of wrong blocks first.

        Examples
        --------
        >>> import pytest
        >>> matplotlib = pytest.importorskip("matplotlib")
        >>> import numpy as np, gradsweep
        >>> w = np.array([1.0, 2.0])
        >>> figure = gradsweep.check(lambda w: np.sum(w**3), w, 2 * w**2).plot()
        >>> figure.subfigs[0].axes[0].get_title()
        'Both gradients: 2 of 2 entries'
        """
        return plot_report(self)

    def _repr_html_(self) -> str:
        """The report as a notebook displays it."""
        return format_fragment(self)

    def __str__(self) -> str:
        """The report as plain text, at most 80 columns wide."""
        return format_report(self)
