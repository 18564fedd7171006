"""Loss conformance vectors, computed by TRL's own code.

What is called: `GRPOTrainer._compute_loss`, and `RLOOTrainer._compute_loss` for "rloo", unbound, on
a bare object that carries the attributes they read. GSPO is TRL's `grpo` with ratios by sequence.
Per-token log-probabilities are given instead of coming from a model, so these vectors
pin TRL's loss terms, clipping, KL term and aggregation, and the gradient with respect to the
log-probabilities; they say nothing about TRL's forward pass. `nanstd` and the 1e-4 of TRL's
group-normalised advantages are TRL's too; that division is one line, repeated here, as are the
leave-one-out baseline of RLOO and the truncation or masking of sampler/trainer ratios, which TRL
computes inside its generation step. With such a correction π_old is the trainer's own: `new`.

TRL is no dependency. Once, in an environment of its own (`pip install trl==1.16.0 torch==2.13.0`):

    python benchmarks/trl_vectors.py tests/agents/trl_vectors.json
"""

import json
import sys
from collections import defaultdict
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import torch
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.rloo_trainer import RLOOTrainer
from trl.trainer.utils import nanstd

CASES: list[dict[str, float | str]] = [
    {"loss": "grpo", "clip_low": 0.8, "clip_high": 1.2, "kl": 0.0},
    {"loss": "grpo", "clip_low": 0.8, "clip_high": 1.28, "kl": 0.1},
    {"loss": "dr_grpo", "clip_low": 0.8, "clip_high": 1.2, "kl": 0.0},
    {"loss": "dr_grpo", "clip_low": 0.7, "clip_high": 1.5, "kl": 0.05},
    {"loss": "cispo", "clip_low": 0.0, "clip_high": 4.0, "kl": 0.0},
    {"loss": "cispo", "clip_low": 0.0, "clip_high": 1.1, "kl": 0.2},
    {"loss": "cispo", "clip_low": 0.0, "clip_high": 0.2, "kl": 0.0},
    {"loss": "dapo", "clip_low": 0.8, "clip_high": 1.28, "kl": 0.0},
    {"loss": "dapo", "clip_low": 0.8, "clip_high": 1.2, "kl": 0.1},
    {"loss": "gspo", "clip_low": 1 - 3e-4, "clip_high": 1 + 4e-4, "kl": 0.0},
    {"loss": "gspo", "clip_low": 0.85, "clip_high": 1.1, "kl": 0.1},
    {"loss": "rloo", "clip_low": 0.8, "clip_high": 1.2, "kl": 0.0},
    {"loss": "rloo", "clip_low": 0.5, "clip_high": 3.0, "kl": 0.0},
    *(
        {"loss": loss, "clip_low": 0.8, "clip_high": 1.2, "kl": 0.0, "correction": name, "cap": cap}
        for loss in ("grpo", "dapo", "cispo")
        for name, cap in (
            ("token_truncate", 1.3),
            ("token_mask", 1.3),
            ("sequence_truncate", 1.5),
            ("sequence_mask", 1.5),
        )
    ),
]
MAX_TOKENS = 8


def batch() -> dict[str, torch.Tensor]:
    """Five sequences of up to six tokens, with ratios on both sides of every clip."""
    source = torch.Generator().manual_seed(20260214)
    shape = (5, 6)
    old = -3 * torch.rand(shape, generator=source, dtype=torch.float64) - 0.05
    moved = torch.randn(shape, generator=source, dtype=torch.float64)
    lengths = torch.tensor([6, 4, 1, 5, 3])
    return {
        "new": old + 0.4 * moved,
        "old": old,
        "reference": old + 0.2 * torch.randn(shape, generator=source, dtype=torch.float64),
        "advantage": torch.tensor([[1.2], [-0.7], [0.4], [-1.5], [0.0]], dtype=torch.float64),
        "mask": (torch.arange(6)[None] < lengths[:, None]).double(),
    }


