"""Fixtures of the workspace's tests."""

from __future__ import annotations

from workspace_cases import workspace  # noqa: F401  a fixture
