"""Evolve a system prompt with frozen weights, and print what was learnt."""

import harness

summary = harness.run(
    env="calibration/told", methods=["evolution"], episodes=480, test_tasks=20, run_dir="evolve"
)
(entry,) = summary.entries
print(entry.prompt.briefing)
for number, principle in enumerate(entry.prompt.principles, 1):
    print(f"{number}. {principle}")
