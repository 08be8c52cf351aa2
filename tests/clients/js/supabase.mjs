// @supabase/supabase-js: what tests ask of it.

import { StorageError } from "@supabase/storage-js";
import { AuthError, FunctionsError, PostgrestError, createClient } from "@supabase/supabase-js";

const client = ({ baseUrl, key, args }) =>
  args.token
    ? createClient(baseUrl, key, { global: { headers: { Authorization: `Bearer ${args.token}` } } })
    : createClient(baseUrl, key);

// This client hands its errors back; here they are thrown.
function checked({ data, error, ...rest }) {
  if (error) throw Object.assign(error, { answered: rest.status });
  return data;
}

export const operations = {
  async select(job) {
    return { names: checked(await client(job).from(job.args.table).select("name")).map((row) => row.name) };
  },

  async filter(job) {
    const rows = checked(await client(job).from("planets").select("name").in("id", job.args.ids));
    return { names: rows.map((row) => row.name) };
  },

  async insert(job) {
    const rows = checked(await client(job).from("planets").insert({ id: 9, name: "Pluto" }).select());
    return { names: rows.map((row) => row.name) };
  },

  async session(job) {
    const one = client(job);
    const credentials = { email: job.args.email, password: "correct horse" };
    checked(await one.auth.signUp(credentials));
    checked(await one.auth.signOut());
    const signed = checked(await one.auth.signInWithPassword(credentials));
    const mine = checked(await one.auth.getUser());
    const renewed = checked(await one.auth.refreshSession());
    checked(await one.auth.signOut());
    return { email: mine.user.email, renewed: renewed.session.refresh_token !== signed.session.refresh_token };
  },

  async signIn(job) {
    const signed = checked(await client(job).auth.signInWithPassword({ email: job.args.email, password: "wrong horse" }));
    return { email: signed.user.email };
  },

  async asUser(job) {
    const one = client(job);
    checked(await one.auth.signUp({ email: job.args.email, password: "correct horse" }));
    return { names: checked(await one.from("planets").select("name")).map((row) => row.name) };
  },

  async objects(job) {
    const files = client(job).storage.from("files");
    checked(await files.upload(job.args.path, new Blob(["some bytes"]), { contentType: "text/plain" }));
    const read = checked(await files.download(job.args.path));
    const listed = checked(await files.list("a folder"));
    const removed = checked(await files.remove([job.args.path]));
    return { read: await read.text(), listed: listed.map((one) => one.name), removed: removed.length };
  },

  async upload(job) {
    const files = client(job).storage.from("files");
    const stored = checked(await files.upload("large.bin", new Blob([new Uint8Array(job.args.size)])));
    return { path: stored.path };
  },

  async signed(job) {
    const files = client(job).storage.from("files");
    checked(await files.upload("signed.txt", new Blob(["signed bytes"]), { contentType: "text/plain" }));
    const { signedUrl } = checked(await files.createSignedUrl("signed.txt", 60));
    const answer = await fetch(signedUrl);
    return { here: signedUrl.startsWith(job.baseUrl), read: await answer.text() };
  },

  async download(job) {
    const read = checked(await client(job).storage.from("files").download(job.args.path));
    return { read: await read.text() };
  },

  async invoke(job) {
    const data = checked(await client(job).functions.invoke(job.args.name, { body: { hello: "functions" } }));
    return { received: data.received };
  },

  async invokeStream(job, emit) {
    const answer = checked(await client(job).functions.invoke(job.args.name, { body: {} }));
    const decoder = new TextDecoder();
    let rest = "";
    let chunks = 0;
    for await (const bytes of answer.body) {
      const events = (rest + decoder.decode(bytes, { stream: true })).split("\n\n");
      rest = events.pop();
      for (const event of events) {
        emit(event.slice("data: ".length));
        chunks += 1;
      }
    }
    return { chunks };
  },

  async broadcast(job, emit) {
    const [speaker, listener] = [client(job), client(job)];
    const joined = (channel) =>
      new Promise((resolve, reject) => {
        channel.subscribe((state, error) => {
          if (state === "SUBSCRIBED") resolve();
          if (state === "CHANNEL_ERROR" || state === "TIMED_OUT") reject(error ?? new Error(state));
        });
      });
    const hearing = listener.channel("room");
    const heard = new Promise((resolve) => {
      hearing.on("broadcast", { event: "shout" }, (message) => resolve(message.payload.words));
    });
    await joined(hearing);
    const speaking = speaker.channel("room");
    await joined(speaking);
    await speaking.send({ type: "broadcast", event: "shout", payload: { words: job.args.words } });
    emit(await heard);
    await Promise.all([speaker.removeAllChannels(), listener.removeAllChannels()]);
    return { closed: true };
  },
};

export async function describe(error) {
  if (error instanceof AuthError) return { native: true, status: error.status ?? null, code: error.code ?? null };
  if (error instanceof StorageError) {
    return { native: true, status: Number(error.status) || null, code: error.statusCode ?? null };
  }
  if (error instanceof FunctionsError) {
    const status = error.context?.status ?? null;
    const body = status ? await error.context.text() : "";
    return { native: true, status, code: null, message: body ? `${error.message}: ${body}` : error.message };
  }
  // The rest service's errors are handed back as they came, unless it was told to throw.
  const rest = error instanceof PostgrestError || !(error instanceof Error);
  if (!rest) return {};
  return { class: "PostgrestError", native: true, status: error.answered || null, code: error.code || null };
}
