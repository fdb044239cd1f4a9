"""Translation: instruction finetuning on parallel text, asked in one stated way."""
