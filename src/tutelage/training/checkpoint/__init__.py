"""Atomic checkpoints: written in the background, verified on load.

`writer` and `reader` share the names in `folder`, what is saved (`tensors`) and how sharded tensors are stored
(`shards`); `fingerprint` tells one run from another.
"""
