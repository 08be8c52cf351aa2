"""Cloudflare Stream's uploads: https://developers.cloudflare.com/stream/uploading-videos/

State lives on the server's loop; tests read `tus` and `direct` after the call that changed them has been answered.
"""

from __future__ import annotations

import secrets

from starlette.requests import Request

from headgate.simulate import cloudflare_errors as errors
from headgate.simulate.behaviours import Behaviour, respond
from headgate.simulate.cloudflare_answers import Route, envelope, json_body
from headgate.simulate.tus import TusUploads


class Stream:
    """The calls that make videos."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self.tus = TusUploads()
        self.direct: list[str] = []
        """Ids of the direct uploads that were asked for."""

    def routes(self) -> list[Route]:
        """Where which call goes."""
        media = "/accounts/{account}/media/{upload}"
        return [
            ("POST", "/accounts/{account}/stream", self._create),
            ("POST", "/accounts/{account}/stream/direct_upload", self._create_direct),
            ("PATCH", media, self._take),
            ("HEAD", media, self._tell),
        ]

    async def _create(self, request: Request) -> Behaviour:
        # https://developers.cloudflare.com/api/resources/stream/methods/create/: 201 with a Location to upload to.
        upload = self.tus.create(request)
        if upload is None:
            return errors.bad_request(10005, "Bad Request: Upload-Length and Tus-Resumable are required")
        account = request.path_params["account"]
        location = f"{self._origin}/client/v4/accounts/{account}/media/{upload.id}?tusv2=true"
        if request.query_params.get("direct_user") == "true":
            # For the user's own browser: a host without the token, and no business of a gateway's.
            location = f"https://upload.videodelivery.net/tus/{upload.id}?tusv2=true"
        return self.tus.created(upload, location, ("stream-media-id", upload.id))

    async def _create_direct(self, request: Request) -> Behaviour:
        if "maxDurationSeconds" not in await json_body(request):
            return errors.bad_request(10005, "Bad Request: maxDurationSeconds is required")
        identifier = secrets.token_hex(16)
        self.direct.append(identifier)
        # In the body: a gateway leaves bodies alone.
        return envelope({"uid": identifier, "uploadURL": f"https://upload.cloudflarestream.com/{identifier}"})

    async def _take(self, request: Request) -> Behaviour:
        upload = self.tus.uploads.get(request.path_params["upload"])
        return await self.tus.take(request, upload) if upload else respond(404)

    async def _tell(self, request: Request) -> Behaviour:
        upload = self.tus.uploads.get(request.path_params["upload"])
        return self.tus.tell(upload) if upload else respond(404)
