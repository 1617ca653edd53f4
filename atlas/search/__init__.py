"""Questions to ranked answers: phrases, samples and their combinations; spread, explained, counted and listed."""
