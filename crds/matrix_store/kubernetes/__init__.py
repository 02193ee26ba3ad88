"""The Kubernetes API as a store: matrix_store.port.Store over a cluster's own objects."""
