"""Commands that compare, explain or plan runs."""
