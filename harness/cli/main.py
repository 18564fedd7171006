"""Parsing the command line and turning errors into one sentence and an exit code."""

import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from harness.cli.parser import parse
from harness.display.encoding import replace_in_streams
from harness.errors import DataError, HarnessError, RunError
from harness.runs.signals import Terminated, own_process
from harness.system.process_end import end_now_if_left_behind, end_with_parent
from harness.system.resource_errors import as_resource_error
from harness.system.secrets import guard_tracebacks, redact
from leaderboards.records.strict_json import RecordError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code.

    Without arguments those of the process are taken, and the process is the command's own.
    """
    if arguments is not None:
        return _run(arguments)
    end_with_parent()
    own_process()
    code = _run(sys.argv[1:])
    end_now_if_left_behind(code)
    return code


def _run(arguments: Sequence[str]) -> int:
    guard_tracebacks()
    replace_in_streams()
    given = list(arguments)
    try:
        invocation = parse(given)
        if invocation is None:
            return 0
        sys.path.append(str(Path.cwd()))  # last: your own modules are found, nothing is shadowed
        command = importlib.import_module(f"harness.cli.commands.{invocation.module}")
        code: int = command.main(invocation.arguments)
        return code
    except HarnessError as error:
        _say(f"harness: {_shown(error)}")
        return error.exit_code
    except RecordError as error:
        _say(f"harness: {_shown(error)}")
        return RunError.exit_code
    except KeyboardInterrupt as stopped:
        # What was stopped says what to type next, where there is something to continue.
        _say(" ".join(("harness: stopped.", *vars(stopped).get("__notes__", ()))))
        return stopped.code if isinstance(stopped, Terminated) else 130
    except BrokenPipeError:
        # The reader closed the pipe (as `head` does); closing stdout again would raise again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        refused = _as_env_fault(error) or as_resource_error(
            error, "This machine refused the operation", "try again"
        )
        if refused is None:
            raise
        _say(f"harness: {_shown(refused)}")
        return refused.exit_code


def _say(line: str) -> None:
    """Print to standard error, if it can be written to."""
    with suppress(OSError, ValueError, AttributeError):  # it is full, closed or gone
        print(line, file=sys.stderr, flush=True)


def _shown(error: Exception) -> str:
    """An error's text without secrets or control characters; its own line breaks stay."""
    text = redact(str(error))
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def _as_env_fault(error: Exception) -> HarnessError | None:
    """The refusal that an environment's own code raised outside an episode, if it is one."""
    # Looked up and not imported: most commands open no environment, and importing them is slow.
    errors = sys.modules.get("envs.errors")
    if errors is None or not isinstance(error, errors.EnvError):
        return None
    return DataError(str(error))
