"""Multi-label classification: each label is in a text or not, whatever the others are."""
