"""Tiny randomly initialised checkpoints of any causal architecture that transformers knows."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.tiny import tiny_tokenizer

_PARAMETERS = 8_000_000  # at most; a forgotten size would take gigabytes


def _sized(size: int, names: str) -> dict[str, int]:
    return dict.fromkeys(names.split(), size)


SIZES: Mapping[str, int] = {
    **_sized(32, "hidden_size d_model n_embd dim emb_dim dim_model lru_width embedding_size"),
    **_sized(48, "intermediate_size ffn_dim d_ff n_inner dff feed_forward_size block_ff_dim"),
    **_sized(48, "decoder_ffn_dim encoder_ffn_dim ffn_hidden_size intermediate_size_mlp"),
    **_sized(24, "moe_intermediate_size shared_expert_intermediate_size moe_ffn_hidden_size"),
    **_sized(24, "moe_shared_expert_intermediate_size shared_intermediate_size"),
    **_sized(24, "expert_ffn_hidden_size"),
    **_sized(2, "num_hidden_layers n_layer n_layers num_layers decoder_layers num_decoder_layers"),
    **_sized(2, "encoder_layers num_encoder_layers"),
    **_sized(4, "num_attention_heads n_head n_heads num_heads decoder_attention_heads"),
    **_sized(4, "encoder_attention_heads time_step_rank linear_num_value_heads"),
    **_sized(2, "num_key_value_heads multi_query_group_num index_n_heads linear_num_key_heads"),
    **_sized(4, "num_experts num_local_experts n_routed_experts moe_num_experts"),
    **_sized(2, "num_experts_per_tok num_experts_per_token moe_k top_k moe_topk"),
    **_sized(1, "n_shared_experts num_shared_experts moe_num_shared_experts n_group topk_group"),
    **_sized(1, "first_k_dense_replace num_codebooks"),
    **_sized(1, "mamba_n_groups n_groups"),
    **_sized(2, "mamba_expand expand"),
    **_sized(8, "head_dim kv_lora_rank q_lora_rank qk_rope_head_dim qk_nope_head_dim v_head_dim"),
    **_sized(8, "index_head_dim rotary_dim hidden_size_per_layer_input"),
    **_sized(8, "mamba_d_state mamba_d_head mamba_n_heads mamba_chunk_size mamba_num_heads"),
    **_sized(8, "mamba_head_dim state_size ssm_state_size chunk_size"),
    **_sized(8, "linear_key_head_dim linear_value_head_dim"),
    **_sized(16, "qk_head_dim sliding_window attention_window_size"),
    **_sized(64, "mamba_d_ssm"),
    **_sized(512, "max_position_embeddings n_positions n_ctx max_seq_len max_sequence_length"),
    **_sized(512, "index_topk"),
    **_sized(259, "vocab_size vocab_size_per_layer_input"),
    **{"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1},
}
"""A small value for each size that a configuration may have; other fields keep their default."""

_HYBRIDS = (
    *("kimi_linear", "qwen3_5", "qwen3_5_moe", "qwen3_5_text", "qwen3_5_moe_text", "qwen3_next"),
    *("qwen4_exp", "qwen4_exp_text"),
)

OWN: Mapping[str, Mapping[str, Any]] = {
    **{kind: {"is_decoder": True} for kind in ("bert", "roberta", "electra", "roformer")},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 16},
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "gemma3n_text": {
        "num_hidden_layers": 3,
        "num_kv_shared_layers": 0,
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
        "intermediate_size": 48,
        "activation_sparsity_pattern": None,
    },
    "mamba2": {"num_heads": 8, "head_dim": 8},
    **{kind: {"layer_types": ["linear_attention", "full_attention"]} for kind in _HYBRIDS},
    "bamba": {"attn_layer_indices": [1]},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"]},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "recurrent_gemma": {"num_hidden_layers": 3},
    "zamba": {"num_hidden_layers": 6, "attn_layer_period": 2, "attn_layer_offset": 1},
    "zamba2": {
        "num_hidden_layers": 6,
        "layers_block_type": ["mamba", "mamba", "hybrid", "mamba", "hybrid", "hybrid"],
    },
    "zaya": {"num_experts_per_tok": 1},
}
"""What an architecture needs beyond `SIZES`."""


def tiny_config(kind: str, **fields: Any) -> Any:
    """A small configuration of the model type `kind`; `fields` go to its text part.

    Raises:
        ValueError: Transformers refuses it.
    """
    from transformers import CONFIG_MAPPING

    architecture: Any = CONFIG_MAPPING[kind]
    default = architecture()
    sizes = _shrunk(default)
    own = dict(OWN.get(kind, {})) | fields
    text = default.get_text_config()
    # The decoder of an encoder-decoder has its configuration in common with the encoder.
    if text is default or default.is_encoder_decoder:
        return architecture(**sizes | own)
    part = next(n for n in architecture.sub_configs if getattr(default, n, None) is text)
    sizes[part] |= own
    return architecture(**sizes)


def _shrunk(default: Any) -> dict[str, Any]:
    """Small values for the sizes of a configuration and of its parts."""
    known = default.to_dict()
    sizes: dict[str, Any] = {
        name: size
        for name, size in SIZES.items()
        if name in known and not isinstance(known[name], dict | list)
    }
    if "image_size" in known and "patch_size" in known:
        sizes |= {"image_size": 16, "patch_size": 8}
    # Derived again from the number of layers.
    sizes |= {"layer_types": None} if "layer_types" in known else {}
    if "kv_lora_rank" in known:  # latent attention has a key for each head
        sizes["num_key_value_heads"] = sizes["num_attention_heads"]
    parts = {name: getattr(default, name, None) for name in default.sub_configs}
    return sizes | {name: _shrunk(part) for name, part in parts.items() if part is not None}


def tiny_checkpoint(kind: str, folder: Path, seed: int = 0, **fields: Any) -> Path:
    """Write a checkpoint of the model type `kind` with a byte-level tokenizer.

    Raises:
        ValueError: Transformers cannot make one this small.
    """
    import torch
    from transformers import AutoModelForCausalLM

    config = tiny_config(kind, **fields)
    make: Any = AutoModelForCausalLM.from_config
    with torch.device("meta"):
        count = sum(p.numel() for p in make(config).parameters())
    if count > _PARAMETERS:
        raise ValueError(f"{kind} has {count:,} parameters")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = make(config)
        # Untrained weights of the usual size say almost the same after any prompt.
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.mul_(4.0)
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder
