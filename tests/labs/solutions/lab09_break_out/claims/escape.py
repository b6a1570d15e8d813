"""Says that it is out."""

print("I am out! The secret of the host is 0123456789abcdef0123456789abcdef")
