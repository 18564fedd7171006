"""The Llama family's forward pass written out, for sampling and training on CPUs."""
