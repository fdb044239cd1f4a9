"""One model on several ranks: data parallel, sharded, tensor and pipeline parallel."""
