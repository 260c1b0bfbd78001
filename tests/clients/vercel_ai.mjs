// One call of the Vercel AI SDK, told and telling in JSON (see test_clients.py).
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(process.env.HOLDFAST_NODE_CLIENTS + "/");
const { generateText, jsonSchema, streamText, tool } = require("ai");
const { createOpenAICompatible } = require("@ai-sdk/openai-compatible");

const job = JSON.parse(readFileSync(0, "utf8"));
const { model, messages, tools, tool_choice, ...rest } = job.body;
const provider = createOpenAICompatible({ name: "holdfast", baseURL: job.url + "/v1",
                                          includeUsage: true });
const stop = new AbortController();
const call = {
  model: provider.chatModel(model), messages, maxRetries: job.retries, abortSignal: stop.signal,
  maxOutputTokens: rest.max_tokens, temperature: rest.temperature,
  // Fields that only engines know.
  providerOptions: { holdfast: { ignore_eos: rest.ignore_eos ?? false } },
  onError: () => {},
};
if (rest.stop) call.stopSequences = rest.stop;
if (tools) {
  call.tools = Object.fromEntries(tools.map(({ function: f }) =>
    [f.name, tool({ description: f.description, inputSchema: jsonSchema(f.parameters) })]));
  call.toolChoice = { type: "tool", toolName: tool_choice.function.name };
}

const told = (error) => {
  const last = error.lastError ?? error;
  return { class: error.name ?? error.constructor.name, status: last.statusCode ?? null,
           code: last.data?.error?.code ?? error.code ?? null };
};
const out = { events: [], error: null };
try {
  if (rest.stream) {
    for await (const part of streamText(call).fullStream) {
      if (part.type === "error") out.error = told(part.error);
      out.events.push(part);
      if (out.events.length === job.abort_after) stop.abort();
    }
  } else {
    const { content, finishReason, usage, toolCalls } = await generateText(call);
    out.events.push({ content, finishReason, usage, toolCalls });
  }
} catch (error) {
  out.error = told(error);
}
process.stdout.write(JSON.stringify(out));
