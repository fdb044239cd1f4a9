"""Supervised finetuning on conversations: only what the assistant says is learned."""
