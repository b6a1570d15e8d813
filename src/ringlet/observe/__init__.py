"""Looks inside: traces a VM's exits and a container's system calls, and debugs a guest."""
