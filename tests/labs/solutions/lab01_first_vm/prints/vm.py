"""Prints what the text of the lab shows, and has no VM."""

print("hi")
