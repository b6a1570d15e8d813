"""What all rooms share of the host: terminals, streams, signals, disks, caches."""
