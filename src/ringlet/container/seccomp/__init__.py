"""The filter of system calls: the usual profile, and its compilation."""
