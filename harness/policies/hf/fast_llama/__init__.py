"""Hand-written forward passes of the Llama family: decoding and packed training."""
