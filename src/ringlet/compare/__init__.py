"""The same work in a process, a container and a VM, measured in one run: `ringlet compare`.

A way (ways/) is how the work is run, a measure (measures/) is what is found out about it; each is
a plug-in of its own. run.py takes them in turns, report.py is what comes out.
"""
