"""The command line. Exit status: 0 pass, 1 fail, 3 inconclusive, 2 wrong usage or bad input, 130 interrupted, 70 our bug."""

import contextlib
import enum
import io
import math
import os
import pathlib
import re
import sys
import traceback
from collections.abc import Iterator
from typing import IO, Annotated, Any, BinaryIO, NoReturn

import numpy as np
import typer
from rich.console import Console as RichConsole
from typer.exceptions import TyperException

import gradsweep
from gradsweep import _demo, datasets, problems
from gradsweep._checking import Options, check
from gradsweep._costs._network import NetworkCost
from gradsweep._errors import GradsweepError, InputError, Interrupted
from gradsweep._escaping import one_line
from gradsweep._presenting._document import format_json
from gradsweep._presenting._files import require_place
from gradsweep._presenting._layout import Piece, wrap
from gradsweep._presenting._terminal import render, width_of
from gradsweep._presenting._text import format_seconds, format_size, lay_out
from gradsweep._report import Report
from gradsweep._settings import read_settings, read_timeout
from gradsweep._user_code import Target
from gradsweep.network import Network

_EXIT = {"pass": 0, "fail": 1, "inconclusive": 3}

# As the shell and sysexits.h have them: never 1, which says that the gradient is wrong.
_BROKEN_PIPE = 141
_INTERRUPTED = 130
_INTERNAL_ERROR = 70

# What a line of several begins with: the name of what it tells, and blanks.
_FIELD = re.compile(r" *\S+ {2,}|")

# Characters of a complaint: a path may have 4096.
_LONGEST_LINE = 8192

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Check hand-written gradients against differences that are propagated, not subtracted.",
    epilog="Exit status: 0 pass, 1 fail, 3 inconclusive, 2 wrong usage or bad input, 130 interrupted, 70 an error of its own.",
)

BugName = enum.StrEnum("BugName", {name: name for name in _demo.BUGS})  # type: ignore[misc]


class SchemeName(enum.StrEnum):
    """The schemes that can be chosen."""

    central = "central"
    forward = "forward"
    five_point = "five-point"
    complex = "complex"


class ModeName(enum.StrEnum):
    """The modes that can be chosen."""

    auto = "auto"
    sweep = "sweep"
    batched = "batched"
    neurons = "neurons"
    screen = "screen"


Mode = Annotated[
    ModeName, typer.Option(help="What is perturbed: parameters one by one, in batches, neurons, or random directions.")
]
Scheme = Annotated[SchemeName, typer.Option(help="Which difference quotient; complex takes an imaginary step.")]
Step = Annotated[float | None, typer.Option(help="ε, absolute.", show_default="by the scheme, and by the noise of the cost")]
Tolerance = Annotated[float | None, typer.Option(help="Relative tolerance.", show_default="1e-07")]
Jobs = Annotated[int | None, typer.Option(help="Workers, as joblib's n_jobs.", show_default="1")]
Select = Annotated[
    list[str] | None,
    typer.Option(
        help="A block to look at, by its name, several times if need be; or so many entries of each block.", show_default="all"
    ),
]
Checkpoint = Annotated[
    pathlib.Path | None,
    typer.Option(metavar="FILE", help="Keep what is computed in this file, and go on from there.", show_default=False),
]
Timeout = Annotated[
    float | None, typer.Option(help="Seconds that a call of the cost may take.", show_default="as long as it takes")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing; the exit status tells.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the report as JSON, and nothing else.")]
ReportFile = Annotated[
    pathlib.Path | None,
    typer.Option(
        "--report", metavar="FILE.html|json|h5", help="Write the report to a file, too: a page, or data.", show_default=False
    ),
]
Seed = Annotated[int, typer.Option(help="Draws the examples and, where there are none, the parameters.", min=0)]
Perturbations = Annotated[int, typer.Option("--seed", help="Chooses the perturbations that guard the check.", min=0)]
Raw = Annotated[bool, typer.Option("--raw", help="Leave pixels at 0 to 255; by default they are scaled to [0, 1].")]


def _print_version(asked: bool) -> None:
    """Print the version and stop, if that is asked for."""
    if asked:
        typer.echo(f"gradsweep {gradsweep.__version__}")
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)]


