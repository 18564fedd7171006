"""What the network reads grows as it must and no faster: tokens are counted, not seconds."""

from collections import deque
from itertools import pairwise
from typing import Any

import pytest
import torch

from benchmarks.speed.growth import Counting, ask, asked, converse, counted, reply
from harness.policies.base import BatchSize, Sample, Step, TokenBatch
from harness.policies.hf.decoder import TransformersDecoder
from harness.policies.hf.policy import HFPolicy
from harness.types import Message, Tokens


def plain(policy: HFPolicy) -> None:
    """Read with transformers' own forward pass."""
    sampler: Any = policy._sampler
    sampler._decoder = TransformersDecoder(policy._forward, lambda: policy._switched(True))


@pytest.fixture(params=["lean", "plain"])
def counting(tiny_policy: HFPolicy, request: pytest.FixtureRequest) -> Counting[Any]:
    if request.param == "plain":
        plain(tiny_policy)
    tiny_policy.rendering.ends = frozenset()
    return counted(tiny_policy)


def read(policy: HFPolicy, counting: Counting[Any], prompts: int, samples: int) -> dict[str, int]:
    counting.clear()
    list(policy.generate(deque(asked(prompts, samples, 4))))
    return dict(counting.tokens)


def test_twice_the_turns_read_twice_the_tokens(
    tiny_policy: HFPolicy, counting: Counting[Any]
) -> None:
    found = []
    for turns in (3, 6, 12):
        counting.clear()
        converse(tiny_policy, turns)
        found.append(sum(counting.tokens.values()))
    assert found[1] / found[0] < 2.1
    assert found[2] / found[1] < 2.1


def test_twice_the_prompts_read_twice_the_tokens(
    tiny_policy: HFPolicy, counting: Counting[Any]
) -> None:
    few, many = read(tiny_policy, counting, 4, 1), read(tiny_policy, counting, 8, 1)
    assert many["prefill"] == pytest.approx(2 * few["prefill"], rel=0.05)
    assert many["decode"] == 2 * few["decode"]


def test_twice_the_samples_read_their_prompts_once(
    tiny_policy: HFPolicy, counting: Counting[Any]
) -> None:
    few, many = read(tiny_policy, counting, 4, 2), read(tiny_policy, counting, 4, 4)
    assert many["prefill"] == few["prefill"]  # whatever enters together
    assert many["decode"] == 2 * few["decode"]


def talk(policy: HFPolicy, turns: int, at_once: bool) -> list[list[Tokens]]:
    """Four conversations' tokens by turn, each turn in one call or in calls of its own."""
    talks: dict[str, tuple[Message, ...]] = {
        str(c): (Message("user", f"Begin {c}."),) for c in range(4)
    }
    said: dict[str, list[Tokens]] = {c: [] for c in talks}
    waiting = deque(ask(c, talk, 6, int(c)) for c, talk in talks.items())
    while waiting:
        later = waiting if at_once else deque()
        for c, completion in policy.generate(waiting):
            assert completion.tokens is not None
            said[c].append(completion.tokens)
            if len(said[c]) < turns:
                talks[c] = (*talks[c], reply(completion), Message("user", f"Go on, {c}."))
                later.append(ask(c, talks[c], 6, 100 * len(said[c]) + int(c)))
        waiting = later
    return list(said.values())


def forced(policy: HFPolicy, tokens: Tokens) -> list[float]:
    """The log-probabilities that one plain pass over everything gives."""
    ids = torch.tensor([tokens.prompt + tokens.sampled])
    with torch.no_grad():
        logits = policy._model(input_ids=ids).logits[0, len(tokens.prompt) - 1 : -1]
    chosen = ids[0, len(tokens.prompt) :, None]
    return torch.log_softmax(logits, -1).gather(1, chosen)[:, 0].tolist()


@pytest.mark.parametrize("at_once", [True, False])
def test_what_is_kept_between_turns_is_what_would_be_read(
    tiny_policy: HFPolicy, counting: Counting[Any], at_once: bool
) -> None:
    for turns in talk(tiny_policy, 4, at_once):
        for before, after in pairwise(turns):
            whole = before.prompt + before.sampled
            assert after.prompt[: len(whole)] == whole
        for tokens in turns:
            assert list(tokens.logprobs) == pytest.approx(forced(tiny_policy, tokens), abs=1e-5)
    read = sum(counting.tokens.values())
    counting.clear()
    for turns in talk(tiny_policy, 4, at_once):
        assert turns
    assert sum(counting.tokens.values()) == read  # a new batch begins with nothing kept


def test_one_turn_keeps_nothing_and_several_keep_as_many_as_run_at_once(
    tiny_policy: HFPolicy,
) -> None:
    tiny_policy.rendering.ends = frozenset()
    kept: Any = tiny_policy._sampler._conversations
    list(tiny_policy.generate(deque(asked(8, 1, 4))))
    assert not kept._entries
    converse(tiny_policy, 3)
    assert 0 < len(kept._entries) <= tiny_policy.settings.batch_rows


def test_an_update_forgets_what_the_old_weights_read(tiny_policy: HFPolicy) -> None:
    def loss(batch: TokenBatch, size: BatchSize) -> torch.Tensor:
        return -(batch.advantage * batch.new * batch.mask).sum()

    tiny_policy.rendering.ends = frozenset()
    first = talk(tiny_policy, 2, at_once=False)[0][-1]
    assert tiny_policy._sampler._conversations._entries
    sample = Sample(first.prompt, first.sampled, first.logprobs, 1.0)
    tiny_policy.update([sample], loss, Step(learning_rate=0.1))
    assert not tiny_policy._sampler._conversations._entries


def test_a_prompt_is_read_once_though_its_samples_enter_apart(
    tiny_policy: HFPolicy, counting: Counting[Any]
) -> None:
    few = read(tiny_policy, counting, 3, 1)
    many = read(tiny_policy, counting, 3, 3 * tiny_policy.settings.batch_rows + 1)
    assert many["prefill"] == few["prefill"]


def test_a_long_prompt_is_read_once_though_its_copies_would_not_fit_one_pass(
    tiny_policy: HFPolicy, counting: Counting[Any]
) -> None:
    few = read(tiny_policy, counting, 2, 1)
    sampler: Any = tiny_policy._sampler
    sampler._piece_tokens = few["prefill"] // 2
    assert read(tiny_policy, counting, 2, 2)["prefill"] == few["prefill"]


def test_a_policy_that_rests_reads_conversations_anew(
    tiny_policy: HFPolicy, counting: Counting[Any]
) -> None:
    """As before an update: what was read by the weights before it is of no use after it."""

    def second_turn(rest: bool) -> int:
        (first,) = dict(tiny_policy.generate(deque(asked(1, 1, 4)))).values()
        opened = asked(1, 1, 4)[0].conversation
        talk = (*opened, reply(first), Message("user", "Go on."))
        (second,) = dict(tiny_policy.generate(deque([ask("b", talk, 6, 1)]))).values()
        talk = (*talk, reply(second), Message("user", "And on."))
        if rest:
            tiny_policy.drop_cache()
        counting.clear()
        list(tiny_policy.generate(deque([ask("c", talk, 6, 2)])))
        return counting.tokens["prefill"]

    kept, anew = second_turn(rest=False), second_turn(rest=True)
    assert kept < anew / 2
