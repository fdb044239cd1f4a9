"""The next-token objective over packed token rows."""
