"""Serves a guest to GDB by its remote serial protocol."""
