"""`harness audit`: overlap of a learnt prompt with tasks and answers, and between the splits.

It reads every problem with its answer, including the test split, so its output must not be used for
training. It prints ids and counts, never a task's text.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from rich.console import Console
from rich.text import Text

from harness.display.console_text import pipe_safe, plain
from harness.env_capabilities import HasProblems
from harness.errors import UsageError
from harness.runs.envs import world_maker
from harness.runs.reevaluation import Analysis, finished
from harness.settings.config import Config
from harness.storage.atomic_files import write_json
from harness.types import Agent, Split, SystemPrompt
from leaderboards.stats.factorial import all_in_unit_interval, differences
from leaderboards.stats.train_test_overlap import (
    NearDuplicates,
    Overlap,
    OverlapIndex,
    OverlapText,
    near_duplicates,
)

MOST = 20_000  # problems of one split that are read
_SPLITS: tuple[Split, ...] = ("train", "test")


@dataclass(frozen=True, slots=True)
class Principle:
    """A principle of the prompt, and its overlap with train and test items."""

    number: int
    text: str
    train: Overlap
    test: Overlap

    @property
    def suspect(self) -> bool:
        """True if it is left out of the redacted prompt."""
        return self.train.any or self.test.any


@dataclass(frozen=True, slots=True)
class AuditFinding:
    """The overlap that was found, and the number of problems read."""

    read: dict[Split, int]
    principles: tuple[Principle, ...]
    twins: NearDuplicates


def main(arguments: argparse.Namespace) -> int:
    """Report the overlap, then evaluate the prompt with and without the suspect principles."""
    run_dir = finished(arguments.run)
    with Analysis(run_dir, "audit", arguments) as analysis:
        agent = analysis.agent
        found = look(analysis.request, agent.prompt)
        if not arguments.json:
            _say(found)
        values = _json(found)
        kept = tuple(p.text for p in found.principles if not p.suspect)
        if arguments.no_play or len(kept) == len(found.principles):
            analysis.folder.mkdir(parents=True)
            record = analysis.folder / "record.json"
            write_json(record, json.loads(json.dumps({"kind": "audit", "overlap": values})))
            if arguments.json:
                print(json.dumps({"kind": "audit", "overlap": values, "record": str(record)}))
            return 0
        redacted = Agent(replace(agent.prompt, principles=kept), agent.policy_version)
        whole = analysis.play("whole prompt", agent)
        clean = analysis.play("redacted prompt", redacted)
        unit = all_in_unit_interval([whole.cell, clean.cell])
        effects = differences([("suspect principles", whole.cell, clean.cell)], unit)
        analysis.record([whole, clean], effects, overlap=values)
    return 0


def look(request: Config, prompt: SystemPrompt) -> AuditFinding:
    """Compare a prompt's principles with the problems of train and test, and those with each other.

    Words that the initial prompt has too are not counted. A prompt that was rewritten as a whole
    counts as one principle.
    """
    items = {split: _items(request, split) for split in _SPLITS}
    root = request.run.prompt or ""
    index = {split: OverlapIndex(items[split], [root]) for split in _SPLITS}
    texts = list(prompt.principles) or ([prompt.briefing] if prompt.briefing != root else [])
    principles = tuple(
        Principle(n, text, index["train"].of(text), index["test"].of(text))
        for n, text in enumerate(texts, 1)
    )
    read = {split: len(items[split]) for split in _SPLITS}
    return AuditFinding(read, principles, near_duplicates(items["train"], items["test"]))


def _items(request: Config, split: Split) -> list[OverlapText]:
    env = world_maker(request)(split)
    try:
        if not isinstance(env, HasProblems):
            raise UsageError(
                f"{request.env.name} does not expose its problems, so there is nothing to compare."
            )
        count = min(env.size(split), MOST)
        problems = (env.problem(split, n) for n in range(count))
        return [OverlapText(p.id, p.text, p.answer) for p in problems]
    finally:
        env.close()


def _json(found: AuditFinding) -> dict[str, Any]:
    values = asdict(found)
    for line, principle in zip(values["principles"], found.principles, strict=True):
        line["suspect"] = principle.suspect
    return values


def _say(found: AuditFinding) -> None:
    console = pipe_safe(Console())
    for split, count in found.read.items():
        console.print(f"{split}: {count:,} problems read")
    for principle in found.principles:
        console.print(Text(f"principle {principle.number}: {plain(principle.text, 100)}"))
        for split, overlap in (("train", principle.train), ("test", principle.test)):
            for what, ids in (("words", overlap.phrases), ("the answer", overlap.answers)):
                if ids:
                    line = f"  ! repeats {what} of {len(ids)} {split} problems: {_some(ids)}"
                    console.print(Text(line, style="yellow"))
        if not principle.suspect:
            console.print("  no overlap")
    if not found.principles:
        console.print("the prompt has no learnt text")
    same, alike = found.twins.same, found.twins.alike
    console.print(
        f"test problems also in train: {len(same)} identical, {len(alike)} near duplicates"
    )
    for pair in (*same, *(pair[:2] for pair in alike)):
        console.print(Text(f"  ! {_some(pair)}", style="yellow"))


def _some(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - 5} more" if len(ids) > 5 else ""
    return ", ".join(plain(id, 60) for id in ids[:5]) + more
