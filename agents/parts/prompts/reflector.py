"""Asking a model to reflect: many questions at once, each answer matched to its question by id.

The only part that talks to a policy. It gives no answer it did not get: what is missing is listed
with its reason. Noise is keyed by operator, stage and item, so order and timing change nothing.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from agents.parts.prompts.template_filling import template, write
from harness.policies.base import Policy, Request, Sampling
from harness.policies.capabilities import failures_of
from harness.seeds import Seeds
from harness.types import Message

COMPACT = 2048
"""Models with at most this context get the short form of each question."""
CHARACTERS_A_TOKEN = 3
"""Fewer than any tokenizer for English needs on average, so that questions fit."""
CHAT_TOKENS = 32
"""Kept free for what a chat template adds."""
UNKNOWN_CONTEXT = 16_384
"""Tokens assumed where a policy does not know its context."""


@dataclass(frozen=True, slots=True)
class ReflectionRequest:
    """One thing to ask: the item it is about, unique in its stage, and the template's fields."""

    item: str
    fields: Mapping[str, str | Sequence[str]]
    grammar: str | None = None


class Reflector:
    """A policy asked to look back on one round. Counts its calls; keeps what went unanswered."""

    def __init__(self, policy: Policy, sampling: Sampling, seeds: Seeds) -> None:
        self.policy = policy
        self.seeds = seeds
        self.calls = 0
        self.unanswered: list[str] = []
        context = UNKNOWN_CONTEXT if policy.context is None else policy.context
        self.compact = context <= COMPACT
        reply = min(sampling.max_tokens, context // (4 if self.compact else 2))
        self.sampling = replace(sampling, max_tokens=reply)
        self.room = max(0, (context - reply - CHAT_TOKENS) * CHARACTERS_A_TOKEN)

    def ask(
        self, operator: str, stage: str, questions: Sequence[ReflectionRequest]
    ) -> dict[str, str]:
        """The answers by item, in the order asked; items without an answer are left out."""
        form = template(stage, self.compact)
        requests = {
            f"reflect/{operator}/{stage}/{q.item}": Request(
                f"reflect/{operator}/{stage}/{q.item}",
                (Message("user", write(form, q.fields, self.room)),),
                self.sampling,
                self.seeds.key(operator, stage, q.item),
                "reflect",
                q.grammar,
            )
            for q in questions
        }
        self.calls += len(requests)
        replies = {id: _said(c.text) for id, c in self.policy.generate(deque(requests.values()))}
        failures = failures_of(self.policy)
        answers = {}
        for id, question in zip(requests, questions, strict=True):
            if replies.get(id):
                answers[question.item] = replies[id]
            else:
                empty = "the reply was empty" if id in replies else "no reply came"
                self.unanswered.append(f"{id} ({failures.get(id, empty)})")
        return answers


def _said(text: str) -> str:
    """The reply without the thinking that some models put before it."""
    return text.rpartition("</think>")[2].strip()
