"""Supervised finetuning on conversations, with the loss on the assistant's answers."""
