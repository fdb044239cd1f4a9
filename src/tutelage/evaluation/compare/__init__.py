"""Two or more sets of results on the same items: what differs, how surely, and a verdict for a script."""
