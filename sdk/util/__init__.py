"""Helpers that know nothing of models, targets or endpoints: text, time, files, limits on foreign input."""
