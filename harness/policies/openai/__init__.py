"""OpenAI-compatible endpoints. They only sample."""
