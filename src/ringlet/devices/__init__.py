"""Devices: each knows its registers and its IRQ line, and nothing else."""
