"""A long beginning that prompts share stands once, and changes no logits."""

import random

import pytest
import torch
from transformers import PreTrainedModel

from harness.policies.hf.fast_llama.decode import FastDecoder
from harness.policies.hf.fast_llama.fused_weights import FusedLlama
from harness.policies.hf.fast_llama.prefix_cache import KVState
from tests.policies.test_policies_lean import FAMILY, made, whole

HEADS = {
    "long": [3 + i % 50 for i in range(70)],
    "longer": [7 + i % 40 for i in range(90)],
    "short": [11, 12, 13, 14, 15, 16, 17, 18],
}
TAILS = [("long", [60, 61]), ("longer", [62]), ("long", [63, 64, 65]), ("short", [66, 67])]
COUNTS = [2, 1, 2, 1]


class Told:
    """Replies as they go on, and all that each has been told."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.reader = FastDecoder(FusedLlama(model), adapted=False)
        self.heads = {name: self.reader.read([ids])[1] for name, ids in HEADS.items()}
        self.texts: list[list[int]] = []
        self.state: KVState | None = None

    def open(self, tails: list[tuple[str, list[int]]], counts: list[int]) -> KVState:
        """Prompts read after their heads, and replies to them; their logits are as they should."""
        state = self.reader.follow([self.heads[name] for name, _ in tails])
        logits, state = self.reader.read([tail for _, tail in tails], state)
        prompts = [HEADS[name] + tail for name, tail in tails]
        for prompt, got in zip(prompts, logits, strict=True):
            assert float((got - whole(self.model, prompt)).abs().max()) < 1e-5
        self.texts += [list(p) for p, n in zip(prompts, counts, strict=True) for _ in range(n)]
        return state.repeat(counts)

    def say(self, token: int) -> None:
        """Each reply says a token of its own."""
        said = [token + i for i in range(len(self.texts))]
        logits, self.state = self.reader.read([[t] for t in said], self.state)
        for text, new, got in zip(self.texts, said, logits, strict=True):
            text.append(new)
            assert float((got - whole(self.model, text)).abs().max()) < 1e-5

    def leave(self, rows: list[int]) -> None:
        assert self.state is not None
        self.state, order = self.reader.without(self.state, rows)
        self.texts = [self.texts[i] for i in order]


@pytest.fixture(params=["llama", "qwen3"])
def told(request: pytest.FixtureRequest) -> Told:
    with torch.inference_mode():
        return Told(made(FAMILY[request.param]()))


def test_replies_to_prompts_with_long_heads_say_what_the_model_would(told: Told) -> None:
    with torch.inference_mode():
        told.state = told.open(TAILS, COUNTS)
        assert told.state.heads is not None
        assert sorted(told.state.heads.table.lengths) == [8, 70, 90]
        for token in (100, 110, 120):
            told.say(token)
            told.leave([0])


def test_who_enters_later_finds_the_head_that_stands_already(told: Told) -> None:
    with torch.inference_mode():
        first = told.open(TAILS, COUNTS)
        told.state = first
        told.say(100)
        assert told.state is not None
        later = told.open([("long", [70]), ("long", [71, 72])], [1, 2])
        alone = told.open([("short", [73])], [1])
        assert alone.heads is None  # so short a head is copied
        told.state = told.reader.stack([told.state, later, alone])
        told.say(130)
        assert told.state.heads is not None
        assert sorted(told.state.heads.table.lengths) == [0, 8, 70, 90]
        told.leave([0, 1, 2, 3, 4, 5])  # only those who came later stay
        told.say(140)
    assert told.state.heads is not None
    assert sorted(told.state.heads.table.lengths) == [0, 70]


def test_a_conversation_goes_on_from_its_reply_without_copying_its_head(told: Told) -> None:
    with torch.inference_mode():
        told.state = told.open(TAILS, COUNTS)
        told.say(100)
        assert told.state is not None
        told.state = told.reader.stack([told.state, told.open([("short", [73])], [1])])
        told.say(110)
        assert told.state is not None
        kept = [told.state.alone(row) for row in (0, 2, 6)]
        texts = [told.texts[row] for row in (0, 2, 6)]
        assert [k.heads is None for k in kept] == [False, False, True]
        assert kept[0].heads is not None and kept[0].shared.lengths == [4]
        assert kept[0].heads.table is told.heads["long"].shared
        logits, state = told.reader.read([[80, 81], [82], [83]], told.reader.stack(kept))
        read = [[*t, *m] for t, m in zip(texts, [[80, 81], [82], [83]], strict=True)]
        for text, got in zip(read, logits, strict=True):
            assert float((got - whole(told.model, text)).abs().max()) < 1e-5
        told.state, told.texts = state.repeat([1, 2, 1]), [read[i][:] for i in (0, 1, 1, 2)]
        told.say(150)


def test_heads_stay_as_they_are(told: Told) -> None:
    before = {n: [x.clone() for p in s.shared.layers for x in p] for n, s in told.heads.items()}
    with torch.inference_mode():
        told.state = told.open(TAILS, COUNTS)
        for token in (100, 110):
            told.say(token)
    for name, state in told.heads.items():
        now = [x for pair in state.shared.layers for x in pair]
        assert all(torch.equal(a, b) for a, b in zip(before[name], now, strict=True))


def numbers(state: KVState) -> list[torch.Tensor]:
    return [x.clone() for pair in state.shared.layers for x in pair]


@pytest.mark.parametrize("seed", range(4))
def test_rows_that_come_and_go_leave_what_others_have_read(told: Told, seed: int) -> None:
    source = random.Random(seed)
    kept: list[tuple[list[int], KVState, list[torch.Tensor]]] = []

    def ids(most: int) -> list[int]:
        return [source.randrange(3, 200) for _ in range(source.randint(1, most))]

    def join(state: KVState) -> None:
        told.state = state if told.state is None else told.reader.stack([told.state, state])

    with torch.inference_mode():
        for _ in range(12):
            tails = [(source.choice(list(HEADS)), ids(40)) for _ in range(source.randint(1, 4))]
            join(told.open(tails, [source.randint(1, 3) for _ in tails]))
            for token in range(100, 100 + source.choice([1, 3, 20])):
                told.say(token % 30 + 3)
            assert told.state is not None
            row = source.randrange(len(told.texts))
            alone = told.state.alone(row)
            kept.append((told.texts[row][:], alone, numbers(alone)))
            told.leave(source.sample(range(len(told.texts)), len(told.texts) // 2))
            if len(kept) > 2:  # a conversation goes on
                text, state, before = kept.pop(source.randrange(len(kept)))
                assert all(map(torch.equal, before, numbers(state)))
                more = ids(5)
                _, state = told.reader.read([more], told.reader.stack([state]))
                told.texts.append(text + more)
                join(state.repeat([1]))
    assert all(all(map(torch.equal, b, numbers(s))) for _, s, b in kept)
