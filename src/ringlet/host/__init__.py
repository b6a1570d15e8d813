"""The host: its terminal, its files and processes, the far end of the guest's serial line."""
