"""Mail on its way in: LMTP from the mail transfer agent, and local delivery into the store."""
