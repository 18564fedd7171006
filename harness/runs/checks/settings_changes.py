"""Changes to the settings of unfinished runs.

How a run is executed may change at any time. What it measures stays as it was begun, unless a
change is allowed by name; then the run's seal records it.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from harness.errors import UsageError, unknown
from harness.runs.history.seal import (
    Seal,
    check_sealed,
    first_seal,
    read_seal,
    with_changes,
    write_seal,
)
from harness.runs.history.settings_diff import OTHER_RUN, began, flat, is_measured
from harness.runs.limits import check_limits
from harness.runs.request import build_request, read_request, write_request
from harness.settings.catalog import catalog
from harness.settings.config import Config
from harness.settings.sources import Scalar, merge, parse_set
from harness.storage.checkpoint import finish_swap, read_checkpoint
from harness.storage.lock import Lock

Tables = Mapping[str, Mapping[str, Scalar]]


def read_changes(words: Sequence[str]) -> tuple[frozenset[str], dict[str, dict[str, Scalar]]]:
    """The keys that `--change` names, and the values that it gives: KEY, or KEY=VALUE."""
    keys, tables = set(), dict[str, dict[str, Scalar]]()
    for word in words:
        name, equals, _ = word.partition("=")
        section, dot, key = name.strip().partition(".")
        if not (dot and section and key):
            raise UsageError(
                "--change takes section.key or section.key=value, as in "
                f"method.learning_rate=1e-5; got {word!r}."
            )
        keys.add(f"{section}.{key}")
        if equals:
            tables = merge(tables, {section: {key: parse_set(word)[2]}})
    return frozenset(keys), tables


def change_settings(
    run_dirs: Sequence[Path], tables: Tables, allowed: Collection[str] = ()
) -> list[str]:
    """Give unfinished runs these settings, and hold them to their seals otherwise.

    `allowed` names measured settings that may differ from what a run began with, here or in its
    config.toml. Returns notes on what was recorded.

    Raises:
        UsageError: A setting is not known, or says what is measured and is not allowed.
        RunError: A run would go on with other settings than it began with, or is in use.
    """
    changed: list[tuple[Path, Config, Seal | None, Seal | None]] = []
    given = {run_dir: read_request(run_dir) for run_dir in run_dirs}
    _check(tables, allowed, list(given.values()))
    with ExitStack() as locks:
        for run_dir, begun in given.items():
            own = {s: _known(s, table, begun) for s, table in tables.items()}
            request = build_request(merge(begun.to_tables(), own)) if any(own.values()) else begun
            check_limits(request.limits, request.prices)
            if (run_dir / "entry.json").exists():
                continue
            if not (any(tables.values()) or allowed):
                continue  # each run compares itself with its seal when it goes on
            locks.enter_context(Lock(run_dir / "run.lock"))
            finish_swap(run_dir)
            read_checkpoint(run_dir, quick=True)
            before = seal = read_seal(run_dir)
            # A run that has not begun is simply given its settings: nothing was run with others.
            if allowed and (before is not None or began(run_dir)):
                before = before or first_seal(begun, run_dir)
                seal = with_changes(before, request, run_dir, frozenset(allowed))
            check_sealed(seal, request, run_dir)
            changed.append((run_dir, request, before, seal))
        # Only once all of them are known to be right.
        for run_dir, request, before, seal in changed:
            if seal is not None and seal is not before:
                write_seal(seal, run_dir)
                # Its episodes were sampled with the settings before; those of the method alone
                # decide what is learnt from them.
                if any(not c.key.startswith("method.") for c in seal.segments[-1].changes):
                    (run_dir / "unfinished_round.jsonl").unlink(missing_ok=True)
            if request != given[run_dir]:
                write_request(request, run_dir)
    return _notes(changed) if allowed else []


def _notes(changed: Sequence[tuple[Path, Config, Seal | None, Seal | None]]) -> list[str]:
    notes = []
    for run_dir, _, before, seal in changed:
        if seal is None:
            notes.append(f"{run_dir} has not begun, so the whole run has the changed settings")
            continue
        if seal is before:
            notes.append(f"{run_dir}: nothing changed, so there is nothing to record")
            continue
        last = seal.segments[-1]
        keys = ", ".join(change.key for change in last.changes)
        notes.append(
            f"{run_dir}: {keys} changed from iteration {last.iteration + 1} on; the entry records "
            "it, and no ranking counts the run"
        )
    return notes


def _known(section: str, table: Mapping[str, Scalar], request: Config) -> dict[str, Scalar]:
    """The settings of a table that a run has: those of a method belong to its runs alone."""
    if section != "method":
        return dict(table)
    own = flat(request)
    return {key: value for key, value in table.items() if f"method.{key}" in own}


def _check(tables: Tables, allowed: Collection[str], requests: Sequence[Config]) -> None:
    known = catalog()
    given = [(section, key) for section, table in tables.items() for key in table]
    named = [(section, key) for section, _, key in (one.partition(".") for one in allowed)]
    there = {key for request in requests for key in flat(request)}
    for section, key in dict.fromkeys((*given, *named)):
        if section not in known:
            raise unknown("section", section, list(known))
        own = [k.partition(".")[2] for k in there if k.startswith(f"{section}.")]
        options = sorted({*known[section], *own})
        if key not in options and section != "env" and requests:
            raise unknown(f"setting [{section}]", key, options)
        name = f"{section}.{key}"
        if name in OTHER_RUN and is_measured(name):
            raise UsageError(f"{name} says which run this is; start a new run to change it.")
        if is_measured(name) and name not in allowed and (section, key) in given:
            raise UsageError(
                f"{name} says what is measured, and a run measures what it began with; start a new "
                f"run to change it, or add --change {name}, which the entry records and no ranking "
                "counts."
            )
