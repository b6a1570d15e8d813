"""What Sphinx doesn't have: each part of the site that is made from the code, a file each."""
