"""Direct preference optimisation against the frozen starting model."""
