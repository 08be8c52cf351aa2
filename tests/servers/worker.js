// An origin on Cloudflare's own runtime. What it streams is released by the test, piece by piece:
//
//   GET  /stream/NAME, POST /v1*/models/NAME:streamGenerateContent   opens the stream NAME
//   POST /control/NAME/push    sends the body of this request down the stream
//   POST /control/NAME/close   ends it; /control/NAME/break breaks it off
//   GET  /control/NAME         tells how often it was opened, and how often it ended other than by `close`
//
// Streams live in durable objects: their calls share one place, so that one may write to what another has opened.

export class Stream {
  opened = 0;
  left = 0;
  writer = null;

  async fetch(request) {
    const action = new URL(request.url).pathname.split("/").at(-1);
    if (request.headers.get("x-control") === null) return this.open();
    if (action === "push") {
      const bytes = new Uint8Array(await request.arrayBuffer());
      await this.writer.write(bytes).catch(() => {}); // fails once the reader is known to be gone: counted below
    } else if (action === "close") await this.writer.close();
    else if (action === "break") await this.writer.abort(new Error("broken off on request"));
    return Response.json({ opened: this.opened, left: this.left });
  }

  open() {
    const { readable, writable } = new TransformStream();
    const writer = (this.writer = writable.getWriter());
    this.opened += 1;
    writer.closed.catch(() => (this.left += 1));
    const headers = { "content-type": "text/event-stream", "cache-control": "no-cache" };
    return new Response(readable, { headers });
  }
}

function pieces(count, size) {
  let sent = 0;
  return new ReadableStream({
    pull(controller) {
      if (sent === count) return controller.close();
      controller.enqueue(new Uint8Array(size).fill(97 + (sent++ % 26)));
    },
  });
}

function numbers(url) {
  return [Number(url.searchParams.get("count") ?? 1), Number(url.searchParams.get("size") ?? 1)];
}

export default {
  async fetch(request, env) {
    const url = new URL(request.url);
    const control = url.pathname.match(/^\/control\/([^/]+)/);
    const stream = url.pathname.match(/^\/stream\/([^/]+)|\/models\/([^/:]+):streamGenerateContent$/);
    if (control !== null || stream !== null) {
      const name = control?.[1] ?? stream[1] ?? stream[2];
      const headers = control === null ? {} : { "x-control": "1" };
      const inner = new Request(request.url, { method: request.method, headers, body: request.body });
      return env.STREAMS.get(env.STREAMS.idFromName(name)).fetch(inner);
    }
    switch (url.pathname) {
      case "/pieces": // no length is known, so the body is chunked
        return new Response(pieces(...numbers(url)), { headers: { "content-type": "text/plain" } });
      case "/sized": {
        const [count, size] = numbers(url);
        const { readable, writable } = new FixedLengthStream(count * size);
        pieces(count, size).pipeTo(writable);
        return new Response(readable, { headers: { "content-type": "text/plain" } });
      }
      case "/compressed": {
        const body = pieces(...numbers(url)).pipeThrough(new CompressionStream("gzip"));
        const headers = { "content-type": "text/plain", "content-encoding": "gzip" };
        return new Response(body, { headers, encodeBody: "manual" });
      }
      case "/echo":
        return new Response(request.body, { headers: { "x-method": request.method } });
      case "/headers":
        return Response.json([...request.headers]);
      case "/status":
        return new Response(null, { status: Number(url.searchParams.get("code")) });
      default:
        return Response.json({ error: { code: 404, status: "NOT_FOUND", message: "no such place" } }, { status: 404 });
    }
  },
};
