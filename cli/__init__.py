"""The command ``geo-atlas``: parse, call, print. Nothing else."""