@app.callback()
def _root(version: Version = False) -> None:
    """Make every command a subcommand."""


@app.command()
def demo(
    bug: Annotated[BugName | None, typer.Option(help="A mistake to plant in the backward pass.")] = None,
    examples: Annotated[int | None, typer.Option(help="How many images.", show_default="1")] = None,
    seed: Seed = 0,
    raw: Raw = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
    report_file: ReportFile = None,
) -> None:
    """Check the post's network, 12288-5-5-1, on the images that ship with the package."""
    console = _Console(quiet, as_json, report_file)
    _load_kernels()
    done = _demo.run_demo(bug.value if bug else None, examples, seed, raw=raw)
    size = sum(block.size for block in done.report.blocks)
    planted = f", with a planted bug: {_demo.BUGS[bug.value].description}" if bug else ""
    console.print(f"Network   {'-'.join(map(str, _demo.LAYERS))}, tanh, {size:,} parameters, as the post initialises it")
    console.print(f"Data      {_describe_images(done)}")
    console.print(f"Gradient  gradsweep.scratch.L_model_backward{planted}")
    console.print()
    console.print_report(done.report)
    textbook = done.textbook
    total = textbook.seconds_each * size
    each, whole, own = (format_seconds(t) for t in (textbook.seconds_each, total, done.report.seconds))
    console.print()
    console.print(f"The textbook's loop, measured on {format_size(textbook.parameters, 'parameter')} of all blocks:")
    console.print(
        f"  time        {each} for each, so {whole} for all {size:,}; "
        f"gradsweep {own}, {total / done.report.seconds:,.0f} times faster"
    )
    console.print(f"  difference  {textbook.difference:.1e} by formula 3; gradsweep {done.report.difference:.1e}")
    console.finish(done.report)


@app.command()
def network(
    data: Annotated[
        pathlib.Path,
        typer.Argument(
            metavar="DATA.h5", help="HDF5 file with train_set_x (n, …) uint8 and train_set_y (n,).", show_default=False
        ),
    ],
    layers: Annotated[str, typer.Option(help="Sizes of the layers, the inputs first: 12288,5,5,1")],
    hidden: Annotated[str, typer.Option(help="Activation of the hidden layers; several with commas, one for each.")] = "tanh",
    examples: Annotated[int, typer.Option(help="How many examples to draw.", min=1)] = 1,
    seed: Seed = 0,
    raw: Raw = False,
    mode: Mode = ModeName.auto,
    scheme: Scheme = SchemeName.central,
    step: Step = None,
    tolerance: Tolerance = None,
    jobs: Jobs = None,
    select: Select = None,
    checkpoint: Checkpoint = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
    report_file: ReportFile = None,
) -> None:
    """Check backpropagation of a dense network on data of your own, at random parameters."""
    console = _Console(quiet, as_json, report_file, data, checkpoint)
    options = _options(mode, scheme, step, tolerance, select, jobs, seed, checkpoint)
    options["progress"] = console.shows_progress
    net = Network(_read_layers(layers), hidden=_read_hidden(hidden))
    available = datasets.count(data)
    if examples > available:
        raise InputError(f"examples: {examples} were asked for, but {data} holds {available}")
    rows = np.random.default_rng(seed).choice(available, examples, replace=False)
    X, Y = datasets.load(data, rows, raw=raw)
    cost = net.cost(X, Y)
    _load_kernels()
    params = net.initialize(seed)
    gradient = net.gradient(params, X, Y)
    with console.interrupts():
        report = check(cost, params, gradient, **options)
    size = sum(math.prod(shape) for shape in cost.shapes.values())
    console.print(f"Network   {'-'.join(map(str, net.layers))}, {hidden}, {size:,} parameters, drawn with seed {seed}")
    console.print(f"Data      {format_size(examples, 'example')} of the {available:,} in {data}")
    console.print("Gradient  gradsweep.Network.gradient")
    console.print()
    console.print_report(report)
    console.finish(report)


