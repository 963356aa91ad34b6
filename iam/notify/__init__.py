"""Where people and systems are told: mail servers and webhooks. Each sender delivers one message or says why not."""
