"""The hub: where the bridges of Slurm sites dial in. It knows nothing of Kubernetes, and nothing of what a cluster is."""
