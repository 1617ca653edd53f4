"""The database: a derived, rebuildable index of a release, kept in Postgres 15 or newer."""
