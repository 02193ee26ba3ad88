"""Benches: one module per claim. Each runs ours and what it is compared with in the same run, and prints a table of ratios."""
