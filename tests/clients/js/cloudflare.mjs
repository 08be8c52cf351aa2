// cloudflare: what tests ask of it.

import Cloudflare from "cloudflare";

const client = ({ baseUrl, key, options }) => new Cloudflare({ apiToken: key, baseURL: baseUrl, ...options });

export const operations = {
  async verify(job) {
    const answer = await client(job).user.tokens.verify();
    return { status: answer.status };
  },

  async zones(job) {
    const names = [];
    for await (const zone of client(job).zones.list({ per_page: job.args.perPage ?? 2 })) names.push(zone.name);
    return { names };
  },

  async zone(job) {
    const zone = await client(job).zones.get({ zone_id: job.args.zone });
    return { name: zone.name };
  },

  async records(job) {
    const one = client(job);
    const place = { zone_id: job.args.zone };
    const made = await one.dns.records.create({ ...place, type: "A", name: "www", content: "192.0.2.1", ttl: 60 });
    const changed = await one.dns.records.update(made.id, {
      ...place,
      type: "A",
      name: "www",
      content: "192.0.2.2",
      ttl: 60,
    });
    const listed = [];
    for await (const record of one.dns.records.list({ ...place, type: "A" })) listed.push(record.content);
    await one.dns.records.delete(made.id, place);
    return { created: made.content, updated: changed.content, listed };
  },

  async create(job) {
    const made = await client(job).dns.records.create({
      zone_id: job.args.zone,
      type: "A",
      name: job.args.name,
      content: job.args.content,
      ttl: 60,
    });
    return { content: made.content };
  },

  async values(job) {
    const one = client(job);
    const place = { account_id: job.args.account, namespace_id: job.args.namespace };
    const read = [];
    for (const key of job.args.keys) {
      await one.kv.namespaces.values.update(key, { ...place, value: `value of ${key}` });
      const answer = await one.kv.namespaces.values.get(key, place);
      read.push(await answer.text());
    }
    return { read };
  },

  async purge(job) {
    await client(job).cache.purge({ zone_id: job.args.zone, purge_everything: true });
    return { purged: true };
  },

  async graphql(job) {
    const answer = await client(job).post("/graphql", { body: { query: "{ viewer { zones { zoneTag } } }" } });
    return { zones: answer.data.viewer.zones.length };
  },

  async infer(job) {
    const answer = await client(job).ai.run(job.args.model, { account_id: job.args.account, prompt: job.args.prompt });
    return { text: answer.response };
  },

  // This client has no streams of its own: it hands out the answer itself.
  async inferStream(job, emit) {
    const path = `/accounts/${job.args.account}/ai/run/${job.args.model}`;
    const answer = await client(job).post(path, { body: { prompt: job.args.prompt, stream: true } }).asResponse();
    const decoder = new TextDecoder();
    let rest = "";
    let chunks = 0;
    for await (const bytes of answer.body) {
      const lines = (rest + decoder.decode(bytes, { stream: true })).split("\n");
      rest = lines.pop();
      for (const line of lines.filter((one) => one.startsWith("data: {"))) {
        emit(JSON.parse(line.slice("data: ".length)).response);
        chunks += 1;
      }
    }
    return { chunks };
  },

  async cookies(job) {
    const { response } = await client(job).user.tokens.verify().withResponse();
    return { cookies: response.headers.getSetCookie().length, limits: response.headers.get("ratelimit-policy") };
  },

  async concurrent(job) {
    const one = client(job);
    const ask = () => one.zones.get({ zone_id: job.args.zone });
    const answers = await Promise.all(Array.from({ length: job.args.count }, ask));
    return { names: [...new Set(answers.map((zone) => zone.name))] };
  },
};

export function describe(error) {
  if (!(error instanceof Cloudflare.APIError)) return {};
  const codes = (error.errors ?? []).map((one) => one.code).join(",");
  return { native: true, status: error.status ?? null, code: codes || null };
}
