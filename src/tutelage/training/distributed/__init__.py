"""One model over several processes: data parallel, sharded, tensor and pipeline parallel."""
