"""The data types, one module each, and the capabilities that they belong to."""
