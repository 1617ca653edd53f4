"""Who may edit, and who asks: the administrator's token, and an opaque name of a client that bounds its jobs."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Annotated

from fastapi import Depends, Request
from pydantic import SecretStr

from api.deps import SettingsDep
from api.errors import ForbiddenError, UnauthorizedError

_KEY = secrets.token_bytes(16)  # addresses must not be told from their hash; a restart begins the counting anew


async def _administrator(request: Request, settings: SettingsDep) -> None:
    if settings.admin_token is None:
        raise ForbiddenError(
            "Edits are off: this service has no administrator's token. Its operator sets GEO_ATLAS_ADMIN_TOKEN."
        )
    if not is_administrator(request, settings.admin_token):
        raise UnauthorizedError("This route needs the administrator's token: send `Authorization: Bearer TOKEN`.")


async def _privileged(request: Request, settings: SettingsDep) -> bool:
    """Whether the administrator asks; a wrong token is refused rather than ignored."""
    if "authorization" not in request.headers:
        return False
    await _administrator(request, settings)
    return True


Administrator = Depends(_administrator)
PrivilegedDep = Annotated[bool, Depends(_privileged)]


def is_administrator(request: Request, token: SecretStr) -> bool:
    """Whether the request carries the token; the comparison takes as long for a near miss as for a far one."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    same = hmac.compare_digest(given.strip().encode("utf-8", "replace"), token.get_secret_value().encode())
    return scheme.lower() == "bearer" and same


def client_name(request: Request) -> str:
    """Return an opaque name of the address that asks."""
    host = request.client.host if request.client else ""
    return hmac.new(_KEY, host.encode(), hashlib.sha256).hexdigest()[:32]
