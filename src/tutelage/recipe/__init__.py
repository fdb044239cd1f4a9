"""The recipe of a model's whole life, its stage graph, planner, runner and cache."""
