"""What makes audit events evidence: their text, the chain, the formats they are handed out in. Pure: no I/O, no clock."""
