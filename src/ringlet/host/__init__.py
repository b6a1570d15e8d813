"""The host: its terminal, and the far end of the guest's serial line."""
