"""Configures glibc to keep freed memory in the process, so that tensors can reuse it."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM, _MAP = -1, -3  # mallopt(3): M_TRIM_THRESHOLD and M_MMAP_THRESHOLD
_KEPT = 2**30  # bytes that may stay free at the end of the heap
_BLOCK = 2**25  # bytes; larger blocks are still returned. glibc before 2.35 accepts no more
_SMALL = 2**21  # bytes; smaller blocks are kept in an update too
_kept = False  # set once `keep_freed` has configured the allocator


def keep_freed() -> bool:
    """Make glibc keep freed blocks of up to 32 MiB; returns True if it does.

    A decoding step frees what the next one allocates. By default glibc returns such blocks to the
    kernel, and each page of them costs a page fault when it is written again: 5 to 15 % of a small
    model's steps. Nothing is changed on other systems, or where `MALLOC_…` or `GLIBC_TUNABLES` in
    the environment configure the allocator.
    """
    set_already = any(name.startswith("MALLOC_") for name in os.environ)
    if set_already or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    # Other C libraries, such as musl, have no mallopt.
    if not hasattr(library, "gnu_get_libc_version"):
        return False
    global _kept
    _kept = bool(library.mallopt(_MAP, _BLOCK)) and bool(library.mallopt(_TRIM, _KEPT))
    return _kept


@contextmanager
def large_blocks_returned() -> Iterator[None]:
    """Within the block, return freed memory of 2 MiB or more at once, where `keep_freed` keeps it.

    An update frees and takes blocks of many sizes. Kept, they leave gaps that the next sizes do not
    fit, and several times the memory that is in use stays with the process.
    """
    if not _kept:
        yield
        return
    return_freed()
    library = ctypes.CDLL(None)
    library.mallopt(_MAP, _SMALL)
    try:
        yield
    finally:
        library.mallopt(_MAP, _BLOCK)


def return_freed() -> None:
    """Return freed memory to the kernel after all, where `keep_freed` keeps it.

    Worth its page faults where large tables move: what they leave behind fits nothing that follows.
    """
    if _kept:
        ctypes.CDLL(None).malloc_trim(0)
