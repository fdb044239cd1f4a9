"""JSON schemas, written anew without the keywords that a grammar cannot have."""
