"""Tokens that text from outside must never become: role markers, ends of turns, marks of thoughts.

Tokenizers declare only some of them as special. Others are ordinary added tokens (DeepSeek's role
markers, `<think>`, `<tool_call>`), or pieces of the vocabulary that the chat template writes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Other added tokens are text: runs of spaces, words of another language.
_MARKER = re.compile(r"[<\[{|◁｜＜](?=\W*\w).*[>\]}|▷｜＞]", re.DOTALL)
# A word and a sign, unlike plain words and runs of spaces.
_LABEL = re.compile(r"(?=\W*\w)[\w\s▁]*[^\w\s▁]")


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """The tokens that the tokenizer declares as special, by id."""
    special = {i: str(t) for i, t in tokenizer.added_tokens_decoder.items() if t.special}
    named = zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True)
    return special | {i: str(t) for i, t in named}


def other_control_tokens(
    tokenizer: PreTrainedTokenizerBase, fixed: Sequence[Sequence[int]]
) -> dict[int, str]:
    """Tokens that mark something without being special, by id.

    These are added tokens in the shape of a marker, such pieces of the vocabulary in `fixed`, the
    texts that the chat template writes, and added tokens of words and signs that it writes.
    """
    added = {i: str(t) for i, t in tokenizer.added_tokens_decoder.items()}
    written = {i for ids in fixed for i in ids}
    found = added | {i: str(tokenizer.convert_ids_to_tokens(i)) for i in written if i not in added}
    special = special_tokens(tokenizer)
    # An added token that the template writes needs no brackets to be a marker: "### Instruction:".
    shaped = {i for i, t in added.items() if i in written and _LABEL.match(t)}
    return {
        i: t
        for i, t in sorted(found.items())
        if i not in special and (i in shaped or _is_marker(t))
    }


def _is_marker(token: str) -> bool:
    # SentencePiece writes a space as "▁".
    return _MARKER.fullmatch(token.strip(" ▁")) is not None
