"""Published rules of quality for web text, batch by batch: Gopher, C4, FineWeb, RefinedWeb."""
