"""What runs inside the jobs, on the nodes: `python -m matrix_slurm_bridge.node head|worker`."""
