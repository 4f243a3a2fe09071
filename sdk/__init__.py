"""mlport."""
