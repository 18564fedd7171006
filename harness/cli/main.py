"""Parsing the command line and turning errors into one sentence and an exit code."""

import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from harness.cli.parser import parse
from harness.errors import HarnessError, RunError
from harness.runs.signals import Terminated
from harness.system.resource_errors import sentence
from harness.system.secrets import guard_tracebacks, scrubbed
from leaderboards.records.strict_json import RecordError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    guard_tracebacks()
    given = list(sys.argv[1:] if arguments is None else arguments)
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
        kept = " The last finished round is kept: harness resume RUN goes on from it."
        _say(f"harness: stopped.{kept if asked_to_run(given) else ''}")
        return stopped.code if isinstance(stopped, Terminated) else 130
    except BrokenPipeError:
        # Whoever read the output has seen enough; Python would complain again while closing it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        trouble = sentence(error, "The machine refuses what was asked of it", "try again")
        if trouble is None:
            raise
        _say(f"harness: {_shown(trouble)}")
        return trouble.exit_code


def _say(line: str) -> None:
    """Onto standard error, where somebody reads it."""
    with suppress(OSError, ValueError, AttributeError):  # it is full, closed or gone
        print(line, file=sys.stderr, flush=True)


def _shown(error: Exception) -> str:
    """An error's text without secrets or control characters; its own line breaks stay."""
    text = scrubbed(str(error))
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)


def asked_to_run(given: Sequence[str]) -> bool:
    """Whether the verb leaves a run that can be resumed."""
    return bool(given) and given[0] in ("run", "resume", "eval")
