"""Messages as values: octets in, header forms, structure, bodies and summaries out. Pure."""
