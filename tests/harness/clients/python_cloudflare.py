"""cloudflare: what tests ask of it."""

from __future__ import annotations

from typing import Any

import cloudflare
from cloudflare._streaming import Stream

from harness.clients.calls import Job, Raised
from harness.clients.python import Emit, PythonClient, spread


def client() -> PythonClient:
    """The client, to be used as a context manager."""
    return PythonClient("cloudflare", package="cloudflare", operations=OPERATIONS, describe=describe)


def make(job: Job) -> cloudflare.Cloudflare:
    """Nothing changed but the base URL."""
    return cloudflare.Cloudflare(api_token=job.key, base_url=job.base_url, **job.options)


def verify(job: Job, emit: Emit) -> Any:
    with make(job) as one:
        answer = one.user.tokens.verify()
    assert answer is not None
    return {"status": answer.status}


def zones(job: Job, emit: Emit) -> Any:
    with make(job) as one:
        return {"names": [zone.name for zone in one.zones.list(per_page=job.args.get("perPage", 2))]}


def zone(job: Job, emit: Emit) -> Any:
    with make(job) as one:
        found = one.zones.get(zone_id=job.args["zone"])
    assert found is not None
    return {"name": found.name}


def records(job: Job, emit: Emit) -> Any:
    place = {"zone_id": job.args["zone"]}
    with make(job) as one:
        made: Any = one.dns.records.create(**place, type="A", name="www", content="192.0.2.1", ttl=60)
        changed: Any = one.dns.records.update(made.id, **place, type="A", name="www", content="192.0.2.2", ttl=60)
        listed = [record.content for record in one.dns.records.list(**place, type="A")]
        one.dns.records.delete(made.id, **place)
    return {"created": made.content, "updated": changed.content, "listed": listed}


def create(job: Job, emit: Emit) -> Any:
    with make(job) as one:
        made: Any = one.dns.records.create(
            zone_id=job.args["zone"], type="A", name=job.args["name"], content=job.args["content"], ttl=60
        )
    return {"content": made.content}


def values(job: Job, emit: Emit) -> Any:
    place = {"account_id": job.args["account"], "namespace_id": job.args["namespace"]}
    read = []
    with make(job) as one:
        for key in job.args["keys"]:
            one.kv.namespaces.values.update(key, **place, value=f"value of {key}".encode())
            read.append(one.kv.namespaces.values.get(key, **place).text())
    return {"read": read}


def purge(job: Job, emit: Emit) -> Any:
    with make(job) as one:
        one.cache.purge(zone_id=job.args["zone"], purge_everything=True)
    return {"purged": True}


def graphql(job: Job, emit: Emit) -> Any:
    with make(job) as one:
        answer: Any = one.post("/graphql", body={"query": "{ viewer { zones { zoneTag } } }"}, cast_to=object)
    return {"zones": len(answer["data"]["viewer"]["zones"])}


def infer(job: Job, emit: Emit) -> Any:
    with make(job) as one:
        answer: Any = one.ai.run(job.args["model"], account_id=job.args["account"], prompt=job.args["prompt"])
    return {"text": answer["response"]}


def infer_stream(job: Job, emit: Emit) -> Any:
    path = f"/accounts/{job.args['account']}/ai/run/{job.args['model']}"
    body = {"prompt": job.args["prompt"], "stream": True}
    chunks = 0
    with make(job) as one:
        events: Any = one.post(path, body=body, cast_to=object, stream=True, stream_cls=Stream[object])
        for event in events:
            emit(event["response"])
            chunks += 1
    return {"chunks": chunks}


def cookies(job: Job, emit: Emit) -> Any:
    with make(job) as one:
        headers = one.user.tokens.with_raw_response.verify().headers
    return {"cookies": len(headers.get_list("set-cookie")), "limits": headers.get("ratelimit-policy")}


def concurrent(job: Job, emit: Emit) -> Any:
    with make(job) as one:

        def ask(number: int) -> str:
            found = one.zones.get(zone_id=job.args["zone"])
            assert found is not None
            return found.name

        return {"names": sorted(set(spread(job.args["count"], ask)))}


def describe(error: BaseException) -> Raised | None:
    if not isinstance(error, cloudflare.APIError):
        return None
    status = error.status_code if isinstance(error, cloudflare.APIStatusError) else None
    codes = ",".join(str(one.code) for one in getattr(error, "errors", None) or [])
    return Raised(type(error).__name__, native=True, message=error.message, status=status, code=codes or None)


OPERATIONS = {
    "verify": verify,
    "zones": zones,
    "zone": zone,
    "records": records,
    "create": create,
    "values": values,
    "purge": purge,
    "graphql": graphql,
    "infer": infer,
    "inferStream": infer_stream,
    "cookies": cookies,
    "concurrent": concurrent,
}
