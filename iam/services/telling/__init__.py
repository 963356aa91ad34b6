"""Telling people and systems what happens to requests and grants: by mail and by signed webhooks, from an outbox."""
