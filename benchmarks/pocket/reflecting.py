"""Text about reflecting: simulated iterations, about which the harness's own mutation and crossover
ask the expert, so that every question has its real wording.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass

from agents.parts.prompts.operators import EditLimits, crossover, mutate
from agents.parts.prompts.reflection_context import numbered
from agents.parts.prompts.reflector import ReflectionRequest, Reflector
from benchmarks.pocket.acting import ASIDES, BRIEFINGS, Chain, attempt, chain, told_by
from benchmarks.pocket.expert import Expert, drawn
from envs.calibration_language import (
    MEANINGS,
    Convention,
    meaning_sentence,
    question,
    worked_solution,
)
from harness.policies.base import Sampling
from harness.round_data import Group, Rollouts, Round
from harness.seeds import Seeds
from harness.types import (
    Assignment,
    Completion,
    Ending,
    Episode,
    Finish,
    SystemPrompt,
    Task,
    Turn,
)


@dataclass(frozen=True)
class Evidence:
    """Amount of evidence in a simulated iteration.

    `strays` is how often a worker leaves what it was told, which is evidence against principles;
    `truth` how often one who guesses is led to the truth; `samples` the attempts at a problem;
    `most` how many of a round's questions are learnt from, by stage.
    """

    strays: float
    truth: float
    samples: tuple[int, ...]
    most: Mapping[str, int]


_SOME = {"summarise": 1, "critique": 2, "propose": 2, "aggregate": 1, "crossover": 2}
PLENTY = Evidence(strays=0.3, truth=0.25, samples=(3, 4, 5), most=_SOME)
SCARCE = Evidence(strays=0.15, truth=0.08, samples=(4, 5, 6), most=_SOME | {"critique": 3})
EDITS = Evidence(strays=0.15, truth=0.08, samples=(4, 5, 6), most=_SOME | {"aggregate": 3})


def opinions(rng: random.Random, convention: Convention) -> tuple[str, ...]:
    """Principles that know some signs, and are wrong about some."""
    share = rng.random()
    listed = []
    for sign in rng.sample(sorted(convention), len(convention)):
        if rng.random() < share:
            wrong = rng.random() < 0.25
            listed.append(
                meaning_sentence(sign, rng.choice(list(MEANINGS)) if wrong else convention[sign])
            )
    if listed and rng.random() < 0.1:
        listed.append(meaning_sentence(rng.choice(listed).split()[0], rng.choice(list(MEANINGS))))
    if rng.random() < 0.05:
        listed.append(rng.choice(ASIDES))
    return tuple(dict.fromkeys(listed))


def episode(
    rng: random.Random,
    prompt: SystemPrompt,
    task: Task,
    asked: Chain,
    convention: Convention,
    evidence: Evidence,
) -> Episode:
    """One attempt at a question, judged as the worlds judge it."""
    told = told_by(prompt.principles)
    nudged = {
        s: m for s, m in convention.items() if s not in told and rng.random() < evidence.truth
    }
    if rng.random() < evidence.strays:
        nudged, told = dict(convention), {}
    made = attempt(rng, asked, told | nudged)
    _, result = worked_solution(*asked, convention)
    right = made.result == result
    feedback = "Right." if right else f"Wrong. The correct answer is {result}."
    turn = Turn(question(*asked), Completion(made.text, Finish.STOP, 20), float(right))
    return Episode(
        prompt_id=prompt.id,
        task=task,
        sample=0,
        policy_version=0,
        turns=(turn,),
        ending=Ending.TERMINATED,
        reward=float(right),
        success=right,
        feedback=feedback,
        answer=str(result),
    )


def simulated(
    rng: random.Random,
    convention: Convention,
    prompts: list[SystemPrompt],
    samples: int,
    evidence: Evidence,
) -> Rollouts:
    """One round of a few questions under some prompts."""
    asked = [chain(rng, convention, rng.choice((1, 1, 1, 1, 2, 3))) for _ in range(4)]
    tasks = [Task("train", rng.randrange(1000)) for _ in asked]
    round = Round(0, tuple(tasks), len(prompts), samples, Seeds(rng.getrandbits(32)))
    groups = [
        Group(
            Assignment(prompt, task, samples),
            tuple(episode(rng, prompt, task, q, convention, evidence) for _ in range(samples)),
        )
        for prompt in prompts
        for task, q in zip(tasks, asked, strict=True)
    ]
    return Rollouts(round, tuple(groups))


def reflections(
    rng: random.Random, convention: Convention, evidence: Evidence
) -> list[tuple[str, str, str]]:
    """Some of what the expert is asked, and says, about one simulated round."""
    briefing = rng.choice(BRIEFINGS)
    expert = Expert()
    reflector = Reflector(expert, Sampling(max_tokens=96), Seeds(rng.getrandbits(32)))
    parent = SystemPrompt(briefing, opinions(rng, convention))
    samples = rng.choice(evidence.samples)
    mutate(parent, simulated(rng, convention, [parent], samples, evidence), reflector, EditLimits())
    for _ in range(2):
        drawn_up = [opinions(rng, convention) for _ in range(rng.choice((2, 3)))]
        rivals = [SystemPrompt(briefing, principles) for principles in dict.fromkeys(drawn_up)]
        played = simulated(rng, convention, rivals, 3, evidence)
        crossover(rivals[0], played, reflector, EditLimits())
    for position in range(evidence.most["aggregate"]):
        draft = [*opinions(rng, convention), *opinions(rng, convention)[: rng.choice((1, 2, 4, 8))]]
        fields = {"principles": numbered(list(dict.fromkeys(draft)))}
        reflector.query("mutation", "aggregate", [ReflectionRequest(f"draft {position}", fields)])
    return drawn(rng, expert.asked, evidence.most)
