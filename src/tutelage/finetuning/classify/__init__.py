"""Classification by a head on the last token."""
