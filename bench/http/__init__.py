"""How fast REST answers leave, beside peers that serve the same bytes from the same Redis."""
