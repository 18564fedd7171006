"""`[model]`: the model's settings, whatever kind of model it is."""

from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Le

from harness.settings.build import Settings, settings
from harness.settings.fields import EXECUTES, Formerly, Paper, UnitName

Thinking = Literal["on", "off", "default"]
ToolFormat = Literal["auto", "native", "text"]


@settings
class ModelSettings(Settings):
    """Loading, sampling, training and reaching of a model. Endpoints read only the last four."""

    section: ClassVar[str] = "model"

    device: Annotated[Literal["auto", "cpu", "cuda", "mps"], EXECUTES] = "auto"
    """Device of the model; "auto" takes cuda, then mps, then cpu."""

    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of the base weights; "auto" is bfloat16 on cuda, float32 elsewhere. Adapters are
    float32."""

    threads: Annotated[int, Ge(0), Le(1_024), EXECUTES, UnitName("threads")] = 0
    """CPU threads; 0 measures the loaded model with several counts and keeps the fastest."""

    batch_rows: Annotated[int, Ge(1), Le(65_536), EXECUTES, UnitName("completions")] = 32
    """Completions sampled at the same time."""

    kv_cache_gb: Annotated[float, Ge(0), Le(1_000_000), EXECUTES, UnitName("GB")] = 0.0
    """Memory for keys and values of completions that are sampled at the same time: fewer than
    batch_rows run where those of all, at their longest, would take more. 0 sets no limit; a run
    sets one where memory would not suffice, and records it."""

    micro_batch_tokens: Annotated[int, Ge(1), Le(100_000_000), EXECUTES, UnitName("tokens")] = 8192
    """Tokens in one forward pass, padding included, when prompts are read and when gradients are
    computed. A completion with more tokens is one piece."""

    checkpointing: Annotated[Literal["auto", "on", "off"], EXECUTES] = "auto"
    """Compute each layer again in an update's backward pass, instead of keeping what the forward
    pass computed; "auto" does so where that would take more than half of the free memory. It takes
    up to 1.5 times as long."""

    attn_implementation: Annotated[
        Literal["auto", "sdpa", "eager", "flash_attention_2", "flash_attention_3"], EXECUTES
    ] = "auto"
    """Attention of transformers' own forward pass; "auto" takes what transformers chooses. The fast
    forward pass always uses PyTorch's."""

    forward: Annotated[Literal["auto", "transformers", "fast"], EXECUTES] = "auto"
    """Forward pass of a model that is loaded here: transformers' own, or a faster one written for
    the Llama family; "auto" takes the faster one where it supports the model, "fast" refuses other
    models. Results differ by rounding only, as with batch_rows."""

    deterministic: bool = True
    """Let a model that is loaded here end byte for byte the same after a kill: long iterations and
    evaluations are sampled in chunks, and a kill loses the chunk in progress. With false there are
    no chunks, a kill loses only unfinished episodes, and results have a Track of their own."""

    lora_rank: Annotated[int, Ge(1), Le(65_536), Paper("E-SPL App. A.5")] = 32
    """Rank of the LoRA adapter, on every linear layer."""

    lora_alpha: Annotated[int, Ge(1), Le(1_000_000)] = 32
    """The adapter's scale is lora_alpha / lora_rank."""

    lora_experts: bool = True
    """Put the adapter also on experts that a layer holds in one tensor (gpt-oss, Granite, Qwen2-MoE
    and others; docs/models.md), which "every linear layer" leaves out. Sampling then keeps a second
    copy of them, with the adapter merged in. Results with false have a Track of their own. A model
    that vLLM samples is trained without."""

    constrained_decoding: Annotated[bool, Formerly("grammar")] = False
    """Let completions that are asked for in a form, such as edits, contain nothing else.
    Needs the extra `grammar`; results with it have a Track of their own. vLLM always does it."""

    thinking: Thinking = "default"
    """Thinking before the answer: "on" or "off" where the model's chat template has a switch for it
    (enable_thinking, thinking), "default" as the template has it. Results with "on" or "off" have a
    Track of their own. A separate reflection model keeps its default."""

    tools: ToolFormat = "auto"
    """The way in which an environment's tools are told to the model: "native" through its own chat
    template or the endpoint's function calling, "text" in the first message; "auto" is native where
    the model's chat template has tools. Results with "native" or "text" have a Track of their
    own."""

    seed: Annotated[int, Ge(0)] = 0
    """Seed of the adapter's first weights. A run that is started without it takes
    run.seed, not 0."""

    concurrency: Annotated[int, Ge(1), Le(10_000), EXECUTES, UnitName("requests")] = 16
    """Requests in flight at an endpoint."""

    timeout: Annotated[float, Ge(0.001), Le(31_536_000), EXECUTES, UnitName("seconds")] = 120.0
    """Time without new content after which a completion from an endpoint is given up. One that
    grows may take longer. An endpoint that does not stream has, in addition, a time for its tokens
    that follows from sampling.max_tokens and the rate of earlier completions."""

    retries: Annotated[int, Ge(0), Le(1_000), EXECUTES] = 5
    """Times that a request is sent again after 5xx, a time-out, a lost connection or a malformed
    response."""

    patience: Annotated[float, Ge(0), Le(31_536_000), EXECUTES, UnitName("seconds")] = 600.0
    """Time to wait for an endpoint that answers no request before the run stops, resumable."""
