"""Estimate the cost of a run: tokens by kind, at prices from a dated file.

No price is guessed: without a file there is no sum. A hosted trainer charges for tokens that it
reads (prefill), samples, and trains on.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import agents
from harness.errors import UsageError, unknown
from harness.policies import kind_of
from harness.settings.config import Config
from harness.text_env import TextEnvProtocol

PUBLISHED = "published"
CHARACTERS_A_TOKEN = 3  # fewer than any tokenizer for English needs, so that sums are not too low
_PRINCIPLES = 10 * 32 * 1.4  # tokens of an evolved prompt: ten principles of 32 words (E-SPL §3)
_LOOKED_AT = 20  # tasks whose texts are read for their length
_KINDS = ("prefill", "sample", "train")


@dataclass(frozen=True, slots=True)
class PriceTable:
    """For a million tokens; `date` and `source` say when and where they were read."""

    prefill: float
    sample: float
    train: float
    currency: str
    date: str
    source: str


@dataclass(frozen=True, slots=True)
class PriceEstimate:
    """Tokens that all runs of one method have read, sampled and trained on; `amount` None: no
    price is known.
    """

    method: str
    prefill: float
    sampled: float
    trained: float
    amount: float | None


def read_prices(asked: str | None, url: str) -> PriceTable | None:
    """The prices of the model behind `url` in a file, or in the dated one that comes along.

    Raises:
        UsageError: The file cannot be read, states no date or source, or not this model's prices.
    """
    if asked is None:
        return None
    place = files("harness") / "prices" / "tinker.toml" if asked == PUBLISHED else Path(asked)
    try:
        told: dict[str, Any] = tomllib.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{asked} cannot be read as prices ({error}); give a TOML file, or "
            f"--prices {PUBLISHED}."
        ) from error
    head = {key: str(told.pop(key, "")) for key in ("date", "source", "currency")}
    for key, value in head.items():
        if not value:
            raise UsageError(f"{asked} states no {key}; write {key} = '…' above its prices.")
    model = url.partition("#")[2] if kind_of(url) == "openai" else url.partition(":")[2]
    if model not in told:
        raise unknown(f"price in {asked} for model", model, told)
    prefill, sample, train = (_price(asked, model, told[model], kind) for kind in _KINDS)
    return PriceTable(prefill, sample, train, head["currency"], head["date"], head["source"])


def _price(asked: str, model: str, table: Any, kind: str) -> float:
    value = table.get(kind) if isinstance(table, dict) else None
    # true is an int to Python, and `not >= 0` refuses nan too.
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise UsageError(
            f"{asked} states no price '{kind}' for {model}; write {kind} = 1.5, for a million "
            "tokens."
        )
    return float(value)


def prompt_tokens(request: Config, env: TextEnvProtocol) -> float:
    """About how many tokens an episode's first prompt has: root prompt and task."""
    looked = range(min(_LOOKED_AT, env.size("train")))
    texts = [str(env.reset(seed=seed)[0]) for seed in looked]
    characters = sum(map(len, texts)) / max(1, len(texts)) + len(request.run.prompt or "")
    return characters / CHARACTERS_A_TOKEN


def longest_prompt(request: Config, prompt: float) -> float:
    """About how many tokens a first prompt has once its system prompt has evolved, if it does."""
    return prompt + (_PRINCIPLES if agents.spec(request.method).plays else 0.0)


def spending(
    request: Config,
    prompt: float,
    training: int,
    testing: int,
    tokens: Sequence[float],
    prices: PriceTable | None,
) -> PriceEstimate:
    """Tokens by kind and their price; `tokens` are acting, reflecting and evaluating.

    Every attempt is read once more by whoever reflects on it, which is the most that happens.
    """
    acting, reflecting, evaluating = tokens
    evolves = reflecting > 0
    whole = prompt + (_PRINCIPLES if evolves else 0.0)
    seen = training * whole + acting
    prefill = (training + testing) * whole + (seen if evolves else 0.0)
    trained = seen if agents.trains_weights(request.method) else 0.0
    sampled = acting + reflecting + evaluating
    amount = None
    if prices is not None:
        amount = prefill * prices.prefill + sampled * prices.sample + trained * prices.train
        amount /= 1e6
    return PriceEstimate(request.method, prefill, sampled, trained, amount)


def sentences(url: str, money: Sequence[PriceEstimate], prices: PriceTable | None) -> list[str]:
    """Lines about costs; none where no model is paid by the token."""
    if prices is None:
        if kind_of(url) != "tinker":
            return []
        return [f"money: unknown; give --prices FILE.toml, or --prices {PUBLISHED} for dated ones"]
    millions = [
        f"{m.method}: about {m.amount:,.0f} {prices.currency} "
        f"({m.prefill / 1e6:,.1f}M tokens read, {m.sampled / 1e6:,.1f}M sampled, "
        f"{m.trained / 1e6:,.1f}M trained on)"
        for m in money
    ]
    total = sum(m.amount or 0.0 for m in money)
    if len(money) > 1:
        millions.append(f"all: about {total:,.0f} {prices.currency}")
    return [
        *(f"money for {line}" for line in millions),
        f"  at {prices.prefill:g}/{prices.sample:g}/{prices.train:g} {prices.currency} a million "
        f"tokens read/sampled/trained on, as written down {prices.date} in {prices.source}; look "
        "up today's before you pay",
        "  one turn an episode, three characters a token, no cache discount, no storage: "
        "an environment of several turns is read again each turn and costs more",
    ]
