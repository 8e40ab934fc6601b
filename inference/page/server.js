/* The server: requests, streams, tokens as they are kept. */
"use strict";

class ApiError extends Error {
  constructor(status, problem, retryAfter) {
    super(problem?.message ?? `HTTP ${status}`);
    Object.assign(this, { status, code: problem?.code, retryAfter });
  }
}

/** What a person has to change, in a sentence. */
class Mistake extends Error {}

function fail(name, ...values) {
  throw new Mistake(t(name, ...values));
}

async function request(address, body, signal) {
  const headers = { "Content-Type": "application/json" };
  const key = store.get("key") ?? "";
  // Another key could not be sent, nor be right; without one, the server asks for it.
  if (/^[\x20-\x7e]+$/.test(key)) headers.Authorization = `Bearer ${key}`;
  const sent = body && { method: "POST", body: JSON.stringify(body) };
  const response = await fetch(address, { headers, signal, cache: "no-store", ...sent });
  if (response.ok) return response;
  const problem = await response.json().catch(() => null);
  throw new ApiError(response.status, problem?.error, response.headers.get("Retry-After"));
}

/** The objects of a stream of server-sent events, up to [DONE]. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new TypeError("the stream ended before [DONE]");
    const lines = (rest + value).split(/\r?\n/);
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data:")) continue;
      const data = line.slice(5).trim();
      if (data === "[DONE]") return;
      yield JSON.parse(data);
    }
  }
}

async function findModel() {
  try {
    const { data } = await (await request("v1/models")).json();
    state.models = data.map((card) => ({
      name: card.id, chat: card.kind !== "completion", context: card.context_length,
      sampling: card.sampling, tools: card.tools, thinks: card.enable_thinking,
    }));
    if (state.trouble?.retry === findModel) setTrouble(null);
    checkModel();
  } catch (error) {
    setTrouble(error, findModel);
  }
  draw();
}

/** Says so when the model that a conversation was for is not here; a new one takes the first. */
function checkModel() {
  const { current } = state;
  const here = modelOf(current)?.name ?? current.model;
  if (!current.leaf && here !== current.model) current.model = "";
  if (current.model && here !== current.model) showToast(t("modelGone", current.model, here));
}

/** What a message says beside its content: thoughts, calls, and whose result it is. */
function extrasOf(message) {
  const names = ["reasoning_content", "tool_calls", "tool_call_id", "name"];
  return Object.fromEntries(names.filter((n) => message[n]?.length).map((n) => [n, message[n]]));
}

/** Messages as the API takes them: roles must alternate, so neighbours of one role become one;
 * thoughts, calls and their results stay as they are. */
function turnsOf(messages, system) {
  const turns = system.trim() ? [{ role: "system", content: system }] : [];
  for (const message of messages) {
    const { role, content } = message;
    const last = turns.at(-1);
    const more = extrasOf(message);
    const isPlain = role !== "tool" && !Object.keys(more).length;
    if (isPlain && !content.trim()) continue;
    if (isPlain && last?.role === role && Object.keys(last).length === 2)
      last.content += `\n\n${content}`;
    else turns.push({ role, content, ...more });
  }
  return turns;
}

const textOf = (messages) => messages.map((m) => m.content).join("");

function readJson(text, problem) {
  try {
    return JSON.parse(text);
  } catch (error) {
    return fail(problem, error.message);
  }
}

/** The tools that a text in JSON describes: a list in OpenAI's form, or of bare functions. */
function readTools(text) {
  if (!text.trim()) return [];
  const tools = [readJson(text, "toolsJson")].flat().map((tool) =>
    tool?.function ? { type: "function", ...tool } : { type: "function", function: tool });
  const isTool = ({ function: it }) => isText(it?.name) && it.name && isObject(it.parameters ?? {});
  const wrong = tools.findIndex((tool) => !isTool(tool));
  if (wrong >= 0) fail("toolsWrong", wrong + 1);
  const names = tools.map((tool) => tool.function.name);
  const twice = names.find((name, at) => names.indexOf(name) < at);
  return twice ? fail("toolsTwice", twice) : tools;
}

