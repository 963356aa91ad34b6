"""Real servers for the tests: each rig starts one on loopback, speaks its protocol, and stops it."""
