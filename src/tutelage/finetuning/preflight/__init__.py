"""What exactly would be trained: the account of a whole dataset as a model is going to read it, before it does."""
