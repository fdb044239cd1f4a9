"""Documents in, selected documents out."""
