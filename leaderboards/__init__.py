"""What gets published: records, statistics, boards."""

__distribution__ = "espl-harness"  # harness.system.import_guard looks for it
