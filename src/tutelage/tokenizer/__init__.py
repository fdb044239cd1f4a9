"""Tokenizer training by several methods, encoding, measures; messages and the chat renderer."""
