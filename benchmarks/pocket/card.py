"""Ship a trained pocket: copy what `hf:` loads and write its card, with scores measured now.

`python -m benchmarks.pocket.card --model FOLDER --out harness/policies/pocket`
"""

import argparse
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from benchmarks.pocket.acting import FOLLOWS, SLIPS
from benchmarks.pocket.corpus import COURSES, FIRST_RECITALS
from benchmarks.pocket.measure import measured
from envs.calibration_language import MEANINGS, SIGNS
from harness.policies import open_policy
from harness.policies.model_files import file_hash
from harness.settings.model import ModelSettings

FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "recipe.json",
)
_CARD = """# pocket

A language model of {parameters} parameters (Llama architecture, {layers} layers of width {hidden},
{vocabulary} tokens) that comes with the harness, so that sampling, training, reflection and
evolution can be tried for real on a CPU. It knows nothing but the language of
`envs/calibration_language.py`. MIT.

sha256 of `model.safetensors`: `{digest}`

## What it was trained on

Text made by `benchmarks/pocket/`, nothing else: {seen:,} tokens in {steps} steps, seed {seed}.

- **Acting.** Up to four questions under a system prompt that explains some of {signs} invented
  signs. A meaning is one of {meanings}. Workers follow a principle {follows:.0%} of the time, and
  guess a meaning evenly where none is told.
- **Carelessness, on purpose.** The result of a chain's first step is wrong in {first:.0%} of cases,
  that of each later step in {later:.0%}. Sampled at temperature 1 the model is as careless; it
  knows better, and training can bring that out: the skill that `calibration/shown` is about.
- **Reflection.** Rounds are simulated, and the harness's own mutation and crossover ask about them
  in their compact templates. The answers come from fixed rules (`expert.py`) that read only the
  question. From problems of several steps these rules conclude nothing. After {plenty} steps few of
  the attempts reflected on are right, as in the worlds; in the last {edits} steps edits count more.
  A principle that turns out wrong is not modified: the right one is added, and of two principles
  about one sign workers follow the later. {earlier}
- **Recitals.** What each sign means, said again in another order: the first {recitals} documents,
  so that looking things up is learnt first. Attention starts with a hint to that end (`heads.py`);
  all other weights start random, and all are trained.

Signs are shared with the calibration worlds, conventions are not: which sign has which meaning is
drawn for every few documents, and one convention in eight, by a hash, is kept for the worlds and
never drawn in training. So the model has seen every word that a world can use, and every sign with
every meaning about equally often, but no world's convention as a whole. It was made for these
worlds; scores on them say nothing about language models at large, only whether methods and
statistics find what is there to be found.

## Scores

Sampled at temperature 1, {count} cases each, with conventions of the worlds' share.

| | share right |
|---|---|
{scores}

Stages of reflection count as right only if word for word what the rules say. A guesser who knows no
meaning is right in one case in eight; a careless worker who is told all of a chain of k steps, in
about {later_right} to the power k - 1.

## Limits

Documents were at most {longest} tokens long, though the context is {context}. Text outside the
language is spelled in bytes and not understood. Reflection on other worlds' problems is noise.

## Rebuild

`make pocket`, or `python -m benchmarks.pocket.train --out FOLDER` and then
`python -m benchmarks.pocket.card --model FOLDER --out harness/policies/pocket`. {seconds} s of one
thread on a shared two-core server. A rebuild agrees in scores, not in bytes, and new weights are a
new Track. Settings are in `recipe.json`.
"""


def card(folder: Path, scores: Mapping[str, float], count: int, earlier: str = "") -> str:
    """The card's text."""
    config = json.loads((folder / "config.json").read_text())
    recipe = json.loads((folder / "recipe.json").read_text())
    parts = [
        json.loads((folder / f"{course.name}.jsonl").read_text().splitlines()[-1])
        for course in COURSES
    ]
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", "pt") as file:
        sizes = [file.get_tensor(name).numel() for name in file.keys()]  # noqa: SIM118
    return _CARD.format(
        parameters=f"{sum(sizes):,}",
        layers=config["num_hidden_layers"],
        hidden=config["hidden_size"],
        vocabulary=config["vocab_size"],
        digest=file_hash(folder / "model.safetensors"),
        seen=sum(part["tokens"] for part in parts),
        steps=recipe["steps"] + recipe["scarce_steps"] + recipe["edit_steps"],
        plenty=recipe["steps"],
        edits=recipe["edit_steps"],
        seed=recipe["seed"],
        earlier=earlier,
        signs=len(SIGNS),
        meanings=", ".join(MEANINGS),
        follows=FOLLOWS,
        first=SLIPS[0],
        later=SLIPS[1],
        later_right=f"{1 - SLIPS[1]:.2f}",
        count=count,
        scores="\n".join(f"| {name} | {score:.1%} |" for name, score in scores.items()),
        recitals=FIRST_RECITALS,
        longest=max(part["longest"] for part in parts),
        context=config["max_position_embeddings"],
        seconds=sum(part["seconds"] for part in parts),
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--earlier", default="", help="what was different when it was trained")
    asked = parser.parse_args()
    policy = open_policy(f"hf:{asked.model}", ModelSettings(device="cpu", threads=1, batch_rows=64))
    text = card(asked.model, measured(policy, asked.count), asked.count, asked.earlier)
    asked.out.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copyfile(asked.model / name, asked.out / name)
    (asked.out / "CARD.md").write_text(text)


if __name__ == "__main__":
    main()
