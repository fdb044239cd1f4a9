"""Reinforcement with verifiable rewards: the model answers, a stated rule scores, what scored better gets likelier."""
