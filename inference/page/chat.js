/* The script of the page: chat.html has its fixed parts, chat.css its looks. */
"use strict";

/* ---- 1. Texts: English and Chinese; {0}, {1} stand for values ------------------------------- */
const TEXTS = {
  skip: ["Skip to the message field", "跳到输入框"], contents: ["Conversations", "对话列表"],
  fresh: ["New conversation", "新对话"], freshText: ["New text", "新文本"], rename: ["Rename", "重命名"],
  remove: ["Delete", "删除"], export: ["Export as JSON", "导出为 JSON"],
  import: ["Import a conversation", "导入对话"],
  importFailed: ["This file holds no conversation.", "这个文件里没有对话。"],
  importLine: ["This is no JSON (looked at in line {0}).", "这不是 JSON（第 {0} 行）。"],
  importTurn: ["Message {0} is no text of a user, assistant or system.", "第 {0} 条消息不是用户、助手或系统的文字。"],
  importMany: ["{0} conversations are too many: 100 at a time.", "{0} 个对话太多：一次最多 100 个。"],
  theme_auto: ["Theme: as the system", "主题：跟随系统"], theme_light: ["Theme: light", "主题：浅色"],
  theme_dark: ["Theme: dark", "主题：深色"], language: ["中文", "EN"],
  languageLabel: ["切换到中文", "Switch to English"], settings: ["Settings", "设置"],
  close: ["Close", "关闭"], more: ["More", "更多"], menu: ["Show conversations", "显示对话列表"],
  toEnd: ["To the end", "到末尾"], placeholder: ["Write a message", "写点什么"],
  placeholderText: ["Write a beginning; the model continues it", "写一个开头，模型会接着写"],
  send: ["Send", "发送"], go: ["Continue", "续写"], stop: ["Stop", "停止"], copy: ["Copy", "复制"],
  copied: ["Copied", "已复制"], edit: ["Edit", "编辑"], regenerate: ["Regenerate", "重新生成"],
  save: ["Send again", "重新发送"], cancel: ["Cancel", "取消"], tokens: ["Tokens", "词元"],
  speed: ["{0} tokens/s", "{0} 词元/秒"],
  tokensLabel: ["Show the tokens and their probabilities", "显示词元及其概率"],
  previous: ["Previous version", "上一个版本"], next: ["Next version", "下一个版本"],
  version: ["Version {0} of {1}", "第 {0} 个版本，共 {1} 个"],
  answering: ["The model is answering.", "模型正在回答。"],
  answered: ["The model answered: {0}", "模型回答：{0}"], stopped: ["stopped", "已停止"],
  length: ["cut at its limit", "达到长度上限"], full: ["the context is full", "上下文已满"],
  nothing: ["The model has nothing to say to this.", "模型对此无话可说。"], oneToken: ["1 token", "1 个词元"],
  count: ["{0} tokens", "{0} 个词元"], room: ["{0} of {1} tokens of context", "上下文 {0} / {1} 词元"],
  forgotten: ["The oldest {0} messages no longer fit into the context.", "最早的 {0} 条消息已超出上下文。"],
  forgottenText: ["Only the end of this text fits into the context.", "上下文只放得下这段文字的结尾。"],
  deleted: ["Conversation deleted.", "对话已删除。"], undo: ["Undo", "撤销"], retry: ["Try again", "重试"],
  useKey: ["Use this key", "使用此密钥"], keyNeeded: ["This server asks for a key.", "此服务器需要密钥。"],
  keyLabel: ["API key", "API 密钥"], busy: ["The server is busy.", "服务器正忙。"],
  broken: ["The connection broke off.", "连接中断了。"],
  busyFor: ["The server is busy; it expects to be free in {0} s.", "服务器正忙，预计 {0} 秒后空闲。"],
  gone: ["The server cannot be reached. Is it running?", "无法连接服务器，它在运行吗？"],
  tooLong: ["This, with the system prompt, is longer than the model's context. Shorten it.",
    "这条消息连同系统提示词超过了模型的上下文，请缩短。"],
  refused: ["The server refused: {0}", "服务器拒绝了请求：{0}"],
  unkept: ["This browser keeps nothing new: its storage is full or off. Export what you need.",
    "浏览器没有保存新内容：存储空间已满或被禁用。请导出需要的对话。"],
  hello: ["What shall we play?", "今天弹哪一首？"], helloText: ["Where does it begin?", "从哪里开始？"],
  intro: ["A small model, trained from scratch. Ask it something, then open Tokens below its " +
      "answer to see what else it might have said.",
    "一个从零训练的小模型。问它点什么，再打开回答下方的“词元”，看看它本来还可能说什么。"],
  introText: ["A pretrained model continues any text. Write a beginning, then open Tokens to see " +
      "what else might have followed, and go that way.",
    "预训练模型会接着任何文字往下写。写一个开头，再打开“词元”，看看还可能怎样写下去，并走那条路。"],
  start1: ["Hello! Who are you?", "你好！你是谁？"], start1Text: ["Once upon a time", "从前，有一只小狐狸"],
  start2: ["Tell me a story about a little fox.", "讲一个小狐狸的故事。"],
  start3: ["What is the capital of France?", "法国的首都是哪里？"],
  start2Text: ["The little fox looked at the river and", "春天来了，"],
  start3Text: ["从前，有一只小狐狸", "Once upon a time"],
  hint: ["Enter sends · Shift + Enter begins a new line", "Enter 发送 · Shift + Enter 换行"],
  system: ["System prompt", "系统提示词"], sampling: ["Sampling", "采样"],
  systemHint: ["For this conversation and new ones.", "用于此对话和新对话。"],
  defaults: ["Back to the defaults", "恢复默认值"], temperature: ["Temperature", "温度"],
  temperatureHint: ["Higher: more surprising. 0: the likeliest token.", "越高越出人意料；0：总取最可能的词元。"],
  max_tokens: ["Longest answer", "回答最长"], max_tokensHint: ["In tokens.", "以词元计。"],
  seed: ["Seed", "随机种子"],
  seedHint: ["The same seed gives the same text. Empty: a new one.", "相同的种子给出相同的文字；留空：每次不同。"],
  top_p: ["Top p", "Top p"], top_k: ["Top k", "Top k"], min_p: ["Min p", "Min p"],
  top_pHint: ["Among the fewest tokens that hold this probability.", "只在合计占这一概率的最少词元中选择。"],
  top_kHint: ["Choose among this many likeliest tokens. 0: among all.", "只在这么多个最可能的词元中选择；0：全部。"],
  min_pHint: ["Not tokens less likely than this share of the likeliest.", "去掉概率低于最可能词元这一比例的词元。"],
  repetition_penalty: ["Repetition penalty", "重复惩罚"],
  repetition_penaltyHint: ["Above 1: tokens that occurred get less likely.", "大于 1：出现过的词元变得不那么可能。"],
  presence_penalty: ["Presence penalty", "存在惩罚"],
  presence_penaltyHint: ["Taken off once from a token in the answer.", "回答里已有的词元减去一次。"],
  frequency_penalty: ["Frequency penalty", "频率惩罚"],
  frequency_penaltyHint: ["Taken off each time a token is in the answer.", "词元每出现一次就减去一次。"],
  top_logprobs: ["Alternatives per token", "每个词元的备选数"],
  top_logprobsHint: ["How many the token view knows. 0: none are asked for.", "词元视图所知的备选；0：不请求。"],
  keyHint: ["Only for a server that asks for one; kept in this browser.", "仅用于需要密钥的服务器；保存在此浏览器中。"],
  shortcuts: ["Keyboard", "键盘"], keySend: ["send", "发送"], keyLine: ["new line", "换行"],
  keySettings: ["settings", "设置"], keyStop: ["stop the answer, close what is open", "停止回答，关闭打开的窗口"],
  keyEdit: ["in an empty field: edit your last message", "输入框为空时：编辑上一条消息"],
  keyRegenerate: ["regenerate", "重新生成"], keyTokens: ["tokens of the last answer", "最后回答的词元"],
  keyMove: ["from token to token", "逐个词元移动"], keyNew: ["new conversation", "新对话"],
  staff: ["The answer as notes on a staff: {0} tokens, perplexity {1}", "五线谱上的回答：{0} 个词元，困惑度 {1}"],
  staffHint: ["A note is a token: the higher, the more surprising.", "一个音符是一个词元：越高越出人意料。"],
  perplexity: ["perplexity {0}", "困惑度 {0}"], tokenLabel: ["{0}, {1}", "{0}，{1}"],
  rank: ["number {0} here", "此处排第 {0}"], likeliest: ["the likeliest here", "此处最可能"],
  bits: ["{0} bits of surprise", "{0} 比特的意外"], unranked: ["not among the likeliest", "不在最可能之列"],
  bytes: ["bytes {0}", "字节 {0}"], partOf: ["part of {0}", "“{0}”的一部分"],
  instead: ["Continue with {0} instead", "改用 {0} 继续"],
  lens: ["Alternatives to this token", "此处的备选词元"], context: ["context {0}", "上下文 {0}"],
  code: ["code", "代码"], yourMessage: ["Your message {0}", "你的第 {0} 条消息"],
  itsAnswer: ["Answer {0}", "第 {0} 个回答"],
};

