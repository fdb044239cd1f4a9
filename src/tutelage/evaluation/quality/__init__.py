"""How good generated text is without a task: variety, repetition, and how far it is from what people write."""
