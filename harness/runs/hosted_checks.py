"""Refuse settings that a hosted trainer cannot honour, before anything is opened or paid for."""

import agents
from agents.parts.rl.config import WeightsConfig
from agents.parts.rl.loss_card import build_loss
from harness.errors import UsageError
from harness.policies import kind_of
from harness.policies.base import BatchSize
from harness.policies.tinker.data import check_sampling
from harness.settings.config import Config
from harness.settings.sources import Scalar

ALPHA = 32
"""The only scale of an adapter at Tinker: the service sets it, and takes no other."""


def check_hosted(request: Config) -> None:
    """Refuse settings that a hosted trainer cannot honour; anything else passes.

    Raises:
        UsageError: Says which setting, and what to write instead.
    """
    if kind_of(request.model_url) != "tinker" or not agents.trains_weights(request.method):
        return
    if request.model.lora_alpha != ALPHA:
        raise UsageError(
            f"model.lora_alpha is {request.model.lora_alpha}, but Tinker scales adapters itself; "
            f"write --set model.lora_alpha={ALPHA}."
        )
    settings = request.method_settings
    renormalise = isinstance(settings, WeightsConfig) and settings.renormalise
    check_sampling(request.sampling.temperature, request.sampling.top_p if renormalise else 1.0)
    if isinstance(settings, WeightsConfig):
        build_loss(settings, request.sampling.max_tokens, BatchSize(1, 1)).hosted()


def hosted_defaults(url: str) -> dict[str, dict[str, Scalar]]:
    """Defaults that suit a hosted trainer: a long time-out, and many requests at once.

    A completion of tens of thousands of tokens takes many minutes, and hundreds cost no more time.
    """
    hosted = url.startswith("tinker:")
    return {"model": {"timeout": 3600.0, "concurrency": 256}} if hosted else {}
