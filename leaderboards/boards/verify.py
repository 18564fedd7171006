"""Verification of published entries: files against the manifest, numbers against outcomes, rewards
against completions.

The caller provides the graders. Outcomes that cannot be graded again are counted and reported, and
code or data named by a stranger's entry is not opened without permission. Invented completions
cannot be detected; see README.md.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from leaderboards.boards.manifest import (
    boards_path,
    file_hash,
    manifest_path,
    page_path,
    read_manifest,
    read_page,
    rendered_boards,
)
from leaderboards.boards.model import Board
from leaderboards.boards.rank import boards
from leaderboards.boards.render import as_json
from leaderboards.records.entry import Entry, Outcome
from leaderboards.records.store import find_entries, read_bytes
from leaderboards.records.strict_json import RecordError, parse, preview

MOST_NAMED = 20  # problems of one kind that are listed


@dataclass(frozen=True, slots=True)
class GraderVerdict:
    """A grader's result for a completion: `reward` is None without a score, and `why` says why.

    `misfit` describes a conversation that cannot have happened, such as turns after its end.
    """

    reward: float | None
    success: bool
    why: str = ""
    misfit: str = ""


Grader: TypeAlias = Callable[[Outcome], GraderVerdict | str]
"""The result for an outcome's completion, or the reason that it cannot be graded again."""


@dataclass(frozen=True, slots=True)
class UntrustedEnv:
    """An environment that is not opened without permission, and the reason."""

    why: str


GraderFactory: TypeAlias = Callable[[Entry], Grader | UntrustedEnv | str]
"""The grader of an entry's environment, or the reason that there is none."""
NOT_REPLAYED = "their entries were not replayed"


@dataclass(frozen=True, slots=True)
class Verified:
    """The result of a verification; `problems` is empty if nothing is wrong.

    `graded` counts outcomes graded again, `left` those that were not, by reason; `numbers` counts
    published numbers that were recomputed. `unopened` names the files of entries that were not
    replayed, by the reason that names what to trust.
    """

    entries: int
    outcomes: int
    graded: int
    numbers: int
    left: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    unopened: Mapping[str, Sequence[str]] = field(default_factory=dict)


def verify(folder: Path, bring: GraderFactory) -> Verified:
    """Check every entry below a folder, and the files published beside it."""
    found = find_entries([folder])
    if not (found.stored or found.problems or manifest_path(folder).exists()):
        return Verified(0, 0, 0, 0)  # nothing was published yet
    problems = [*found.problems, *_manifest(folder)]
    graded, left, unopened = 0, dict[str, int](), dict[str, list[str]]()
    for stored in found.stored:
        name = stored.path.relative_to(folder).as_posix()
        grader = bring(stored.entry)
        if isinstance(grader, UntrustedEnv):
            unopened.setdefault(grader.why, []).append(name)
            grader = NOT_REPLAYED
        wrong, count, reasons = _graded(stored.entry, grader)
        problems += [f"{name}: {problem}" for problem in wrong]
        graded += count
        for reason, number in reasons.items():
            left[reason] = left.get(reason, 0) + number
    made = boards(found.entries)
    numbers, wrong = _numbers(folder, made)
    try:
        page = read_page(page_path(folder))
        if page is not None and page[1] != rendered_boards(made):
            wrong.append(f"{page_path(folder).name}: its leaderboards are not those of the entries")
    except RecordError as error:
        wrong.append(str(error))
    return Verified(
        entries=len(found.entries),
        outcomes=sum(len(e.outcomes) for e in found.entries),
        graded=graded,
        numbers=numbers,
        left=left,
        problems=(*problems, *wrong),
        unopened=unopened,
    )


def _manifest(folder: Path) -> Iterator[str]:
    """Differences between the files of a folder and the manifest beside it."""
    path = manifest_path(folder)
    if not path.exists():
        yield (
            f"{path.name} is missing, so edited files cannot be detected; "
            "`harness leaderboard add` writes it"
        )
        return
    try:
        listed = read_manifest(path)
    except RecordError as error:
        yield str(error)
        return
    there = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*.json") if p.is_file()}
    for name in sorted(listed.keys() | there.keys()):
        if name not in there:
            yield f"{name}: is in {path.name}, but not in the folder"
        elif name not in listed:
            yield f"{name}: is in the folder, but not in {path.name}"
        elif problem := _changed(there[name], listed[name], path.name):
            yield f"{name}: {problem}"


