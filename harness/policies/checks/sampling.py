"""Checks of what a policy promises when it samples."""

from __future__ import annotations

import math
from collections import deque

from harness.policies import capabilities
from harness.policies.base import (
    Policy,
    Request,
    Sampling,
    TrainablePolicy,
)
from harness.policies.checks.probe import (
    TEXTS,
    TOKENS,
    Outcome,
    PolicyTrial,
    complete,
    request,
    requests,
    require_all,
    take,
)
from harness.types import Completion, Finish, Message


def _is_policy(opened: object) -> bool:
    """True where the object that another package opened has the members of a policy."""
    return isinstance(opened, Policy)


def check_members(trial: PolicyTrial) -> Outcome:
    """The members of `Policy`, and of `TrainablePolicy` where the backend says so."""
    policy = trial.policy
    if not _is_policy(policy):
        return "failed", "It lacks a member of harness.policies.Policy."
    if policy.name != trial.url:
        return "failed", f"Its name is '{policy.name}', but should be the URL '{trial.url}'."
    if not isinstance(policy.version, int) or policy.version != 0:
        return "failed", f"Its version is {policy.version!r}, but is 0 before the first update."
    if policy.context is not None and not (isinstance(policy.context, int) and policy.context > 0):
        return "failed", f"Its context is {policy.context!r}, but is a number of tokens or None."
    trains = isinstance(policy, TrainablePolicy)
    if trains != trial.backend.trainable:
        return "failed", f"Its backend says trainable={trial.backend.trainable}, but it is not so."
    return "passed", f"A {'trainable' if trains else 'sampling'} policy; {trial.backend.about}."


def check_identity(trial: PolicyTrial) -> Outcome:
    """The parts of the identity that every entry records."""
    identity, notes = capabilities.identity_of(trial.policy), capabilities.notes_of(trial.policy)
    missing = {"weights", "quantisation", "rendering", "engine", "dtype"} - set(identity)
    if missing:
        return "failed", f"Its identity lacks {', '.join(sorted(missing))}, which entries record."
    if not all(isinstance(text, str) for text in (*identity.values(), *notes)):
        return "failed", "Its identity and notes should be texts."
    return "passed", f"Weights {identity['weights'][:30]}, engine {identity['engine']}."


def check_answers(trial: PolicyTrial) -> Outcome:
    """One completion for each request, and none where nothing waits."""
    found = complete(trial.policy, requests())
    if list(trial.policy.generate(deque())):
        return "failed", "It answers where nothing was requested."
    return "passed", f"{len(found)} of {len(TEXTS)} requests were answered, each once."


def check_limit(trial: PolicyTrial) -> Outcome:
    """No completion is longer than `max_tokens`."""
    for tokens in (1, 5):
        ask = request(TEXTS[0], f"check/limit/{tokens}", tokens=tokens)
        (completion,) = complete(trial.policy, [ask]).values()
        if completion.sampled > tokens:
            return "failed", f"It sampled {completion.sampled} tokens where {tokens} were allowed."
        if completion.sampled < tokens and completion.finish is Finish.LENGTH:
            return "failed", "It reports a completion as cut off before its limit was reached."
    return "passed", "No completion is longer than max_tokens."


def check_appending(trial: PolicyTrial) -> Outcome:
    """Requests appended between completions are answered in the same call."""
    asked = requests()
    later = deque(asked[2:])
    waiting, found = deque(asked[:2]), dict[str, Completion]()
    for id, completion in trial.policy.generate(waiting):
        take(found, id, completion, {r.id for r in asked})
        if later:
            waiting.append(later.popleft())
    require_all(trial.policy, found, asked)
    return "passed", "Requests that are appended between completions are answered too."


def check_repeats(trial: PolicyTrial) -> Outcome:
    """Equal requests with equal seeds give equal completions, where that is promised."""
    if not trial.backend.deterministic:
        return "not asked", "Its backend says deterministic=False."
    for temperature in (1.0, 0.0):
        one, two = (complete(trial.policy, requests(temperature)) for _ in range(2))
        if one != two:
            return "failed", f"Equal seeds gave other completions at temperature {temperature:g}."
    return "passed", "Equal requests with equal seeds gave equal completions."


def check_turns(trial: PolicyTrial) -> Outcome:
    """A conversation with a system message goes on for three turns."""
    talk: tuple[Message, ...] = (Message("system", "Be brief."), Message("user", TEXTS[0]))
    for turn in range(3):
        ask = Request(f"check/turn/{turn}", talk, Sampling(1.0, 1.0, TOKENS), turn)
        (said,) = complete(trial.policy, [ask]).values()
        sampled = said.tokens.sampled if said.tokens else None
        talk = (*talk, Message("assistant", said.text, sampled), Message("user", TEXTS[turn + 1]))
    return "passed", "A conversation of three turns with a system message was continued."


def check_tokens(trial: PolicyTrial) -> Outcome:
    """As many token ids and log-probabilities as tokens reported."""
    for completion in complete(trial.policy, requests()).values():
        tokens = completion.tokens
        if tokens is None:
            if trial.backend.trainable:
                return "failed", "A completion has no token ids, so nothing can be trained on it."
            return "not asked", "Its completions carry no token ids."
        if not len(tokens.sampled) == len(tokens.logprobs) == completion.sampled:
            return "failed", (
                f"{completion.sampled} tokens are reported, with {len(tokens.sampled)} ids and "
                f"{len(tokens.logprobs)} log-probabilities."
            )
        # Rounding may lift the logarithm of a probability near 1 just above 0.
        if not all(math.isfinite(x) and x <= 1e-4 for x in tokens.logprobs):
            return "failed", "A log-probability is above 0, or is not a finite number."
    return "passed", "Token ids and log-probabilities are as many as the tokens reported."


def check_context(trial: PolicyTrial) -> Outcome:
    """A prompt that fills the context is no error, and nothing is sampled beyond it."""
    context = trial.policy.context
    if context is None:
        return "not asked", "Its context is not known."
    ask = request("x 7 " * context, "check/context")
    for id, completion in trial.policy.generate(deque([ask])):
        prompt = len(completion.tokens.prompt) if completion.tokens else 0
        if id != ask.id or (completion.sampled and prompt + completion.sampled > context):
            return "failed", f"It sampled beyond its context of {context} tokens."
    return "passed", f"A prompt longer than {context} tokens raises nothing and samples nothing."


def check_closes(trial: PolicyTrial) -> Outcome:
    """`close` may be called twice."""
    if not isinstance(trial.policy, capabilities.Closeable):
        return "not asked", "It has no close()."
    trial.policy.close()
    trial.policy.close()
    return "passed", "close() may be called twice."
