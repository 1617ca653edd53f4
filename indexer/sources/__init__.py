"""The outside world: files and services that builds read."""