def trainer(case: dict[str, float | str], new: torch.Tensor) -> SimpleNamespace:
    """The attributes that `_compute_loss` reads from a trainer, with everything optional off.

    For CISPO TRL's `epsilon_high` is the largest ratio itself; for the others the range is
    1 − epsilon_low to 1 + epsilon_high.
    """
    own = case["loss"] == "cispo"
    return SimpleNamespace(
        loss_type="grpo" if case["loss"] == "gspo" else case["loss"],
        epsilon_low=1 - float(case["clip_low"]),
        epsilon_high=float(case["clip_high"]) - (0 if own else 1),
        beta=case["kl"],
        max_completion_length=MAX_TOKENS,
        importance_sampling_level="sequence" if case["loss"] == "gspo" else "token",
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        use_vllm="correction" in case,
        vllm_importance_sampling_correction=True,
        aux_loss_enabled=False,
        _entropy_bonus_enabled=False,
        current_gradient_accumulation_steps=1,
        model=SimpleNamespace(training=True),
        args=SimpleNamespace(delta=None, use_bias_correction_kl=False, steps_per_generation=1),
        accelerator=SimpleNamespace(
            num_processes=1,
            gather=lambda x: x,
            reduce=lambda x, reduction: x,
            autocast=nullcontext,
        ),
        _metrics=defaultdict(lambda: defaultdict(list)),
        _get_per_token_logps_and_entropies=lambda *a, **k: (new, torch.zeros_like(new), None),
    )


def weight(case: dict[str, float | str], given: dict[str, torch.Tensor]) -> torch.Tensor:
    """π_trainer / π_sampler, bounded: TRL's lines, from inside its generation step."""
    apart = (given["new"] - given["old"]) * given["mask"]
    if str(case["correction"]).startswith("sequence"):
        apart = apart.sum(dim=-1, keepdim=True)
    found = torch.exp(apart)
    if str(case["correction"]).endswith("truncate"):
        return torch.clamp(found, min=None, max=float(case["cap"]))
    return found.masked_fill(found > float(case["cap"]), value=0.0)


def solve(case: dict[str, float | str], given: dict[str, torch.Tensor]) -> dict[str, object]:
    new = given["new"].clone().requires_grad_()
    ids = torch.zeros(given["mask"].shape, dtype=torch.long)
    inputs = {
        "prompt_ids": ids[:, :1],
        "prompt_mask": torch.ones_like(ids[:, :1]),
        "completion_ids": ids,
        "completion_mask": given["mask"],
        "advantages": given["advantage"].squeeze(1),
        "old_per_token_logps": given["old"],
        "old_logps": (given["old"] * given["mask"]).sum(1),
        "ref_per_token_logps": given["reference"],
        "num_items_in_batch": given["mask"].sum(),
    }
    if "correction" in case:
        inputs["old_per_token_logps"] = given["new"]
        inputs["importance_sampling_ratio"] = weight(case, given)
    called = RLOOTrainer if case["loss"] == "rloo" else GRPOTrainer
    loss = called._compute_loss(trainer(case, new), None, inputs)
    (gradient,) = torch.autograd.grad(loss, new)
    return {**case, "value": loss.item(), "gradient": gradient.tolist()}


def left_out(rewards: list[float]) -> list[float]:
    """One group's advantages as TRL's RLOO takes them: against the mean of the others."""
    group = torch.tensor(rewards, dtype=torch.float64)
    apart: list[float] = (group - (group.sum() - group) / (len(rewards) - 1)).tolist()
    return apart


def normalised(rewards: list[float]) -> list[float]:
    """One group's advantages as TRL scales them with scale_rewards="group"."""
    group = torch.tensor(rewards, dtype=torch.float64)
    scaled: list[float] = ((group - group.mean()) / (nanstd(group) + 1e-4)).tolist()
    return scaled


def main() -> None:
    given = batch()
    rewards = [[1.0, 0.0, 0.0, 1.0, 0.0], [0.25, 1.0, 0.5]]
    vectors = {
        "made_by": {p: version(p) for p in ("trl", "torch")},
        "called": [
            f"{t.__module__}.{t.__name__}._compute_loss" for t in (GRPOTrainer, RLOOTrainer)
        ],
        "max_tokens": MAX_TOKENS,
        "batch": {name: value.tolist() for name, value in given.items()},
        "losses": [solve(case, given) for case in CASES],
        "advantages": [
            {"rewards": r, "normalised": normalised(r), "leave_one_out": left_out(r)}
            for r in rewards
        ],
    }
    Path(sys.argv[1]).write_text(json.dumps(vectors, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
