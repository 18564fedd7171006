"""Check of a model that is loaded here against plain transformers."""

from __future__ import annotations

from itertools import chain
from statistics import mean

from harness.policies import capabilities
from harness.policies.base import Request, Sample, Sampling
from harness.policies.checks.probe import TEXTS, TOKENS, Outcome, PolicyTrial, complete
from harness.types import Message, Tokens

_SAME = 5e-3  # nats, at most, in float32
_ROUNDED = 0.2  # nats, on average, in other dtypes
_TURNS = 3


def check_agrees(trial: PolicyTrial) -> Outcome:
    """Log-probabilities of several turns, side by side, as sampled and as trained on."""
    policy = trial.policy
    if not isinstance(policy, capabilities.ComparesPlainly):
        return "not asked", "Only models that are loaded here are compared with transformers."
    samples = [Sample(t.prompt, t.sampled, t.logprobs, 0.0) for t in _conversations(trial)]
    samples = [s for s in samples if s.sampled]
    plain = policy.plain_logprobs(samples)
    trained = policy.logprobs(samples)
    exact = capabilities.identity_of(policy).get("dtype") == "float32"
    limit = _SAME if exact else _ROUNDED
    found = []
    for name, rows in (("sampler", [s.logprobs for s in samples]), ("trainer", trained)):
        pairs = zip(chain(*rows), chain(*plain), strict=True)
        apart = [abs(mine - other) for mine, other in pairs]
        measured = max(apart) if exact else mean(apart)
        if not measured <= limit:  # also where it is not a number
            return "failed", f"The {name} differs from plain transformers by {measured:.2g} nats."
        found.append(f"{name} {measured:.1g}")
    count = sum(len(s.sampled) for s in samples)
    return "passed", f"{count} tokens of {_TURNS} turns, against plain transformers: " + (
        f"{', '.join(found)} nats apart."
    )


def _conversations(trial: PolicyTrial) -> list[Tokens]:
    """The completions of several turns of conversations of different lengths."""
    talks: dict[str, tuple[Message, ...]] = {
        f"check/agrees/{i}": (Message("user", " ".join(TEXTS[: i + 1])),) for i in range(3)
    }
    found = []
    for turn in range(_TURNS):
        asked = [Request(id, talk, Sampling(1.0, 1.0, TOKENS), turn) for id, talk in talks.items()]
        for id, said in complete(trial.policy, asked).items():
            if said.tokens is None:
                continue
            found.append(said.tokens)
            reply = Message("assistant", said.text, said.tokens.sampled)
            talks[id] = (*talks[id], reply, Message("user", TEXTS[turn]))
    return found
