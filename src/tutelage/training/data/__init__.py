"""From examples to batches: packing, a computed permutation, and a loader with exact resume."""