@app.command()
def problem(
    file: Annotated[
        pathlib.Path,
        typer.Argument(metavar="PROBLEM.h5", help="HDF5 file with X, Y, parameters and gradients.", show_default=False),
    ],
    hidden: Annotated[str | None, typer.Option(help="Activation of the hidden layers, instead of the file's.")] = None,
    output: Annotated[str | None, typer.Option(help="Output: sigmoid, softmax or identity, instead of the file's.")] = None,
    loss: Annotated[str | None, typer.Option(help="The loss that belongs to the output, instead of the file's.")] = None,
    l2: Annotated[float | None, typer.Option(help="λ of the penalty, instead of the file's.")] = None,
    mode: Mode = ModeName.auto,
    scheme: Scheme = SchemeName.central,
    step: Step = None,
    tolerance: Tolerance = None,
    jobs: Jobs = None,
    seed: Perturbations = 0,
    select: Select = None,
    checkpoint: Checkpoint = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
    report_file: ReportFile = None,
) -> None:
    """Check the gradient in a problem file, as any language may write it."""
    console = _Console(quiet, as_json, report_file, file, checkpoint)
    options = _options(mode, scheme, step, tolerance, select, jobs, seed, checkpoint)
    options["progress"] = console.shows_progress
    given = problems.load(file, hidden=hidden and _read_hidden(hidden), output=output, loss=loss, l2=l2)
    _load_kernels()
    try:
        with console.interrupts():
            report = check(given.cost, given.params, given.gradient, **options)
    except InputError as error:
        raise InputError(f"{file}: {error}") from error
    net = given.network
    size = sum(math.prod(shape) for shape in given.cost.shapes.values())
    activations = ",".join(net.hidden[:1] if len(set(net.hidden)) == 1 else net.hidden)
    described = ", ".join(filter(None, [activations, net.loss, f"l2 {net.l2:g}" if net.l2 else ""]))
    console.print(f"Network   {'-'.join(map(str, net.layers))}, {described}, {size:,} parameters")
    console.print(f"Data      {format_size(given.X.shape[1], 'example')} in {file}")
    console.print("Gradient  /gradients of this file")
    console.print()
    console.print_report(report)
    console.finish(report)


@app.command("check")
def check_function(
    function: Annotated[
        str,
        typer.Argument(
            metavar="FILE.py:FUNCTION|MODULE:FUNCTION",
            help="Called without arguments; returns cost, params and gradient, as gradsweep.check takes them.",
            show_default=False,
        ),
    ],
    mode: Mode = ModeName.auto,
    scheme: Scheme = SchemeName.central,
    step: Step = None,
    tolerance: Tolerance = None,
    jobs: Jobs = None,
    seed: Perturbations = 0,
    select: Select = None,
    checkpoint: Checkpoint = None,
    timeout: Timeout = None,
    quiet: Quiet = False,
    as_json: AsJson = False,
    report_file: ReportFile = None,
) -> None:
    """Check the gradient that a function of your own returns."""
    console = _Console(quiet, as_json, report_file, checkpoint=checkpoint)
    options = _options(mode, scheme, step, tolerance, select, jobs, seed, checkpoint)
    options["progress"] = console.shows_progress
    options["timeout"] = read_timeout(timeout)
    console.claim_stdout()
    console.hold_place()
    target = Target(function)
    cost, params, gradient = target()
    if isinstance(cost, NetworkCost):
        _load_kernels()
    with target.errors(), console.interrupts():
        report = check(cost, params, gradient, **options)
    size = format_size(sum(math.prod(block.shape) for block in report.blocks), "parameter")
    console.print(f"Function  {function}, {size} in {format_size(len(report.blocks), 'block')}")
    console.print()
    console.print_report(report)
    console.finish(report)


