"""Chat templates written here, each with the traits of a family: channels, thinking, alternation,
white space before the end token, no system role, tools.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.tiny import CHAT_TEMPLATE, tiny_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True, slots=True)
class Family:
    """A chat template, the tokens that it needs, and the token that ends an assistant's turn.

    `eos` is the tokenizer's end token. `same` is False where the template changes earlier turns, so
    that an append-only rendering differs from it.
    """

    template: str
    eos: str
    special: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    same: bool = True

    def tokenizer(self) -> "PreTrainedTokenizerFast":
        """A byte-level tokenizer with this template and these tokens."""
        made = tiny_tokenizer(self.template, self.special, self.added)
        made.eos_token = self.eos
        return made


_CHANNELS = (
    "{{ '<|start|>system<|message|>You are a model.<|end|>' }}"
    "{% if messages[0]['role'] == 'system' %}"
    "{{ '<|start|>developer<|message|>' + messages[0]['content'] + '<|end|>' }}"
    "{% set messages = messages[1:] %}{% endif %}"
    "{% for m in messages %}{% if m['role'] == 'user' %}"
    "{{ '<|start|>user<|message|>' + m['content'] + '<|end|>' }}"
    "{% elif loop.last and not add_generation_prompt %}"
    "{% if m.thinking %}{{ '<|start|>assistant<|channel|>analysis<|message|>' + m.thinking }}"
    "{{ '<|end|>' }}{% endif %}"
    "{{ '<|start|>assistant<|channel|>final<|message|>' + m['content'] + '<|return|>' }}"
    "{% else %}{{ '<|start|>assistant<|channel|>final<|message|>' + m['content'] + '<|end|>' }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}"
)
_MESSAGES = (
    "{% for m in messages %}{% if m['role'] != 'assistant' %}"
    "{{ '<|begin|>' + m['role'] + '<|content|>' + m['content'] + '<|end|>' }}{% else %}"
    "{% if m.reasoning_content %}"
    "{{ '<|begin|>assistant<|think|>' + m.reasoning_content + '<|end|>' }}{% endif %}"
    "{{ '<|begin|>assistant<|content|>' + m['content'] + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|begin|>assistant' }}{% endif %}"
)
_SPACED = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}"
    "{{ '<SPECIAL_11>assistant\n' + m['content'] + '\n<SPECIAL_12>\n' }}{% else %}"
    "{{ '<SPECIAL_10>' + m['role'] + '\n' + m['content'] + '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<SPECIAL_11>assistant\n' }}{% endif %}"
)
_ALTERNATING = (
    "{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] %}"
    "{% set messages = messages[1:] %}{% else %}{% set system = '' %}{% endif %}"
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate user/assistant') }}{% endif %}"
    "{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' }}"
    "{% if loop.index0 == 0 and system %}{{ '<<SYS>>\n' + system + '\n<</SYS>>\n\n' }}{% endif %}"
    "{{ m['content'] | trim + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] | trim + ' ' + eos_token }}{% endif %}{% endfor %}"
)
_DISTILLED = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ m['content'] }}"
    "{% elif m['role'] == 'user' %}{{ '<｜User｜>' + m['content'] }}{% else %}"
    "{{ '<｜Assistant｜>' + m['content'].split('</think>')[-1] + '<｜end▁of▁sentence｜>' }}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<｜Assistant｜><think>\n' }}{% endif %}"
)
_SWITCHED = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}"
    "{{ '<|im_start|>assistant\n' + m['content'].split('</think>')[-1].lstrip('\n') }}"
    "{% else %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] }}{% endif %}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}"
    "{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}"
)
_TOOLS = "{% for tool in tools %}{{ tool }}{% endfor %}" + CHAT_TEMPLATE
_NO_SYSTEM = (
    "{% for m in messages %}{% if m['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{{ '<start_of_turn>' + m['role'] + '\n' + m['content'] | trim + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>assistant\n' }}{% endif %}"
)

FAMILIES: Mapping[str, Family] = {
    "chatml": Family(CHAT_TEMPLATE, "<|im_end|>"),
    "channels": Family(
        _CHANNELS,
        "<|return|>",
        ("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|return|>"),
    ),
    "messages": Family(
        _MESSAGES, "<|flush|>", ("<|begin|>", "<|end|>", "<|content|>", "<|think|>", "<|flush|>")
    ),
    "white space before the end": Family(
        _SPACED, "<SPECIAL_12>", ("<SPECIAL_10>", "<SPECIAL_11>", "<SPECIAL_12>")
    ),
    "alternation": Family(_ALTERNATING, "</s>", ("</s>",), ("[INST]", "[/INST]")),
    "thinking, added tokens": Family(
        _DISTILLED,
        "<｜end▁of▁sentence｜>",
        ("<｜end▁of▁sentence｜>",),
        ("<｜User｜>", "<｜Assistant｜>", "<think>", "</think>", "<tool_call>"),
        same=False,
    ),
    "thinking with a switch": Family(_SWITCHED, "<|im_end|>", added=("<think>", "</think>")),
    "tools": Family(_TOOLS, "<|im_end|>"),
    "no system role": Family(_NO_SYSTEM, "<end_of_turn>", ("<start_of_turn>", "<end_of_turn>")),
}
"""A template for each trait."""
