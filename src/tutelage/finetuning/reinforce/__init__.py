"""Reinforcement with verifiable rewards: sample answers, score them by rules, make better ones more likely."""
