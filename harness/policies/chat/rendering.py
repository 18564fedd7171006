"""Renders conversations as token ids so that text can never become a control token.

Role markers are encoded with their control tokens; contents are encoded apart from them, with the
names of control tokens split into plain text. Sampled completions keep their sampled ids.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

from harness.errors import ModelError
from harness.policies.chat.control_tokens import other_control_tokens, special_tokens
from harness.policies.chat.template import offers_tools, read_template
from harness.policies.chat.text_encoding import Ids, TextEncoder
from harness.policies.chat.turns import Turns, check, read_tooled, tooled_turns, turns_of
from harness.settings.model import Thinking
from harness.thoughts import is_mark, opened_thought, split_thoughts
from harness.types import Message

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedTokenizerBase

_PROBE = ("You are careful.", "What is 2 + 2?")


@dataclass(frozen=True, slots=True)
class RenderedPrompt:
    """A rendered conversation [P]; its first `head` ids depend on the system prompt only."""

    ids: Ids
    head: int


def _as_unicode(text: str) -> str:
    """Replace lone surrogates, which cannot be encoded, by U+FFFD."""
    # By way of UTF-16, in which two surrogates that form a pair become their character.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class Rendering:
    """A model's rendering: `notes` for users, an `identity`, and the end tokens `ends`.

    `thinks` is True if the model thinks before it answers.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        generation: GenerationConfig | None = None,
        thinking: Thinking = "default",
    ) -> None:
        self._tokenizer = tokenizer
        self._thinking = thinking
        self._template = template = read_template(tokenizer, thinking)
        self.thinks = template.thinks
        self._text = text = TextEncoder(tokenizer)
        self._plain = plain = turns_of(template, text.first, text.next)
        self._bridge = plain.bridge
        special = special_tokens(tokenizer)
        fixed = (plain.bare, plain.ask, plain.bridge, plain.opening or (), plain.between)
        others = other_control_tokens(tokenizer, fixed)
        self._controls = special | others
        self._thought_marks = {i: t for i, t in special.items() if is_mark(t)}
        # The longest first, since one name may begin another; `(?!)` never matches.
        self._spelled = re.compile(
            "|".join(re.escape(t) for t in sorted(self._controls.values(), key=len, reverse=True))
            or r"(?!)"
        )
        self._opened = opened_thought(template.ask)
        self._encode = lru_cache(maxsize=4096)(self._encode_text)
        self._tooled = lru_cache(maxsize=256)(self._read_tooled)
        declared = getattr(generation, "eos_token_id", None)
        stated = {*(declared if isinstance(declared, list) else [declared])}
        stated = {i for i in (*stated, tokenizer.eos_token_id) if isinstance(i, int)}
        self.ends = frozenset(stated | self._closing_end())
        self.notes = template.notes + self._compare()
        # Part of the identity: the same template gives other ids with another vocabulary.
        vocabulary = repr(sorted(tokenizer.get_vocab().items())).encode("utf-8", "surrogatepass")
        digest = hashlib.sha256(vocabulary).hexdigest()[:16]
        self.identity = f"{template.identity} vocabulary:{digest}"
        # Added where earlier versions rendered differently, so that other Tracks stay.
        if text.adds_space:
            self.identity += " spaces"
        if others:
            self.identity += f" controls:{len(others)}"
        before = stated | {i for i in self._bridge[:1] if i in special}
        if self.ends != before or (self.ends and self._bridge[:1] and not self._starts_with_end()):
            self.identity += f" ends:{','.join(map(str, sorted(self.ends)))}"

    @cached_property
    def takes_tools(self) -> bool:
        """True if the chat template writes definitions and results of tools."""
        return offers_tools(self._tokenizer)

    def prompt(self, conversation: tuple[Message, ...]) -> RenderedPrompt:
        """Render a conversation up to the beginning of the next completion.

        Raises:
            ModelError: It is not user and assistant in turn, ending with the user or with results
            of tools, after the definitions of tools and one system message, where there are any.
        """
        tools, system, messages = check(conversation)
        turns = self._tooled(tools) if tools else self._plain
        ids, first = self._head(turns, system), messages[0]
        head = len(ids)
        ids += self._content(first)
        last = max(n for n, message in enumerate(messages) if message.role == "user")
        for n, message in enumerate(messages[1:], 1):
            after_results = messages[n - 1].role == "tool"
            if message.role == "assistant":
                # A user's message ends the steps whose thoughts some templates keep.
                earlier = n < last or not turns.keeps_thoughts
                ids += turns.before_reply(earlier, after_results) + self._past(message, earlier)
            elif message.role == "tool":
                ids += turns.between_results if after_results else turns.to_results
                ids += self._encode(turns.tools.content(message.content) if turns.tools else "")
            else:
                ids += turns.bridge + self._content(message)
        return RenderedPrompt(ids + turns.before_reply(False, messages[-1].role == "tool"), head)

    def _read_tooled(self, tools: str) -> Turns:
        """The text around messages where these tools are offered.

        Their texts come from outside: what could be read as a control token is encoded apart.
        """
        tooled = read_tooled(
            self._tokenizer, self._thinking, _as_unicode(tools), self._template, self._dangerous
        )
        return tooled_turns(tooled, self._text, self._encode)

    def _dangerous(self, text: str) -> bool:
        """True if a text, encoded among control tokens, could become one."""
        return bool(self._spelled.search(text)) or self._forbidden(self._text.next(text), text)

    def _past(self, reply: Message, earlier: bool) -> Ids:
        """An earlier reply without its end token; without its thought, where those are removed."""
        split = split_thoughts(reply.content)
        if earlier and self._template.history is not None and split.answer != reply.content:
            answer = self._template.lead + split.answer.lstrip("\n")
            return self._content(Message("assistant", answer))
        # Decoded and encoded again, a reply could become other tokens than those sampled.
        said = reply.tokens if reply.tokens is not None else self._content(reply)
        # The template ends the turn itself, some with white space or another token before; a reply
        # cut off has no end token.
        return said[:-1] if said and said[-1] in self.ends else said

    def text(self, sampled: Ids) -> str:
        """A completion's text: without its end token and control tokens, but for marks of thoughts.

        Where the prompt opens a thought, the text begins with that mark, so that it says by itself
        what is thought and what is answer.
        """
        said = sampled[:-1] if sampled and sampled[-1] in self.ends else sampled
        pieces: list[str] = [f"{self._opened}\n" if self._opened else ""]
        start = 0
        for place, token in enumerate(said):
            if token in self._thought_marks:
                pieces += [self._decode(said[start:place]), self._thought_marks[token]]
                start = place + 1
        return "".join([*pieces, self._decode(said[start:])])

    def _decode(self, ids: Ids) -> str:
        decoded = self._tokenizer.decode(
            list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return str(decoded)

    def _head(self, turns: Turns, system: str | None) -> Ids:
        if system is None:
            return turns.bare
        if turns.opening is None:
            return turns.bare + self._encode(f"{system}\n\n")
        return turns.opening + self._content(Message("system", system)) + turns.between

    def _content(self, message: Message) -> Ids:
        return self._encode(message.content.strip() if self._template.trims else message.content)

    def _forbidden(self, ids: Ids, text: str) -> bool:
        """True where a control token came out of text, other than "unknown" for the unknown."""
        unknown = self._tokenizer.unk_token_id
        found = self._controls.keys() & set(ids)
        # A character that the vocabulary lacks rightly gives "unknown"; the token's name spelled
        # out in the text must not.
        return bool(found - {unknown}) or (
            unknown in found and self._controls[unknown] in text and len(text) > 1
        )

    def _encode_text(self, text: str) -> Ids:
        """Encode text as plain ids only.

        Where the vocabulary itself spells a control token, the text is cut inside it and the parts
        are encoded apart.
        """
        ids: list[int] = []  # a tuple would be copied for each of many pieces
        pieces = [_as_unicode(text)]
        while pieces:
            piece = pieces.pop()
            encoded = self._text.next(piece, plain=True)
            if not self._forbidden(encoded, piece):
                ids += encoded
                continue
            if len(piece) < 2:
                raise ModelError(
                    f"The tokenizer turns the character {piece!r} into a control token: a model "
                    "whose tokenizer can write every character as text is needed."
                )
            # Behind a name's first character, so that no part spells it; else in halves.
            cuts = [m.start() + 1 for m in self._spelled.finditer(piece)] or [len(piece) // 2]
            parts = [piece[a:b] for a, b in pairwise([0, *cuts, len(piece)])]
            # A stack: the part that comes first in the text is encoded next.
            pieces += reversed(parts)
        return tuple(ids)

    def _closing_end(self) -> set[int]:
        """The token with which the template closes an assistant's turn, if there is one.

        Tokens that it also writes between thought and answer end a message, but not the turn.
        """
        inside = set(self._text.next(self._template.inside))
        closing = [i for i in self._text.next(self._template.closing) if i in self._controls]
        # Some templates leave the last turn open, and close it by beginning the next one.
        closing = closing or [i for i in self._bridge[:1] if i in self._controls]
        return set([i for i in closing if i not in inside][:1])

    def _starts_with_end(self) -> bool:
        return self._bridge[0] in self.ends

    def _compare(self) -> tuple[str, ...]:
        """A note where encoding contents apart gives other tokens than encoding the whole."""
        system, user = _PROBE
        apart = self.prompt((Message("system", system), Message("user", user))).ids
        template = self._template
        if template.opening is None:
            whole = f"{template.bare}{system}\n\n{user}{template.ask}"
        else:
            whole = f"{template.opening}{system}{template.between}{user}{template.ask}"
        if self._text.first(whole) == apart:
            return ()
        return ("Contents are encoded apart from role markers, which here gives other tokens.",)
