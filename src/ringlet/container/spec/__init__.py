"""Checks config.json of the OCI runtime specification: a module for each part of the file."""
