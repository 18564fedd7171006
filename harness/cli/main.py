"""Parsing the command line and turning errors into one sentence and an exit code."""

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.cli.parser import build_parser
from harness.errors import HarnessError, RunError, unknown
from harness.guard import check_rooms
from leaderboards.strict import RecordError


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = build_parser()
    verbs = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    first = next((a for a in arguments if not a.startswith("-")), None)
    if first is not None and first not in verbs.choices:
        raise unknown("verb", first, verbs.choices)
    namespace, extra = parser.parse_known_args(arguments)
    if extra:
        known = [o for a in verbs.choices[namespace.verb]._actions for o in a.option_strings]
        raise unknown(f"option of harness {namespace.verb}", extra[0], known)
    if namespace.verb is None:
        parser.print_help()
        raise SystemExit(0)
    return namespace


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        asked = _parse(given)
        check_rooms()
        sys.path.append(str(Path.cwd()))  # last: worlds of one's own are found, nothing is shadowed
        code: int = importlib.import_module(f"harness.cli.{asked.module}").main(asked)
        return code
    except HarnessError as error:
        print(f"harness: {error}", file=sys.stderr)
        return error.exit_code
    except RecordError as error:
        print(f"harness: {error}", file=sys.stderr)
        return RunError.exit_code
    except KeyboardInterrupt:
        print("harness: stopped; the last finished round is kept (harness resume)", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0
