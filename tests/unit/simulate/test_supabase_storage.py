"""Storage of the simulated Supabase project, called by Supabase's own Python client."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import httpx
import pytest
from storage3.exceptions import StorageApiError
from supabase import Client, ClientOptions, create_client

from harness.pki import Authority, client_context
from harness.resolve import resolved
from headgate.simulate import supabase_errors as errors
from headgate.simulate.supabase import HOST, SimulatedSupabase
from headgate.simulate.supabase_tokens import PUBLISHABLE_KEY, SECRET_KEY

CA = Authority()
BYTES = bytes(range(256)) + b"\r\n--boundary\r\n"


@pytest.fixture
def supabase() -> Iterator[SimulatedSupabase]:
    with SimulatedSupabase(CA) as running, resolved({HOST: ("127.0.0.1", running.port)}):
        yield running


@pytest.fixture
def client(supabase: SimulatedSupabase) -> Client:
    made = make_client()
    made.storage.create_bucket("files")
    return made


def make_client(key: str = SECRET_KEY) -> Client:
    trust = httpx.Client(verify=client_context(CA.pem), trust_env=False)
    return create_client(f"https://{HOST}", key, ClientOptions(httpx_client=trust))


def raw(**headers: str) -> httpx.Client:
    return httpx.Client(base_url=f"https://{HOST}", verify=client_context(CA.pem), trust_env=False, headers=headers)


def test_buckets(client: Client) -> None:
    client.storage.create_bucket("public", options={"public": True, "file_size_limit": 10})
    assert [(bucket.id, bucket.public) for bucket in client.storage.list_buckets()] == [
        ("files", False),
        ("public", True),
    ]
    client.storage.update_bucket("public", {"public": False})
    assert client.storage.get_bucket("public").public is False
    with pytest.raises(StorageApiError) as twice:
        client.storage.create_bucket("files")
    assert (twice.value.status, twice.value.code) == ("409", "Duplicate")
    client.storage.delete_bucket("public")
    with pytest.raises(StorageApiError) as gone:
        client.storage.get_bucket("public")
    assert (gone.value.status, gone.value.code) == ("404", "Bucket not found")


@pytest.mark.parametrize("key", ["plain.bin", "a/b/c.bin", "with space/and ünï.bin", "a+b=c&d.bin", "percent 100%.bin"])
def test_objects_keep_their_bytes_and_keys(supabase: SimulatedSupabase, client: Client, key: str) -> None:
    files = client.storage.from_("files")
    stored = files.upload(key.replace("%", "%25"), BYTES, {"content-type": "image/png", "metadata": {"by": "test"}})
    assert stored.full_path == f"files/{key}"
    (only,) = supabase.storage.buckets["files"].objects.items()
    assert (only[0], only[1].data, only[1].content_type) == (key, BYTES, "image/png")
    path = key.replace("%", "%25")
    assert files.download(path) == BYTES
    assert files.info(path)["size"] == len(BYTES)
    assert files.exists(path)
    with pytest.raises(StorageApiError) as twice:
        files.upload(path, b"again")
    assert (twice.value.status, twice.value.code) == ("409", "Duplicate")
    files.update(path, b"again")
    assert files.download(path) == b"again"
    files.upload(path, b"once more", {"upsert": "true"})
    removed = files.remove([key])
    assert [each["name"] for each in removed] == [key]
    assert not files.exists(path)
    with pytest.raises(StorageApiError) as gone:
        files.download(path)
    assert (gone.value.status, gone.value.code) == ("404", "not_found")


def test_list_has_folders(client: Client) -> None:
    files = client.storage.from_("files")
    for key in ("b.txt", "a.txt", "folder/one.txt", "folder/two.txt"):
        files.upload(key, b"data", {"content-type": "text/plain"})
    assert [(each["name"], each["id"] is None) for each in files.list()] == [
        ("a.txt", False),
        ("b.txt", False),
        ("folder", True),
    ]
    assert [each["name"] for each in files.list("folder", {"limit": 1, "offset": 1})] == ["two.txt"]
    files.copy("a.txt", "copy.txt")
    files.move("b.txt", "folder/three.txt")
    assert [each["name"] for each in files.list("folder")] == ["one.txt", "three.txt", "two.txt"]


def test_raw_upload(supabase: SimulatedSupabase, client: Client) -> None:
    with raw(apikey=SECRET_KEY) as http:
        answer = http.post("/storage/v1/object/files/raw.bin", content=BYTES, headers={"content-type": "video/mp4"})
    assert answer.json()["Key"] == "files/raw.bin"
    assert supabase.storage.buckets["files"].objects["raw.bin"].content_type == "video/mp4"


def test_signed_url_needs_no_key(client: Client) -> None:
    files = client.storage.from_("files")
    files.upload("a b/c.bin", BYTES)
    url = files.create_signed_url("a b/c.bin", 60)["signedURL"]
    assert url is not None
    assert url.startswith(f"https://{HOST}/storage/v1/object/sign/files/")
    late = files.create_signed_url("a b/c.bin", -10)["signedURL"]
    with raw() as http:
        assert http.get(url).content == BYTES
        assert http.get(url + "x").json()["error"] == "InvalidJWT"
        assert http.get(str(late)).json()["message"] == "jwt expired"
        assert http.get(url.replace("c.bin", "d.bin")).json()["error"] == "InvalidSignature"
    several = files.create_signed_urls(["a b/c.bin", "none"], 60)
    assert [each["error"] is None for each in several] == [True, False]
    with pytest.raises(StorageApiError):
        files.create_signed_url("none", 60)


def test_signed_upload(supabase: SimulatedSupabase, client: Client) -> None:
    files = client.storage.from_("files")
    signed = files.create_signed_upload_url("later.bin")
    files.upload_to_signed_url("later.bin", signed["token"], BYTES)
    assert supabase.storage.buckets["files"].objects["later.bin"].data == BYTES
    with pytest.raises(StorageApiError) as caught:
        files.upload_to_signed_url("other.bin", signed["token"], BYTES)
    assert caught.value.code == "InvalidUploadSignature"


def test_public_objects(client: Client) -> None:
    client.storage.create_bucket("public", options={"public": True})
    for bucket in ("public", "files"):
        client.storage.from_(bucket).upload("a.txt", b"data")
    with raw() as http:
        assert http.get(client.storage.from_("public").get_public_url("a.txt")).content == b"data"
        assert http.get(client.storage.from_("files").get_public_url("a.txt")).json()["error"] == "not_found"


def test_who_may_do_what(supabase: SimulatedSupabase, client: Client) -> None:
    anyone = make_client(PUBLISHABLE_KEY)
    with pytest.raises(StorageApiError) as bucket:
        anyone.storage.create_bucket("mine")
    assert (bucket.value.status, bucket.value.code) == ("403", "Unauthorized")
    with pytest.raises(StorageApiError):
        anyone.storage.from_("files").upload("a.txt", b"data")
    anyone.auth.sign_up({"email": "ada@example.com", "password": "correct horse"})
    assert anyone.storage.from_("files").upload("a.txt", b"data").full_path == "files/a.txt"


def test_limits_of_a_bucket(client: Client) -> None:
    client.storage.create_bucket("small", options={"file_size_limit": 10, "allowed_mime_types": ["text/plain"]})
    small = client.storage.from_("small")
    with pytest.raises(StorageApiError) as size:
        small.upload("a.txt", b"x" * 11, {"content-type": "text/plain"})
    assert (size.value.status, size.value.code) == ("413", "Payload too large")
    with pytest.raises(StorageApiError) as kind:
        small.upload("a.png", b"x", {"content-type": "image/png"})
    assert (kind.value.status, kind.value.code) == ("415", "invalid_mime_type")
    small.upload("a.txt", b"x", {"content-type": "text/plain"})
    with pytest.raises(StorageApiError) as full:
        client.storage.delete_bucket("small")
    assert full.value.status == "409"
    client.storage.empty_bucket("small")
    client.storage.delete_bucket("small")


def test_resumable_upload(supabase: SimulatedSupabase, client: Client) -> None:
    told = {"bucketName": "files", "objectName": "big/a b.bin", "contentType": "video/mp4"}
    header = ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in told.items())
    tus = {"tus-resumable": "1.0.0"}
    with raw(apikey=SECRET_KEY, **tus) as http:
        creation = {"upload-length": str(len(BYTES)), "upload-metadata": header}
        made = http.post("/storage/v1/upload/resumable", headers=creation)
        location = made.headers["location"]
        assert (made.status_code, location.rpartition("/")[0]) == (201, f"https://{HOST}/storage/v1/upload/resumable")
        chunk = {"content-type": "application/offset+octet-stream", "upload-offset": "0"}
        assert http.patch(location, content=BYTES[:50], headers=chunk).status_code == 204
        assert http.patch(location, content=BYTES[:50], headers=chunk).status_code == 409
        assert http.head(location).headers["upload-offset"] == "50"
        done = http.patch(location, content=BYTES[50:], headers={**chunk, "upload-offset": "50"})
        assert (done.status_code, done.headers["upload-offset"]) == (204, str(len(BYTES)))
        assert http.head("/storage/v1/upload/resumable/none").status_code == 400
        assert http.post("/storage/v1/upload/resumable", headers={"upload-length": "5"}).json()["statusCode"] == "400"
    stored = supabase.storage.buckets["files"].objects["big/a b.bin"]
    assert (stored.data, stored.content_type) == (BYTES, "video/mp4")


@pytest.mark.parametrize(
    ("failure", "status", "http"),
    [
        (errors.storage_locked(), "423", 400),
        (errors.storage_slow_down(), "503", 503),
        (errors.storage_database_timeout(), "544", 544),
        (errors.storage(429, "SlowDown", "Too many connections"), "429", 429),
    ],
)
def test_failures(supabase: SimulatedSupabase, client: Client, failure: errors.Failure, status: str, http: int) -> None:
    supabase.faults.next(failure, path="/storage/v1")
    with pytest.raises(StorageApiError) as caught:
        client.storage.list_buckets()
    assert caught.value.status == status
    assert supabase.requests[-1].answered == http
