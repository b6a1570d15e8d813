"""Makes a process in namespaces and cgroups, and keeps track of it."""
