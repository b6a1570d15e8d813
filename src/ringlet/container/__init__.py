"""Containers: a process in namespaces and cgroups, and the OCI runtime over them."""
