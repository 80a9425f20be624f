"""Filters of warnings, which all threads of a process share."""

import contextlib
import threading
import warnings
from collections.abc import Iterator
from typing import Literal


@contextlib.contextmanager
def filtered(action: Literal["error", "ignore"], category: type[Warning]) -> Iterator[None]:
    """Treat warnings of a kind in some way.

    Two threads that each save the filters, change them and put them back may leave those of one of them for ever. So of several
    that are within such a block at once the first one saves them and the last one restores them.
    """
    with _filters.lock:
        if not _filters.holders:
            _filters.saved = warnings.catch_warnings()
            _filters.saved.__enter__()
        _filters.holders += 1
        warnings.simplefilter(action, category)
    try:
        yield
    finally:
        with _filters.lock:
            _filters.holders -= 1
            if not _filters.holders:
                _filters.saved.__exit__(None, None, None)


class _Filters:
    """Who has changed them, and how that is undone."""

    def __init__(self) -> None:
        # What is collected while it is held may ask for it once more, as the end of a generator that was kept in a cycle.
        self.lock = threading.RLock()
        self.holders = 0
        self.saved: warnings.catch_warnings[None] = warnings.catch_warnings()


_filters = _Filters()
