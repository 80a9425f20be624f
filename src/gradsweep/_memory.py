"""How much memory a process may still take."""

import contextlib
import os
import pathlib
import re

_MEMINFO, _STATUS, _CGROUP = (pathlib.Path(each) for each in ("/proc/meminfo", "/proc/self/status", "/sys/fs/cgroup"))


def available_memory() -> int | None:
    """Bytes that can be allocated, as far as the system tells; None where it tells nothing.

    Returns
    -------
    int or None
        The least of what is available on the machine, what the process's control group leaves, and what its limit of address
        space does. Of a machine that only tells how much there is in all, that.
    """
    found = [each() for each in (_of_machine, _of_group, _of_process)]
    return min((size for size in found if size is not None), default=None)


def _of_machine() -> int | None:
    available = _kilobytes(_MEMINFO, "MemAvailable")
    if available is not None:
        return available
    with contextlib.suppress(AttributeError, OSError, ValueError):  # not every system has the call, or the names
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _of_group() -> int | None:
    """What a container's limit leaves; what is only cached counts as left."""
    with contextlib.suppress(OSError, ValueError):  # no second version of control groups, or "max", which is no limit
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
        cached = re.search(r"^inactive_file (\d+)$", (_CGROUP / "memory.stat").read_text(), re.MULTILINE)
        return max(limit - used + (int(cached[1]) if cached else 0), 0)
    return None


def _of_process() -> int | None:
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    used = _kilobytes(_STATUS, "VmSize")
    return None if limit == resource.RLIM_INFINITY or used is None else max(limit - used, 0)


def _kilobytes(file: pathlib.Path, name: str) -> int | None:
    """A figure of one of the kernel's lists, in bytes."""
    with contextlib.suppress(OSError):
        found = re.search(rf"^{name}:\s*(\d+) kB$", file.read_text(), re.MULTILINE)
        return 1024 * int(found[1]) if found else None
    return None