def main() -> None:
    """Run the command line."""
    try:
        # Not standalone: typer would print its own errors. It still turns Ctrl-C into status 130.
        status = app(prog_name="gradsweep", standalone_mode=False)
    except TyperException as error:
        # One line in the place of typer's box. Its usage errors have a fuller text than str() gives.
        describe = getattr(error, "format_message", error.__str__)
        _complain(f"{describe().rstrip('.')} (see gradsweep --help)")
        raise SystemExit(2) from error
    except GradsweepError as error:
        _complain(str(error))
        raise SystemExit(2) from error
    except _ReaderGone:
        raise SystemExit(_BROKEN_PIPE) from None
    except Exception as error:
        # Status 1 would say that the gradient is wrong.
        traceback.print_exc()
        _complain(f"stopped by an error of its own, which says nothing of the gradient: {error!r}")
        raise SystemExit(_INTERNAL_ERROR) from error
    raise SystemExit(status)


class _ReaderGone(Exception):
    """Whoever read the output has enough. An error of its own, for rich and typer end with status 1 at a BrokenPipeError."""


class _Text(RichConsole):
    """Text on stdout."""

    def on_broken_pipe(self) -> NoReturn:
        """Stop, with nothing left to be written, at the interpreter's end either."""
        _send_nowhere(sys.stdout)
        raise _ReaderGone


class _Console:
    """Where the result of a command goes: to the terminal as text, to stdout as JSON, or nowhere; and to a file.

    Parameters
    ----------
    quiet : bool
        Print nothing.
    as_json : bool
        Print JSON alone.
    report_file : pathlib.Path, optional
        File of the report. That it can be written is looked at here, before there is anything to write.
    data : pathlib.Path, optional
        A file that is read, and must not be replaced.
    checkpoint : pathlib.Path, optional
        Another one that must not.
    """

    def __init__(
        self,
        quiet: bool,
        as_json: bool,
        report_file: pathlib.Path | None,
        data: pathlib.Path | None = None,
        checkpoint: pathlib.Path | None = None,
    ) -> None:
        if quiet and as_json:
            raise InputError("--quiet and --json: one prints nothing, the other a report; give one of them")
        if report_file is not None:
            require_place(report_file)
            if data is not None and report_file.exists() and data.exists() and report_file.samefile(data):
                raise InputError(f"{report_file}: the report would replace the file that is checked")
            if checkpoint is not None and os.path.realpath(report_file) == os.path.realpath(checkpoint):
                raise InputError(f"{report_file}: the report would replace the checkpoint, which is one when the check is done")
        self._quiet, self._as_json, self._report_file = quiet, as_json, report_file
        self._stdout: BinaryIO = sys.stdout.buffer  # bytes: JSON is UTF-8, whatever the terminal takes
        # Soft wrap: lines have been laid out already, and what is longer is a path, which is the terminal's to break.
        self._text = _Text(quiet=quiet or as_json, highlight=False, markup=False, emoji=False, soft_wrap=True)
        self._width = width_of(self._text)
        if isinstance(sys.stdout, io.TextIOWrapper):
            # What the terminal has no sign for is written as Python does, rather than not at all.
            sys.stdout.reconfigure(errors="backslashreplace")

    def print(self, line: str = "") -> None:
        """Print a line of text, or several if it is long."""
        field = _FIELD.match(line)[0]  # type: ignore[index]  # it matches nothing, too
        text = Piece(line[len(field) :])
        self._text.print(render(wrap([text], self._width, field, " " * (len(field) or 2), whole=True)))

    def print_report(self, report: Report) -> None:
        """Print a report."""
        self._text.print(render(lay_out(report, self._width, "--report FILE")))

    @property
    def shows_progress(self) -> bool:
        """Whether a bar is shown while somebody waits: on a terminal, whatever stdout is."""
        return not self._quiet and sys.stderr.isatty()

    @contextlib.contextmanager
    def interrupts(self) -> Iterator[None]:
        """Have Ctrl-C end the command with what was found until then, and the status that shells have for it."""
        try:
            yield
        except Interrupted as interrupted:
            self.print_report(interrupted.report)
            self.finish(interrupted.report, _INTERRUPTED)

    def finish(self, report: Report, status: int | None = None) -> NoReturn:
        """Write what is left to write, and end the command with the status that tells the verdict, if it is not another one."""
        if self._report_file is not None:
            report.save(self._report_file)
        if self._as_json:
            try:
                self._stdout.write(format_json(report))
                self._stdout.flush()
            except BrokenPipeError as error:
                _send_nowhere(self._stdout)
                raise _ReaderGone from error
        raise typer.Exit(_EXIT[report.verdict] if status is None else status)

    def claim_stdout(self) -> None:
        """Have all that other code prints from now on go to stderr, from C and from worker processes, too, if JSON is to come."""
        if self._as_json:
            self._stdout = os.fdopen(os.dup(1), "wb")
            os.dup2(2, 1)

    def hold_place(self) -> None:
        """Have the report written where its path leads to now, whatever folder other code goes to."""
        self._report_file = self._report_file and self._report_file.absolute()


