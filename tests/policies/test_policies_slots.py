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


class DecodedBatch:
    """Replies as they go on, and all that each has been batch."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.decoder = FastDecoder(FusedLlama(model), adapted=False)
        self.heads = {name: self.decoder.forward([ids])[1] for name, ids in HEADS.items()}
        self.texts: list[list[int]] = []
        self.state: KVState | None = None

    def open(self, tails: list[tuple[str, list[int]]], counts: list[int]) -> KVState:
        """Prompts read after their heads, and replies to them; their logits are as they should."""
        state = self.decoder.from_prefixes([self.heads[name] for name, _ in tails])
        logits, state = self.decoder.forward([tail for _, tail in tails], state)
        prompts = [HEADS[name] + tail for name, tail in tails]
        for prompt, got in zip(prompts, logits, strict=True):
            assert float((got - whole(self.model, prompt)).abs().max()) < 1e-5
        self.texts += [list(p) for p, n in zip(prompts, counts, strict=True) for _ in range(n)]
        return state.repeat(counts)

    def say(self, token: int) -> None:
        """Each reply says a token of its own."""
        said = [token + i for i in range(len(self.texts))]
        logits, self.state = self.decoder.forward([[t] for t in said], self.state)
        for text, new, got in zip(self.texts, said, logits, strict=True):
            text.append(new)
            assert float((got - whole(self.model, text)).abs().max()) < 1e-5

    def leave(self, rows: list[int]) -> None:
        assert self.state is not None
        self.state, order = self.decoder.remove_rows(self.state, rows)
        self.texts = [self.texts[i] for i in order]


@pytest.fixture(params=["llama", "qwen3"])
def batch(request: pytest.FixtureRequest) -> DecodedBatch:
    with torch.inference_mode():
        return DecodedBatch(made(FAMILY[request.param]()))


def test_replies_to_prompts_with_long_heads_say_what_the_model_would(batch: DecodedBatch) -> None:
    with torch.inference_mode():
        batch.state = batch.open(TAILS, COUNTS)
        assert batch.state.prefixes is not None
        assert sorted(batch.state.prefixes.table.lengths) == [8, 70, 90]
        for token in (100, 110, 120):
            batch.say(token)
            batch.leave([0])


def test_who_enters_later_finds_the_head_that_stands_already(batch: DecodedBatch) -> None:
    with torch.inference_mode():
        first = batch.open(TAILS, COUNTS)
        batch.state = first
        batch.say(100)
        assert batch.state is not None
        later = batch.open([("long", [70]), ("long", [71, 72])], [1, 2])
        alone = batch.open([("short", [73])], [1])
        assert alone.prefixes is None  # so short a head is copied
        batch.state = batch.decoder.stack([batch.state, later, alone])
        batch.say(130)
        assert batch.state.prefixes is not None
        assert sorted(batch.state.prefixes.table.lengths) == [0, 8, 70, 90]
        batch.leave([0, 1, 2, 3, 4, 5])  # only those who came later stay
        batch.say(140)
    assert batch.state.prefixes is not None
    assert sorted(batch.state.prefixes.table.lengths) == [0, 70]


def test_a_conversation_continues_without_copying_its_prefix(
    batch: DecodedBatch,
) -> None:
    with torch.inference_mode():
        batch.state = batch.open(TAILS, COUNTS)
        batch.say(100)
        assert batch.state is not None
        batch.state = batch.decoder.stack([batch.state, batch.open([("short", [73])], [1])])
        batch.say(110)
        assert batch.state is not None
        kept = [batch.state.extract_row(row) for row in (0, 2, 6)]
        texts = [batch.texts[row] for row in (0, 2, 6)]
        assert [k.prefixes is None for k in kept] == [False, False, True]
        assert kept[0].prefixes is not None and kept[0].prompts.lengths == [4]
        assert kept[0].prefixes.table is batch.heads["long"].prompts
        logits, state = batch.decoder.forward([[80, 81], [82], [83]], batch.decoder.stack(kept))
        read = [[*t, *m] for t, m in zip(texts, [[80, 81], [82], [83]], strict=True)]
        for text, got in zip(read, logits, strict=True):
            assert float((got - whole(batch.model, text)).abs().max()) < 1e-5
        batch.state, batch.texts = state.repeat([1, 2, 1]), [read[i][:] for i in (0, 1, 1, 2)]
        batch.say(150)


def test_heads_stay_as_they_are(batch: DecodedBatch) -> None:
    before = {n: [x.clone() for p in s.prompts.layers for x in p] for n, s in batch.heads.items()}
    with torch.inference_mode():
        batch.state = batch.open(TAILS, COUNTS)
        for token in (100, 110):
            batch.say(token)
    for name, state in batch.heads.items():
        now = [x for pair in state.prompts.layers for x in pair]
        assert all(torch.equal(a, b) for a, b in zip(before[name], now, strict=True))


def numbers(state: KVState) -> list[torch.Tensor]:
    return [x.clone() for pair in state.prompts.layers for x in pair]


@pytest.mark.parametrize("seed", range(4))
def test_rows_that_come_and_go_leave_what_others_have_read(batch: DecodedBatch, seed: int) -> None:
    source = random.Random(seed)
    kept: list[tuple[list[int], KVState, list[torch.Tensor]]] = []

    def ids(most: int) -> list[int]:
        return [source.randrange(3, 200) for _ in range(source.randint(1, most))]

    def join(state: KVState) -> None:
        batch.state = state if batch.state is None else batch.decoder.stack([batch.state, state])

    with torch.inference_mode():
        for _ in range(12):
            tails = [(source.choice(list(HEADS)), ids(40)) for _ in range(source.randint(1, 4))]
            join(batch.open(tails, [source.randint(1, 3) for _ in tails]))
            for token in range(100, 100 + source.choice([1, 3, 20])):
                batch.say(token % 30 + 3)
            assert batch.state is not None
            row = source.randrange(len(batch.texts))
            alone = batch.state.extract_row(row)
            kept.append((batch.texts[row][:], alone, numbers(alone)))
            batch.leave(source.sample(range(len(batch.texts)), len(batch.texts) // 2))
            if len(kept) > 2:  # a conversation goes on
                text, state, before = kept.pop(source.randrange(len(kept)))
                assert all(map(torch.equal, before, numbers(state)))
                more = ids(5)
                _, state = batch.decoder.forward([more], batch.decoder.stack([state]))
                batch.texts.append(text + more)
                join(state.repeat([1]))
    assert all(all(map(torch.equal, b, numbers(s))) for _, s, b in kept)
