"""The tokenizer: whole words of a small vocabulary, single digits, and bytes otherwise."""

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

CONTROLS = ("<|pad|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_PIECES = r" ?[A-Za-z]+| ?[0-9]|\n| ?[^\sA-Za-z0-9]|\s"
_MARKS = ".,:;?!=+-()[]<>'\"*#–…"


def build(words: Iterable[str], context: int) -> PreTrainedTokenizerFast:
    """A tokenizer that knows these words, each with and without a space before it.

    A piece of text that is in the vocabulary is one token; any other is its UTF-8 bytes, so every
    text comes back from its tokens as it was.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    known = sorted({w for w in words if len(w) > 1})
    spaced = [f"Ġ{w}" for w in [*"0123456789", *_MARKS, *known] if w.isascii()]
    pieces = [*CONTROLS, *alphabet, *known, *spaced]
    model = BPE({p: i for i, p in enumerate(pieces)}, [], ignore_merges=True)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        additional_special_tokens=list(CONTROLS[1:4]),
        clean_up_tokenization_spaces=False,
        model_max_length=context,
    )
    fast.chat_template = TEMPLATE
    return fast