const language = () => settings.language ?? (navigator.language.startsWith("zh") ? "zh" : "en");
const t = (name, ...values) =>
  TEXTS[name][language() === "zh" ? 1 : 0].replace(/\{(\d)\}/g, (_, n) => values[n]);

/** The text for the kind of model: a pretrained one continues texts, it does not chat. */
const tKind = (name, ...values) => t(isChat() ? name : `${name}Text`, ...values);

/* ---- 2. Elements: no text ever becomes markup ----------------------------------------------- */
const $ = (id) => document.getElementById(id);

/** Gives an element properties (functions listen) and children; null and false are left out. */
function dress(element, parts) {
  const isGiven = (value) => value !== undefined && value !== null && value !== false;
  const properties = parts[0]?.constructor === Object ? parts.shift() : {};
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (isGiven(value)) element.setAttribute(name, value);
  }
  element.append(...parts.filter(isGiven));
  return element;
}

/** An HTML element: h("tag.class", {properties}, ...children). */
function h(selector, ...parts) {
  const [tag, ...classes] = selector.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  if (tag === "button") element.type = "button";
  return dress(element, parts);
}

const SVG = "http://www.w3.org/2000/svg";
const s = (tag, ...parts) => dress(document.createElementNS(SVG, tag), parts);

function icon(name) {
  const drawing = s("use", { href: `#${name}-icon` });
  return s("svg", { class: `glyph ${name}-icon`, "aria-hidden": true }, drawing);
}

/** Names an element for screen readers, and a button for the mouse too. */
function nameElement(element, label) {
  element.setAttribute("aria-label", label);
  if (element.matches("button")) element.title = label;
}

function dressButton(element, name, label) {
  element.replaceChildren(icon(name));
  nameElement(element, label);
  return element;
}

const iconButton = (kind, name, label, click) =>
  dressButton(h(`button.${kind}`, { click }), name, label);

/* ---- 3. Stored state ------------------------------------------------------------------------ */
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

const DEFAULTS = { system: "", theme: "auto", language: null, sampling: {} };
const isText = (value) => typeof value === "string";
const THEMES = { auto: "light", light: "dark", dark: "auto" }; // with the one that comes next
/** What counts as a setting: another version or a person may have put anything there. */
const FITTING = {
  system: isText, theme: (v) => Object.hasOwn(THEMES, v), language: (v) => ["en", "zh"].includes(v),
  sampling: (v) => v?.constructor === Object,
};
const kept = Object.entries(store.get("settings") ?? {}).filter(([n, v]) => FITTING[n]?.(v));
const settings = { ...DEFAULTS, ...Object.fromEntries(kept) };
const keepSettings = () => store.set("settings", settings);

const state = {
  conversations: new Map(), // by id: all that are kept
  current: null, // the conversation that is shown
  model: null, // {name, chat, context, sampling}
  runs: new Map(), // conversation id: the answer that is being generated
  opened: new Set(), // ids of answers whose tokens are shown
  editing: null, // {edited: id of a message, text}
  follows: true, top: 0, // whether the end stays in sight; where one was scrolled to last
  isUnkept: false, // whether the storage is full or switched off
  trouble: null, // {error, retry, midway}
};

