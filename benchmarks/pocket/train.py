"""Train pocket from scratch: `python -m benchmarks.pocket.train --out FOLDER`.

Runs on a CPU or a GPU; the same seed and steps give a model with the same scores, not the same
bytes.
"""

import argparse
import json
import random
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from benchmarks.pocket import corpus
from benchmarks.pocket.heads import start
from benchmarks.pocket.muon import Muon


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what is trained."""

    steps: int = 2800
    scarce_steps: int = 900
    """Steps after those, at half the learning rate, with little evidence to reflect on."""
    edit_steps: int = 1200
    """And after those, at half the rate again begun anew, with more edits of principles."""
    tokens: int = 2048
    """Padded tokens in one step."""
    seed: int = 0
    hidden: int = 128
    layers: int = 5
    heads: int = 4
    feed_forward: int = 352
    learning_rate: float = 3e-3
    warmup: int = 30
    cooldown: float = 0.6
    """Share of the steps over which the learning rate falls to nothing."""
    weight_decay: float = 0.01
    prompt_weight: float = 0.2
    """How much a prompt's tokens count beside a reply's: they teach copying."""
    telling_weight: float = 6.0
    """How much more a token counts that says a meaning: what is to be looked up or guessed."""


def new_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A Llama of the recipe's size, with weights from its seed."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=recipe.hidden,
        intermediate_size=recipe.feed_forward,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.heads,
        max_position_embeddings=corpus.CONTEXT,
        tie_word_embeddings=True,
        attention_bias=True,
        rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        model = LlamaForCausalLM(config)
    start(model, torch.Generator().manual_seed(recipe.seed))
    return model


def optimizers(model: LlamaForCausalLM, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside, AdamW for embeddings and norms."""
    inside = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    muon = Muon(inside, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    adam = torch.optim.AdamW(others, lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
    return [muon, adam]


def pace(step: int, recipe: Recipe) -> float:
    """The learning rate's factor: up, level, down to zero."""
    falling = recipe.steps * recipe.cooldown
    return min(1.0, (step + 1) / recipe.warmup, (recipe.steps - step) / falling)


@dataclass(frozen=True)
class Losses:
    """Cross entropy of every token but the first ones [document, token]; which of them are a
    reply's, which say a meaning, and which belong to a reply that edits. Padding has no loss and is
    none of these.
    """

    each: Tensor
    learnt: Tensor
    telling: Tensor
    edits: Tensor


def losses(model: LlamaForCausalLM, batch: Sequence[corpus.Document], device: str) -> Losses:
    """The model's losses on some documents."""
    width = max(len(d.ids) for d in batch)

    def padded(rows: Iterable[Sequence[int]]) -> Tensor:
        return torch.tensor([[*row] + [0] * (width - len(row)) for row in rows], device=device)

    ids = padded(d.ids for d in batch)
    # Padding stands on the right, where causal attention never looks back from.
    logits = model.lm_head(model.model(ids).last_hidden_state[:, :-1])
    each = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none", ignore_index=0
    )
    marks = (padded(d.learnt for d in batch), padded(d.telling for d in batch))
    learnt, telling = (mark[:, 1:].bool() for mark in marks)
    edits = learnt & torch.tensor([[d.edits] for d in batch], device=device)
    return Losses(each.view(len(batch), width - 1), learnt, telling, edits)


def train(recipe: Recipe, out: Path, device: str, begun: Path | None, behind: int) -> None:
    """Train and save, one course after another; progress goes to `out/<course>.jsonl`.

    `begun` is the folder of a model that has the first `behind` courses behind it.
    """
    tokenizer = corpus.tokenizer()
    out.mkdir(parents=True, exist_ok=True)
    model = LlamaForCausalLM.from_pretrained(begun) if begun else new_model(recipe, tokenizer)
    model.to(device)  # type: ignore[arg-type]  # transformers' wrapper loses `self`
    lengths = (recipe.steps, recipe.scarce_steps, recipe.edit_steps)
    for number, (course, length) in enumerate(zip(corpus.COURSES, lengths, strict=True)):
        if number < behind:
            continue
        part = recipe if number == 0 else later(recipe, length, number)
        attend(model, tokenizer, course, part, out / f"{course.name}.jsonl", device)
        save(model, tokenizer, recipe, out if course == corpus.COURSES[-1] else out / course.name)


def later(recipe: Recipe, length: int, number: int) -> Recipe:
    """The recipe of a course after the first one."""
    rate = recipe.learning_rate / 2
    seed = recipe.seed + number
    return replace(recipe, steps=length, seed=seed, learning_rate=rate, cooldown=0.9)


def attend(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    course: corpus.Course,
    recipe: Recipe,
    log_path: Path,
    device: str,
) -> None:
    """One course, from a learning rate up and down to zero."""
    supply = corpus.batches(
        corpus.documents(recipe.seed, tokenizer, course),
        random.Random(f"pocket batches {recipe.seed}"),
        recipe.tokens,
    )
    learner = Learner(model, optimizers(model, recipe), recipe, course.edit_weight, device)
    with log_path.open("w") as log:
        for line in steps(learner, supply):
            log.write(json.dumps(line) + "\n")
            log.flush()
            print(json.dumps(line), flush=True)


@dataclass(frozen=True)
class Learner:
    """A model with what changes it."""

    model: LlamaForCausalLM
    steppers: list[torch.optim.Optimizer]
    recipe: Recipe
    edit_weight: float
    device: str

    def step(self, batch: Sequence[corpus.Document], rate: float) -> Losses:
        """One update; the losses are those before it."""
        for stepper in self.steppers:
            for group in stepper.param_groups:
                group["lr"] = rate
        found = losses(self.model, batch, self.device)
        weights = found.learnt + self.recipe.prompt_weight * ~found.learnt
        weights = weights * (1 + (self.recipe.telling_weight - 1) * found.telling)
        weights = weights * (1 + (self.edit_weight - 1) * found.edits)
        torch.autograd.backward((found.each * weights).sum() / found.learnt.sum())
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for stepper in self.steppers:
            stepper.step()
            stepper.zero_grad(set_to_none=True)
        return found


def steps(learner: Learner, supply: Iterator[list[corpus.Document]]) -> Iterator[dict[str, float]]:
    """Take the recipe's steps; every 50 of them, the mean loss by kind of document."""
    started, tally = time.perf_counter(), defaultdict[str, list[float]](list)
    recipe = learner.recipe
    seen = longest = 0
    for step in range(recipe.steps):
        batch = next(supply)
        found = learner.step(batch, recipe.learning_rate * pace(step, recipe))
        seen += sum(len(d.ids) for d in batch)
        longest = max(longest, *(len(d.ids) for d in batch))
        mine = (found.each.detach() * found.learnt).sum(1) / found.learnt.sum(1)
        told = found.learnt & found.telling
        tally["telling"].append(float(found.each.detach()[told].mean()) if told.any() else 0.0)
        for document, loss in zip(batch, mine.tolist(), strict=True):
            tally[document.kind].append(loss)
        if (step + 1) % 50 == 0:
            means = {kind: round(sum(t) / len(t), 4) for kind, t in sorted(tally.items())}
            seconds = round(time.perf_counter() - started)
            facts = {"step": step + 1, "seconds": seconds, "tokens": seen, "longest": longest}
            yield facts | means
            tally.clear()


def save(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, recipe: Recipe, out: Path
) -> None:
    """Write the model as any other: config, safetensors, tokenizer, template."""
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    (out / "recipe.json").write_text(json.dumps(asdict(recipe), indent=2) + "\n")


def main() -> None:
    """The command line: any setting of the recipe, a folder, a device and threads."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1)
    for name, value in asdict(Recipe()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    parser.add_argument("--begun", type=Path, help="a model with some courses behind it")
    parser.add_argument("--behind", type=int, default=0, help="how many courses")
    asked = vars(parser.parse_args())
    out, device, threads = asked.pop("out"), asked.pop("device"), asked.pop("threads")
    begun, behind = asked.pop("begun"), asked.pop("behind")
    torch.set_num_threads(threads)
    train(Recipe(**asked), out, device, begun, behind)


if __name__ == "__main__":
    main()
