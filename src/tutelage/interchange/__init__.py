"""Import and export of models and adapters (Hugging Face, GGUF, PEFT), with parity checks."""
