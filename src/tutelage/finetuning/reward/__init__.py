"""A reward model: a score of every answer, learned from pairs."""
