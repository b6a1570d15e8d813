"""config.json of the OCI runtime specification: what each part of it has to be."""
