"""Run the life of an endpoint and a job on a user's own account within a budget: see docs/live.md."""
