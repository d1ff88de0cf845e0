"""Ray: its connection, its nodes, the code that travels to them, and studies as jobs."""
