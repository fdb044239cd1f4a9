"""Checkpoints that are whole or not there: written beside training, verified on load.

`writer` and `reader` share the names in `folder`, what is saved (`tensors`) and how sharded tensors lie on disk
(`shards`); `fingerprint` tells one run from another.
"""
