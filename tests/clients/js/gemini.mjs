// @google/genai: what tests ask of it.

import { ApiError, GoogleGenAI } from "@google/genai";

const client = ({ baseUrl, key }) => new GoogleGenAI({ apiKey: key, httpOptions: { baseUrl } });

export const operations = {
  async generate(job) {
    const answer = await client(job).models.generateContent({ model: job.args.model, contents: job.args.prompt });
    return { text: answer.text, tokens: answer.usageMetadata?.totalTokenCount };
  },

  async stream(job, emit) {
    const answer = await client(job).models.generateContentStream({ model: job.args.model, contents: job.args.prompt });
    let chunks = 0;
    for await (const chunk of answer) {
      emit(chunk.text);
      chunks += 1;
    }
    return { chunks };
  },

  async embed(job) {
    const answer = await client(job).models.embedContent({ model: job.args.model, contents: job.args.texts });
    return { vectors: answer.embeddings.map((one) => one.values) };
  },

  async models(job) {
    const names = [];
    for await (const model of await client(job).models.list({ config: { pageSize: 2 } })) names.push(model.name);
    return { names };
  },

  async model(job) {
    const model = await client(job).models.get({ model: job.args.model });
    return { name: model.name };
  },

  async tokens(job) {
    const answer = await client(job).models.countTokens({ model: job.args.model, contents: job.args.prompt });
    return { tokens: answer.totalTokens };
  },

  async upload(job) {
    const content = new Blob([new Uint8Array(job.args.size).fill(120)], { type: "text/plain" });
    const file = await client(job).files.upload({ file: content, config: { mimeType: "text/plain" } });
    const found = await client(job).files.get({ name: file.name });
    await client(job).files.delete({ name: file.name });
    return { size: Number(found.sizeBytes), sha256: found.sha256Hash };
  },

  async concurrent(job) {
    const one = client(job);
    const ask = (number) => one.models.generateContent({ model: job.args.model, contents: `call ${number}` });
    const answers = await Promise.all(Array.from({ length: job.args.count }, (_, number) => ask(number)));
    return { texts: answers.map((answer) => answer.text) };
  },

  async live(job, emit) {
    const model = job.args.model;
    let finished;
    const done = new Promise((resolve, reject) => {
      finished = { resolve, reject };
    });
    const session = await client(job).live.connect({
      model,
      callbacks: {
        onmessage: (message) => {
          const text = message.serverContent?.modelTurn?.parts?.[0]?.text;
          if (text) emit(text);
          if (message.serverContent?.turnComplete) finished.resolve();
        },
        onerror: (error) => finished.reject(error),
        onclose: (event) => finished.reject(new Error(`closed ${event.code} ${event.reason}`)),
      },
    });
    session.sendClientContent({ turns: job.args.prompt, turnComplete: true });
    await done;
    session.close();
    return { closed: true };
  },
};

export function describe(error) {
  if (!(error instanceof ApiError)) return {};
  // The client puts Google's own JSON into the message.
  const found = error.message.match(/\{"error".*\}/s);
  const body = found ? JSON.parse(found[0]).error : {};
  return { native: true, status: error.status, code: body.status ?? null, message: body.message ?? error.message };
}
