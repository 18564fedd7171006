"""KV state of a batch; shared prefixes are stored once.

The keys and values of a long system prompt are stored once for all prompts that begin with it,
those of a prompt once for all of its completions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from harness.policies.hf.fast_llama.kv_cache import DecodeKVCache, PromptKVCache, bias_by_head

_MAX_PADDING = 2  # slots a prompt that shared prefixes may be padded to
_MIN_MEAN_PREFIX = 48  # tokens; below this, one more product costs more than is saved


@dataclass(frozen=True, slots=True)
class PrefixIndex:
    """Groups completions by the row of a shared cache that they attend to.

    All completions of a row are then one product with its keys, and one with its values. Each row
    has equally many slots; unused slots hold completion 0, whose result is ignored. `into` [row ×
    KV head × slot] is the [completion × KV head] in each slot, `back` [completion × KV head] the
    slot of each. `mask` [row × KV head, 1, column] is the attention bias.
    """

    into: Tensor
    back: Tensor
    mask: Tensor

    @staticmethod
    def of(shared: PromptKVCache, row_of: Sequence[int]) -> PrefixIndex:
        """The index where completion i attends to row row_of[i]."""
        keys = shared.layers[0][0]
        device, heads = keys.device, keys.shape[1]
        members: list[list[int]] = [[] for _ in shared.lengths]
        slot = []
        for completion, row in enumerate(row_of):
            slot.append(len(members[row]))
            members[row].append(completion)
        most = max(map(len, members))
        table = torch.tensor([m + [0] * (most - len(m)) for m in members], device=device)
        location = torch.tensor([row_of, slot], device=device)
        head = torch.arange(heads, device=device)
        ends = torch.tensor(shared.lengths, device=device)[:, None]
        return PrefixIndex(
            (table[:, None] * heads + head[:, None]).flatten(),
            ((location[0][:, None] * heads + head) * most + location[1][:, None]).flatten(),
            bias_by_head(torch.arange(keys.shape[2], device=device) < ends, keys),
        )

    def gather(self, x: Tensor) -> Tensor:
        """Map [completion, KV head, head, …] to [row × KV head, slot × head, …]."""
        return x.flatten(0, 1).index_select(0, self.into).view(len(self.mask), -1, x.shape[-1])

    def scatter(self, x: Tensor, like: Tensor) -> Tensor:
        """The inverse of `gather`, in the shape of `like` but for the last dimension."""
        each = x.view(len(self.into), -1, x.shape[-1]).index_select(0, self.back)
        return each.view(*like.shape[:3], x.shape[-1])


@dataclass(frozen=True, slots=True)
class SharedPrefixes:
    """Prefixes that prompts share: `table` stores each once, `of` [prompt] is each prompt's row.

    `states` are the states that the prefixes came from, which identify them. One may be empty.
    """

    states: tuple[KVState, ...]
    table: PromptKVCache
    of: tuple[int, ...]

    @staticmethod
    def of_prompts(each: Sequence[KVState | None]) -> SharedPrefixes | None:
        """The prefixes of these prompts, of which known may be None; None if all are."""
        known = next((state for state in each if state is not None), None)
        if known is None:
            return None
        # By identity, which is safe because `states` keeps them alive; no object's id is 0.
        names = [0 if state is None else id(state) for state in each]
        empty = KVState(known.prompts.empty_like(1))
        found = {n: empty if s is None else s for n, s in zip(names, each, strict=True)}
        states, order = tuple(found.values()), {name: i for i, name in enumerate(found)}
        table = states[0].prompts
        if len(states) > 1:
            table = PromptKVCache.stack([state.prompts for state in states])
        return SharedPrefixes(states, table, tuple(order[name] for name in names))

    @property
    def lengths(self) -> list[int]:
        """Tokens of each prompt's prefix."""
        return [self.table.lengths[i] for i in self.of]


