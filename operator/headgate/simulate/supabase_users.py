"""What the simulated Supabase Auth remembers: users, sessions with their refresh tokens, mails it would have sent.

Lives on the server's loop. Refresh tokens behave as in
https://github.com/supabase/auth/blob/master/internal/tokens/service.go: see `Session.refresh`.
"""

from __future__ import annotations

import datetime as dt
import secrets
import time
import uuid
from dataclasses import dataclass, field
from typing import Any


def now() -> str:
    """The time as Auth writes it."""
    return dt.datetime.now(dt.UTC).isoformat().replace("+00:00", "Z")


@dataclass(slots=True)
class User:
    """A user."""

    email: str = ""
    password: str = ""
    confirmed: bool = True
    metadata: dict[str, Any] = field(default_factory=dict)
    app_metadata: dict[str, Any] = field(default_factory=dict)
    role: str = "authenticated"
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    created: str = field(default_factory=now)

    @property
    def anonymous(self) -> bool:
        return not self.email

    @property
    def apps(self) -> dict[str, Any]:
        """`app_metadata` as in tokens and answers."""
        return {**({} if self.anonymous else {"provider": "email", "providers": ["email"]}), **self.app_metadata}

    @property
    def resource(self) -> dict[str, Any]:
        """The user in JSON."""
        confirmed = self.created if self.confirmed and not self.anonymous else None
        identity = {
            "identity_id": self.id,
            "id": self.id,
            "user_id": self.id,
            "identity_data": {"email": self.email, "email_verified": self.confirmed, "sub": self.id},
            "provider": "email",
            "last_sign_in_at": self.created,
            "created_at": self.created,
            "updated_at": self.created,
            "email": self.email,
        }
        return {
            "id": self.id,
            "aud": "authenticated",
            "role": self.role,
            "email": self.email,
            "phone": "",
            **({"email_confirmed_at": confirmed, "confirmed_at": confirmed} if confirmed else {}),
            "last_sign_in_at": self.created,
            "app_metadata": self.apps,
            "user_metadata": self.metadata,
            "identities": [] if self.anonymous else [identity],
            "created_at": self.created,
            "updated_at": self.created,
            "is_anonymous": self.anonymous,
        }


@dataclass(slots=True)
class Session:
    """A signed-in session: its refresh tokens in the order in which each replaced the one before."""

    user: User
    method: str
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    tokens: list[str] = field(default_factory=lambda: [secrets.token_urlsafe(9)])
    replaced: dict[str, float] = field(default_factory=dict)
    revoked: bool = False

    @property
    def active(self) -> str:
        return self.tokens[-1]

    def refresh(self, token: str, reuse_interval: float) -> str | None:
        """The token that follows; None, and the end of the session, if this one was used up before.

        The one just before the active one gives the active one again: a client that lost the answer may ask twice.
        """
        if self.revoked:
            return None
        if len(self.tokens) > 1 and token == self.tokens[-2]:
            return self.active
        if token != self.active and time.monotonic() - self.replaced[token] >= reuse_interval:
            self.revoked = True
            return None
        self.replaced[self.active] = time.monotonic()
        self.tokens.append(secrets.token_urlsafe(9))
        return self.active


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail with a one-time password. With a `challenge` (PKCE) its link gives a code in place of a session."""

    to: str
    kind: str
    otp: str
    challenge: str = ""
    at: float = field(default_factory=time.monotonic)


@dataclass(slots=True)
class Directory:
    """Everything of the above. `codes`: PKCE codes by their value, with challenge and user."""

    users: dict[str, User] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)
    mails: list[Mail] = field(default_factory=list)
    codes: dict[str, tuple[str, User]] = field(default_factory=dict)

    def add(self, user: User) -> User:
        """Keep a new user."""
        self.users[user.id] = user
        return user

    def by_email(self, email: str) -> User | None:
        """The user with that address."""
        return next((user for user in self.users.values() if user.email == email.lower() and email), None)

    def begin(self, user: User, method: str) -> Session:
        """A new session."""
        session = Session(user, method)
        self.sessions[session.id] = session
        return session

    def session_with(self, token: str) -> Session | None:
        """The session that this refresh token was ever given out for."""
        return next((session for session in self.sessions.values() if token in session.tokens), None)

    def last_mail(self, to: str) -> Mail | None:
        """The newest mail to that address."""
        return next((mail for mail in reversed(self.mails) if mail.to == to.lower()), None)
