"""Compare two or more sets of results on the same items: differences, significance, and an exit code for scripts."""
