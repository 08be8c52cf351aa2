// Runs one of the vendors' JavaScript clients for the tests: `node driver.mjs gemini`.
//
// A job is a line on stdin: {id, operation, baseUrl, key, args}. What it says goes out as lines: {id, event} as each
// thing arrives, then {id, ok: true, value, calls} or {id, ok: false, error, calls}, where `calls` is how many HTTP
// requests the client made for it, its own retries among them. Jobs run side by side. The end of stdin ends the process.

import "./guard.mjs";
import { AsyncLocalStorage } from "node:async_hooks";
import { createInterface } from "node:readline";

const jobs = new AsyncLocalStorage();
const write = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);

// Before a client is loaded, because some keep the function that they find then.
const plainFetch = globalThis.fetch;
globalThis.fetch = (...given) => {
  const job = jobs.getStore();
  // Some ask for a `data:` URL, to find out what fetch can do.
  if (job && String(given[0]?.url ?? given[0]).startsWith("http")) job.calls += 1;
  return plainFetch(...given);
};
// What a client prints is for people; stdout is for answers.
console.log = console.info = console.debug = console.error;

const { operations, describe } = await import(`./${process.argv[2]}.mjs`);

async function run(job) {
  const emit = (event) => write({ id: job.id, event });
  try {
    const operation = operations[job.operation];
    if (!operation) throw new Error(`there is no operation ${job.operation}`);
    const value = await operation(job, emit);
    write({ id: job.id, ok: true, value: value ?? null, calls: job.calls });
  } catch (error) {
    write({ id: job.id, ok: false, error: await told(error), calls: job.calls });
  }
}

async function told(error) {
  const base = { class: error?.constructor?.name ?? typeof error, native: false, message: String(error?.message ?? error) };
  return { ...base, status: null, code: null, stack: error?.stack, ...(await describe(error)) };
}

const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const job = { ...JSON.parse(line), calls: 0 };
  jobs.run(job, () => run(job));
});
lines.on("close", () => process.exit(0));
