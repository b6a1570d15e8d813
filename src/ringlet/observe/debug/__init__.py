"""The engine of the debugger: stops, steps, breakpoints, registers and memory of all vCPUs."""
