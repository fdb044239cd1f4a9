"""The loop, batches and packing, optimizers, schedules, checkpoints."""
