// openai: what tests ask of it, at Gemini's compatible endpoint.

import OpenAI from "openai";

const client = ({ baseUrl, key, options }) => new OpenAI({ apiKey: key, baseURL: baseUrl, ...options });
const messages = (prompt) => [{ role: "user", content: prompt }];

export const operations = {
  async generate(job) {
    const answer = await client(job).chat.completions.create({ model: job.args.model, messages: messages(job.args.prompt) });
    return { text: answer.choices[0].message.content, tokens: answer.usage.total_tokens };
  },

  async stream(job, emit) {
    const answer = await client(job).chat.completions.create({
      model: job.args.model,
      messages: messages(job.args.prompt),
      stream: true,
    });
    let chunks = 0;
    for await (const chunk of answer) {
      emit(chunk.choices[0].delta.content);
      chunks += 1;
    }
    return { chunks };
  },

  async embed(job) {
    const answer = await client(job).embeddings.create({
      model: job.args.model,
      input: job.args.texts,
      encoding_format: "float",
    });
    return { vectors: answer.data.map((one) => one.embedding) };
  },

  async models(job) {
    const names = [];
    for await (const model of client(job).models.list()) names.push(model.id);
    return { names };
  },

  async model(job) {
    const model = await client(job).models.retrieve(job.args.model);
    return { name: model.id };
  },

  async concurrent(job) {
    const one = client(job);
    const ask = (number) =>
      one.chat.completions.create({ model: job.args.model, messages: messages(`call ${number}`) });
    const answers = await Promise.all(Array.from({ length: job.args.count }, (_, number) => ask(number)));
    return { texts: answers.map((answer) => answer.choices[0].message.content) };
  },
};

export function describe(error) {
  if (!(error instanceof OpenAI.APIError)) return {};
  return { native: true, status: error.status ?? null, code: error.code ?? null };
}
