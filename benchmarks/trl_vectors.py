"""Loss conformance vectors, computed by TRL's own code.

What is called: `GRPOTrainer._compute_loss`, unbound, on a bare object that carries the attributes
it reads. Per-token log-probabilities are given instead of coming from a model, so these vectors
pin TRL's loss terms, clipping, KL term and aggregation, and the gradient with respect to the
log-probabilities; they say nothing about TRL's forward pass. `nanstd` and the 1e-4 of TRL's
group-normalised advantages are TRL's too; that division is one line, repeated here.

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
from trl.trainer.utils import nanstd

CASES = [
    {"loss": "grpo", "clip_low": 0.8, "clip_high": 1.2, "kl": 0.0},
    {"loss": "grpo", "clip_low": 0.8, "clip_high": 1.28, "kl": 0.1},
    {"loss": "dr_grpo", "clip_low": 0.8, "clip_high": 1.2, "kl": 0.0},
    {"loss": "dr_grpo", "clip_low": 0.7, "clip_high": 1.5, "kl": 0.05},
    {"loss": "cispo", "clip_low": 0.0, "clip_high": 4.0, "kl": 0.0},
    {"loss": "cispo", "clip_low": 0.0, "clip_high": 1.1, "kl": 0.2},
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
    """What `_compute_loss` reads from a trainer, with everything optional turned off.

    For CISPO TRL's `epsilon_high` is the largest ratio itself; for the others the range is
    1 − epsilon_low to 1 + epsilon_high.
    """
    own = case["loss"] == "cispo"
    return SimpleNamespace(
        loss_type=case["loss"],
        epsilon_low=1 - float(case["clip_low"]),
        epsilon_high=float(case["clip_high"]) - (0 if own else 1),
        beta=case["kl"],
        max_completion_length=MAX_TOKENS,
        importance_sampling_level="token",
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        use_vllm=False,
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
        "ref_per_token_logps": given["reference"],
        "num_items_in_batch": given["mask"].sum(),
    }
    loss = GRPOTrainer._compute_loss(trainer(case, new), None, inputs)
    (gradient,) = torch.autograd.grad(loss, new)
    return {**case, "value": loss.item(), "gradient": gradient.tolist()}


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
        "called": "trl.trainer.grpo_trainer.GRPOTrainer._compute_loss",
        "max_tokens": MAX_TOKENS,
        "batch": {name: value.tolist() for name, value in given.items()},
        "losses": [solve(case, given) for case in CASES],
        "advantages": [{"rewards": r, "normalised": normalised(r)} for r in rewards],
    }
    Path(sys.argv[1]).write_text(json.dumps(vectors, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
