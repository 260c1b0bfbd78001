// One call of the official Node SDK, told and telling in JSON (see test_clients.py).
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(process.env.HOLDFAST_NODE_CLIENTS + "/");
const OpenAI = require("openai").default;

const job = JSON.parse(readFileSync(0, "utf8"));
const client = new OpenAI({ baseURL: job.url + "/v1", apiKey: "none", maxRetries: job.retries });
const api = job.path === "chat" ? client.chat.completions : client.completions;
const out = { events: [], error: null };
try {
  const answer = await api.create(job.body);
  if (job.body.stream) {
    for await (const event of answer) {
      out.events.push(event);
      if (out.events.length === job.abort_after) {
        answer.controller.abort();
        break;
      }
    }
  } else {
    out.events.push(answer);
  }
} catch (error) {
  out.error = { class: error.constructor.name, status: error.status ?? null,
                code: error.code ?? error.error?.code ?? null };
}
process.stdout.write(JSON.stringify(out));
