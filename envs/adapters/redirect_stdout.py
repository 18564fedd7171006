"""Redirection of what an environment prints: standard output is read by other programs."""

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import ParamSpec, TypeVar

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def stdout_to_stderr(
    call: Callable[_Arguments, _Result], *args: _Arguments.args, **kwargs: _Arguments.kwargs
) -> _Result:
    """Call a function; whatever it prints goes to standard error."""
    with redirect_stdout(sys.stderr):
        return call(*args, **kwargs)
