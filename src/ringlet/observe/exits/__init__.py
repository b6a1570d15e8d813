"""Traces the exits of a VM: what happened, which instruction caused it, how long it took."""
