"""A worker that takes one step of TRL's GRPOTrainer a turn. Needs torch, trl, peft and datasets.

The first line it reads holds the prompts, as chat messages, in the order of the steps; reply
limit, group size, LoRA, dtype and thread count are those of the task. Gradient checkpointing,
which TRL switches on by default and which costs time, is off; logging is as rare as it can be.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from benchmarks.speed.race import Line


def every_other(completion_ids: list[list[int]], **_: Any) -> list[float]:
    """The made-up reward: see `steps`."""
    return [float(i % 2) for i in range(len(completion_ids))]


class Turns(TrainerCallback):
    """Each step waits for its turn and reports what it took."""

    def __init__(self, line: Line) -> None:
        self.line = line

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if not self.line.wait():
            sys.exit(0)
        self.line.start()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.line.stop()


def main(task: Mapping[str, Any]) -> None:
    line = Line()
    torch.set_num_threads(task["threads"])
    prompts = json.loads(sys.stdin.readline())
    rows = task["tasks"] * task["samples"]
    accumulation = task.get("accumulation", 1)
    with tempfile.TemporaryDirectory() as folder:
        config = GRPOConfig(
            output_dir=folder,
            per_device_train_batch_size=rows // accumulation,
            gradient_accumulation_steps=accumulation,
            num_generations=task["samples"],
            max_completion_length=task["limit"],
            temperature=1.0,
            top_p=1.0,
            top_k=0,
            learning_rate=1e-6,
            lr_scheduler_type="constant",
            beta=0.0,
            loss_type="grpo",
            scale_rewards="none",
            max_grad_norm=1.0,
            use_cpu=task.get("device", "cpu") == "cpu",
            bf16=task["dtype"] == "bfloat16",
            fp16=False,
            gradient_checkpointing=False,
            logging_steps=1000,
            report_to=[],
            save_strategy="no",
            shuffle_dataset=False,
            disable_tqdm=True,
            max_steps=len(prompts) // task["tasks"],
            dataloader_num_workers=0,
        )
        model = AutoModelForCausalLM.from_pretrained(
            task["folder"], dtype=getattr(torch, task["dtype"])
        )
        trainer = GRPOTrainer(
            model=model,
            reward_funcs=every_other,
            args=config,
            train_dataset=Dataset.from_list([{"prompt": p} for p in prompts]),
            processing_class=AutoTokenizer.from_pretrained(task["folder"], padding_side="left"),
            peft_config=LoraConfig(
                r=task["lora_rank"],
                lora_alpha=task["lora_alpha"],
                lora_dropout=0.0,
                target_modules="all-linear",
                task_type="CAUSAL_LM",
            ),
            callbacks=[Turns(line)],
        )
        line.say(ready=True)
        trainer.train()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
