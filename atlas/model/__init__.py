"""The joint space: text and transcriptome towers, their statistics and their folder on disk."""
