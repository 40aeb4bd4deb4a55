"""Values of an eliminated graph at parameter vectors."""
