"""Ground floor: artifacts, hashing, atomic writes, events, errors, seeds, device choice."""
