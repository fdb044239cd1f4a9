"""Quality of generated text without a task: diversity, repetition, and distance from human text."""
