"""Certificates from an authority that speaks ACME (RFC 8555): ordered, answered for, renewed, kept."""
