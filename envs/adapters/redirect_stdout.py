"""Redirection of what an environment prints: standard output is read by other programs."""

import io
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def redirected_standard_streams() -> Iterator[None]:
    """Send what is printed, also by C code and child processes, to standard error.

    Standard input is empty, and the working directory is the same afterwards. In other threads than
    the main one nothing is redirected: the streams belong to the whole process.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    folder, stdin, stdout = _folder(), sys.stdin, sys.stdout
    _flush(stdout)
    kept = _redirect_file()
    sys.stdin, sys.stdout = io.StringIO(), sys.stderr
    try:
        yield
    finally:
        # What was printed through a stream that the environment had kept waits in its buffer.
        _flush(stdout)
        sys.stdin, sys.stdout = stdin, stdout
        if kept is not None:
            with suppress(OSError):
                os.dup2(kept, 1)
            os.close(kept)
        if folder and _folder() != folder:
            with suppress(OSError):
                os.chdir(folder)


def _folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was deleted
        return ""


def _flush(stream: object) -> None:
    for one in {stream, sys.__stdout__}:
        with suppress(Exception):  # it is closed, full, or there is none
            one.flush()  # type: ignore[attr-defined]


def _redirect_file() -> int | None:
    """Let file 1 lead to standard error; a copy of what it was, None where that cannot be."""
    try:
        kept = os.dup(1)
    except OSError:  # it is closed
        return None
    try:
        os.dup2(2, 1)
    except OSError:
        os.close(kept)
        return None
    return kept
