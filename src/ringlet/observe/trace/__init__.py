"""What the traces of a VM and of a container share: events, filters, the summary, formats."""
