"""What an environment prints is no part of what this program says."""

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import ParamSpec, TypeVar

_Given = ParamSpec("_Given")
_Got = TypeVar("_Got")


def aside(call: Callable[_Given, _Got], *given: _Given.args, **named: _Given.kwargs) -> _Got:
    """Call with whatever is printed on standard error; standard output may be read by a program."""
    with redirect_stdout(sys.stderr):
        return call(*given, **named)
