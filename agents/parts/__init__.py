"""Parts that methods are built from: pure functions, and one module that queries a model.

`prompts` evolves system prompts; only `prompts.reflector` samples from a model. `rl` turns rewards
into a gradient step. `gepa` runs the `gepa` package inside the training loop. No part imports a
method.
"""