const isChat = () => state.model?.chat !== false;
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
function sampling() {
  const chosen = {};
  const server = state.model?.sampling;
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

/** A conversation as it was kept, without what is no part of one; null when it is none. */
function asConversation(value) {
  const isTokens = (all) => Array.isArray(all) && all.every((one) => Array.isArray(one?.[2]));
  const isMessage = ([id, m]) =>
    m?.id === id && isText(m.content) && ["user", "assistant"].includes(m.role);
  const isTree = isText(value?.id) && value.messages instanceof Object;
  if (!isTree || !Object.entries(value.messages).every(isMessage)) return null;
  for (const [name, own] of Object.entries({ title: "", system: "", updated: 0 }))
    if (typeof value[name] !== typeof own) value[name] = own;
  for (const m of Object.values(value.messages)) if (!isTokens(m.tokens)) delete m.tokens;
  const last = value.messages[value.leaf] ?? Object.values(value.messages).at(-1);
  value.leaf = last?.id ?? null;
  if (last?.role !== "assistant" || last.content || last.end) return value;
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
const newConversation = () => ({
  id: newId(), title: "", system: settings.system, updated: Date.now(), messages: {}, leaf: null,
});

/** A node of a tree and what is above it, first to last, also where a tree goes in circles. */
function ancestors(nodes, id) {
  const found = new Set();
  for (let node = nodes[id]; node && !found.has(node); node = nodes[node.parent]) found.add(node);
  return [...found].reverse();
}

/** The messages of a branch, first to last. */
const path = ({ messages, leaf }, last = leaf) => ancestors(messages, last);

function addMessage(conversation, role, content, parent) {
  const message = { id: newId(), role, content, parent };
  conversation.messages[message.id] = message;
  Object.assign(conversation, { leaf: message.id, updated: Date.now() });
  state.conversations.set(conversation.id, conversation);
  return message;
}

/* ---- 4. The server -------------------------------------------------------------------------- */
class ApiError extends Error {
  constructor(status, problem, retryAfter) {
    super(problem?.message ?? `HTTP ${status}`);
    Object.assign(this, { status, code: problem?.code, retryAfter });
  }
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
    const { id: name, kind, context_length: context, sampling: defaults } = data[0];
    state.model = { name, chat: kind !== "completion", context, sampling: defaults };
    if (state.trouble?.retry === findModel) setTrouble(null);
  } catch (error) {
    setTrouble(error, findModel);
  }
  draw();
}

/** Messages as the API takes them: roles must alternate, so neighbours of one role become one. */
function alternating(messages, system) {
  const turns = system.trim() ? [{ role: "system", content: system }] : [];
  for (const { role, content } of messages) {
    const last = turns.at(-1);
    if (!content.trim()) continue;
    if (last?.role === role) last.content += `\n\n${content}`;
    else turns.push({ role, content });
  }
  return turns;
}

const textOf = (messages) => messages.map((m) => m.content).join("");

/** The address and body of a request, without the first `dropped` messages or characters. */
function requestFor(conversation, message, dropped) {
  const messages = path(conversation, message.parent);
  const { top_logprobs: alternatives, ...chosen } = sampling();
  const streaming = { stream: true, stream_options: { include_usage: true } };
  const body = { model: state.model.name, ...streaming, ...chosen };
  if (body.seed === null) delete body.seed;
  if (state.model.chat) {
    if (alternatives) Object.assign(body, { logprobs: true, top_logprobs: alternatives });
    body.messages = alternating(messages.slice(dropped), conversation.system);
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
  if (state.model.chat) return next > 0 ? next : null;
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

/* ---- 5. Answers ----------------------------------------------------------------------------- */
const canContinue = () => !isChat() && Object.keys(state.current.messages).length > 0;
const stop = (conversation) => state.runs.get(conversation.id)?.controller.abort();
/** Generates another answer beside one, or to a message. */
const regenerate = (conversation, { role, id, parent }) =>
  answer(conversation, role === "assistant" ? parent : id);
/** Tokens a second, from the question on, as the terminal counts them too. */
const speedOf = (run, count) => Math.round((count * 1e3) / Math.max(1, run.last - run.begun));

/** Generates an answer below a message; `beginning` is text that the answer goes on from, `leaf`
 * what is shown again when nothing comes, `sent` the text (and what it edits) that was sent. */
async function answer(conversation, parent, options = {}) {
  if (!state.model) return findModel();
  if (state.runs.has(conversation.id)) return undefined;
  const { beginning = "", leaf = conversation.leaf, sent = null } = options;
  const message = addMessage(conversation, "assistant", beginning, parent);
  if (beginning) message.beginning = beginning;
  const now = performance.now();
  const controller = new AbortController();
  const run = { conversation, message, controller, begun: now, last: now, count: 0, speed: 0 };
  state.runs.set(conversation.id, run);
  setTrouble(null);
  announce(t("answering"));
  draw();
  scrollToEnd();
  const problem = await generate(run).catch((error) => error);
  if (problem?.name === "AbortError") message.end = "stopped";
  const isNothing = message.content === beginning && (!message.end || message.end === "stopped");
  const retry = () =>
    isNothing && sent ? resend(conversation) : answer(conversation, parent, { beginning });
  if (problem && message.end !== "stopped") setTrouble(problem, retry, !isNothing);
  if (problem?.status === 404) findModel(); // another model may be served by now
  return finish(run, isNothing && { leaf, sent });
}

/** Asks for an answer; while the server says that the context is too small, for one to less. */
async function generate(run) {
  const { conversation, message, controller } = run;
  const before = path(conversation, message.parent).findLast((m) => m.role === "assistant");
  let dropped = state.model.chat ? (before?.dropped ?? 0) : 0;
  // A quarter of the context is left for the answer, as in the terminal.
  const used = before?.usage ? before.usage[0] + before.usage[1] : 0;
  if (state.model.chat && used > 0.75 * state.model.context)
    dropped = dropMore(conversation, message, dropped) ?? dropped;
  for (;;) {
    try {
      const [address, body] = requestFor(conversation, message, dropped);
      const response = await request(address, body, controller.signal);
      if (dropped) message.dropped = dropped;
      for await (const event of events(response)) addChunk(run, event);
      return;
    } catch (error) {
      if (error.code !== "context_length_exceeded") throw error;
      dropped = dropMore(conversation, message, dropped);
      if (dropped === null) throw error;
    }
  }
}

function addChunk(run, event) {
  if (event.error) throw new ApiError(event.error.status ?? 500, event.error);
  const { message } = run;
  if (event.usage) message.usage = [event.usage.prompt_tokens, event.usage.completion_tokens];
  const choice = event.choices?.[0];
  if (!choice) return;
  const tokens = tokensOf(choice);
  if (tokens.length) (message.tokens ??= []).push(...tokens);
  const text = choice.delta?.content ?? choice.text ?? "";
  run.count += tokens.length || Number(text !== "");
  message.content += text;
  if (choice.finish_reason)
    message.end = choice.cut_by === "context" ? "full" : choice.finish_reason;
  run.last = performance.now();
  repaint();
}

/** Ends a run; where nothing came, it is as if nothing had been asked. */
function finish({ conversation, message, ...run }, undone) {
  state.runs.delete(conversation.id);
  const count = message.usage?.[1] ?? run.count;
  if (count) message.speed = speedOf(run, count);
  if (undone) {
    delete conversation.messages[message.id];
    if (undone.sent) delete conversation.messages[message.parent];
    Object.assign(conversation, { leaf: undone.leaf, draft: undone.sent });
  }
  keepConversation(conversation);
  if (conversation === state.current) takeDraft();
  if (message.content && !undone) announce(t("answered", message.content));
  draw();
  if (conversation === state.current && state.follows) scrollToEnd();
}

/** Puts a text that was not answered back where it was written. */
function takeDraft() {
  const { current } = state;
  const { text, edited } = current.draft ?? {};
  if (!isText(text)) return;
  delete current.draft;
  const field = $("text");
  if (current.messages[edited] && !state.editing) edit(current.messages[edited], text);
  else field.value = [text, field.value].filter((part) => part.trim()).join("\n\n");
  if (Object.keys(current.messages).length) keepConversation(current);
  else forget(Object.assign(current, { title: "" }));
}

/** Sends a text as a message below another one; `edited` is the message in whose place it is. */
function send(conversation, text, parent, edited) {
  const { leaf } = conversation;
  const { id } = addMessage(conversation, "user", text, parent);
  keepConversation(conversation);
  return answer(conversation, id, { leaf, sent: { text, edited } });
}

/** Sends what was written; without a text, a pretrained model goes on where it is. */
function submit(text) {
  const conversation = state.current;
  if (!state.model) return findModel();
  if (isRunning() || (!text.trim() && !canContinue())) return undefined;
  if ($("text").value === text) $("text").value = "";
  store.set("current", conversation.id);
  if (!text) return answer(conversation, conversation.leaf);
  conversation.title ||= titleOf(text);
  return send(conversation, text, conversation.leaf);
}

/** Sends a text again that came back. */
function resend(conversation) {
  show(conversation);
  return state.editing ? sendEdit() : submit($("text").value);
}

/* ---- 6. Markdown: blocks, then what is inside a line ---------------------------------------- */
const DEEPEST = 8; // of lists and quotations inside one another: a text may consist of ">"
const FENCE = /^ {0,3}(`{3,}|~{3,}) *([\w+#.-]*)/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)]) +(?=\S)/;
const RULE = /^ {0,3}([-*_])(?: *\1){2,} *$/;
const HEADING = /^ {0,3}(#{1,6}) +(.*)$/;
const QUOTE = /^ {0,3}> ?/;
const DASHES = /^ *\|?(?: *:?-+:? *\|)+(?: *:?-+:? *)?$/;

const interruptsParagraph = (line) =>
  [FENCE, ITEM, RULE, HEADING, QUOTE].some((opening) => opening.test(line));

/** The blocks of a text: [source, a function that builds the element]. */
function blocks(lines, depth = 0) {
  const found = [];
  for (let at = 0, length; at < lines.length; at += length) {
    let build = null;
    [length, build] = lines[at].trim() ? block(lines, at, depth) : [1, null];
    if (build) found.push([lines.slice(at, at + length).join("\n"), build]);
  }
  return found;
}

const builtBlocks = (lines, depth) => blocks(lines, depth).map(([, build]) => build());

/** The block that begins at a line: how many lines it has, and how it is built. */
function block(lines, at, depth) {
  const line = lines[at];
  if (FENCE.test(line)) return codeBlock(lines, at);
  if (RULE.test(line)) return [1, () => h("hr")];
  const [, marks, title] = HEADING.exec(line) ?? [];
  if (marks) return [1, () => inline(h(`h${Math.min(6, marks.length + 2)}`), title)];
  if (depth < DEEPEST && QUOTE.test(line)) return quotation(lines, at, depth);
  if (depth < DEEPEST && ITEM.test(line)) return list(lines, at, depth);
  if (line.includes("|") && DASHES.test(lines[at + 1] ?? "")) return table(lines, at);
  return paragraph(lines, at);
}

/** Where the lines of a kind end that begin at a place. */
function endOf(lines, at, isOfKind) {
  while (at < lines.length && isOfKind(lines[at])) at += 1;
  return at;
}

function paragraph(lines, at) {
  const end = endOf(lines, at + 1, (line) => line.trim() && !interruptsParagraph(line));
  const text = lines.slice(at, end).map((line) => line.trim());
  return [end - at, () => inline(h("p"), text.join("\n"))];
}

function codeBlock(lines, at) {
  const [, fence, name] = FENCE.exec(lines[at]);
  const closes = (line) => line.startsWith(fence) && !line.replaceAll(fence[0], "");
  const end = endOf(lines, at + 1, (line) => !closes(line.trim()));
  const code = lines.slice(at + 1, end).join("\n");
  const header = () => h("header", name || t("code"), copyButton(code));
  const build = () => h("div.code", header(), h("pre", { tabindex: 0 }, h("code", code)));
  return [Math.min(end + 1, lines.length) - at, build];
}

function quotation(lines, at, depth) {
  const end = endOf(lines, at, (line) => QUOTE.test(line));
  const inner = lines.slice(at, end).map((line) => line.replace(QUOTE, ""));
  return [end - at, () => h("blockquote", ...builtBlocks(inner, depth + 1))];
}

function list(lines, at, depth) {
  const [, , mark] = ITEM.exec(lines[at]);
  const isNumbered = /\d/.test(mark);
  const items = [];
  let end = at;
  let indent = 0;
  for (; end < lines.length; end += 1) {
    const item = ITEM.exec(lines[end]);
    const space = lines[end].search(/\S/);
    if (item && (!items.length || space < indent)) {
      if (/\d/.test(item[2]) !== isNumbered) break;
      indent = item[0].length;
      items.push([lines[end].slice(indent)]);
    } else if (space < 0) {
      if (!(lines[end + 1]?.search(/\S/) >= indent) && !ITEM.test(lines[end + 1] ?? "")) break;
      items.at(-1).push("");
    } else if (space >= indent) items.at(-1).push(lines[end].slice(indent));
    else if (!lines[end - 1].trim() || interruptsParagraph(lines[end])) break;
    else items.at(-1).push(lines[end].trim());
  }
  const [tag, start] = isNumbered ? ["ol", parseInt(mark, 10)] : ["ul", null];
  const built = () => items.map((item) => h("li", ...itemContent(item, depth + 1)));
  return [end - at, () => h(tag, { start }, ...built())];
}

/** The content of a list item; its first paragraph stands beside the mark. */
function itemContent(lines, depth) {
  const content = builtBlocks(lines, depth);
  if (content[0]?.tagName === "P") content.splice(0, 1, ...content[0].childNodes);
  return content;
}

function table(lines, at) {
  const end = endOf(lines, at + 2, (line) => line.includes("|"));
  const cells = (line) => line.trim().replace(/^\||\|$/g, "").split("|");
  const row = (tag, line) => h("tr", ...cells(line).map((cell) => inline(h(tag), cell.trim())));
  const body = () => lines.slice(at + 2, end).map((line) => row("td", line));
  const build = () => h("table", h("thead", row("th", lines[at])), h("tbody", ...body()));
  return [end - at, () => h("div.wide", { tabindex: 0 }, build())];
}

const MARKS = [["**", "strong"], ["__", "strong"], ["~~", "del"], ["*", "em"], ["_", "em"]];
/** What else may stand inside a line: how it is found, and what is made of it. */
const SPANS = [
  [/[^\n\\`*_~[!h]+/y, ([text]) => text],
  [/\n/y, () => h("br")],
  [/\\([\\`*_{}[\]()#+\-.!|~>])/y, ([, escaped]) => escaped],
  [/!?\[([^[\]\n]{0,400})\]\(([^\s()<>]{1,800})\)/y, ([, words, url]) => anchor(url, words || url)],
  [/(?<!\w)https?:\/\/[^\s<>"'`]{2,800}[^\s<>"'`.,;:!?)\]}，。；：！？）]/y, ([a]) => anchor(a)],
];

/** Fills an element with a line's text: code, emphasis, links; all else is text. */
function inline(element, text, depth = 0) {
  const missing = new Set(); // marks without a partner further on: looked for once, not each time
  for (let at = 0, node, length; at < text.length; at += length) {
    [node, length] = span(text, at, depth, missing);
    element.append(node);
  }
  element.normalize();
  return element;
}

/** What stands at a place in a line: [node or text, length]. */
function span(text, at, depth, missing) {
  if (text[at] === "`") return codeSpan(text, at);
  if ("*_~".includes(text[at])) return emphasis(text, at, depth, missing);
  for (const [expression, build] of SPANS) {
    expression.lastIndex = at;
    const found = expression.exec(text);
    if (found) return [build(found), found[0].length];
  }
  return [text[at], 1];
}

function codeSpan(text, at) {
  const [marks] = /^`+/.exec(text.slice(at));
  const start = at + marks.length;
  let end = text.indexOf(marks, start);
  while (end >= 0 && text[end + marks.length] === "`") {
    while (text[end] === "`") end += 1;
    end = text.indexOf(marks, end);
  }
  if (end < 0) return [marks, marks.length];
  return [h("code", text.slice(start, end).trim()), end + marks.length - at];
}

function emphasis(text, at, depth, missing) {
  for (const [mark, tag] of depth < DEEPEST ? MARKS : []) {
    const start = at + mark.length;
    if (!text.startsWith(mark, at) || missing.has(mark) || !/\S/.test(text[start] ?? "")) continue;
    if (mark[0] === "_" && /[\p{L}\p{N}]/u.test(text[at - 1] ?? "")) continue;
    let end = text.indexOf(mark, start + 1);
    if (mark.length === 1)
      while (end >= 0 && (text[end + 1] === mark || !/\S/.test(text[end - 1])))
        end = text.indexOf(mark, end + (text[end + 1] === mark ? 2 : 1));
    if (end < 0) missing.add(mark);
    else return [inline(h(tag), text.slice(start, end), depth + 1), end + mark.length - at];
  }
  return [text[at], 1];
}

/** A link to the web or to a mail address; pictures are links: nothing loads without a click. */
function anchor(url, words = url) {
  if (!/^(https?:\/\/|mailto:)/i.test(url)) return words;
  const rel = "noopener noreferrer nofollow";
  return h("a", { href: url, title: url, target: "_blank", rel }, words);
}

/** Shows a text as Markdown; of one that grows, only what has changed is built again. */
function paintMarkdown(element, text) {
  const wanted = blocks(text.replaceAll("\t", "    ").split(/\r?\n/));
  const old = element.sources ?? [];
  let same = 0;
  while (same < wanted.length && wanted[same][0] === old[same]) same += 1;
  while (element.childNodes.length > same) element.lastChild.remove();
  element.append(...wanted.slice(same).map(([, build]) => build()));
  element.sources = wanted.map(([source]) => source);
}

/* ---- 7. The tokens of an answer ------------------------------------------------------------- */
const bits = (logprob) => -logprob / Math.LN2;
const hex = (bytes) => bytes.map((b) => b.toString(16).toUpperCase().padStart(2, "0")).join(" ");
const isBytes = (piece) => !isText(piece);

function percent(logprob) {
  const share = 100 * Math.exp(logprob);
  return share < 0.095 ? "<0.1 %" : `${share.toFixed(share < 9.95 ? 1 : 0)} %`;
}

const messageOf = (element) =>
  state.current.messages[element.closest("[data-message]")?.dataset.message];
/** Blanks and line breaks made visible, for a token that is shown alone. */
function visible(piece) {
  if (isBytes(piece)) return `‹${hex(piece)}›`;
  return piece.replaceAll(" ", "␣").replaceAll("\n", "↵").replaceAll("\t", "⇥") || "∅";
}

/** What each token shows: the characters it completes; and the one that its bytes are part of. */
function showings(tokens) {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  const shown = tokens.map(([piece]) => {
    const bytes = isBytes(piece) ? new Uint8Array(piece) : new TextEncoder().encode(piece);
    return { text: decoder.decode(bytes, { stream: true }), whole: "" };
  });
  for (let i = shown.length - 1, next = ""; i >= 0; i -= 1) {
    if (shown[i].text) next = [...shown[i].text][0];
    if (isBytes(tokens[i][0])) shown[i].whole = next;
  }
  return shown;
}

function tokenElement([piece, logprob], { text }, number) {
  const label = t("tokenLabel", visible(piece), percent(logprob));
  const element = h("span.token", {
    role: "button", tabindex: number ? -1 : 0, "data-token": number,
    "aria-haspopup": "dialog", "aria-label": label,
  });
  element.style.setProperty("--heat", `${Math.min(62, Math.round(bits(logprob) * 9))}%`);
  if (!text) element.append(h("span.hex", isBytes(piece) ? hex(piece) : "∅"));
  else
    for (const [i, line] of text.split("\n").entries())
      element.append(...(i ? [h("span.mark", "↵"), "\n"] : []), line);
  return element;
}

/** Adds the tokens that came since: those that are there stay under the mouse and the focus. */
function growTokens(home, tokens) {
  const shown = showings(tokens);
  for (let i = home.querySelectorAll(".token").length; i < tokens.length; i += 1)
    home.append(tokenElement(tokens[i], shown[i], i));
}

/* The answer as notes on a staff: one a token, as high as it is surprising; a line is 2 bits. */
const STAFF = { gap: 10, step: 15, bottom: 52 };

function paintStaff(turn, tokens) {
  const old = turn.querySelector(".staffwrap");
  if (!tokens) old?.remove();
  else growStaff(old ?? turn.insertAdjacentElement("afterbegin", staff()), tokens);
}

function staff() {
  const lines = [0, 1, 2, 3, 4].map((i) => {
    const y = STAFF.bottom - i * STAFF.gap;
    return s("line", { x2: "100%", y1: y, y2: y, stroke: "var(--line)" });
  });
  const height = STAFF.bottom + STAFF.gap;
  const notes = s("svg", { height, "aria-hidden": true }, ...lines);
  return h("div.staffwrap",
    h("div.staffscroll", { role: "img", tabindex: 0 }, notes),
    h("div.caption", h("span", t("staffHint")), h("span")),
  );
}

function growStaff(wrap, tokens) {
  const notes = wrap.querySelector("svg");
  const known = notes.querySelectorAll("[data-note]").length;
  notes.setAttribute("width", tokens.length * STAFF.step + 8);
  notes.append(...tokens.slice(known).map(([, logprob], i) => note(bits(logprob), known + i)));
  const surprise = tokens.reduce((sum, [, logprob]) => sum - logprob, 0) / tokens.length;
  const perplexity = Math.exp(surprise).toFixed(surprise > 2.3 ? 0 : 1);
  wrap.firstElementChild.setAttribute("aria-label", t("staff", tokens.length, perplexity));
  wrap.lastElementChild.lastElementChild.textContent = t("perplexity", perplexity);
}

function note(surprise, number) {
  const { gap, step, bottom } = STAFF;
  const y = bottom - Math.min(surprise / 2, 4.9) * gap;
  const x = number * step + 8;
  const side = y < bottom - 2 * gap ? -1 : 1; // high notes have their stems on the left, downwards
  const target = { x: x - step / 2, width: step, height: bottom + gap, fill: "transparent" };
  const head = { cx: x, cy: y, rx: 4.5, ry: 3.3, transform: `rotate(-22 ${x} ${y})` };
  const stem = { x1: x + 4 * side, x2: x + 4 * side, y1: y, y2: y - 22 * side };
  return s("g", { "data-note": number, color: surprise > 4 ? "var(--surprise)" : "var(--ink)" },
    s("rect", target),
    s("ellipse", { ...head, fill: "currentColor" }),
    s("line", { ...stem, stroke: "currentColor", "stroke-width": 1.1 }),
  );
}

/** The box with the alternatives at a token's place. */
const lens = { token: null, pinned: false };

function openLens(element, pinned) {
  const message = messageOf(element);
  const number = Number(element.dataset.token);
  if (!message?.tokens?.[number]) return;
  lens.token?.classList.remove("chosen");
  Object.assign(lens, { token: element, pinned });
  element.classList.add("chosen");
  $("lens").replaceChildren(...lensContent(message, number));
  $("lens").hidden = false;
  placeBeside($("lens"), element.getClientRects()[0]);
}

function closeLens() {
  $("lens").hidden = true;
  lens.token?.classList.remove("chosen");
  Object.assign(lens, { token: null, pinned: false });
}

function lensContent(message, number) {
  const [piece, logprob, alternatives] = message.tokens[number];
  const isTaken = (other) => JSON.stringify(other) === JSON.stringify(piece);
  const rank = alternatives.findIndex(([other]) => isTaken(other)) + 1;
  const { whole } = showings(message.tokens)[number];
  const facts = [
    isBytes(piece) && t("bytes", hex(piece)) + (whole && `, ${t("partOf", whole)}`),
    t(rank > 1 ? "rank" : rank ? "likeliest" : "unranked", rank),
    t("bits", bits(logprob).toFixed(1)),
  ];
  const rows = rank || !alternatives.length ? alternatives : [...alternatives, [piece, logprob]];
  const row = ([other, value]) => alternativeRow(message, number, other, value, isTaken(other));
  return [
    h("div.top", h("span.piece", visible(piece)), h("span.share", percent(logprob))),
    h("p.how", facts.filter(Boolean).join(" · ")),
    h("ol", ...rows.map(row)),
  ];
}

/** An alternative; a pretrained model's text can go on with it. */
function alternativeRow(message, number, piece, logprob, isTaken) {
  const bar = h("i");
  bar.style.width = `${100 * Math.exp(logprob)}%`;
  const cells = [
    h("span.piece-small", visible(piece)),
    h("span.track", { "aria-hidden": true }, bar),
    h("span.value", percent(logprob)),
  ];
  const isControl = isBytes(piece) || /^<\|.*\|>$/.test(piece);
  if (isTaken || isChat() || isControl) return h(isTaken ? "li.taken" : "li", ...cells);
  const click = () => continueWith(message, number, piece);
  const label = t("instead", visible(piece));
  return h("li", h("button.alternative", { "aria-label": label, click }, ...cells));
}

/** A pretrained model's text, from one of its tokens on, with another one in its place. */
function continueWith(message, number, piece) {
  const before = showings(message.tokens).slice(0, number).map(({ text }) => text);
  closeLens();
  const beginning = (message.beginning ?? "") + before.join("") + piece;
  answer(state.current, message.parent, { beginning });
}

/** Puts a box below a target, or above where there is no room, inside the window. */
function placeBeside(box, target) {
  const margin = 8;
  const lowest = Math.max(margin, innerHeight - box.offsetHeight - margin);
  const below = target.bottom + margin;
  const above = target.top - box.offsetHeight - margin;
  const fits = below <= lowest || above < margin;
  const left = Math.min(target.left, innerWidth - box.offsetWidth - margin);
  box.style.left = `${Math.max(margin, left)}px`;
  box.style.top = `${fits ? Math.min(below, lowest) : above}px`;
}

/* ---- 8. Drawing ----------------------------------------------------------------------------- */
const editButton = (message) => iconButton("tool", "edit", t("edit"), () => edit(message));
const tokenGroup = () => h("div.tokens", { role: "group", "aria-label": t("tokens") });
const isEdited = ({ id }) => state.editing?.edited === id;
const caret = () => h("span.caret", { "aria-hidden": true });
const announce = (text) => $("spoken").replaceChildren(text); // by a screen reader

function draw() {
  const { model, current } = state;
  document.documentElement.lang = language() === "zh" ? "zh-CN" : "en";
  document.documentElement.dataset.theme = settings.theme;
  document.title = current.title ? `${current.title} · Étude` : "Étude";
  for (const element of document.querySelectorAll("[data-text]"))
    element.textContent = t(element.dataset.text);
  for (const element of document.querySelectorAll("[data-label]"))
    nameElement(element, t(element.dataset.label));
  $("title").textContent = current.title || t("fresh");
  $("title").classList.toggle("upright", /\p{Script=Han}/u.test($("title").textContent));
  const context = model?.context && h("span.context", t("context", model.context));
  const name = model && h("b", { title: model.name }, model.name);
  $("model").replaceChildren(...[name, context].filter(Boolean));
  dressButton($("theme"), settings.theme, t(`theme_${settings.theme}`));
  $("new").lastElementChild.textContent = tKind("fresh");
  drawList();
  drawScore();
  drawComposer();
  drawTrouble();
}

function drawComposer() {
  const running = isRunning();
  const text = $("text");
  fitText(text);
  text.placeholder = tKind("placeholder");
  $("text-label").textContent = text.placeholder;
  dressButton($("send"), running ? "stop" : "send", t(running ? "stop" : isChat() ? "send" : "go"));
  $("send").classList.toggle("stop", running);
  quietly(() => sessionStorage.setItem(`${PREFIX}draft`, text.value)); // for a reload
  $("send").disabled = !running && !text.value.trim() && !canContinue();
  const { usage } = shownPath().findLast((message) => message.usage) ?? {};
  const context = state.model?.context;
  $("room").textContent = usage && context ? t("room", usage[0] + usage[1], context) : "";
}

function drawList() {
  const row = (conversation) => {
    const isCurrent = conversation === state.current;
    const click = () => show(conversation);
    const title = conversation.title || t("fresh");
    return h(isCurrent ? "li.current" : "li",
      h("button.open", { "aria-current": isCurrent, click }, title),
      iconButton("icon", "edit", t("rename"), () => rename(conversation)),
      iconButton("icon", "export", t("export"), () => exportConversation(conversation)),
      iconButton("icon", "remove", t("remove"), () => removeConversation(conversation)),
    );
  };
  $("conversations").replaceChildren(...newestFirst().map(row));
}

function drawScore() {
  const messages = shownPath();
  const spot = focusSpot();
  closeLens();
  let number = 0;
  const turn = (message) => {
    if (message.role === "user") number += 1;
    return message.role === "user" ? userTurn(message, number) : answerTurn([message], number);
  };
  if (!messages.length) $("score").replaceChildren(overture());
  else if (!isChat()) $("score").replaceChildren(answerTurn(messages, 1));
  else $("score").replaceChildren(...messages.map(turn));
  const last = messages.at(-1);
  const again = h("button.plain", { click: () => regenerate(state.current, last) }, t("retry"));
  if (last?.role === "user" && !isRunning()) $("score").append(h("div.row", again));
  if (spot) document.querySelector(spot)?.focus();
}

/** Where the focus is in the conversation, for when that has been drawn again. */
function focusSpot() {
  const focused = document.activeElement;
  const home = focused?.closest?.("#score [data-message]");
  const name = ["data-token", "aria-pressed", "title"].find((n) => focused?.hasAttribute(n));
  if (!home || !name) return null;
  const value = name === "aria-pressed" ? "" : `="${CSS.escape(focused.getAttribute(name))}"`;
  return `[data-message="${home.dataset.message}"] [${name}${value}]`;
}

/** What an empty conversation shows. */
function overture() {
  const content = $("overture").content.cloneNode(true);
  content.querySelector("h2").textContent = tKind("hello");
  content.querySelector("p").textContent = tKind("intro");
  for (const text of ["start1", "start2", "start3"].map(tKind)) {
    const start = h("button", { click: () => submit(text) }, text, icon("right"));
    content.querySelector(".starts").append(h("li", start));
  }
  return content;
}

function userTurn(message, number) {
  const properties = { "data-message": message.id, "aria-label": t("yourMessage", number) };
  const bar = h("span.bar", { "aria-hidden": true }, number);
  if (isEdited(message)) return h("article.turn.user", properties, bar, editor());
  const tools = [versions(message), copyButton(message.content), editButton(message)];
  const said = h("div.said", message.content);
  return h("article.turn.user", properties, bar, said, h("div.tools", ...tools));
}

/** An answer; a pretrained model's whole conversation is one: what was written, what followed. */
function answerTurn(messages, number) {
  const { id } = messages.at(-1);
  const body = isChat() ? h("div.answer") : h("div.manuscript", ...messages.map(manuscriptPart));
  const properties = { "data-message": id, "aria-label": t("itsAnswer", number) };
  const turn = h("article.turn.assistant", properties, body, h("div.tools"));
  paintAnswer(turn, messages);
  return turn;
}

function manuscriptPart(message) {
  if (isEdited(message)) return editor();
  return h(message.role === "user" ? "span.mine" : "span.its", { "data-message": message.id });
}

/** Draws an answer as it is, or as it grew. */
function paintAnswer(turn, messages) {
  const last = messages.at(-1);
  const running = runOf(last);
  const isOpen = state.opened.has(last.id) && last.tokens?.length > 0;
  turn.querySelectorAll(".caret, .note").forEach((old) => old.remove());
  turn.ariaBusy = running ? "true" : null;
  paintStaff(turn, isOpen ? last.tokens : null);
  const body = turn.querySelector(".answer, .manuscript");
  for (const message of messages) paintContent(body, message, isOpen, running);
  if (running) lastLine(body).append(caret());
  if (last.dropped) body.after(h("p.note", tKind("forgotten", last.dropped)));
  paintTools(turn.querySelector(".tools"), messages, running);
}

/** Draws a message as text, as Markdown or as tokens. */
function paintContent(body, { id, content, tokens, beginning = "" }, isOpen, running) {
  const home = isChat() ? body : body.querySelector(`span[data-message="${id}"]`);
  if (!home) return; // it is being edited
  if (isOpen && tokens?.length) {
    if (!home.querySelector(".token")) home.replaceChildren(isChat() ? tokenGroup() : beginning);
    home.sources = null;
    growTokens(home.querySelector(".tokens") ?? home, tokens);
  } else if (!isChat()) home.textContent = content;
  else if (content.trim() || running) paintMarkdown(home, content);
  else home.replaceChildren(h("p.nothing", t("nothing")));
}

/** The element of a text's last line, where what comes next will stand. */
function lastLine(element) {
  let home = element;
  while (home.lastElementChild?.matches("p, li, ul, ol, blockquote, h3, h4, h5, h6, .tokens"))
    home = home.lastElementChild;
  return home;
}

/** While an answer grows, what one may be about to click stays where it is. */
function paintTools(tools, messages, running) {
  const message = messages.at(-1);
  const old = tools.querySelector(".facts");
  const toggle = tools.querySelector("[aria-pressed]");
  if (!running || !old || Boolean(toggle) !== Boolean(message.tokens?.length))
    tools.replaceChildren(...answerTools(messages, running).filter(Boolean));
  else {
    toggle?.setAttribute("aria-pressed", state.opened.has(message.id));
    old.replaceWith(facts(message, running));
  }
}

function answerTools(messages, running) {
  const message = messages.at(-1);
  const written = !running && messages.findLast((m) => m.role === "user");
  const edit = written && editButton(written);
  if (message.role === "user") return [edit]; // the model has not answered
  const again = () => regenerate(state.current, message);
  return [
    edit,
    !running && versions(message),
    !running && copyButton(message.content),
    !running && iconButton("tool", "again", t("regenerate"), again),
    message.tokens?.length && tokensButton(message),
    facts(message, running),
  ];
}

function tokensButton(message) {
  const click = () => toggleTokens(message);
  const isPressed = `${state.opened.has(message.id)}`; // "false" too is to be set
  const properties = { title: t("tokensLabel"), "aria-pressed": isPressed, click };
  return h("button.tool", properties, icon("note"), h("span", t("tokens")));
}

function toggleTokens(message) {
  if (!state.opened.delete(message.id)) state.opened.add(message.id);
  closeLens();
  refresh(message);
  document.querySelector(`[data-message="${message.id}"] [aria-pressed]`)?.focus();
}

/** Why an answer ended, how many tokens it has, and its speed. */
function facts(message, running) {
  const speed = running ? running.speed : message.speed;
  const count = running ? running.count : message.usage?.[1];
  const isCut = ["stopped", "length", "full"].includes(message.end);
  return h("span.facts",
    isCut && h("span", t(message.end)),
    count > 0 && h("span", t(count === 1 ? "oneToken" : "count", count)),
    speed > 0 && h("span.tempo", icon("note"), `= ${t("speed", speed)}`),
  );
}

/** Steps through the versions of a message. */
function versions(message) {
  const all = children(state.current, message.parent).filter((m) => m.role === message.role);
  if (all.length < 2) return null;
  const at = all.indexOf(message);
  const arrow = (name, label, next) => {
    const disabled = !next || isRunning();
    return Object.assign(iconButton("tool", name, t(label), () => showVersion(next)), { disabled });
  };
  return h("span.branches", { role: "group", "aria-label": t("version", at + 1, all.length) },
    arrow("left", "previous", all[at - 1]),
    `${at + 1}/${all.length}`,
    arrow("right", "next", all[at + 1]),
  );
}

function showVersion({ id }) {
  for (let next = id; next; next = children(state.current, next).at(-1)?.id)
    state.current.leaf = next;
  keepConversation(state.current);
  draw();
  document.querySelector(`[data-message="${id}"] .branches button:not(:disabled)`)?.focus();
}

function edit(message, text = message.content) {
  state.editing = { edited: message.id, text };
  draw();
  const field = document.querySelector(".edit textarea");
  fitText(field);
  field.focus();
  field.setSelectionRange(field.value.length, field.value.length);
}

function leaveEditor() {
  state.editing = null;
  draw();
  $("text").focus();
}

/** Sends what stands in the editor, as a new branch beside the message that is edited. */
function sendEdit() {
  const { edited, text } = state.editing;
  if (!state.model) return findModel();
  if (!text.trim() || isRunning()) return undefined;
  leaveEditor();
  return send(state.current, text, state.current.messages[edited].parent, edited);
}

/** A field in the place of a message. */
function editor() {
  const input = () => {
    state.editing.text = field.value;
    fitText(field);
  };
  const field = h("textarea", { "aria-label": t("edit"), rows: 1, input });
  field.value = state.editing.text;
  field.addEventListener("keydown", (event) => {
    if (event.key === "Escape") leaveEditor();
    else if (isSend(event)) sendEdit();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  const save = h("button.plain.strong", { click: sendEdit }, t("save"));
  const cancel = h("button.plain", { click: leaveEditor }, t("cancel"));
  return h("div.edit", field, h("div.row", save, cancel));
}

function refresh(message) {
  const turn = document.querySelector(`#score > article[data-message="${message.id}"]`);
  if (turn) paintAnswer(turn, isChat() ? [message] : shownPath());
}

let isPainting = false;
/** Draws the growing answer with the next frame, however many tokens came until then. */
function repaint() {
  if (isPainting) return;
  isPainting = true;
  requestAnimationFrame(() => {
    isPainting = false;
    const shown = state.runs.get(state.current.id);
    if (!shown) return;
    const now = performance.now();
    if (now - (shown.measured ?? shown.begun) > 400) {
      shown.speed = speedOf(shown, shown.count);
      shown.measured = now;
    }
    refresh(shown.message);
    if (state.follows) scrollToEnd();
    $("down").hidden = belowSight() < 80;
  });
}

/** For movements that scrolling to the end would cut short: smooth ones, and a finger's. */
const lookUp = () => (state.follows &&= !$("scroller").scrollTop);
const belowSight = (all = $("scroller")) => all.scrollHeight - all.scrollTop - all.clientHeight;

function scrollToEnd() {
  $("scroller").scrollTo(0, $("scroller").scrollHeight);
  Object.assign(state, { follows: true, top: $("scroller").scrollTop });
}

function copyButton(text) {
  const made = iconButton("tool", "copy", t("copy"), async () => {
    await copy(text);
    dressButton(made, "check", t("copied"));
    announce(t("copied"));
    setTimeout(() => dressButton(made, "copy", t("copy")), 1500);
  });
  return made;
}

/** Copies a text; in the old way where the page came over http from another machine. */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const field = h("textarea.unseen", { readonly: "" });
    field.value = text;
    const before = document.activeElement;
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
    before?.focus();
  }
}

let toastTimer = 0;
/** Shows a line for seven seconds, with something that can be done. */
function showToast(text, label = "", action = null) {
  const toast = $("toast");
  const [line, button] = toast.children;
  const hide = () => toast.toggleAttribute("hidden", true);
  line.textContent = text;
  const onclick = () => {
    hide();
    action();
  };
  Object.assign(button, { textContent: label, hidden: !label, onclick });
  toast.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(hide, 7000);
}

/** Shows what went wrong: one line, with what can be done. */
function setTrouble(error, retry, midway = false) {
  state.trouble = error && { error, retry, midway };
  drawTrouble();
}

function troubleText({ error, midway }) {
  if (!(error instanceof ApiError)) return t(midway ? "broken" : "gone");
  if (error.status === 401) return t("keyNeeded");
  if ([429, 503].includes(error.status))
    return error.retryAfter ? t("busyFor", error.retryAfter) : t("busy");
  if (error.code === "context_length_exceeded") return t("tooLong");
  return t("refused", error.message);
}

function drawTrouble() {
  const { trouble } = state;
  const [line, key, retry] = $("trouble").firstElementChild.children;
  const text = trouble ? troubleText(trouble) : "";
  if (line.textContent === text) return; // a screen reader would read the alert again
  line.textContent = text;
  $("trouble").hidden = !trouble;
  const needsKey = trouble?.error.status === 401;
  const isHopeless = trouble?.error.code === "context_length_exceeded";
  Object.assign(key, { hidden: !needsKey, value: "", placeholder: t("keyLabel") });
  Object.assign(retry, { hidden: isHopeless, textContent: t(needsKey ? "useKey" : "retry") });
  if (needsKey) key.focus();
}

function retryTrouble(event) {
  event.preventDefault();
  const { error, retry } = state.trouble;
  if (error.status === 401) store.set("key", event.target.querySelector("input").value.trim());
  setTrouble(null);
  retry();
}

function closeTrouble() {
  setTrouble(null);
  $("text").focus();
}

/* ---- 9. Conversations ----------------------------------------------------------------------- */
function show(conversation) {
  if (state.editing) state.current.draft = state.editing;
  Object.assign(state, { current: conversation, editing: null });
  store.set("current", conversation.id);
  if (state.trouble?.retry !== findModel) setTrouble(null);
  toggleContents(false);
  $("text").focus();
  takeDraft();
  draw();
  scrollToEnd();
}

/** A field in the place of a conversation's title. */
function rename(conversation) {
  const field = h("input", { type: "text", "aria-label": t("rename"), maxlength: 120 });
  field.value = conversation.title;
  const end = () => {
    conversation.title = field.value.trim() || conversation.title;
    keepConversation(conversation);
    draw();
  };
  field.addEventListener("blur", end, { once: true });
  field.addEventListener("keydown", (event) => {
    if (event.isComposing || !["Enter", "Escape"].includes(event.key)) return;
    event.preventDefault();
    event.stopPropagation();
    if (event.key === "Escape") field.value = conversation.title;
    field.blur();
    $("conversations").querySelector(".current .open")?.focus();
  });
  const row = $("conversations").children[newestFirst().indexOf(conversation)];
  row.replaceChildren(field);
  field.select();
}

function forget(conversation) {
  state.conversations.delete(conversation.id);
  store.remove(`chat:${conversation.id}`);
}

function removeConversation(conversation) {
  stop(conversation);
  forget(conversation);
  if (state.current === conversation) state.current = newConversation();
  draw();
  $("new").focus();
  showToast(t("deleted"), t("undo"), () => {
    state.conversations.set(conversation.id, conversation);
    keepConversation(conversation);
    show(conversation);
  });
}

/** Saves a conversation as the terminal's /save does, in the form of training data. */
function exportConversation(conversation) {
  const turns = path(conversation).map(({ role, content }) => ({ role, content }));
  // Where an answer failed, two messages stand side by side: the model reads them as one.
  const conversations = isChat() ? alternating(turns, conversation.system) : turns;
  const text = `${JSON.stringify({ conversations }, null, 2)}\n`;
  const name = (conversation.title || "etude").replace(/[^\p{L}\p{N}]+/gu, "_").slice(0, 40);
  const href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  h("a", { href, download: `${name}.json` }).click();
  setTimeout(() => URL.revokeObjectURL(href), 1000);
}

const ROLES = { // of other programs
  developer: "system", human: "user", prompter: "user", gpt: "assistant", chatgpt: "assistant",
  model: "assistant", bot: "assistant", ai: "assistant",
};

/** A message of any program in our form; null when it is none, or holds more than text. */
function turnOf(message) {
  const name = String(message?.role ?? message?.from ?? message?.author?.role).toLowerCase();
  const content = message?.content?.parts ?? message?.content ?? message?.value ?? "";
  const texts = [content].flat().map((part) => part?.text ?? part);
  const role = ROLES[name] ?? name;
  const isTurn = ["system", "user", "assistant"].includes(role) && texts.every(isText);
  return isTurn ? { role, content: texts.join("\n") } : null;
}

/** The messages of a conversation of ours, of OpenAI, ShareGPT, open-webui or ChatGPT's export. */
function messagesOf(value) {
  if (value?.mapping)
    return ancestors(value.mapping, value.current_node).flatMap(({ message }) => message ?? []);
  const all = value?.chat?.messages ?? value?.conversations ?? value?.messages ?? value;
  return Array.isArray(all) ? all : [];
}

function fail(name, ...values) {
  throw new Error(t(name, ...values));
}

/** The values of a file: JSON, or JSON lines. */
function valuesOf(text) {
  const read = (line, at) => quietly(() => [JSON.parse(line)]) ?? fail("importLine", at + 1);
  const lines = () => text.split("\n").flatMap((line, at) => (line.trim() ? read(line, at) : []));
  return quietly(() => [JSON.parse(text)].flat()) ?? lines();
}

/** The conversations of a file, which may also hold the messages of one. */
function readConversations(text, fileName) {
  const values = valuesOf(text);
  const all = values.length && turnOf(values[0]) ? [values] : values;
  if (all.length > 100) fail("importMany", all.length);
  const isSystem = ({ role }) => role === "system";
  const found = all.map((value) => {
    const turns = messagesOf(value).map(turnOf);
    if (turns.includes(null)) fail("importTurn", turns.indexOf(null) + 1);
    const messages = alternating(turns.filter((turn) => !isSystem(turn)), "");
    const system = textOf(alternating(turns.filter(isSystem), ""));
    const first = all.length > 1 ? titleOf(messages[0]?.content) : fileName;
    const title = isText(value?.title) && value.title ? value.title : first;
    return [Object.assign(newConversation(), { system, title }), messages];
  });
  const isEmpty = !found.length || found.some(([, messages]) => !messages.length);
  return isEmpty ? fail("importFailed") : found;
}

/** Shows the conversations of a file. */
async function importConversations({ target: input }) {
  const [file] = input.files;
  input.value = "";
  try {
    const name = file.name.replace(/\.jsonl?$/i, "").replaceAll("_", " ").trim();
    for (const [conversation, messages] of readConversations(await file.text(), name).reverse()) {
      for (const { role, content } of messages)
        addMessage(conversation, role, content, conversation.leaf);
      keepConversation(conversation);
      show(conversation);
    }
  } catch (error) {
    showToast(`${file.name}: ${error.message}`);
  }
}

/** Opens or closes the list of conversations, which a narrow window has no room for. */
function toggleContents(isOpen) {
  if ($("contents").classList.contains("open") === isOpen) return;
  $("contents").classList.toggle("open", isOpen);
  $("menu").setAttribute("aria-expanded", isOpen);
  $("sheet").inert = isOpen;
  $(isOpen ? "new" : "menu").focus();
}

/* ---- 10. Settings --------------------------------------------------------------------------- */
function openSettings() {
  $("system-field").hidden = !isChat();
  $("set-system").value = state.current.system;
  $("set-key").value = store.get("key") ?? "";
  drawSampling();
  if (!$("settings").open) $("settings").showModal();
}

function drawSampling() {
  const fields = Object.keys(SAMPLING).map(samplingField);
  $("sampling").replaceChildren(...fields.slice(0, 3));
  $("more-sampling").replaceChildren(...fields.slice(3));
}

function samplingField(name) {
  const [, min, max, step] = SAMPLING[name];
  const isWhole = step === 1;
  const set = (value, other) => {
    const chosen = Math.min(max, Math.max(min, Number(value)));
    if (value === "") delete settings.sampling[name];
    else settings.sampling[name] = isWhole ? Math.round(chosen) : chosen;
    if (other) other.value = sampling()[name] ?? "";
    keepSettings();
  };
  const show = () => (number.value = sampling()[name] ?? "");
  const number = h("input", {
    type: "number", id: `set-${name}`, min, max, step: isWhole ? 1 : "any", inputmode: "decimal",
    "aria-describedby": `hint-${name}`, input: () => set(number.value, slider), change: show,
  });
  show();
  const input = () => set(slider.value, number);
  const range = { type: "range", min, max, step, "aria-label": t(name), input };
  const slider = max <= 200 ? h("input", range) : null; // longer ones cannot be set by hand
  if (slider) slider.value = number.value;
  const hint = h("small", { id: `hint-${name}` }, t(`${name}Hint`));
  return h("div.field", h("label", { for: `set-${name}` }, t(name)), number, slider, hint);
}

function setSystem() {
  settings.system = $("set-system").value;
  state.current.system = settings.system;
  keepSettings();
  keepConversation(state.current);
}

function setKey() {
  store.set("key", $("set-key").value.trim());
  findModel();
}

function resetSampling() {
  choose("sampling", {});
  drawSampling();
}

function choose(name, value) {
  settings[name] = value;
  keepSettings();
  draw();
}

/* ---- 11. Keys, mouse, fingers, other tabs --------------------------------------------------- */
function fitText(field) {
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight + field.offsetHeight - field.clientHeight}px`;
}

/** Enter sends; with Shift, while an input method composes, and on a touch keyboard it does not. */
function isSend(event) {
  const isComposing = event.isComposing || event.keyCode === 229;
  const isTouch = matchMedia("(hover: none) and (pointer: coarse)").matches;
  return event.key === "Enter" && !event.shiftKey && !isComposing && !isTouch;
}

function pressInText(event) {
  const written = lastOf("user");
  const isUp = event.key === "ArrowUp" && !event.isComposing;
  if (isSend(event)) submit($("text").value);
  else if (isUp && !$("text").value && !isRunning() && written) edit(written);
  else return;
  event.preventDefault();
}

function pressAnywhere(event) {
  if (event.isComposing) return;
  const isUp = /^(PageUp|ArrowUp|Home)$/.test(event.key) || (event.key === " " && event.shiftKey);
  if (isUp && !event.target.matches?.("input, textarea")) lookUp();
  const control = event.ctrlKey || event.metaKey;
  const last = lastOf("assistant");
  if (event.key === "Escape") escape();
  else if (control && event.shiftKey && event.code === "KeyO") startConversation();
  else if (control && event.code === "Slash") openSettings();
  else if (control && event.code === "Period" && last?.tokens) toggleTokens(last);
  else if (control && event.shiftKey && event.key === "Enter" && last)
    regenerate(state.current, last);
  else return;
  event.preventDefault();
}

/** Closes what is open, the uppermost first; else stops the answer. */
function escape() {
  const { token } = lens;
  if ($("settings").open) closeSettings();
  else if (token) {
    closeLens();
    token.focus();
  } else if ($("contents").classList.contains("open")) toggleContents(false);
  else stop(state.current);
}

/** From token to token, and into the alternatives. */
function pressOnToken(event) {
  const token = event.target.closest(".token");
  if (!token) return;
  const all = [...$("score").querySelectorAll(".token")];
  const at = all.indexOf(token);
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[event.key];
  if (all[to]) {
    token.tabIndex = -1;
    all[to].tabIndex = 0;
    all[to].focus();
  } else if (event.key === "Enter" || event.key === " ") {
    openLens(token, true);
    $("lens").querySelector("button")?.focus();
  } else return;
  event.preventDefault();
  event.stopPropagation();
}

/** The token under the pointer, or the one whose note is; notes are those of the last message. */
function tokenUnder({ target }) {
  const note = target.closest("[data-note]");
  if (!note) return target.closest(".token");
  const tokens = note.closest("article").querySelectorAll(`[data-token="${note.dataset.note}"]`);
  return [...tokens].at(-1);
}

const startConversation = () => show(newConversation());
const closeSettings = () => $("settings").close();
const keepRunning = () => state.runs.forEach((run) => keepConversation(run.conversation));
const isHover = (event) => event.pointerType === "mouse" && !lens.pinned;

/** What is done on the answers: their tokens and notes are looked at. */
const onScore = {
  pointerover(event) {
    const token = isHover(event) && tokenUnder(event);
    if (token) openLens(token, false);
  },
  pointerout(event) {
    if (isHover(event) && tokenUnder(event)) closeLens();
  },
  click(event) {
    const token = tokenUnder(event);
    if (token && lens.pinned && lens.token === token) closeLens();
    else if (token) openLens(token, true);
  },
  focusin({ target }) {
    if (target.matches(".token:focus-visible")) openLens(target, true);
  },
  keydown: pressOnToken,
};

/** What the buttons of chat.html do, by their ids. */
const CLICKS = {
  new: startConversation,
  menu: () => toggleContents(true),
  veil: () => toggleContents(false),
  down: scrollToEnd,
  theme: () => choose("theme", THEMES[settings.theme]),
  language: () => choose("language", language() === "en" ? "zh" : "en"),
  import: () => $("file").click(),
  "open-settings": openSettings,
  "close-settings": closeSettings,
  "close-trouble": closeTrouble,
  reset: resetSampling,
  settings: ({ target }) => target === $("settings") && closeSettings(), // its backdrop
};

const PASSIVE = { passive: true }; // scrolling does not wait for what listens
function listen(element, handlers, how = {}) {
  for (const [name, act] of Object.entries(handlers)) element.addEventListener(name, act, how);
}

function listenToControls() {
  for (const [id, click] of Object.entries(CLICKS)) listen($(id), { click });
  listen($("composer"), { submit: pressSend });
  listen($("text"), { keydown: pressInText, input: drawComposer });
  listen($("trouble"), { submit: retryTrouble });
  listen($("file"), { change: importConversations });
  listen($("set-system"), { input: setSystem });
  listen($("set-key"), { change: setKey });
  listen($("scroller"), { scroll: followScroll, pointerdown: pressScrollbar });
  listen($("scroller"), { wheel: (e) => e.deltaY < 0 && lookUp(), touchmove: lookUp }, PASSIVE);
  listen($("score"), onScore);
  listen(document, { keydown: pressAnywhere, pointerdown: pressOutside });
  listen(window, { resize: closeLens, storage: followOtherTab, pagehide: keepRunning });
}

function pressSend(event) {
  event.preventDefault();
  if (isRunning()) stop(state.current);
  else submit($("text").value);
}

const pressScrollbar = ({ target, offsetX }) =>
  target === $("scroller") && offsetX >= target.clientWidth && lookUp();

/** Any movement upwards, however it is made, ends the following of an answer; at its end, it begins
 * again. (Where the text becomes shorter, the end moves up and stays in sight.) */
function followScroll() {
  const { scrollTop } = $("scroller");
  if (scrollTop < state.top && belowSight() >= 1) state.follows = false;
  else if (scrollTop > state.top && belowSight() < 24) state.follows = true;
  state.top = scrollTop;
  closeLens();
  $("down").hidden = belowSight() < 80;
}

function pressOutside({ target }) {
  if (!target.closest("#lens, .token, [data-note]")) closeLens();
}

/** Takes over what another tab of this page has kept. */
function followOtherTab({ key, newValue }) {
  const id = key?.startsWith(CHAT) && key.slice(CHAT.length);
  if (!id || state.runs.has(id)) return;
  const conversation = newValue && asConversation(store.get(`chat:${id}`));
  if (conversation) {
    state.conversations.set(id, conversation);
    if (state.current.id === id && !state.editing) state.current = conversation;
  } else state.conversations.delete(id);
  if (!state.editing) draw();
}

function begin() {
  for (const element of document.querySelectorAll("[data-icon]"))
    element.prepend(icon(element.dataset.icon));
  loadConversations();
  state.current = state.conversations.get(store.get("current")) ?? newConversation();
  $("text").value = quietly(() => sessionStorage.getItem(`${PREFIX}draft`)) ?? "";
  listenToControls();
  takeDraft();
  draw();
  scrollToEnd();
  findModel();
  if (!matchMedia("(pointer: coarse)").matches) $("text").focus();
}

begin();
