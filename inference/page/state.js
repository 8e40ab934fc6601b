/* Stored state: settings, and conversations as trees. */
"use strict";

const PREFIX = "etude:";
const CHAT = `${PREFIX}chat:`;

/** What the browser stores; without storage nothing is kept, and everything else works. */
const store = {
  get: (name) => quietly(() => JSON.parse(localStorage.getItem(PREFIX + name))),
  remove: (name) => quietly(() => localStorage.removeItem(PREFIX + name)),
  /** Whether there was room. */
  set: (name, value) =>
    quietly(() => localStorage.setItem(PREFIX + name, JSON.stringify(value)) ?? true, false),
};

function quietly(work, otherwise) {
  try {
    return work();
  } catch {
    return otherwise;
  }
}

/** What a conversation is asked with; a new one begins with what was chosen last. */
const OPTIONS = { system: "", model: "", tools: "", format: "text", schema: "", thinking: true };
const FORMATS = ["text", "json_object", "json_schema"];
const DEFAULTS = { ...OPTIONS, theme: "auto", language: null, sampling: {} };
const isText = (value) => typeof value === "string";
const isObject = (value) => value?.constructor === Object;
const THEMES = { auto: "light", light: "dark", dark: "auto" }; // with the one that comes next
/** What counts as a setting: another version or a person may have put anything there. */
const FITTING = {
  system: isText, model: isText, tools: isText, schema: isText,
  format: (v) => FORMATS.includes(v), thinking: (v) => typeof v === "boolean",
  theme: (v) => Object.hasOwn(THEMES, v), language: (v) => ["en", "zh"].includes(v),
  sampling: isObject,
};
const kept = Object.entries(store.get("settings") ?? {}).filter(([n, v]) => FITTING[n]?.(v));
const settings = { ...DEFAULTS, ...Object.fromEntries(kept) };
const keepSettings = () => store.set("settings", settings);

const state = {
  conversations: new Map(), // by id: all that are kept
  current: null, // the conversation that is shown
  models: [], // {name, chat, context, sampling, tools, thinks}: the first is the usual one
  runs: new Map(), // conversation id: the answer that is being generated
  opened: new Set(), // ids of answers whose tokens are shown
  editing: null, // {edited: id of a message, text}
  folds: new Map(), // key of a fold: whether a person has opened it
  results: new Map(), // id of a call: what was written as its result so far
  query: "", // what is searched for
  follows: true, top: 0, // whether the end stays in sight; where one was scrolled to last
  isUnkept: false, // whether the storage is full or switched off
  trouble: null, // {error, retry, midway}
};

/** The model of a conversation: the one that was picked, else the first that there is. */
const modelOf = ({ model }) => state.models.find(({ name }) => name === model) ?? state.models[0];
const isChat = (conversation = state.current) => modelOf(conversation)?.chat !== false;
const runOf = (message) => [...state.runs.values()].find((run) => run.message === message);
const isRunning = () => state.runs.has(state.current.id);
const newestFirst = () =>
  [...state.conversations.values()].sort((one, other) => other.updated - one.updated);
const newId = () => Date.now().toString(36) + Math.random().toString(36).slice(2, 8);
const shownPath = () => path(state.current);
const titleOf = (text = "") => text.trim().split("\n")[0].slice(0, 60);
const lastOf = (role) => shownPath().findLast((message) => message.role === role);
const children = (conversation, id) =>
  Object.values(conversation.messages).filter((m) => m.parent === id);

const SAMPLING = {
  // name: [default, least, most, step]; what the server says about its model comes before these.
  temperature: [0.7, 0, 2, 0.05], max_tokens: [512, 1, 4096, 1], seed: [null, 0, 2 ** 53 - 1, 1],
  top_p: [0.9, 0, 1, 0.01], top_k: [50, 0, 200, 1], min_p: [0, 0, 1, 0.01],
  repetition_penalty: [1, 0.5, 2, 0.01], presence_penalty: [0, -2, 2, 0.1],
  frequency_penalty: [0, -2, 2, 0.1], top_logprobs: [5, 0, 20, 1],
};

