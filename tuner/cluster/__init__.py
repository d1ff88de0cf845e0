"""Ray: connecting to it, its nodes, what travels there, and studies as jobs. Nothing heavy is imported here."""
