"""Asking for access: the catalogue, the rules, requests, decisions, grants and break-glass."""
