"""Columns of the tables that results are read and exported as: name, type, meaning."""

from collections.abc import Mapping
from typing import Literal

Kind = Literal["text", "integer", "number", "truth"]
Columns = Mapping[str, tuple[Kind, str]]

_RUN: Columns = {
    "entry": ("text", "id of the entry, which identifies the run"),
    "method": ("text", "method"),
    "seed": ("integer", "training seed"),
}

TABLES: Mapping[str, Columns] = {
    "rows": {
        "track": ("text", "id of the Track; only rows of one Track can be compared"),
        "env": ("text", "environment"),
        "model": ("text", "model"),
        "method": ("text", "method, with the settings that tell its rows apart"),
        "seeds": ("integer", "training seeds counted"),
        "score": ("number", "mean reward over test tasks, averaged over training seeds"),
        "seeds_low": ("number", "lower end of the 95 % CI over training seeds"),
        "seeds_high": ("number", "upper end of it"),
        "items_low": ("number", "lower end of the 95 % CI over test items"),
        "items_high": ("number", "upper end of it"),
        "rank_best": ("integer", "best rank that the seeds leave possible"),
        "rank_worst": ("integer", "worst rank that they leave possible"),
        "episodes": ("number", "training episodes, mean of a run"),
        "rollout_tokens": ("number", "tokens sampled in rollouts, mean of a run"),
        "reflection_tokens": ("number", "tokens sampled in reflection, mean of a run"),
        "unscored": ("integer", "outcomes without a score, which never count as 0"),
        "truncated": ("integer", "outcomes cut off by a limit"),
    },
    "runs": {
        **_RUN,
        "env": ("text", "environment"),
        "model": ("text", "model"),
        "track": ("text", "id of the Track"),
        "score": ("number", "mean reward over test tasks; missing where nothing was scored"),
        "outcomes": ("integer", "test outcomes"),
        "unscored": ("integer", "outcomes without a score, which never count as 0"),
        "truncated": ("integer", "outcomes cut off by a limit"),
        "budget_episodes": ("integer", "training budget of the Track, in episodes"),
        "episodes": ("integer", "training episodes spent"),
        "rollout_tokens": ("integer", "tokens sampled in rollouts"),
        "reflection_tokens": ("integer", "tokens sampled in reflection"),
        "evaluation_tokens": ("integer", "tokens sampled in the held-out evaluation"),
        "gradient_steps": ("integer", "gradient steps"),
        "seconds": ("number", "seconds of the model"),
        "principles": ("integer", "principles of the selected prompt"),
        "created": ("text", "time of the entry, UTC, ISO 8601"),
        "commit": ("text", "commit of the code; empty outside a checkout"),
        "run_dir": ("text", "run directory or entry file that it was read from"),
    },
    "outcomes": {
        **_RUN,
        "task": ("text", "test task"),
        "sample": ("integer", "sample of the task, from 0 on"),
        "status": ("text", "scored, unscored or truncated"),
        "reward": ("number", "reward; missing where unscored"),
        "success": ("truth", "success; missing where unscored or not reported"),
        "tokens": ("integer", "tokens sampled"),
        "completion": ("text", "completion; of several turns, in order, an empty line between"),
    },
    "curves": {
        **_RUN,
        "iteration": ("integer", "iteration of training, from 1 on"),
        "reward": ("number", "mean reward of the iteration's rollouts"),
        "episodes": ("integer", "training episodes spent until then"),
        "rollout_tokens": ("integer", "rollout tokens sampled until then"),
        "reflection_tokens": ("integer", "reflection tokens sampled until then"),
        "gradient_steps": ("integer", "gradient steps until then"),
        "seconds": ("number", "seconds of the model until then"),
    },
    "prompts": {
        **_RUN,
        "prompt": ("text", "id of the prompt"),
        "origin": ("text", "initial, mutation, crossover and the like"),
        "parents": ("text", "ids of the parents, by comma"),
        "generation": ("integer", "iteration in which it was written"),
        "mu": ("number", "TrueSkill mean; missing for a method without ratings"),
        "sigma": ("number", "TrueSkill standard deviation"),
        "evaluations": ("integer", "how often it was evaluated"),
        "selected": ("truth", "true for the selected prompt"),
        "principles": ("text", "learnt principles, one a line"),
    },
}
"""By table, the columns in their order."""
