"""Makes one VM of the parts, runs it, and says how the run ended."""
