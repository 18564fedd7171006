"""Hugging Face models: sampling and LoRA training by transformers and peft."""
