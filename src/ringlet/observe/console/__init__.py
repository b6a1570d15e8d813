"""The debugger in the terminal: commands, and what they show."""
