"""How the services write their log: a line of text for people, or one JSON object a line for machines.

Everything goes to stderr. Access lines carry their figures as fields of the record, so both forms show the same.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from atlas.settings import Settings

ROOMS = ("api", "atlas", "indexer", "cli")
"""Loggers of ours, shown from INFO on; those of libraries are shown from WARNING on."""


class TextLines(logging.Formatter):
    """``2026-01-01T00:00:00Z INFO api.access ...``, with a failure's traceback below."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """Return the time as UTC, ISO 8601."""
        return _time(record)


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, service, message, and the fields of the record.

    Parameters
    ----------
    service
        Name of the process.
    """

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON; line breaks inside stay inside its strings."""
        fields = getattr(record, "fields", None)
        line = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "service": self._service,
            **(fields if fields is not None else {"message": record.getMessage()}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True, default=str)


def configure(settings: Settings, *, service: str) -> None:
    """Set up the log of a service, once, at the start of its process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(service) if settings.log_format == "json" else TextLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for room in ROOMS:
        logging.getLogger(room).setLevel(logging.INFO)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
