"""Published results: records, statistics, leaderboards, the site."""

__distribution__ = "espl-harness"  # harness.system.import_guard looks for it
