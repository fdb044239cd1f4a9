"""Analyse a file of rows: how much more data would help, and which rows are doubtful."""
