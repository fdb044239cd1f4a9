"""The decoder and its parts; one small file per published family in `families/`."""
