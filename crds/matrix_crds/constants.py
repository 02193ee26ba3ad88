"""Names that go into every object and onto every external thing. The API group is changed here and nowhere else."""

GROUP = "matrix.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
FINALIZER = f"{GROUP}/teardown"
DEFAULT_NAMESPACE = "default"

RAY_VERSION = "2.60.0"
"""The Ray version that this release is built and tested with."""