@dataclass(slots=True)
class KVState:
    """KV state of prompts and, after `repeat`, of their completions.

    `prompts` caches each prompt after its shared prefix, `prompt_of` [completion] is each
    completion's prompt. A forward pass, and every method that derives a state, consumes this one:
    caches grow in place and pass their storage on. Only prefixes, which are never extended, and the
    result of `extract_row` are independent.
    """

    prompts: PromptKVCache
    completions: DecodeKVCache | None = None
    prompt_of: tuple[int, ...] = ()
    prefixes: SharedPrefixes | None = None
    _levels: list[tuple[PromptKVCache, PrefixIndex]] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """The number of completions; of prompts before `repeat`."""
        return len(self.prompts.lengths if self.completions is None else self.completions.lengths)

    @property
    def prefix_lengths(self) -> list[int]:
        """Tokens of each prompt that its shared prefix holds."""
        return [0] * len(self.prompts.lengths) if self.prefixes is None else self.prefixes.lengths

    def repeat(self, counts: Sequence[int]) -> KVState:
        """Begin counts[i] completions of prompt i."""
        prompt = tuple(i for i, count in enumerate(counts) for _ in range(count))
        completions = DecodeKVCache.empty([k for k, _ in self.prompts.layers], len(prompt))
        return KVState(self.prompts, completions, prompt, self.prefixes)

    def remove_rows(self, rows: Sequence[int]) -> tuple[KVState, list[int]]:
        """Remove completions; returns the state and the old index of each remaining row."""
        assert self.completions is not None
        completions, order = self.completions.remove_rows(rows)
        kept = KVState(
            self.prompts, completions, tuple(self.prompt_of[i] for i in order), self.prefixes
        )
        # Only when half are unused: copying the others costs more than a few idle rows.
        wasteful = 2 * len(set(kept.prompt_of)) <= len(self.prompts.lengths)
        return (kept._drop_unused_prompts() if wasteful else kept), order

    def extract_row(self, row: int) -> KVState:
        """One completion with its prompt, or one prompt before `repeat`, as a prompt of its own.

        Copied into a new cache, except for the shared prefix.
        """
        if self.completions is None:
            return self._take_prompts([row])
        prompt = self.prompt_of[row]
        before, decoded = self.prompts.lengths[prompt], self.completions.lengths[row]
        last = slice(self.completions.used - decoded, self.completions.used)

        def merge(old: Tensor, new: Tensor) -> Tensor:
            parts = (old[prompt : prompt + 1, :, :before], new[row : row + 1, :, last])
            return torch.cat(parts, 2)

        layers = [
            (merge(old_keys, keys), merge(old_values, values))
            for (old_keys, old_values), (keys, values) in zip(
                self.prompts.layers, self.completions.layers, strict=True
            )
        ]
        head = SharedPrefixes.of_prompts([self._prefix_states()[prompt]])
        return KVState(PromptKVCache(layers, [before + decoded]), prefixes=head)

    def _take_prompts(self, prompts: list[int], consume: bool = False) -> KVState:
        """Copy these prompts, without completions, into a new state."""
        each = self._prefix_states()
        return KVState(
            self.prompts.take(prompts, consume),
            prefixes=SharedPrefixes.of_prompts([each[i] for i in prompts]),
        )

    def _drop_unused_prompts(self) -> KVState:
        """Drop prompts whose completions have all ended."""
        needed = sorted(set(self.prompt_of))
        if len(needed) == len(self.prompts.lengths):
            return self
        new, kept = {old: i for i, old in enumerate(needed)}, self._take_prompts(needed, True)
        return KVState(
            kept.prompts, self.completions, tuple(new[i] for i in self.prompt_of), kept.prefixes
        )

    def _prefix_states(self) -> list[KVState | None]:
        """The state of each prompt's shared prefix; None where it has none."""
        if self.prefixes is None:
            return [None] * len(self.prompts.lengths)
        heads = [state if state.prompts.lengths[0] else None for state in self.prefixes.states]
        return [heads[i] for i in self.prefixes.of]

    @staticmethod
    def from_prefixes(states: Sequence[KVState]) -> KVState:
        """Begin one prompt after each of these states, which stay usable.

        Equal states are stored once, unless prefixes are short on average, or a few have most of
        the prompts: each prefix is padded to the slots of the one with most.
        """
        length = sum(state.prompts.lengths[0] for state in states)
        sharers = Counter(map(id, states)).values()
        uneven = len(sharers) * max(sharers) > _MAX_PADDING * len(states)
        if length < _MIN_MEAN_PREFIX * len(states) or uneven:
            return KVState.stack(states, consume=False)
        return KVState(
            states[0].prompts.empty_like(len(states)), prefixes=SharedPrefixes.of_prompts(states)
        )

    @staticmethod
    def stack(states: Sequence[KVState], consume: bool = True) -> KVState:
        """Concatenate along rows into new caches: all prompts, or all with completions.

        The states are freed while they are copied, unless `consume` says that they stay usable.
        """
        decoding = all(s.completions is not None for s in states)
        if decoding:
            states = [s._drop_unused_prompts() for s in states]
        shared = PromptKVCache.stack([s.prompts for s in states], consume)
        heads = SharedPrefixes.of_prompts([head for s in states for head in s._prefix_states()])
        if not decoding:
            return KVState(shared, prefixes=heads)
        prompt: list[int] = []
        offset = 0
        for state in states:
            prompt += [offset + i for i in state.prompt_of]
            offset += len(state.prompts.lengths)
        completions = DecodeKVCache.stack(
            [s.completions for s in states if s.completions is not None]
        )
        return KVState(shared, completions, tuple(prompt), heads)

    @property
    def positions(self) -> list[list[int]]:
        """Position of each completion's next token [completion, 1]."""
        assert self.completions is not None
        prompt_lengths = [
            a + b for a, b in zip(self.prefix_lengths, self.prompts.lengths, strict=True)
        ]
        return [
            [prompt_lengths[i] + n]
            for i, n in zip(self.prompt_of, self.completions.lengths, strict=True)
        ]

    def levels(self) -> list[tuple[PromptKVCache, PrefixIndex]]:
        """The caches that completions share, each with the index of who attends to which row."""
        if not self._levels:
            if self.prefixes is not None:
                table = self.prefixes.table
                row_of = [self.prefixes.of[i] for i in self.prompt_of]
                self._levels.append((table, PrefixIndex.of(table, row_of)))
            self._levels.append((self.prompts, PrefixIndex.of(self.prompts, self.prompt_of)))
        return self._levels
