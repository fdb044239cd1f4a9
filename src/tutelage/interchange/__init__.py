"""The Hugging Face layout in and out, with parity checks."""
