"""How a task is learnt: recipes, the loop, checkpoints. Knows neither models nor data."""
