"""The bridge of a Slurm site: an ordinary user's process on a login node that carries MatrixClusters as Slurm jobs."""