def _changed(path: Path, hash: str, manifest: str) -> str:
    """The difference of a file from its published hash; "" if there is none."""
    try:
        same = file_hash(path) == hash
    except RecordError as error:
        return error.problem
    return "" if same else f"was changed after it was published; its hash is not that of {manifest}"


def _graded(entry: Entry, grader: Grader | str) -> tuple[list[str], int, dict[str, int]]:
    """Grade every kept completion again."""
    if isinstance(grader, str):
        return [], 0, {grader: len(entry.outcomes)}
    problems, graded, left = [], 0, dict[str, int]()
    for outcome in entry.outcomes:
        reason = ""
        if outcome.status == "unscored":
            reason = "environment or grader had failed, so there is nothing to compare"
        elif outcome.reply is None:
            reason = "no completion was kept"
        judged = reason or grader(outcome)
        if isinstance(judged, str):
            left[judged] = left.get(judged, 0) + 1
            continue
        graded += 1
        if problem := _compared(outcome, judged):
            problems.append(f"{preview(outcome.task)} sample {outcome.sample}: {problem}")
    if len(problems) > MOST_NAMED:
        rest = len(problems) - MOST_NAMED
        problems[MOST_NAMED:] = [f"and {rest} more outcomes are graded differently"]
    return problems, graded, left


def _compared(outcome: Outcome, judged: GraderVerdict) -> str:
    if judged.misfit:
        return judged.misfit
    if judged.reward is None:
        why = f" ({judged.why})" if judged.why else ""
        return f"reward {outcome.reward:g} is recorded, but the grader gives no score{why}"
    if not math.isclose(judged.reward, outcome.reward or 0.0, rel_tol=1e-9, abs_tol=1e-9):
        return f"reward {outcome.reward:g} is recorded, but the completion earns {judged.reward:g}"
    if outcome.success is not None and judged.success is not outcome.success:
        return f"success {outcome.success} is recorded, but the grader says {judged.success}"
    return ""


def _numbers(folder: Path, made: Sequence[Board]) -> tuple[int, list[str]]:
    """Compare every published number with the same number recomputed from the outcomes."""
    path = boards_path(folder)
    if not path.exists():
        return 0, [f"{path.name} is missing, so no printed number could be compared"]
    try:
        published = parse(read_bytes(path), path.name)
    except RecordError as error:
        return 0, [str(error)]
    pairs = list(_leaves("", published, as_json(made)))
    wrong = [
        f"{path.name}: {where} says {preview(there)}, but the outcomes give {preview(here)}"
        for where, there, here in pairs
        if not _same(there, here)
    ]
    if len(wrong) > MOST_NAMED:
        wrong[MOST_NAMED:] = [f"{path.name}: and {len(wrong) - MOST_NAMED} more differ"]
    return sum(_is_number(here) for _, _, here in pairs), wrong


_ABSENT = "nothing"


def _leaves(where: str, there: Any, here: Any) -> Iterator[tuple[str, Any, Any]]:
    """Pairs of plain values at the same path of two JSON values."""
    if isinstance(there, dict) and isinstance(here, Mapping):
        for key in sorted({*there, *here}):
            inner = there.get(key, _ABSENT), here.get(key, _ABSENT)
            yield from _leaves(f"{where}.{key}" if where else key, *inner)
    elif isinstance(there, list) and isinstance(here, (list, tuple)) and len(there) == len(here):
        for number, pair in enumerate(zip(there, here, strict=True)):
            yield from _leaves(f"{where}[{number}]", *pair)
    else:
        yield where, there, here


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _same(there: Any, here: Any) -> bool:
    if _is_number(there) and _is_number(here):
        # The last digits of quantiles may differ between machines.
        return math.isclose(there, here, rel_tol=1e-9, abs_tol=1e-12)
    return type(there) is type(here) and bool(there == here)
