"""Shows what goes on inside a guest or a container: traces, debugger, image facts."""
