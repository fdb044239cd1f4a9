"""The recipe of a whole life, its stage graph, planner, runner and cache."""
