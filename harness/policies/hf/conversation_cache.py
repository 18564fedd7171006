"""What conversations have read, kept from turn to turn, so that a turn reads what is new.

Without it a conversation of T turns is read T times over, T²/2 turns in all.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic

from harness.policies.base import Request
from harness.policies.chat.rendering import Ids
from harness.policies.hf.decoder import M
from harness.types import Message

Talk = tuple[Message, ...]


def extends(request: Request) -> bool:
    """Whether it is a later turn of a conversation whose earlier replies were sampled."""
    talk = request.conversation
    return len(talk) > 2 and talk[-2].role == "assistant" and talk[-2].tokens is not None


@dataclass(frozen=True, slots=True)
class CachedConversation(Generic[M]):
    """Ids that have been read, and what they left behind."""

    ids: Ids
    state: M


class ConversationCache(Generic[M]):
    """At most `most` conversations between two turns; the one least lately heard goes first.

    Nothing is kept before a first later turn has been asked for: where episodes have one turn, that
    would be in vain. Conversations from before a batch without later turns are over. What is kept
    is so a function of the requests and their order.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[Talk, CachedConversation[M]] = OrderedDict()
        self._wanted = False

    @property
    def wanted(self) -> bool:
        """Whether there is a point in keeping."""
        return self._wanted

    def clear(self) -> None:
        """Nothing is kept, or wanted, any more."""
        self._kept.clear()
        self._wanted = False

    def begin(self, requests: Iterable[Request]) -> None:
        """A new batch of requests."""
        if not any(map(extends, requests)):
            self.clear()

    def notice(self, request: Request) -> None:
        """A request that waits."""
        self._wanted = self._wanted or extends(request)

    def keep(self, talk: Talk, reply: str, sampled: Ids, kept: CachedConversation[M]) -> None:
        """After `reply`; until the conversation goes on from there."""
        key = (*talk, Message("assistant", reply, sampled))
        self._kept[key] = kept
        self._kept.move_to_end(key)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def take(self, request: Request, prompt: Ids) -> CachedConversation[M] | None:
        """What this later turn may go on from, which then belongs to it."""
        found = self._kept.pop(request.conversation[:-1], None) if extends(request) else None
        if found is None or len(prompt) <= len(found.ids):
            return None
        return found if prompt[: len(found.ids)] == found.ids else None
