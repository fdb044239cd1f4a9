"""The `tutelage` command: one small file per verb, no logic."""
