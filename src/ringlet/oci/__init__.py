"""The OCI runtime's command line, `ringlet-oci`, as engines and people use it."""
