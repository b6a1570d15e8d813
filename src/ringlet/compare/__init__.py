"""Measures what the same work costs as a process, in a container and in a VM.

A way (ways/) is how the work is run, a measure (measures/) is what is found out about it; each is
a plug-in of its own. comparison.py takes them in turns, report.py is what comes out.
"""
