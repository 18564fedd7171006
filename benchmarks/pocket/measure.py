"""Scores of a trained pocket: `python -m benchmarks.pocket.measure --model FOLDER`.

Everything is sampled at temperature 1 through the harness's own policy, on conventions
reserved for the environments, which training never draws.
"""

import argparse
import json
import random
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence

from benchmarks.pocket.acting import BRIEFINGS, Chain, chain
from benchmarks.pocket.corpus import COURSES, talks
from benchmarks.pocket.expert import STAGES
from envs.calibration import stated_digit
from envs.calibration_language import (
    Convention,
    draw_convention,
    meaning_sentence,
    question,
    worked_solution,
)
from harness.policies import open_policy
from harness.policies.base import Policy, Request, Sampling
from harness.settings.model import ModelSettings
from harness.types import Message, SystemPrompt


def replies(policy: Policy, conversations: Sequence[tuple[Message, ...]]) -> list[str]:
    """One sampled reply each, in order."""
    waiting = deque(
        Request(str(i), conversation, Sampling(max_tokens=96), seed=i)
        for i, conversation in enumerate(conversations)
    )
    said = {request: completion.text for request, completion in policy.generate(waiting)}
    return [said[str(i)] for i in range(len(conversations))]


def acting(policy: Policy, steps: int, known: bool, count: int, seed: int) -> float:
    """Share of right answers to chains of that many steps, told every sign's meaning or none."""
    rng = random.Random(f"pocket measure {steps} {known} {seed}")
    asked: list[tuple[Chain, Convention]] = []
    conversations = []
    for _ in range(count):
        convention = draw_convention(rng, 6, for_envs=True)
        task = chain(rng, convention, steps)
        told = tuple(meaning_sentence(*pair) for pair in convention.items()) if known else ()
        prompt = SystemPrompt(BRIEFINGS[0], told)
        asked.append((task, convention))
        conversations.append((Message("system", prompt.text), Message("user", question(*task))))
    right = [
        stated_digit(reply) == str(worked_solution(*task, convention)[1])
        for reply, (task, convention) in zip(replies(policy, conversations), asked, strict=True)
    ]
    return sum(right) / count


def reflecting(policy: Policy, count: int, seed: int) -> dict[str, float]:
    """Share of answers that are, word for word, what the evidence supports, by stage."""
    asked: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for kind, talk in talks(1_000_000 + seed, COURSES[-1], worlds=True):
        if kind in STAGES and len(asked[kind]) < count:
            asked[kind].append((talk[0][1], talk[1][1]))
        if all(len(asked[stage]) == count for stage in STAGES):
            break
    scores = {}
    for stage in STAGES:
        said = replies(policy, [(Message("user", text),) for text, _ in asked[stage]])
        pairs = list(zip(said, (answer for _, answer in asked[stage]), strict=True))
        scores[stage] = sum(a == b for a, b in pairs) / count
        edits = [(a, b) for a, b in pairs if b != "NONE"]
        if stage in ("propose", "aggregate", "crossover"):
            scores[f"{stage}, where an edit is due"] = sum(a == b for a, b in edits) / len(edits)
        if stage == "crossover":
            questions = (text for text, _ in asked[stage])
            scores["crossover, lines that another list says"] = borrowed(questions, said)
    return scores


def borrowed(questions: Iterable[str], answers: Iterable[str]) -> float:
    """The share of proposed principles that stand in another list than the best."""
    found = [
        principle in question.partition("Others that")[2]
        for question, answer in zip(questions, answers, strict=True)
        for _, _, principle in (line.partition(": ") for line in answer.splitlines())
        if principle
    ]
    return sum(found) / max(1, len(found))


def measured(policy: Policy, count: int, seed: int = 0) -> dict[str, float]:
    """All scores."""
    scores = {}
    for steps in (1, 2, 3, 4):
        for known in (True, False):
            name = f"{steps} steps, {'told' if known else 'not told'}"
            scores[name] = acting(policy, steps, known, count, seed)
    return scores | reflecting(policy, count, seed)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="a folder")
    parser.add_argument("--count", type=int, default=400)
    asked = parser.parse_args()
    policy = open_policy(f"hf:{asked.model}", ModelSettings(threads=1, device="cpu"))
    scores = measured(policy, asked.count)
    print(json.dumps({name: round(score, 3) for name, score in scores.items()}, indent=2))


if __name__ == "__main__":
    main()
