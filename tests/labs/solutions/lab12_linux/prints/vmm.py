"""Prints what Linux prints."""

print("[    0.000000] Linux version 6.1.0-57-cloud-amd64")
print("[    1.406324] init runs: your VMM has booted Linux")
print("[    1.407112] reboot: Restarting system")
