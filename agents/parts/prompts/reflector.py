"""Query a model for reflections: many requests at once, each answer matched to its request by id.

The only part of evolution that samples from a model. Missing answers are listed with the reason.
Sampling seeds depend on operator, stage and item, so order and timing change nothing.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from agents.parts.prompts.edit_parser import edits_before_cut
from agents.parts.prompts.template_filling import fill, template
from harness.policies.base import Policy, Request, Sampling
from harness.policies.capabilities import failures_of, thinks_of
from harness.seeds import Seeds
from harness.thoughts import has_mark
from harness.types import Completion, Finish, Message

COMPACT = 2048
"""Models with a context of at most this many tokens get the short form of each template."""
CHARACTERS_PER_TOKEN = 3
"""Below the average of every usual tokenizer on English text, so that requests fit."""
CHAT_TOKENS = 32
"""Reserved for what a chat template adds."""
UNKNOWN_CONTEXT = 16_384
"""Tokens assumed where a policy does not know its context length."""


@dataclass(frozen=True, slots=True)
class ReflectionRequest:
    """The item a request is about, unique in its stage, and the fields of its template.

    `grammar` is a regular expression for constrained decoding, for policies that support it.
    """

    item: str
    fields: Mapping[str, str | Sequence[str]]
    grammar: str | None = None


class Reflector:
    """The reflection model for one round. Counts its calls and lists requests without an answer."""

    def __init__(self, policy: Policy, sampling: Sampling, seeds: Seeds) -> None:
        self.policy = policy
        self.seeds = seeds
        self.calls = 0
        self.unanswered: list[str] = []
        self._thinks = thinks_of(policy)
        context = UNKNOWN_CONTEXT if policy.context is None else policy.context
        self.compact = context <= COMPACT
        # A short context is mostly needed for the question; a long one leaves half for the answer.
        reply = min(sampling.max_tokens, context // (4 if self.compact else 2))
        self.sampling = replace(sampling, max_tokens=reply)
        self.max_characters = max(0, (context - reply - CHAT_TOKENS) * CHARACTERS_PER_TOKEN)

    def query(
        self, operator: str, stage: str, questions: Sequence[ReflectionRequest]
    ) -> dict[str, str]:
        """The answers by item, in the order of the questions; items without one are left out."""
        form = template(stage, self.compact)
        requests = {
            f"reflect/{operator}/{stage}/{q.item}": Request(
                f"reflect/{operator}/{stage}/{q.item}",
                (Message("user", fill(form, q.fields, self.max_characters)),),
                self.sampling,
                self.seeds.key(operator, stage, q.item),
                "reflect",
                q.grammar,
            )
            for q in questions
        }
        self.calls += len(requests)
        # All at once: the policy batches them, and a slow one delays nobody.
        replies = dict(self.policy.generate(deque(requests.values())))
        self._thinks = self._thinks or any(reply.thought.strip() for reply in replies.values())
        answers = {}
        # In the order of questions, not of arrival: the order of edits decides what they do.
        for id, question in zip(requests, questions, strict=True):
            reply = replies.get(id)
            answer = "" if reply is None else self.answer_of(reply)
            # A question with a grammar asks for a list of edits.
            if answer and reply and reply.finish is Finish.LENGTH and question.grammar is not None:
                answer = edits_before_cut(answer)
            if answer:
                answers[question.item] = answer
            else:
                self.unanswered.append(f"{id} ({self.reason(id, reply)})")
        return answers

    def answer_of(self, reply: Completion) -> str:
        """The reply without its thoughts; "" if it ends within one."""
        return "" if self._within_thought(reply) else reply.answer.strip()

    def _within_thought(self, reply: Completion) -> bool:
        if not reply.thought_finished:
            return True
        if reply.finish is not Finish.LENGTH:
            return False
        # Where the prompt or a server swallows the mark that opens a thought, a thought that was
        # cut off has no mark at all. The model's other replies tell that it thinks.
        return self._thinks and not reply.reasoning and not has_mark(reply.text)

    def reason(self, id: str, reply: Completion | None) -> str:
        """The reason why a request has no answer."""
        if reply is None:
            return failures_of(self.policy).get(id, "no reply came")
        limit = f"within {reply.sampled:,} tokens; reflection.max_tokens sets the limit"
        if self._within_thought(reply):
            return f"its thought was not finished {limit}"
        if reply.finish is Finish.LENGTH and reply.answer.strip():
            return f"its list of edits did not begin, or one edit was not finished, {limit}"
        return "the reply was empty"
