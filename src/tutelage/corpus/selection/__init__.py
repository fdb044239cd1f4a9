"""Selection by measure: quality, relevance to a target, diversity, and what is kept under a budget."""
