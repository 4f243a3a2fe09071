"""Helpers for text, time, files, waiting and limits on foreign input; of `sdk` they import `errors` and `serving`."""
