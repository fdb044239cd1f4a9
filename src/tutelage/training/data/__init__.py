"""From examples to batches: packing, a computed order, a loader that resumes exactly."""
