"""supabase: what tests ask of it."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import httpx
from postgrest.exceptions import APIError
from storage3.exceptions import StorageApiError
from supabase import AsyncClient, Client, ClientOptions, acreate_client, create_client
from supabase_auth.errors import AuthError
from supabase_functions.errors import FunctionsError

from harness.clients.calls import Job, Raised
from harness.clients.python import Emit, PythonClient


def client() -> PythonClient:
    """The client, to be used as a context manager."""
    return PythonClient("supabase", package="supabase", operations=OPERATIONS, describe=describe)


def make(job: Job) -> Client:
    """Nothing changed but the base URL; no thread that would renew sessions is left behind."""
    token = job.args.get("token")
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return create_client(job.base_url, job.key, ClientOptions(headers=headers, auto_refresh_token=False))


def _names(rows: Any) -> list[str]:
    return [row["name"] for row in rows]


def select(job: Job, emit: Emit) -> Any:
    return {"names": _names(make(job).table(job.args["table"]).select("name").execute().data)}


def filter_(job: Job, emit: Emit) -> Any:
    return {"names": _names(make(job).table("planets").select("name").in_("id", job.args["ids"]).execute().data)}


def insert(job: Job, emit: Emit) -> Any:
    return {"names": _names(make(job).table("planets").insert({"id": 9, "name": "Pluto"}).execute().data)}


def session(job: Job, emit: Emit) -> Any:
    one = make(job)
    credentials: Any = {"email": job.args["email"], "password": "correct horse"}
    one.auth.sign_up(credentials)
    one.auth.sign_out()
    signed = one.auth.sign_in_with_password(credentials).session
    mine = one.auth.get_user()
    renewed = one.auth.refresh_session().session
    one.auth.sign_out()
    assert signed is not None
    assert renewed is not None
    assert mine is not None
    return {"email": mine.user.email, "renewed": renewed.refresh_token != signed.refresh_token}


def sign_in(job: Job, emit: Emit) -> Any:
    signed = make(job).auth.sign_in_with_password({"email": job.args["email"], "password": "wrong horse"})
    assert signed.user is not None
    return {"email": signed.user.email}


def as_user(job: Job, emit: Emit) -> Any:
    one = make(job)
    one.auth.sign_up({"email": job.args["email"], "password": "correct horse"})
    return {"names": _names(one.table("planets").select("name").execute().data)}


def objects(job: Job, emit: Emit) -> Any:
    files = make(job).storage.from_("files")
    files.upload(job.args["path"], b"some bytes", {"content-type": "text/plain"})
    read = files.download(job.args["path"])
    listed = [one["name"] for one in files.list("a folder")]
    removed = files.remove([job.args["path"]])
    return {"read": read.decode(), "listed": listed, "removed": len(removed)}


def upload(job: Job, emit: Emit) -> Any:
    stored = make(job).storage.from_("files").upload("large.bin", bytes(job.args["size"]))
    return {"path": stored.path}


def signed(job: Job, emit: Emit) -> Any:
    files = make(job).storage.from_("files")
    files.upload("signed.txt", b"signed bytes", {"content-type": "text/plain"})
    url = str(files.create_signed_url("signed.txt", 60)["signedURL"])
    return {"here": url.startswith(job.base_url), "read": httpx.get(url, trust_env=False).text}


def download(job: Job, emit: Emit) -> Any:
    return {"read": make(job).storage.from_("files").download(job.args["path"]).decode()}


def invoke(job: Job, emit: Emit) -> Any:
    options = {"body": {"hello": "functions"}, "responseType": "json"}
    data = cast("dict[str, Any]", make(job).functions.invoke(job.args["name"], options))
    return {"received": data["received"]}


def broadcast(job: Job, emit: Emit) -> Any:
    async def made() -> AsyncClient:
        return await acreate_client(job.base_url, job.key)

    async def talk() -> None:
        speaker, listener = await made(), await made()
        heard: asyncio.Queue[Any] = asyncio.Queue()
        hearing = listener.channel("room")
        hearing.on_broadcast("shout", heard.put_nowait)
        await hearing.subscribe()
        speaking = speaker.channel("room")
        await speaking.subscribe()
        await speaking.send_broadcast("shout", {"words": job.args["words"]})
        emit((await asyncio.wait_for(heard.get(), 10))["payload"]["words"])
        for one in (speaker, listener):
            await one.remove_all_channels()
            await one.realtime.close()

    asyncio.run(talk())
    return {"closed": True}


def describe(error: BaseException) -> Raised | None:
    kind = type(error).__name__
    match error:
        case APIError():
            return Raised(kind, native=True, message=error.message or "", code=error.code)
        case StorageApiError():
            return Raised(kind, native=True, message=error.message, status=int(error.status), code=str(error.code))
        case AuthError():
            status = getattr(error, "status", None)
            code = error.code
            return Raised(
                kind, native=True, message=error.message, status=status, code=None if code is None else str(code)
            )
        case FunctionsError():
            return Raised(kind, native=True, message=error.message, status=error.status)
        case _:
            return None


OPERATIONS = {
    "select": select,
    "filter": filter_,
    "insert": insert,
    "session": session,
    "signIn": sign_in,
    "asUser": as_user,
    "objects": objects,
    "upload": upload,
    "signed": signed,
    "download": download,
    "invoke": invoke,
    "broadcast": broadcast,
}
