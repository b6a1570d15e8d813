"""The command line of the OCI runtime, `ringlet-oci`, for container engines and people."""
