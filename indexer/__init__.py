"""Offline: builds a release, stage by stage. Only this room writes artefacts and bulk-loads the database."""
