"""The JMAP protocol engine (RFC 8620, RFC 8621): request octets in, response octets out, over one store session.

`engine.handle` answers an API request; `session` makes the Session object; `blobs` does uploads and downloads.
What each data type has and can do is declared in `types/`, and the methods are written once over those declarations.
"""
