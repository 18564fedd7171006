"""What may be set about a model, whatever kind it is."""

from dataclasses import dataclass
from typing import Literal

from harness.errors import within


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """How a model is loaded, sampled, trained and reached. Endpoints read only the last four."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where the model runs; "auto" takes cuda, then mps, then cpu."""

    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the base weights; "auto" is bfloat16 on cuda, float32 elsewhere. Adapters are float32."""

    threads: int = 0
    """CPU threads; 0 measures the loaded model with several counts and keeps the fastest."""

    batch_rows: int = 32
    """Replies sampled at the same time."""

    micro_batch_tokens: int = 8192
    """Padded tokens in one forward pass, of a prompt batch as of a gradient."""

    lora_rank: int = 32
    """The adapter's rank, on every linear layer (E-SPL App. A.5)."""

    lora_alpha: int = 32
    """The adapter's scale is lora_alpha / lora_rank."""

    grammar: bool = False
    """Whether replies that are asked for in a form, edits say, can say nothing else. Needs the
    extra `grammar`; rows with it are of another Track. vLLM always does."""

    seed: int = 0
    """Of the adapter's first weights."""

    concurrency: int = 16
    """Requests in flight at an endpoint."""

    timeout: float = 120.0
    """Seconds one request to an endpoint may take, from the first byte to the last."""

    retries: int = 5
    """How often a request is tried again after 5xx, a time-out, a lost connection or nonsense."""

    patience: float = 600.0
    """Seconds to wait for an endpoint that answers nobody before the run stops, resumable."""

    def __post_init__(self) -> None:
        within("model.threads", self.threads, 0)
        for name in ("batch_rows", "micro_batch_tokens", "lora_rank", "lora_alpha", "concurrency"):
            within(f"model.{name}", getattr(self, name), 1)
        within("model.timeout", self.timeout, 0.001)
        within("model.retries", self.retries, 0)
        within("model.patience", self.patience, 0)