def _send_nowhere(file: IO[Any]) -> None:
    """Have what is still in a file's buffer vanish."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())


def _complain(message: str) -> None:
    """One line on stderr, without what names from elsewhere may have in them to steer a terminal."""
    console = RichConsole(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)
    console.print(f"gradsweep: {one_line(message, _LONGEST_LINE)}")


def _load_kernels() -> None:
    """Load the kernels before anything is timed; if that means compiling, say so, since it takes some seconds."""
    from gradsweep import kernels

    if not kernels.is_compiled():
        once = "once" if kernels.cache_folder() else "each time, since no folder can be written to keep them in"
        _complain(f"compiling the kernels; this takes some seconds, {once}")
    kernels.load()


def _describe_images(done: _demo.Demo) -> str:
    pixels = "pixels 0 to 255" if done.raw else "pixels scaled to [0, 1]"
    if len(done.rows) > 1:
        return f"{len(done.rows)} of the shipped images, {sum(done.labels)} of them cats, {pixels}"
    return f"image {done.rows[0]} of the shipped ones, {'a cat' if done.labels[0] else 'no cat'}, {pixels}"


def _read_hidden(hidden: str) -> str | list[str]:
    names = [name.strip() for name in hidden.split(",")]
    return names[0] if len(names) == 1 else names


def _options(
    mode: ModeName,
    scheme: SchemeName,
    step: float | None,
    tolerance: float | None,
    select: list[str] | None,
    jobs: int | None,
    seed: int,
    checkpoint: pathlib.Path | None,
) -> Options:
    """What is passed on to a check; InputError if something of it is of no use, before anything is read or run."""
    chosen = _read_select(select)
    read_settings(mode.value, scheme.value, step, tolerance, jobs, seed, select=chosen)
    return {
        "mode": mode.value,
        "scheme": scheme.value,
        "step": step,
        "tolerance": tolerance,
        "select": chosen,
        "jobs": jobs,
        "seed": seed,
        "checkpoint": checkpoint and checkpoint.absolute(),  # a user's file may go to another folder when it is run
    }


def _read_select(select: list[str] | None) -> list[str] | int | None:
    """A number of entries, if that is all there is; else names of blocks."""
    if select is not None and len(select) == 1 and select[0].isdecimal():
        return int(select[0])
    return select or None


def _read_layers(layers: str) -> list[int]:
    try:
        return [int(size) for size in layers.split(",")]
    except ValueError as error:
        raise InputError(f"layers must be whole numbers with commas between them, not {layers!r}") from error
