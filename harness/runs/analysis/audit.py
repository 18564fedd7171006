"""Overlap of a learnt prompt with tasks and answers, and between the splits."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from harness.env_capabilities import HasProblems
from harness.errors import UsageError
from harness.runs.analysis.reevaluation import Analysis, AnalysisResult
from harness.runs.envs import env_maker
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


def audit(request: Config, prompt: SystemPrompt) -> AuditFinding:
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
    env = env_maker(request)(split)
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


def overlap_record(found: AuditFinding) -> dict[str, Any]:
    """The finding as JSON values."""
    values = asdict(found)
    for line, principle in zip(values["principles"], found.principles, strict=True):
        line["suspect"] = principle.suspect
    return values


def record_overlap(analysis: Analysis, overlap: Mapping[str, Any]) -> dict[str, Any]:
    """Write a record of the overlap alone, without an evaluation; returns what was written."""
    record = {"kind": "audit", "overlap": overlap}
    analysis.folder.mkdir(parents=True)
    write_json(analysis.record_path, json.loads(json.dumps(record)))
    return record


def with_and_without(
    analysis: Analysis, kept: tuple[str, ...], overlap: Mapping[str, Any]
) -> AnalysisResult:
    """Evaluations of the prompt as it is and with only the principles that are no suspects."""
    agent = analysis.agent
    redacted = Agent(replace(agent.prompt, principles=kept), agent.policy_version)
    whole = analysis.evaluate("whole prompt", agent)
    clean = analysis.evaluate("redacted prompt", redacted)
    unit = all_in_unit_interval([whole.cell, clean.cell])
    effects = differences([("suspect principles", whole.cell, clean.cell)], unit)
    return AnalysisResult([whole, clean], effects, {"overlap": overlap})