function readSchema(text) {
  const schema = readJson(text, "schemaJson");
  return isObject(schema) ? schema : fail("schemaWrong");
}

/** The fields of a request that say which tools there are and what form an answer has. */
function optionsFor({ tools: written, format, schema, thinking }, model) {
  const options = {};
  const tools = model.tools ? readTools(written) : [];
  if (tools.length) options.tools = tools;
  if (format === "json_object") options.response_format = { type: format };
  if (format === "json_schema")
    options.response_format = { type: format, json_schema: { schema: readSchema(schema) } };
  if (model.thinks) options.chat_template_kwargs = { enable_thinking: thinking };
  return options;
}

/** The address and body of a request, without the first `dropped` messages or characters. */
function requestFor(conversation, message, dropped) {
  const model = modelOf(conversation);
  const messages = path(conversation, message.parent);
  const { top_logprobs: alternatives, ...chosen } = sampling(conversation);
  const streaming = { stream: true, stream_options: { include_usage: true } };
  const body = { model: model.name, ...streaming, ...chosen };
  if (body.seed === null) delete body.seed;
  if (model.chat) {
    if (alternatives) Object.assign(body, { logprobs: true, top_logprobs: alternatives });
    Object.assign(body, optionsFor(conversation, model));
    // What is there of the answer comes last, and is gone on with.
    body.messages = turnsOf([...messages.slice(dropped), message], conversation.system);
    return ["v1/chat/completions", body];
  }
  if (alternatives) body.logprobs = alternatives;
  body.prompt = textOf([...messages, message]).slice(dropped);
  return ["v1/completions", body];
}

/** How much of a conversation that is too long to leave out next: what stands before the next
 * message of the user, or the first quarter of a text; null when nothing is left to go. */
function dropMore(conversation, message, dropped) {
  const messages = path(conversation, message.parent);
  const next = messages.findIndex(({ role }, at) => at > dropped && role === "user");
  if (isChat(conversation)) return next > 0 ? next : null;
  const left = textOf([...messages, message]).length - dropped;
  return left > 8 ? dropped + Math.ceil(left / 4) : null;
}

/** A token as it is kept: [text or bytes, log-probability, alternatives of that form too]. */
function compact({ token, bytes, logprob, top_logprobs: alternatives = [] }) {
  const round = (value) => Math.round(value * 1e4) / 1e4;
  const piece = (entry) => (entry.bytes?.length ? textOrBytes(entry.bytes) : entry.token);
  const others = alternatives.map((other) => [piece(other), round(other.logprob)]);
  return [piece({ token, bytes }), round(logprob), others];
}

function textOrBytes(bytes) {
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  return quietly(() => decoder.decode(new Uint8Array(bytes)), bytes);
}

/** The bytes of a token that is no whole character: "bytes:\\xe4\\xbd". */
function spelledBytes(name) {
  if (!/^bytes:.*\\x[0-9a-f]{2}/s.test(name)) return null;
  return [...name.slice(6).matchAll(/\\x([0-9a-f]{2})|./gs)].map(([one, code]) =>
    code ? parseInt(code, 16) : one.charCodeAt(0),
  );
}

/** The tokens of a chunk; /v1/completions has an older form for them. */
function tokensOf({ logprobs }) {
  if (logprobs?.content) return logprobs.content.map(compact);
  const entry = ([token, logprob]) => ({ token, bytes: spelledBytes(token), logprob });
  return (logprobs?.tokens ?? []).map((token, i) => {
    const alternatives = Object.entries(logprobs.top_logprobs?.[i] ?? {}).map(entry);
    const own = { token, bytes: logprobs.bytes?.[i], logprob: logprobs.token_logprobs[i] ?? 0 };
    return compact({ ...own, top_logprobs: alternatives });
  });
}
