"""The filter of system calls: the default profile, and the compiler of profiles."""
