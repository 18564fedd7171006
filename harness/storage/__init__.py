"""Run directories and the files in them: atomic writes, locks, logs."""
