"""KV cache for multi-turn conversations: each turn prefills only new tokens.

Without it, prefilling a conversation of T turns would process about T²/2 turns.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic

from harness.policies.base import Request
from harness.policies.chat.text_encoding import Ids
from harness.policies.hf.decoder import M
from harness.types import Message

Conversation = tuple[Message, ...]


def extends(request: Request) -> bool:
    """True for a later turn of a conversation whose earlier completions were sampled here."""
    conversation = request.conversation
    return (
        len(conversation) > 2
        and conversation[-2].role == "assistant"
        and conversation[-2].tokens is not None
    )


@dataclass(frozen=True, slots=True)
class CachedConversation(Generic[M]):
    """The ids of a conversation so far, and their KV state."""

    ids: Ids
    state: M


class ConversationCache(Generic[M]):
    """An LRU cache of up to `capacity` conversations between two turns.

    Nothing is cached until a first later turn is requested, since single-turn episodes would not
    use it; a batch without later turns clears the cache. The contents are thus a function of the
    requests and their order, which exact resumption needs.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._entries: OrderedDict[Conversation, CachedConversation[M]] = OrderedDict()
        self._multi_turn = False

    @property
    def multi_turn(self) -> bool:
        """True once a later turn has been requested."""
        return self._multi_turn

    def clear(self) -> None:
        """Drop everything, and expect single turns again."""
        self._entries.clear()
        self._multi_turn = False

    def begin_batch(self, requests: Iterable[Request]) -> None:
        """Begin a new batch of requests."""
        if not any(map(extends, requests)):
            self.clear()

    def observe(self, request: Request) -> None:
        """Note a waiting request."""
        self._multi_turn = self._multi_turn or extends(request)

    def put(
        self, conversation: Conversation, reply: str, sampled: Ids, entry: CachedConversation[M]
    ) -> None:
        """Store the state after `reply`, until the conversation's next turn."""
        # The ids belong to the key: the same text sampled as other tokens has another KV cache.
        key = (*conversation, Message("assistant", reply, sampled))
        self._entries[key] = entry
        self._entries.move_to_end(key)
        while len(self._entries) > self._capacity:
            self._entries.popitem(last=False)

    def take(self, request: Request, prompt: Ids) -> CachedConversation[M] | None:
        """Remove and return the cached beginning of this turn's prompt, if there is one."""
        # Removed, because the pass that continues it consumes its cache.
        found = self._entries.pop(request.conversation[:-1], None) if extends(request) else None
        if found is None or len(prompt) <= len(found.ids):
            return None
        # Rendering only appends, so they agree; another cache would change what is sampled.
        return found if prompt[: len(found.ids)] == found.ids else None
