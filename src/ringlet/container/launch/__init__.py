"""From a checked configuration to processes: the plan, and the helper that carries it out."""
