"""The engine: prefill, KV cache, batching, sampling; the language model for callers."""
