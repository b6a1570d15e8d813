"""Traces the system calls of a container by ptrace."""
