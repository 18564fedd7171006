"""What rows have read, for `lean`: what is shared stands once.

A system prompt's keys and values stand once for all prompts that begin with it, if it is long, and
a prompt's once for all of its replies.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from harness.policies.hf.fast_llama.kv_cache import DecodeKVCache, PromptKVCache, by_head

_UNEVEN = 2  # places a prompt that may be kept for heads
_LONG = 48  # tokens; what shorter beginnings spare is less than what one more product costs


@dataclass(frozen=True, slots=True)
class PrefixIndex:
    """Who follows which row of a table that replies share, so that those who follow the same row
    are one product with it. Each row has as many places; those left over are reply 0's.

    `into` [row × shared head × place] names the reply and shared head [reply × shared head] that
    sits there, `back` [reply × shared head] where it sits. `mask` [row × shared head, 1, column] is
    added to scores.
    """

    into: Tensor
    back: Tensor
    mask: Tensor

    @staticmethod
    def of(shared: PromptKVCache, follows: Sequence[int]) -> PrefixIndex:
        """Reply i follows row follows[i]."""
        keys = shared.layers[0][0]
        device, heads = keys.device, keys.shape[1]
        members: list[list[int]] = [[] for _ in shared.lengths]
        place = []
        for reply, row in enumerate(follows):
            place.append(len(members[row]))
            members[row].append(reply)
        most = max(map(len, members))
        table = torch.tensor([m + [0] * (most - len(m)) for m in members], device=device)
        seats = torch.tensor([follows, place], device=device)
        head = torch.arange(heads, device=device)
        ends = torch.tensor(shared.lengths, device=device)[:, None]
        return PrefixIndex(
            (table[:, None] * heads + head[:, None]).flatten(),
            ((seats[0][:, None] * heads + head) * most + seats[1][:, None]).flatten(),
            by_head(torch.arange(keys.shape[2], device=device) < ends, keys),
        )

    def gathered(self, x: Tensor) -> Tensor:
        """[reply, shared head, head, …] to [row × shared head, place × head, …]."""
        return x.flatten(0, 1).index_select(0, self.into).view(len(self.mask), -1, x.shape[-1])

    def scattered(self, x: Tensor, like: Tensor) -> Tensor:
        """And back, with the replies and heads that `like` has."""
        each = x.view(len(self.into), -1, x.shape[-1]).index_select(0, self.back)
        return each.view(*like.shape[:3], x.shape[-1])


@dataclass(frozen=True, slots=True)
class SharedPrefixes:
    """Beginnings that prompts share: `states` tells them apart, `table` has each once, and `of`
    [prompt] says which one is whose. One of them may be empty.
    """

    states: tuple[KVState, ...]
    table: PromptKVCache
    of: tuple[int, ...]

    @staticmethod
    def joined(each: Sequence[KVState | None]) -> SharedPrefixes | None:
        """Of prompts that begin with these, or with nothing; None if all do."""
        some = next((state for state in each if state is not None), None)
        if some is None:
            return None
        names = [0 if state is None else id(state) for state in each]
        empty = KVState(some.shared.blank(1))
        found = {n: empty if s is None else s for n, s in zip(names, each, strict=True)}
        states, order = tuple(found.values()), {name: i for i, name in enumerate(found)}
        table = states[0].shared
        if len(states) > 1:
            table = PromptKVCache.stack([state.shared for state in states])
        return SharedPrefixes(states, table, tuple(order[name] for name in names))

    @property
    def lengths(self) -> list[int]:
        """How many tokens of each prompt stand here."""
        return [self.table.lengths[i] for i in self.of]


@dataclass(slots=True)
class KVState:
    """Prompts that have been read and, once `repeat` has seated replies, what these have said.

    `shared` has what each prompt says after its head. `prompt` names each reply's prompt. Reading
    on, and whatever is made from a state, uses it up: tables grow in place, and give their room to
    the next one. Only heads, which nobody reads on from, and what `alone` returns are of their own.
    """

    shared: PromptKVCache
    own: DecodeKVCache | None = None
    prompt: tuple[int, ...] = ()
    heads: SharedPrefixes | None = None
    _levels: list[tuple[PromptKVCache, PrefixIndex]] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """How many rows it has: replies, or prompts as long as there are none."""
        return len(self.shared.lengths if self.own is None else self.own.lengths)

    @property
    def starts(self) -> list[int]:
        """How many tokens of each prompt stand in its head."""
        return [0] * len(self.shared.lengths) if self.heads is None else self.heads.lengths

    def repeat(self, counts: Sequence[int]) -> KVState:
        """Seat counts[i] replies to prompt i."""
        prompt = tuple(i for i, count in enumerate(counts) for _ in range(count))
        own = DecodeKVCache.empty([k for k, _ in self.shared.layers], len(prompt))
        return KVState(self.shared, own, prompt, self.heads)

    def without(self, rows: Sequence[int]) -> tuple[KVState, list[int]]:
        """Without these replies, and which one stands where now."""
        assert self.own is not None
        own, order = self.own.without(rows)
        left = KVState(self.shared, own, tuple(self.prompt[i] for i in order), self.heads)
        waste = 2 * len(set(left.prompt)) <= len(self.shared.lengths)
        return (left._pruned() if waste else left), order

    def alone(self, row: int) -> KVState:
        """All that one reply has read, its prompt included, as a prompt; or one prompt, as long as
        there are no replies. In a table of its own, but for its head.
        """
        if self.own is None:
            return self._chosen([row])
        prompt = self.prompt[row]
        before, said = self.shared.lengths[prompt], self.own.lengths[row]
        last = slice(self.own.used - said, self.own.used)

        def joined(old: Tensor, new: Tensor) -> Tensor:
            parts = (old[prompt : prompt + 1, :, :before], new[row : row + 1, :, last])
            return torch.cat(parts, 2)

        layers = [
            (joined(old_keys, keys), joined(old_values, values))
            for (old_keys, old_values), (keys, values) in zip(
                self.shared.layers, self.own.layers, strict=True
            )
        ]
        head = SharedPrefixes.joined([self._beginnings()[prompt]])
        return KVState(PromptKVCache(layers, [before + said]), heads=head)

    def _chosen(self, prompts: list[int]) -> KVState:
        """These prompts, without replies, in tables of their own."""
        each = self._beginnings()
        return KVState(
            self.shared.take(prompts), heads=SharedPrefixes.joined([each[i] for i in prompts])
        )

    def _pruned(self) -> KVState:
        """Without prompts that no reply needs any more."""
        needed = sorted(set(self.prompt))
        if len(needed) == len(self.shared.lengths):
            return self
        new, left = {old: i for i, old in enumerate(needed)}, self._chosen(needed)
        return KVState(left.shared, self.own, tuple(new[i] for i in self.prompt), left.heads)

    def _beginnings(self) -> list[KVState | None]:
        """Each prompt's head, if it has one."""
        if self.heads is None:
            return [None] * len(self.shared.lengths)
        heads = [state if state.shared.lengths[0] else None for state in self.heads.states]
        return [heads[i] for i in self.heads.of]

    @staticmethod
    def follow(states: Sequence[KVState]) -> KVState:
        """Prompts that begin with these, which others may begin with as well and which stay as they
        are: each stands once, unless most are short, or few have most of the prompts (each head has
        as many places as the one that has most).
        """
        length = sum(state.shared.lengths[0] for state in states)
        followers = Counter(map(id, states)).values()
        uneven = len(followers) * max(followers) > _UNEVEN * len(states)
        if length < _LONG * len(states) or uneven:
            return KVState.stack(states)
        return KVState(states[0].shared.blank(len(states)), heads=SharedPrefixes.joined(states))

    @staticmethod
    def stack(states: Sequence[KVState]) -> KVState:
        """One below the other, in tables of their own: all prompts, or all with replies."""
        replying = all(s.own is not None for s in states)
        if replying:
            states = [s._pruned() for s in states]
        shared = PromptKVCache.stack([s.shared for s in states])
        heads = SharedPrefixes.joined([head for s in states for head in s._beginnings()])
        if not replying:
            return KVState(shared, heads=heads)
        prompt: list[int] = []
        at = 0
        for state in states:
            prompt += [at + i for i in state.prompt]
            at += len(state.shared.lengths)
        own = DecodeKVCache.stack([s.own for s in states if s.own is not None])
        return KVState(shared, own, tuple(prompt), heads)

    @property
    def positions(self) -> list[list[int]]:
        """Of each reply's next token in its own text [reply, 1]."""
        assert self.own is not None
        read = [a + b for a, b in zip(self.starts, self.shared.lengths, strict=True)]
        return [[read[i] + n] for i, n in zip(self.prompt, self.own.lengths, strict=True)]

    def levels(self) -> list[tuple[PromptKVCache, PrefixIndex]]:
        """The tables that replies share, and who follows which of their rows."""
        if not self._levels:
            if self.heads is not None:
                table = self.heads.table
                whose = [self.heads.of[i] for i in self.prompt]
                self._levels.append((table, PrefixIndex.of(table, whose)))
            self._levels.append((self.shared, PrefixIndex.of(self.shared, self.prompt)))
        return self._levels
