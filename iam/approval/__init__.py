"""What an approval needs: stages, who counts for what, times and scopes as people write them. Pure: no I/O, no clock, no Flask."""
