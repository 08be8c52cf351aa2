"""Auth (GoTrue) of a simulated Supabase project: what its clients need to sign up, sign in, refresh and sign out.

https://supabase.com/docs/reference/self-hosting-auth/introduction; paths are below `/auth/v1`. Lives on the server's loop.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request

from headgate.simulate import supabase_errors as errors
from headgate.simulate.behaviours import Behaviour, json_response, respond
from headgate.simulate.supabase_errors import AuthFailure
from headgate.simulate.supabase_tokens import Caller, Signer
from headgate.simulate.supabase_users import Directory, Mail, Session, User, now

VERSION = "v2.180.0"
MAX_BODY = 1 << 20
"""Bytes of a request: https://github.com/supabase/auth"""
LIFETIME = 3600
MAIL_INTERVAL = 60
"""Seconds between two mails to one address: https://supabase.com/docs/guides/auth/rate-limits"""

OPEN = ("/verify", "/callback", "/authorize", "/.well-known/")
"""What takes no key: people's browsers come here from mails and from other providers."""

Grant = Callable[[dict[str, Any]], Session | AuthFailure]


class Auth:
    """The service. `reuse_interval`: seconds in which a refresh token that was replaced may come again."""

    def __init__(self, signer: Signer, origin: str) -> None:
        self.directory = Directory()
        self.autoconfirm = True
        self.reuse_interval = 10.0
        self._signer = signer
        self._issuer = f"{origin}/auth/v1"

    async def answer(self, request: Request, caller: Caller | None) -> Behaviour:
        """One call."""
        path, method = request.scope["path"].rstrip("/"), request.method
        if path.startswith("/admin/users"):
            return await self._admin(request, caller, path.removeprefix("/admin/users").strip("/"))
        routes: dict[tuple[str, str], Callable[[Request, Caller | None], Awaitable[Behaviour]]] = {
            ("GET", "/health"): self._health,
            ("GET", "/settings"): self._settings,
            ("GET", "/.well-known/jwks.json"): self._jwks,
            ("POST", "/signup"): self._signup,
            ("POST", "/token"): self._token,
            ("POST", "/otp"): self._otp,
            ("POST", "/recover"): self._otp,
            ("POST", "/verify"): self._verify,
            ("GET", "/verify"): self._follow_link,
            ("GET", "/user"): self._user,
            ("PUT", "/user"): self._user,
            ("POST", "/logout"): self._logout,
        }
        handler = routes.get((method, path))
        return await handler(request, caller) if handler else respond(404, "404 page not found\n")

    async def _health(self, request: Request, caller: Caller | None) -> Behaviour:
        about = "GoTrue is a user registration and authentication API"
        return json_response({"version": VERSION, "name": "GoTrue", "description": about})

    async def _settings(self, request: Request, caller: Caller | None) -> Behaviour:
        flags = {"disable_signup": False, "mailer_autoconfirm": self.autoconfirm, "phone_autoconfirm": False}
        return json_response({"external": {"email": True, "anonymous_users": True, "github": False}, **flags})

    async def _jwks(self, request: Request, caller: Caller | None) -> Behaviour:
        # Shared secrets are never published.
        return json_response({"keys": []})

    async def _signup(self, request: Request, caller: Caller | None) -> Behaviour:
        body = await _body(request)
        if isinstance(body, AuthFailure):
            return body
        email, password = str(body.get("email") or "").lower(), str(body.get("password") or "")
        if email and len(password) < 6:
            return errors.weak_password()
        if self.directory.by_email(email):
            return AuthFailure(422, "user_already_exists", "User already registered")
        user = User(email, password, self.autoconfirm or not email, dict(body.get("data") or {}))
        self.directory.add(user)
        if not user.confirmed:
            self._send(email, "signup", body)
            return json_response({**user.resource, "confirmation_sent_at": now()})
        return self._signed_in(self.directory.begin(user, "password" if email else "anonymous"))

    async def _token(self, request: Request, caller: Caller | None) -> Behaviour:
        body = await _body(request)
        if isinstance(body, AuthFailure):
            return body
        grants: dict[str, Grant] = {
            "password": self._by_password,
            "refresh_token": self._by_refresh,
            "pkce": self._by_code,
        }
        grant = grants.get(request.query_params.get("grant_type", ""))
        if grant is None:
            # The one form of OAuth's own, always 400.
            return json_response({"error": "unsupported_grant_type"}, 400)
        session = grant(body)
        return self._signed_in(session) if isinstance(session, Session) else session

    def _by_password(self, body: dict[str, Any]) -> Session | AuthFailure:
        user = self.directory.by_email(str(body.get("email") or ""))
        if user is None or user.password != body.get("password"):
            return AuthFailure(400, "invalid_credentials", "Invalid login credentials")
        if not user.confirmed:
            return AuthFailure(400, "email_not_confirmed", "Email not confirmed")
        return self.directory.begin(user, "password")

    def _by_refresh(self, body: dict[str, Any]) -> Session | AuthFailure:
        token = str(body.get("refresh_token") or "")
        session = self.directory.session_with(token)
        if session is None:
            return AuthFailure(400, "refresh_token_not_found", "Invalid Refresh Token: Refresh Token Not Found")
        if session.refresh(token, self.reuse_interval) is None:
            return AuthFailure(400, "refresh_token_already_used", "Invalid Refresh Token: Already Used")
        return session

    def _by_code(self, body: dict[str, Any]) -> Session | AuthFailure:
        # A code is gone with its first use: to repeat an exchange is to lose the sign-in.
        challenge, user = self.directory.codes.get(str(body.get("auth_code")), ("", None))
        if user is None:
            return AuthFailure(404, "flow_state_not_found", "invalid flow state, no valid flow state found")
        if _challenge(str(body.get("code_verifier") or "")) != challenge:
            return AuthFailure(400, "bad_code_verifier", "code challenge does not match previously saved code verifier")
        del self.directory.codes[str(body["auth_code"])]
        return self.directory.begin(user, "otp")

    async def _otp(self, request: Request, caller: Caller | None) -> Behaviour:
        body = await _body(request)
        if isinstance(body, AuthFailure):
            return body
        email = str(body.get("email") or "").lower()
        last = self.directory.last_mail(email)
        wait = MAIL_INTERVAL - (time.monotonic() - last.at) if last else 0
        if wait > 0:
            return errors.email_rate_limited(max(1, int(wait)))
        if self.directory.by_email(email) is None:
            if not body.get("create_user", True):
                return AuthFailure(422, "otp_disabled", "Signups not allowed for otp")
            self.directory.add(User(email))
        self._send(email, "recovery" if request.scope["path"].endswith("recover") else "magiclink", body)
        return json_response({})

    def _send(self, email: str, kind: str, body: dict[str, Any]) -> None:
        otp = f"{secrets.randbelow(10**6):06}"
        self.directory.mails.append(Mail(email, kind, otp, str(body.get("code_challenge") or "")))

    async def _verify(self, request: Request, caller: Caller | None) -> Behaviour:
        body = await _body(request)
        if isinstance(body, AuthFailure):
            return body
        mail = self.directory.last_mail(str(body.get("email") or ""))
        user = self._redeem(mail, str(body.get("token") or ""))
        return self._signed_in(self.directory.begin(user, "otp")) if user else _otp_expired()

    async def _follow_link(self, request: Request, caller: Caller | None) -> Behaviour:
        # The link of a mail: back to the application's own site, with a code (PKCE) or with the session itself.
        target = request.query_params.get("redirect_to", "http://localhost:3000")
        token = request.query_params.get("token", "")
        mail = next((m for m in self.directory.mails if m.otp == token), None)
        user = self._redeem(mail, token)
        if mail is None or user is None:
            lost = urlencode({"error": "access_denied", "error_code": "otp_expired"})
            return respond(303, b"", {"location": f"{target}#{lost}"})
        if mail.challenge:
            code = secrets.token_urlsafe(24)
            self.directory.codes[code] = (mail.challenge, user)
            return respond(303, b"", {"location": f"{target}?code={code}"})
        session = self.directory.begin(user, "otp")
        tokens = {"access_token": self.access_token(session), "refresh_token": session.active, "token_type": "bearer"}
        return respond(303, b"", {"location": f"{target}#{urlencode(tokens)}"})

    def _redeem(self, mail: Mail | None, otp: str) -> User | None:
        if mail is None or mail.otp != otp or mail not in self.directory.mails:
            return None
        self.directory.mails.remove(mail)
        user = self.directory.by_email(mail.to)
        if user is not None:
            user.confirmed = True
        return user

    async def _user(self, request: Request, caller: Caller | None) -> Behaviour:
        session = self._session(caller)
        if isinstance(session, AuthFailure):
            return session
        if request.method == "PUT":
            body = await _body(request)
            if isinstance(body, AuthFailure):
                return body
            session.user.metadata |= dict(body.get("data") or {})
            session.user.password = str(body.get("password") or session.user.password)
        return json_response(session.user.resource)

    async def _logout(self, request: Request, caller: Caller | None) -> Behaviour:
        session = self._session(caller)
        if isinstance(session, AuthFailure):
            return session
        scope, sessions = request.query_params.get("scope", "global"), self.directory.sessions
        mine = [each.id for each in sessions.values() if each.user is session.user]
        ended = {"local": [session.id], "others": [i for i in mine if i != session.id]}.get(scope, mine)
        for identifier in ended:
            del sessions[identifier]
        return respond(204)

    async def _admin(self, request: Request, caller: Caller | None, identifier: str) -> Behaviour:
        if caller is None or not caller.trusted:
            return AuthFailure(403, "not_admin", "User not allowed")
        body = await _body(request)
        if isinstance(body, AuthFailure):
            return body
        if not identifier:
            if request.method == "GET":
                return self._page(request)
            if self.directory.by_email(str(body.get("email") or "")):
                words = "A user with this email address has already been registered"
                return AuthFailure(422, "email_exists", words)
            user = User(str(body.get("email") or "").lower(), str(body.get("password") or ""))
            self.directory.add(user)
            return json_response(_changed(user, body).resource)
        found = self.directory.users.get(identifier)
        if found is None:
            return AuthFailure(404, "user_not_found", "User not found")
        if request.method == "DELETE":
            del self.directory.users[identifier]
            return json_response({})
        return json_response((_changed(found, body) if request.method == "PUT" else found).resource)

    def _page(self, request: Request) -> Behaviour:
        page, size = (int(request.query_params.get(k) or d) for k, d in (("page", 1), ("per_page", 50)))
        users = list(self.directory.users.values())
        shown = [user.resource for user in users[(page - 1) * size : page * size]]
        return json_response({"users": shown, "aud": "authenticated"}, 200, {"x-total-count": str(len(users))})

    def _session(self, caller: Caller | None) -> Session | AuthFailure:
        """The session of the user who calls; what is said otherwise is what Auth says."""
        if caller is None:
            return AuthFailure(401, "no_authorization", "This endpoint requires a valid Bearer token")
        if caller.fault:
            why = "token has invalid claims: token is expired" if caller.fault == "expired" else "signature is invalid"
            return AuthFailure(403, "bad_jwt", f"invalid JWT: unable to parse or verify signature, {why}")
        if caller.user is None:
            return AuthFailure(403, "bad_jwt", "invalid claim: missing sub claim")
        session = self.directory.sessions.get(str(caller.claims.get("session_id")))
        if session is None:
            words = "Session from session_id claim in JWT does not exist"
            return AuthFailure(403, "session_not_found", words)
        return session

    def access_token(self, session: Session, lifetime: float = LIFETIME) -> str:
        """The JWT of a session's user."""
        user = session.user
        claims = {
            "iss": self._issuer,
            "sub": user.id,
            "aud": "authenticated",
            "email": user.email,
            "phone": "",
            "app_metadata": user.apps,
            "user_metadata": user.metadata,
            "role": user.role,
            "aal": "aal1",
            "amr": [{"method": session.method, "timestamp": int(time.time())}],
            "session_id": session.id,
            "is_anonymous": user.anonymous,
        }
        return self._signer.sign(claims, lifetime)

    def _signed_in(self, session: Session) -> Behaviour:
        lasting = {"expires_in": LIFETIME, "expires_at": int(time.time()) + LIFETIME}
        tokens = {"access_token": self.access_token(session), "token_type": "bearer", "refresh_token": session.active}
        return json_response({**tokens, **lasting, "user": session.user.resource})


async def _body(request: Request) -> dict[str, Any] | AuthFailure:
    data = await request.body()
    if len(data) > MAX_BODY:
        return AuthFailure(413, "request_too_large", "Request body is too large")
    try:
        body = json.loads(data or b"{}")
    except ValueError:
        body = None
    if isinstance(body, dict):
        return body
    return AuthFailure(400, "bad_json", "Could not parse request body as JSON")


def _changed(user: User, body: dict[str, Any]) -> User:
    user.metadata |= dict(body.get("user_metadata") or {})
    user.app_metadata |= dict(body.get("app_metadata") or {})
    user.role = str(body.get("role") or user.role)
    user.password = str(body.get("password") or user.password)
    user.confirmed = bool(body.get("email_confirm", user.confirmed))
    return user


def _otp_expired() -> AuthFailure:
    return AuthFailure(403, "otp_expired", "Token has expired or is invalid")


def _challenge(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
