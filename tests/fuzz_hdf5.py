"""Fuzzing of what reads HDF5 files: ``python tests/fuzz_hdf5.py --seconds 60``.

Sound files are changed, read by all readers, and each must be read or refused by one line. That is done in a process of its own,
for the HDF5 library may crash, or never end: that process is then replaced, and the file kept. Which files are worth a second
change is found by atheris, where it is installed, from the lines of Python that they reach; else all are made from sound ones.

Exit status: 0 if nothing was found, 1 if anything was; what was found lies in the folder that is printed.
"""

import argparse
import contextlib
import importlib.util
import mmap
import os
import pathlib
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback

# Seconds for one file, and bytes of address space for the process that reads it.
_PATIENCE = 10
_SPACE = 8 * 2**30

_READERS = ("problems", "datasets", "_hdf5", "_hdf5_limits", "_hdf5_texts", "_escaping", "_parameters")


class Reader:
    """Reads one file after the other, and notes what is found.

    Parameters
    ----------
    folder : pathlib.Path
        Where the file under test, the count of files, and what is found are kept.
    """

    def __init__(self, folder: pathlib.Path) -> None:
        import hostile  # not before atheris is there to see which lines are reached

        self._read = hostile.read
        self._folder, self._path = folder, folder / "under_test.h5"
        self._counter = (folder / "count").open("r+b")
        self._count = mmap.mmap(self._counter.fileno(), 8)

    def __call__(self, content: bytes) -> None:
        self._path.write_bytes(content)
        self._count[:] = struct.pack("<Q", struct.unpack("<Q", self._count)[0] + 1)
        try:
            self._read(self._path)
        except Exception:
            keep(self._folder, content, traceback.format_exc())


def keep(folder: pathlib.Path, content: bytes, reason: str) -> None:
    """Keep a file that was not refused by one line."""
    number = sum(1 for _ in folder.glob("found_*.h5"))
    (folder / f"found_{number}.h5").write_bytes(content)
    (folder / f"found_{number}.txt").write_text(reason)
    print(f"found_{number}: {reason.splitlines()[-1]}", flush=True)


def fuzz(folder: pathlib.Path, seconds: int, seed: int) -> None:
    """Read changed files with atheris; ends the process."""
    import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]

    with atheris.instrument_imports(include=[f"gradsweep.{name}" for name in _READERS]):
        import hostile
    read = Reader(folder)
    corpus = folder / "corpus"
    if not corpus.exists():
        corpus.mkdir()
        for number, content in enumerate(hostile.seeds()):
            (corpus / str(number)).write_bytes(content)
    # Signals end the process, as they would end that of a user.
    unhandled = [f"-handle_{name}=0" for name in ("abrt", "bus", "fpe", "ill", "segv")]
    options = [f"-max_total_time={seconds}", f"-seed={seed + 1}", "-max_len=65536", "-rss_limit_mb=0", f"-timeout={_PATIENCE}"]
    options += [f"-artifact_prefix={folder}/", "-verbosity=0", *unhandled]
    atheris.Setup([sys.argv[0], *options, str(corpus)], read, custom_mutator=mutate)
    atheris.Fuzz()


def mutate(content: bytes, most: int, seed: int) -> bytes:
    """One change, as atheris asks for it."""
    import hostile

    return hostile.mutated(content, random.Random(seed))[:most] if len(content) > 64 else content


def draw(folder: pathlib.Path, seconds: int, seed: int, runs: int | None) -> None:
    """Read changed files without atheris."""
    import hostile

    read, generator, sound, end = Reader(folder), random.Random(seed), hostile.seeds(), time.monotonic() + seconds
    while time.monotonic() < end and (runs is None or runs > 0):
        signal.alarm(_PATIENCE)
        read(hostile.mutated(generator.choice(sound), generator))
        signal.alarm(0)
        runs = None if runs is None else runs - 1


def supervise(arguments: argparse.Namespace, folder: pathlib.Path) -> int:
    """Have files read until the time is up, or so many have been read; how often that process came to an end of its own."""
    (folder / "count").write_bytes(bytes(8))
    ends, begun = 0, time.monotonic()
    while True:
        count = struct.unpack("<Q", (folder / "count").read_bytes())[0]
        left = arguments.seconds - int(time.monotonic() - begun)
        if left <= 0 or (arguments.runs is not None and count >= arguments.runs):
            return ends
        command = [
            sys.executable,
            __file__,
            "--folder",
            str(folder),
            "--seconds",
            str(left),
            "--seed",
            str(arguments.seed + ends),
        ]
        command += ["--without-atheris"] if arguments.without_atheris else []
        command += [] if arguments.runs is None else ["--runs", str(arguments.runs - count)]
        done = subprocess.run([*command, "--read"], check=False, stderr=subprocess.PIPE, text=True)
        if done.returncode == 0 and arguments.runs is None:
            return ends
        if done.returncode != 0:
            if count == struct.unpack("<Q", (folder / "count").read_bytes())[0]:
                raise SystemExit(f"no file could be read: {done.stderr}")
            ends += 1
            content = (folder / "under_test.h5").read_bytes()
            keep(folder, content, f"{done.stderr}\nthe process ended with status {done.returncode}")


def main() -> None:
    """Read the command line, and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60, help="how long")
    parser.add_argument("--runs", type=int, help="how many files at most; without atheris only")
    parser.add_argument("--seed", type=int, default=0, help="what the changes are drawn from")
    parser.add_argument("--folder", type=pathlib.Path, help="where to keep what is found; a temporary folder by default")
    parser.add_argument("--without-atheris", action="store_true", help="draw the changes")
    parser.add_argument("--read", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if importlib.util.find_spec("atheris") is None or arguments.runs is not None:
        arguments.without_atheris = True
    if arguments.read:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_SPACE, _SPACE))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if arguments.without_atheris:
            draw(arguments.folder, arguments.seconds, arguments.seed, arguments.runs)
        else:
            fuzz(arguments.folder, arguments.seconds, arguments.seed)
        return
    folder = arguments.folder or pathlib.Path(tempfile.mkdtemp(prefix="fuzz_hdf5_"))
    folder.mkdir(parents=True, exist_ok=True)
    ends = supervise(arguments, folder)
    count = struct.unpack("<Q", (folder / "count").read_bytes())[0]
    found = sum(1 for _ in folder.glob("found_*.h5"))
    how = "drawn" if arguments.without_atheris else "by atheris"
    print(f"{count:,} files, {how}: {found} findings, {ends} of them ended the process; in {folder}")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(folder / "under_test.h5")
    raise SystemExit(1 if found else 0)


if __name__ == "__main__":
    main()
