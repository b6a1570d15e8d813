"""What an image is, and how ringlet would boot it."""
