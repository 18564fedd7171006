"""Every command of `harness`: its arguments, options, help and examples, and nothing else."""
