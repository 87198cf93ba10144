"""OAuth 2 and OpenID Connect: clients, authorisations, tokens, signing keys. Functions over a store session."""
