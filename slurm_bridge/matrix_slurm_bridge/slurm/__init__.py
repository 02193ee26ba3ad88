"""Slurm as the bridge sees it: one port, and the commands behind it."""
