"""Classification, instruction and preference finetuning as objectives over the one loop."""
