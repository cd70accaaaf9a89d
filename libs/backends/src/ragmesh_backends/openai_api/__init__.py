"""What every use of an OpenAI-compatible API shares: the client and the meaning of its failures."""
