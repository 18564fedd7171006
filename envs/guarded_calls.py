"""Calls into environments of other people: a time limit, and no exit, output or input of their own.

A call that exits or does not return in time ends in EnvFault, so that an episode is unscored and
the run goes on. The limit needs no second process: in the main thread the system's alarm interrupts
the call, elsewhere the call has a thread of its own, which is left behind. Code in C that never
returns to Python cannot be interrupted; see docs/security.md.
"""

import ctypes
import inspect
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn, ParamSpec, TypeVar

from envs.adapters.redirect_stdout import redirected_standard_streams
from envs.errors import EnvFault, EnvHangs

STEP_SECONDS = 30.0
"""Seconds that one call of an environment may take, unless it says otherwise."""
MAKE_SECONDS = 600.0
"""Seconds for a call that may load data: making an environment, or hashing its tasks."""
_IN_A_ROW = 3  # late calls after which the next ones get little time
_IMPATIENT_SECONDS = 1.0
_IGNORED_ALARMS = 10  # a second apart; after these the process ends
_EXIT_CODE = 3  # that of harness.errors.DataError, which says the same for the command line

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class _TimeIsUp(BaseException):
    """Raised inside the call; no Exception, so that `except Exception` does not swallow it."""


class _Hard(BaseException):
    """The call used os._exit, which would have ended this process without a word."""


class _Guarded(threading.local):
    depth = 0


_guarded = _Guarded()
_limit_by_caller: list[float] = []
_late: dict[str, int] = {}
"""By name of the environment: its calls in a row that were late."""
_plain_exit = os._exit


def _exit(status: int) -> NoReturn:
    """Stand in for os._exit: within a guarded call of this process an exception."""
    if _guarded.depth and os.getpid() == _owner:
        raise _Hard(status)
    _plain_exit(status)


_owner = os.getpid()


@contextmanager
def limited_to(seconds: float) -> Iterator[None]:
    """Give every guarded call at most so many seconds, whatever its environment says."""
    _limit_by_caller.append(seconds)
    try:
        yield
    finally:
        _limit_by_caller.pop()


def guarded(
    name: str,
    seconds: float,
    call: Callable[_Arguments, _Result],
    *args: _Arguments.args,
    **kwargs: _Arguments.kwargs,
) -> _Result:
    """Call a function of the environment `name`; `seconds` limit it, unless they are 0.

    Raises:
        EnvFault: It exited, was not back in time, or is asynchronous.
    """
    if _guarded.depth:  # the outermost call's limit counts
        return call(*args, **kwargs)
    what = f"{getattr(call, '__name__', 'the call')}()"
    given = min([seconds or float("inf"), *_limit_by_caller])
    limit = min(given, _IMPATIENT_SECONDS) if _late.get(name, 0) >= _IN_A_ROW else given
    try:
        result = _limited(name, what, limit, call, *args, **kwargs)
    except _TimeIsUp:
        _late[name] = _late.get(name, 0) + 1
        raise EnvHangs(f"{what} did not return within {limit:g} s") from None
    except _Hard as status:
        raise EnvFault(f"{what} tried to end the process (os._exit({status}))") from None
    except SystemExit as status:
        raise EnvFault(f"{what} tried to end the process (exit({status}))") from None
    except (KeyboardInterrupt, Exception):
        raise
    except BaseException as error:  # asyncio.CancelledError, say: callers expect exceptions only
        raise EnvFault(f"{what} raised {type(error).__name__}: {error}") from error
    _late.pop(name, None)
    return _synchronous(what, result)


def _synchronous(what: str, result: _Result) -> _Result:
    if inspect.iscoroutine(result):
        result.close()  # or Python warns that nobody waited for it
    if inspect.isawaitable(result) or inspect.isasyncgen(result):
        raise EnvFault(
            f"{what} is asynchronous: it returned a {type(result).__name__}, which nobody awaits;"
            " wrap the environment in one whose methods return values"
        )
    return result


def _limited(
    name: str, what: str, limit: float, call: Callable[..., _Result], *args: Any, **kwargs: Any
) -> _Result:
    def quiet() -> _Result:
        os._exit = _exit  # once is enough; other callers get the plain one
        _guarded.depth += 1
        try:
            with redirected_standard_streams():
                return call(*args, **kwargs)
        finally:
            _guarded.depth -= 1

    if limit == float("inf"):
        return quiet()
    main = threading.current_thread() is threading.main_thread()
    if main and hasattr(signal, "setitimer"):
        with _alarm(name, what, limit):
            return quiet()
    return _in_a_thread(quiet, limit)


@contextmanager
def _alarm(name: str, what: str, limit: float) -> Iterator[None]:
    """Have the system's alarm raise _TimeIsUp here, again and again where it is swallowed."""
    rung = 0

    def ring(number: int, frame: FrameType | None) -> None:
        nonlocal rung
        rung += 1
        if rung > _IGNORED_ALARMS:
            with suppress(Exception):
                print(
                    f"harness: {what} of {name} did not return within {limit:g} s and catches every"
                    " exception, so this process ends.",
                    file=sys.__stderr__,
                    flush=True,
                )
            _plain_exit(_EXIT_CODE)
        raise _TimeIsUp

    handler = signal.signal(signal.SIGALRM, ring)
    began = time.monotonic()
    left, interval = signal.setitimer(signal.ITIMER_REAL, limit, 1.0)
    try:
        yield
    finally:
        # A caller's own alarm goes on, less the time that this call took.
        rest = max(1e-6, left - (time.monotonic() - began)) if left else 0.0
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, rest, interval)


def _in_a_thread(call: Callable[[], _Result], limit: float) -> _Result:
    """The result of a call in a thread of its own, which is interrupted and left when late."""
    results: list[_Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:  # handed to the thread that waits
            errors.append(error)

    thread = threading.Thread(target=run, name="guarded env", daemon=True)
    thread.start()
    thread.join(limit)
    if thread.is_alive():
        # Python code stops at its next line; what waits in C goes on until it returns.
        interrupt = ctypes.pythonapi.PyThreadState_SetAsyncExc
        interrupt(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(_TimeIsUp))
        raise _TimeIsUp
    if errors:
        raise errors[0]
    return results[0]
