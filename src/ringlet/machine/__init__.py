"""A virtual machine: what it is to be, its devices, its vCPUs' loops, how it ended."""
