"""Measures what the same work costs as a process, in a container and in a VM.

A way (ways/) runs the work, for example in a container. A measure (measures/) measures one
property of a way, for example its start-up time. Each way and each measure is a plug-in. An
instance (instances/) is one run of the work. comparison.py takes ways and measures in turns,
report.py holds the results, and showing/ shows them.
"""
