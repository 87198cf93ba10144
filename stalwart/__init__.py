"""The HTTP service of a mail server, as a Twisted daemon."""

__version__ = "0.1.0"
