"""The Slurm backend: clusters at sites, of which a bridge reports."""