/** How answers are sampled: by the settings, else the server's defaults, else our own. */
function sampling(conversation = state.current) {
  const chosen = {};
  const server = modelOf(conversation)?.sampling;
  for (const [name, [own, least, most, step]] of Object.entries(SAMPLING)) {
    const value = settings.sampling[name];
    const isSet = step === 1 ? Number.isInteger(value) : Number.isFinite(value);
    const usual = name === "max_tokens" ? own : (server?.[name] ?? own);
    chosen[name] = isSet && value >= least && value <= most ? value : usual;
  }
  chosen.max_tokens = Math.min(chosen.max_tokens, server?.max_tokens ?? Infinity);
  return chosen;
}

/** Keeps a conversation; where room is short, the probabilities of the oldest others go first. */
function keepConversation(conversation) {
  if (!state.conversations.has(conversation.id)) return; // deleted while an answer was generated
  const keep = (one) => store.set(`chat:${one.id}`, one);
  const others = newestFirst().filter((other) => other !== conversation).reverse();
  let isKept = keep(conversation);
  for (const other of [...others, conversation]) {
    if (isKept) break;
    const bare = JSON.stringify(other, (name, value) => (name === "tokens" ? undefined : value));
    isKept = keep(JSON.parse(bare)) && (other === conversation || keep(conversation));
  }
  if (!isKept && !state.isUnkept) showToast(t("unkept"));
  state.isUnkept = !isKept;
}

const isCall = (call) => isText(call?.id) && isText(call.function?.name) &&
  isText(call.function.arguments);
/** How much a message says: text, thoughts and calls. */
const sizeOf = ({ content, reasoning_content: thoughts = "", tool_calls: calls = [] }) =>
  content.length + thoughts.length + calls.length;

/** A conversation as it was kept, without what is no part of one; null when it is none. */
function asConversation(value) {
  const isTokens = (all) => Array.isArray(all) && all.every((one) => Array.isArray(one?.[2]));
  const isMessage = ([id, m]) =>
    m?.id === id && isText(m.content) && ["user", "assistant", "tool"].includes(m.role);
  const isTree = isText(value?.id) && value.messages instanceof Object;
  if (!isTree || !Object.entries(value.messages).every(isMessage)) return null;
  for (const [name, own] of Object.entries({ title: "", updated: 0, ...OPTIONS }))
    if (typeof value[name] !== typeof own || FITTING[name]?.(value[name]) === false)
      value[name] = own;
  for (const m of Object.values(value.messages)) {
    if (!isTokens(m.tokens)) delete m.tokens;
    if (!m.thinking?.every?.(Number.isFinite)) delete m.thinking;
    if (!(Array.isArray(m.tool_calls) && m.tool_calls.every(isCall))) delete m.tool_calls;
    for (const name of ["reasoning_content", "tool_call_id", "name"])
      if (!isText(m[name])) delete m[name];
  }
  const last = value.messages[value.leaf] ?? Object.values(value.messages).at(-1);
  value.leaf = last?.id ?? null;
  if (last?.role !== "assistant" || sizeOf(last) || last.end) return value;
  delete value.messages[last.id]; // the page was left before the answer began
  return { ...value, leaf: last.parent };
}

function loadConversations() {
  for (const key of quietly(() => Object.keys(localStorage), [])) {
    const one = key.startsWith(CHAT) && asConversation(store.get(key.slice(PREFIX.length)));
    if (one) state.conversations.set(one.id, one);
  }
}

/* A conversation is a tree: an edit or another answer is a new branch beside the old one. `leaf` is
 * the last message of the branch that is shown, `parent` the message before one; `draft` is a text
 * that was sent and not answered while another conversation was shown. */
function newConversation() {
  const options = Object.keys(OPTIONS).map((name) => [name, settings[name]]);
  const empty = { id: newId(), title: "", updated: Date.now(), messages: {}, leaf: null };
  return { ...empty, ...Object.fromEntries(options) };
}

/** A node of a tree and what is above it, first to last, also where a tree goes in circles. */
function ancestors(nodes, id) {
  const found = new Set();
  for (let node = nodes[id]; node && !found.has(node); node = nodes[node.parent]) found.add(node);
  return [...found].reverse();
}

/** The messages of a branch, first to last. */
const path = ({ messages, leaf }, last = leaf) => ancestors(messages, last);

function addMessage(conversation, role, content, parent, more = {}) {
  const message = { ...more, id: newId(), role, content, parent };
  conversation.messages[message.id] = message;
  Object.assign(conversation, { leaf: message.id, updated: Date.now() });
  state.conversations.set(conversation.id, conversation);
  return message;
}
