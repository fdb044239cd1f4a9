"""Classification by a head on a hidden state of the model."""
