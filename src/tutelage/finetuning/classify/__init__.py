"""Classification by a head on a state of the model."""
