"""The devices of a PC: each knows its registers and its interrupt line, and nothing else."""
