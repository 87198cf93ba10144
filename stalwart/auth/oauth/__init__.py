"""OAuth 2 and OpenID Connect: clients, authorisations, tokens and signing keys. Plain functions over a store session."""
