"""Auth of the simulated Supabase project, called by Supabase's own Python client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from supabase import Client, ClientOptions, create_client
from supabase_auth.errors import AuthApiError, AuthRetryableError, AuthWeakPasswordError

from harness.pki import Authority, client_context
from harness.resolve import resolved
from headgate.simulate import supabase_errors as errors
from headgate.simulate.supabase import HOST, SimulatedSupabase
from headgate.simulate.supabase_tokens import PUBLISHABLE_KEY, SECRET_KEY

CA = Authority()
ADA = "ada@example.com"


@pytest.fixture
def supabase() -> Iterator[SimulatedSupabase]:
    with SimulatedSupabase(CA) as running, resolved({HOST: ("127.0.0.1", running.port)}):
        yield running


@pytest.fixture
def client(supabase: SimulatedSupabase) -> Client:
    return make_client()


def make_client(key: str = PUBLISHABLE_KEY) -> Client:
    trust = httpx.Client(verify=client_context(CA.pem), trust_env=False)
    options = ClientOptions(httpx_client=trust, auto_refresh_token=False)
    return create_client(f"https://{HOST}", key, options)


def ada(**more: Any) -> Any:
    return {"email": ADA, "password": "correct horse", **more}


def raw(**headers: str) -> httpx.Client:
    return httpx.Client(
        base_url=f"https://{HOST}/auth/v1", verify=client_context(CA.pem), trust_env=False, headers=headers
    )


def test_sign_up_in_and_out(supabase: SimulatedSupabase, client: Client) -> None:
    made = client.auth.sign_up(ada(options={"data": {"name": "Ada"}}))
    assert made.session is not None
    assert made.user is not None
    assert (made.user.email, made.user.user_metadata) == ("ada@example.com", {"name": "Ada"})
    client.auth.sign_out()
    signed = client.auth.sign_in_with_password(ada())
    assert signed.session is not None
    claims, fault = supabase.signer.check(signed.session.access_token)
    assert fault == ""
    assert (claims["sub"], claims["role"], claims["aud"]) == (made.user.id, "authenticated", "authenticated")
    mine = client.auth.get_user()
    assert mine is not None
    assert mine.user.id == made.user.id
    # The user's token goes out beside the key from now on.
    record = supabase.requests[-1]
    assert record.header("apikey") == PUBLISHABLE_KEY
    assert record.header("authorization") == f"Bearer {signed.session.access_token}"
    client.auth.sign_out()
    with pytest.raises(AuthApiError) as caught:
        make_client().auth.get_user(signed.session.access_token)
    assert (caught.value.status, caught.value.code) == (403, "session_not_found")


def test_update_user(client: Client) -> None:
    client.auth.sign_up(ada())
    assert client.auth.update_user({"data": {"team": "blue"}}).user.user_metadata == {"team": "blue"}


def test_users_token_reaches_the_rest_service(supabase: SimulatedSupabase, client: Client) -> None:
    client.auth.sign_up(ada())
    client.table("planets").select("*").execute()
    token = supabase.requests[-1].header("authorization")
    assert token is not None
    assert supabase.signer.check(token.removeprefix("Bearer "))[0]["role"] == "authenticated"


def test_sign_in_refused(client: Client) -> None:
    with pytest.raises(AuthApiError) as caught:
        client.auth.sign_in_with_password(ada())
    assert (caught.value.status, caught.value.code) == (400, "invalid_credentials")


def test_sign_up_refused(client: Client) -> None:
    with pytest.raises(AuthWeakPasswordError) as weak:
        client.auth.sign_up({"email": "a@example.com", "password": "123"})
    assert weak.value.reasons == ["length"]
    client.auth.sign_up(ada())
    with pytest.raises(AuthApiError) as twice:
        client.auth.sign_up(ada())
    assert (twice.value.status, twice.value.code) == (422, "user_already_exists")


def test_email_to_be_confirmed(supabase: SimulatedSupabase, client: Client) -> None:
    supabase.auth.autoconfirm = False
    made = client.auth.sign_up(ada())
    assert made.session is None
    with pytest.raises(AuthApiError) as caught:
        client.auth.sign_in_with_password(ada())
    assert caught.value.code == "email_not_confirmed"
    (mail,) = supabase.auth.directory.mails
    verified = client.auth.verify_otp({"email": ADA, "token": mail.otp, "type": "signup"})
    assert verified.session is not None


def test_anonymous(client: Client) -> None:
    made = client.auth.sign_in_anonymously()
    assert made.user is not None
    assert made.user.is_anonymous


def test_refresh_token_used_again(supabase: SimulatedSupabase, client: Client) -> None:
    supabase.auth.reuse_interval = 0
    first = client.auth.sign_up(ada()).session
    assert first is not None
    second = client.auth.refresh_session(first.refresh_token).session
    assert second is not None
    assert second.refresh_token != first.refresh_token
    # The one just before may be asked for again, for an answer that was lost; an older one ends the session.
    again = client.auth.refresh_session(first.refresh_token).session
    assert again is not None
    assert again.refresh_token == second.refresh_token
    third = client.auth.refresh_session(second.refresh_token).session
    assert third is not None
    for token in (first.refresh_token, third.refresh_token):
        with pytest.raises(AuthApiError) as caught:
            client.auth.refresh_session(token)
        assert (caught.value.status, str(caught.value.code)) == (400, "refresh_token_already_used")
    with pytest.raises(AuthApiError) as unknown:
        client.auth.refresh_session("never-issued")
    assert str(unknown.value.code) == "refresh_token_not_found"


def test_otp_and_its_limit(supabase: SimulatedSupabase, client: Client) -> None:
    client.auth.sign_in_with_otp({"email": "eve@example.com"})
    with pytest.raises(AuthApiError) as soon:
        client.auth.sign_in_with_otp({"email": "eve@example.com"})
    assert (soon.value.status, soon.value.code) == (429, "over_email_send_rate_limit")
    with pytest.raises(AuthApiError) as wrong:
        client.auth.verify_otp({"email": "eve@example.com", "token": "000000x", "type": "email"})
    assert (wrong.value.status, wrong.value.code) == (403, "otp_expired")
    (mail,) = supabase.auth.directory.mails
    assert client.auth.verify_otp({"email": "eve@example.com", "token": mail.otp, "type": "email"}).session


def test_code_exchange_works_once(supabase: SimulatedSupabase) -> None:
    trust = httpx.Client(verify=client_context(CA.pem), trust_env=False)
    client = create_client(
        f"https://{HOST}",
        PUBLISHABLE_KEY,
        ClientOptions(httpx_client=trust, flow_type="pkce", auto_refresh_token=False),
    )
    client.auth.sign_in_with_otp({"email": "pia@example.com", "options": {"email_redirect_to": "https://app.example/"}})
    (mail,) = supabase.auth.directory.mails
    with raw() as browser:
        # People follow the link of the mail with no key at all.
        followed = browser.get("/verify", params={"token": mail.otp, "redirect_to": "https://app.example/"})
    assert followed.status_code == 303
    code = parse_qs(urlsplit(followed.headers["location"]).query)["code"][0]
    verifier = client.auth._storage.get_item(f"{client.auth._storage_key}-code-verifier")
    assert verifier is not None
    verifier = verifier.partition("/")[0]
    with pytest.raises(AuthApiError) as wrong:
        client.auth.exchange_code_for_session({"auth_code": code, "code_verifier": "wrong", "redirect_to": ""})
    assert wrong.value.code == "bad_code_verifier"
    done = client.auth.exchange_code_for_session({"auth_code": code, "code_verifier": verifier, "redirect_to": ""})
    assert done.session is not None
    with pytest.raises(AuthApiError) as twice:
        client.auth.exchange_code_for_session({"auth_code": code, "code_verifier": verifier, "redirect_to": ""})
    assert (twice.value.status, twice.value.code) == (404, "flow_state_not_found")


def test_admin_needs_a_secret_key(supabase: SimulatedSupabase, client: Client) -> None:
    admin = make_client(SECRET_KEY).auth.admin
    made = admin.create_user(ada(user_metadata={"name": "Ada"}, email_confirm=True)).user
    assert [user.email for user in admin.list_users()] == ["ada@example.com"]
    assert admin.update_user_by_id(made.id, {"user_metadata": {"team": "red"}}).user.user_metadata["team"] == "red"
    assert admin.get_user_by_id(made.id).user.email == "ada@example.com"
    with pytest.raises(AuthApiError) as exists:
        admin.create_user(ada())
    assert exists.value.code == "email_exists"
    admin.delete_user(made.id)
    with pytest.raises(AuthApiError) as gone:
        admin.get_user_by_id(made.id)
    assert (gone.value.status, gone.value.code) == (404, "user_not_found")
    with pytest.raises(AuthApiError) as refused:
        client.auth.admin.list_users()
    assert (refused.value.status, refused.value.code) == (403, "not_admin")


def test_tokens_that_count_for_nothing(supabase: SimulatedSupabase, client: Client) -> None:
    session = client.auth.sign_up(ada()).session
    assert session is not None
    known = next(iter(supabase.auth.directory.sessions.values()))
    for token in (supabase.auth.access_token(known, -10), session.access_token[:-4] + "AAAA"):
        with pytest.raises(AuthApiError) as caught:
            client.auth.get_user(token)
        assert (caught.value.status, caught.value.code) == (403, "bad_jwt")


def test_rate_limit_has_no_word_about_when(supabase: SimulatedSupabase, client: Client) -> None:
    supabase.faults.next(errors.rate_limited(), errors.rate_limited(), path="/auth/v1")
    with pytest.raises(AuthApiError) as caught:
        client.auth.sign_in_with_password(ada())
    assert (caught.value.status, caught.value.code) == (429, "over_request_rate_limit")
    with raw(apikey=PUBLISHABLE_KEY) as http:
        old = http.post("/token?grant_type=password", json=ada())
    assert "retry-after" not in old.headers
    assert old.headers["x-sb-error-code"] == "over_request_rate_limit"


def test_error_form_goes_by_the_version_asked_for(supabase: SimulatedSupabase) -> None:
    with raw(apikey=PUBLISHABLE_KEY) as http:
        old = http.post("/token?grant_type=password", json=ada())
        new = http.post("/token?grant_type=password", json=ada(), headers={"x-supabase-api-version": "2024-01-01"})
        assert old.json() == {"code": 400, "error_code": "invalid_credentials", "msg": "Invalid login credentials"}
        assert new.json() == {"code": "invalid_credentials", "message": "Invalid login credentials"}
        assert "x-supabase-api-version" not in old.headers
        assert new.headers["x-supabase-api-version"] == "2024-01-01"
        assert http.post("/token?grant_type=none", json={}).json() == {"error": "unsupported_grant_type"}
        assert http.post("/token?grant_type=password", content=b"{").json()["error_code"] == "bad_json"
        assert http.post("/token?grant_type=password", content=b"x" * (1 << 20) + b"x").status_code == 413


def test_edge_pages_are_retryable_to_the_client(supabase: SimulatedSupabase, client: Client) -> None:
    supabase.faults.next(errors.cdn_page(522, "Connection timed out"))
    with pytest.raises(AuthRetryableError) as caught:
        client.auth.sign_in_with_password(ada())
    assert caught.value.status == 522


def test_public_facts(supabase: SimulatedSupabase) -> None:
    with raw(apikey=PUBLISHABLE_KEY) as http:
        assert http.get("/settings").json()["external"]["email"] is True
        assert http.get("/nothing").status_code == 404
    with raw() as http:
        assert http.get("/.well-known/jwks.json").json() == {"keys": []}
