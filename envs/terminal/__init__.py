"""Shell tasks in containers."""
