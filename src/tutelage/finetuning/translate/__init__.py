"""Translation: instruction finetuning on parallel text with a fixed prompt."""
