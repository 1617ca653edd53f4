"""The pages. They speak HTTP to the API through ``atlas.client`` and import no other room."""
