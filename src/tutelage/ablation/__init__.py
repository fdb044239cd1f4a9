"""One change, many seeds, one verdict: whether a change to a recipe helped, or whether it was noise."""
