"""Fixtures of the catalog's tests."""

from __future__ import annotations

from postgres_users import spawn  # noqa: F401  a fixture
