"""A randomly initialised language model whose runs take a second: for tests and stress tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content']"
    " + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def tiny_tokenizer(
    template: str = CHAT_TEMPLATE,
    special: Sequence[str] = (),
    added: Sequence[str] = (),
    words: Sequence[str] = (),
) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer of 259 tokens, three of them control tokens, and of those given.

    `added` are not declared as special, as several families do with markers. `words` are tokens
    that a model may sample, and that no text is split into.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    own = ["<|pad|>", "<|im_start|>", "<|im_end|>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*own, *letters, *words])}
    raw = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.add_special_tokens([AddedToken(token, special=True) for token in [*own, *special]])
    raw.add_tokens([AddedToken(token, special=False) for token in added])
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        pad_token="<|pad|>",
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        chat_template=template,
    )


def tiny_model(folder: Path) -> Path:
    """Write a randomly initialised Llama (2 layers of 32) with a byte-level tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
        # Untrained weights of the usual size say almost the same after any prompt.
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(4.0) if parameter.ndim == 2 else parameter
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
