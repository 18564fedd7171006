"""Train two methods with three seeds on the embedded model, and print the leaderboard."""

import harness

summary = harness.run(
    env="calibration/told",
    methods=["base", "evolution"],
    seeds=[0, 1, 2],
    episodes=160,
    test_tasks=20,
    run_dir="compare",
)
print(summary.text)
