"""How many threads BLAS may take."""

import contextlib
import functools
import threading
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold BLAS to one thread.

    A check multiplies small matrices only, between its kernels. A second BLAS thread gains nothing there, and where another
    process has the other core it makes a check of 2 ms take 50: the threads wait for each other. The setting is the process's, so
    of several checks at once the first one saves it and the last one restores it.
    """
    with _blas.lock:
        _blas.holders += 1
        if _blas.holders == 1:
            _blas.limiter = _blas_controller().limit(limits=1, user_api="blas")
    try:
        yield
    finally:
        with _blas.lock:
            _blas.holders -= 1
            if not _blas.holders:
                _blas.limiter.restore_original_limits()


class _Blas:
    """Who holds BLAS to one thread, and how it is undone."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.holders = 0
        self.limiter: Any = None


_blas = _Blas()


@functools.cache
def _blas_controller() -> Any:
    # Looking through the process's libraries takes milliseconds; a limit takes 10 µs.
    import threadpoolctl

    return threadpoolctl.ThreadpoolController()
