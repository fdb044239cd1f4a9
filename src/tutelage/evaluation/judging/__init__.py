"""Judges and arenas: which answer is better according to a model, a rule or people, and how reliable the judge is."""
