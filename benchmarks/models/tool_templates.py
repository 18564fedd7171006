"""Chat templates written here that take tools, each with the traits of a family."""

from collections.abc import Mapping

from benchmarks.models.templates import Family

_SECTION = (
    "{% if tools %}{{ '<|im_start|>system\n' }}"
    "{% if messages[0].role == 'system' %}{{ messages[0].content + '\n\n' }}{% endif %}"
    "{{ '# Functions\n<tools>' }}{% for tool in tools %}{{ '\n' + tool | tojson }}{% endfor %}"
    "{{ '\n</tools><|im_end|>\n' }}"
    "{% elif messages[0].role == 'system' %}"
    "{{ '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}{% endif %}"
    "{% set last = namespace(user=0) %}"
    "{% for m in messages %}{% if m.role == 'user' %}{% set last.user = loop.index0 %}{% endif %}"
    "{% endfor %}"
    "{% for m in messages %}{% if m.role == 'user' %}"
    "{{ '<|im_start|>user\n' + m.content + '<|im_end|>\n' }}"
    "{% elif m.role == 'assistant' %}{% set said = m.content %}"
    "{% if loop.index0 < last.user %}{% set said = said.split('</think>')[-1].lstrip('\n') %}"
    "{% endif %}{{ '<|im_start|>assistant\n' + said }}"
    "{% for call in m.tool_calls or [] %}{% set call = call.function %}"
    "{% if said or not loop.first %}{{ '\n' }}{% endif %}"
    "{{ '<tool_call>\n' + {'name': call.name, 'arguments': call.arguments} | tojson }}"
    "{{ '\n</tool_call>' }}{% endfor %}{{ '<|im_end|>\n' }}"
    "{% elif m.role == 'tool' %}"
    "{% if messages[loop.index0 - 1].role != 'tool' %}{{ '<|im_start|>user' }}{% endif %}"
    "{{ '\n<tool_response>\n' + m.content + '\n</tool_response>' }}"
    "{% if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{ '<|im_end|>\n' }}{% endif %}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_ESCAPED = (
    "{% if messages[0].role == 'system' %}"
    "{{ '<|head|>system<|body|>' + messages[0].content | trim + '<|end|>' }}"
    "{% set messages = messages[1:] %}{% endif %}"
    "{% for m in messages %}{% if m.role == 'user' %}{{ '<|head|>user<|body|>' }}"
    "{% if loop.first and tools %}{{ 'Functions:\n\n' }}"
    "{% for t in tools %}{{ t | tojson(indent=4) + '\n\n' }}{% endfor %}{% endif %}"
    "{{ m.content | trim + '<|end|>' }}"
    "{% elif m.role == 'tool' %}{{ '<|head|>result<|body|>' + m.content | tojson + '<|end|>' }}"
    "{% elif m.tool_calls %}{% if m.tool_calls | length > 1 %}{{ raise_exception('one call') }}"
    "{% endif %}{% set call = m.tool_calls[0].function %}{{ '<|head|>assistant<|body|>' }}"
    "{{ {'name': call.name, 'parameters': call.arguments} | tojson + '<|end|>' }}"
    "{% else %}{{ '<|head|>assistant<|body|>' + m.content + '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|head|>assistant<|body|>' }}{% endif %}"
)
_LAST_USER = (
    "{% set last = namespace(user=0) %}"
    "{% for m in messages %}{% if m.role == 'user' %}{% set last.user = loop.index0 %}{% endif %}"
    "{% endfor %}"
    "{% for m in messages %}{% if m.role == 'user' %}"
    "{% if tools and loop.index0 == last.user %}"
    "{{ '[TOOLS]' + tools | tojson + '[/TOOLS]' }}{% endif %}"
    "{{ '[INST]' + m.content + '[/INST]' }}"
    "{% elif m.role == 'tool' %}"
    "{{ '[RESULT]' + m.content + '[CALL_ID]' + m.tool_call_id + '[/RESULT]' }}"
    "{% elif m.tool_calls %}{% for call in m.tool_calls %}"
    "{{ '[CALL]' + call.function.name + call.function.arguments | tojson }}{% endfor %}"
    "{{ '</s>' }}"
    "{% elif m.role == 'assistant' %}{{ m.content + '</s>' }}"
    "{% else %}{{ raise_exception('no ' + m.role) }}{% endif %}{% endfor %}"
)

TOOL_FAMILIES: Mapping[str, Family] = {
    "section": Family(_SECTION, "<|im_end|>", added=("<think>", "</think>", "<tool_call>")),
    "escaped": Family(_ESCAPED, "<|end|>", ("<|head|>", "<|body|>", "<|end|>")),
    "last user": Family(
        _LAST_USER,
        "</s>",
        ("</s>", "[INST]", "[/INST]", "[TOOLS]", "[/TOOLS]", "[RESULT]", "[/RESULT]", "[CALL]"),
    ),
}
"""Tools in the system message; in the first user message, results as JSON; before the last user."""
