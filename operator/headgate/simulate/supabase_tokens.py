"""Keys and JWTs of a simulated Supabase project: which role a key stands for, and users' tokens, signed and checked.

Tokens are HS256 with the project's secret, so that a PostgREST which is given the same secret takes them. Pure, but for the
clock.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt

JWT_SECRET = "simulated-jwt-secret-with-at-least-32-characters"  # it guards nothing: all of it is made up
SECRET_KEY = "sb_secret_simulated-0123456789_abcdefgh"
PUBLISHABLE_KEY = "sb_publishable_simulated-0123456789_abcdefgh"
ANON, SERVICE = "anon", "service_role"
_BROWSER = re.compile(r"Mozilla/\d")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls a service, as the edge has found it: the key, and the token that the service is to see."""

    key: str
    token: str
    role: str
    claims: Mapping[str, Any] = field(default_factory=dict)
    fault: str = ""
    """What is wrong with the token; its role and claims count for nothing then."""

    @property
    def user(self) -> str | None:
        """The id of the signed-in user; None for a key's own role."""
        return self.claims.get("sub")

    @property
    def trusted(self) -> bool:
        """Whether row-level security is passed by."""
        return self.role == SERVICE and not self.fault


@dataclass(frozen=True, slots=True)
class Signer:
    """The project's JWTs."""

    secret: str = JWT_SECRET

    def sign(self, claims: Mapping[str, Any], lifetime: float = 3600) -> str:
        """A token with these claims; `lifetime` in seconds from now."""
        now = int(time.time())
        return jwt.encode({"iat": now, "exp": int(now + lifetime), **claims}, self.secret, "HS256")

    def key(self, role: str) -> str:
        """A legacy API key: a JWT that only says a role, valid for ten years."""
        return self.sign({"iss": "supabase", "role": role}, 10 * 365 * 86400)

    def check(self, token: str) -> tuple[Mapping[str, Any], str]:
        """The claims, and what is wrong: nothing, `expired`, or `invalid`."""
        try:
            return jwt.decode(token, self.secret, ["HS256"], options={"verify_aud": False}), ""
        except jwt.ExpiredSignatureError:
            return {}, "expired"
        except jwt.InvalidTokenError:
            return {}, "invalid"

    def role_of(self, key: str) -> str:
        """The role of a key that is good: secret keys and legacy ones with that claim are the service's, others anyone's.

        https://supabase.com/docs/guides/api/api-keys
        """
        if key.startswith("sb_secret_"):
            return SERVICE
        try:
            claims = jwt.decode(key, options={"verify_signature": False})
        except jwt.InvalidTokenError:
            return ANON
        return SERVICE if claims.get("role") == SERVICE else ANON

    def caller(self, key: str, authorization: str) -> Caller:
        """Who calls, by the key and the `Authorization` given.

        Only what begins with `Bearer `, spelled so, and is no `sb_` key counts as a user's own token and stays as it is.
        All else gives way to the token of the key's role, whatever it is: nothing, `bearer` in lower case, another scheme.
        https://github.com/supabase/supabase/blob/master/docker/volumes/api/envoy/lds.template.yaml
        """
        given = authorization.removeprefix("Bearer ")
        if given != authorization and given != key and not given.startswith("sb_"):
            claims, fault = self.check(given)
            return Caller(key, given, str(claims.get("role", ANON)), claims, fault)
        role = self.role_of(key)
        claims = {"role": role}
        return Caller(key, self.sign(claims, 60), role, claims)


def from_browser(user_agent: str) -> bool:
    """Whether the caller calls itself a browser."""
    return _BROWSER.match(user_agent) is not None
