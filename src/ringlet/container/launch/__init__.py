"""Makes processes from a checked configuration: the plan, and the helper that carries it out."""
