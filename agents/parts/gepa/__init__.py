"""The `gepa` package inside the training loop."""
