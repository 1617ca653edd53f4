"""Lists of hits, and their counts taken out of the user's own file."""
