"""vLLM as the sampler, in this process or behind `vllm serve`."""
