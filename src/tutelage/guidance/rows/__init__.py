"""What a file of rows is worth: how much more of it would help, and which of its rows hurt."""
