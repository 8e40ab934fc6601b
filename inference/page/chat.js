"use strict";

/* ---- 1. Words ------------------------------------------------------------------------------- */

const TEXTS = {
  en: {
    skip: "Skip to the message field",
    contents: "Conversations",
    fresh: "New conversation",
    freshText: "New text",
    rename: "Rename",
    remove: "Delete",
    export: "Export as JSON",
    import: "Import a conversation",
    importFailed: "This file holds no conversation.",
    themes: { auto: "Theme: as the system", light: "Theme: light", dark: "Theme: dark" },
    language: "中文",
    languageLabel: "切换到中文",
    settings: "Settings",
    close: "Close",
    menu: "Show conversations",
    message: "Message",
    placeholder: "Write a message",
    textPlaceholder: "Write a beginning; the model continues it",
    send: "Send",
    go: "Continue",
    stop: "Stop",
    you: "You",
    model: "Model",
    copy: "Copy",
    copied: "Copied",
    edit: "Edit",
    regenerate: "Regenerate",
    tokens: "Tokens",
    tokensLabel: "Show the tokens and their probabilities",
    save: "Send again",
    cancel: "Cancel",
    previous: "Previous version",
    next: "Next version",
    version: (n, all) => `Version ${n} of ${all}`,
    answering: "The model is answering.",
    answered: (text) => `The model answered: ${text}`,
    stopped: "stopped",
    cut: "cut at its limit",
    full: "the context is full",
    nothing: "The model has nothing to say to this.",
    count: (n) => (n === 1 ? "1 token" : `${n} tokens`),
    speed: (n) => `${n} tokens/s`,
    room: (used, all) => `${used} of ${all} tokens of context`,
    forgotten: (n) =>
      `The oldest ${n} messages no longer fit into the context; the model did not see them.`,
    beheaded: "Only the end of this text fits into the context; the model did not see the rest.",
    deleted: "Conversation deleted.",
    undo: "Undo",
    retry: "Try again",
    useKey: "Use this key",
    keyNeeded: "This server asks for a key.",
    keyLabel: "API key",
    busy: "The server is busy.",
    busyFor: (s) => `The server is busy; it expects to be free in ${s} s.`,
    gone: "The server cannot be reached. Is it running?",
    broken: "The connection broke off.",
    tooLong: "This message alone is longer than the model's context. Shorten it.",
    refused: (why) => `The server refused: ${why}`,
    unkept:
      "This browser's storage is full: what is new is not kept. Delete or export conversations.",
    toEnd: "To the end",
    hello: "What shall we play?",
    helloText: "Where does it begin?",
    intro:
      "A small model, trained from scratch. Ask it something, then open Tokens below its answer " +
      "to see what else it might have said.",
    introText:
      "A pretrained model continues any text. Write a beginning, then open Tokens to see what " +
      "else might have followed, and go that way.",
    starts: [
      "Hello! Who are you?",
      "Tell me a story about a little fox.",
      "What is the capital of France?",
    ],
    startsText: [
      "Once upon a time",
      "The little fox looked at the river and",
      "从前，有一只小狐狸",
    ],
    hint: "Enter sends · Shift + Enter begins a new line",
    system: "System prompt",
    systemHint: "What the model should be or keep to; for this conversation and new ones.",
    sampling: "Sampling",
    more: "More",
    defaults: "Back to the defaults",
    appearance: "This page",
    fields: {
      temperature: ["Temperature", "Higher: more surprising. 0: always the likeliest token."],
      max_tokens: ["Longest answer", "In tokens."],
      top_p: ["Top p", "Choose among the fewest tokens that hold this share of the probability."],
      top_k: ["Top k", "Choose among this many likeliest tokens. 0: among all."],
      min_p: ["Min p", "Leave out tokens less likely than this share of the likeliest one."],
      repetition_penalty: [
        "Repetition penalty",
        "Above 1: tokens that occurred become less likely.",
      ],
      presence_penalty: ["Presence penalty", "Taken off once from a token that is in the answer."],
      frequency_penalty: [
        "Frequency penalty",
        "Taken off for each time that a token is in the answer.",
      ],
      seed: ["Seed", "The same seed gives the same text. Empty: another text each time."],
      top_logprobs: [
        "Alternatives per token",
        "How many the token view knows. 0: none are asked for.",
      ],
    },
    keyHint: "Only for a server that asks for one; kept in this browser.",
    shortcuts: "Keyboard",
    keys: [
      ["Enter", "send"],
      ["Shift + Enter", "new line"],
      ["Esc", "stop the answer, close what is open"],
      ["↑", "in an empty field: edit your last message"],
      ["Ctrl + Shift + Enter", "regenerate"],
      ["Ctrl + .", "tokens of the last answer"],
      ["← →", "from token to token"],
      ["Ctrl + Shift + O", "new conversation"],
      ["Ctrl + /", "settings"],
    ],
    scoreLabel: (n, perplexity) =>
      `The answer as notes on a staff: ${n} tokens, perplexity ${perplexity}`,
    scoreHint: "A note is a token: the higher, the more surprising.",
    perplexity: (n) => `perplexity ${n}`,
    tokenLabel: (text, share) => `${text}, ${share}`,
    rank: (n) =>
      n === 1 ? "the likeliest here" : n ? `number ${n} here` : "not among the likeliest",
    bits: (n) => `${n} bits of surprise`,
    partOf: (text) => `part of ${text}`,
    bytes: "bytes",
    instead: (text) => `Continue with ${text} instead`,
    untitled: "New conversation",
    unknown: "The probabilities of this answer were not kept.",
    lens: "Alternatives to this token",
    context: (n) => `context ${n}`,
    code: "code",
    you_said: (n) => `Your message ${n}`,
    its_answer: (n) => `Answer ${n}`,
  },
  zh: {
    skip: "跳到输入框",
    contents: "对话列表",
    fresh: "新对话",
    freshText: "新文本",
    rename: "重命名",
    remove: "删除",
    export: "导出为 JSON",
    import: "导入对话",
    importFailed: "这个文件里没有对话。",
    themes: { auto: "主题：跟随系统", light: "主题：浅色", dark: "主题：深色" },
    language: "EN",
    languageLabel: "Switch to English",
    settings: "设置",
    close: "关闭",
    menu: "显示对话列表",
    message: "消息",
    placeholder: "写点什么",
    textPlaceholder: "写一个开头，模型会接着写",
    send: "发送",
    go: "续写",
    stop: "停止",
    you: "你",
    model: "模型",
    copy: "复制",
    copied: "已复制",
    edit: "编辑",
    regenerate: "重新生成",
    tokens: "词元",
    tokensLabel: "显示词元及其概率",
    save: "重新发送",
    cancel: "取消",
    previous: "上一个版本",
    next: "下一个版本",
    version: (n, all) => `第 ${n} 个版本，共 ${all} 个`,
    answering: "模型正在回答。",
    answered: (text) => `模型回答：${text}`,
    stopped: "已停止",
    cut: "达到长度上限",
    full: "上下文已满",
    nothing: "模型对此无话可说。",
    count: (n) => `${n} 个词元`,
    speed: (n) => `${n} 词元/秒`,
    room: (used, all) => `上下文 ${used} / ${all} 词元`,
    forgotten: (n) => `最早的 ${n} 条消息已超出上下文，模型没有看到它们。`,
    beheaded: "上下文只放得下这段文字的结尾，模型没有看到前面的部分。",
    deleted: "对话已删除。",
    undo: "撤销",
    retry: "重试",
    useKey: "使用此密钥",
    keyNeeded: "此服务器需要密钥。",
    keyLabel: "API 密钥",
    busy: "服务器正忙。",
    busyFor: (s) => `服务器正忙，预计 ${s} 秒后空闲。`,
    gone: "无法连接服务器，它在运行吗？",
    broken: "连接中断了。",
    tooLong: "单是这条消息就超过了模型的上下文，请缩短。",
    refused: (why) => `服务器拒绝了请求：${why}`,
    unkept: "浏览器的存储空间已满，新的内容没有保存。请删除或导出一些对话。",
    toEnd: "到末尾",
    hello: "今天弹哪一首？",
    helloText: "从哪里开始？",
    intro: "一个从零训练的小模型。问它点什么，再打开回答下方的“词元”，看看它本来还可能说什么。",
    introText:
      "预训练模型会接着任何文字往下写。写一个开头，再打开“词元”，看看还可能怎样写下去，并走那条路。",
    starts: ["你好！你是谁？", "讲一个小狐狸的故事。", "法国的首都是哪里？"],
    startsText: ["从前，有一只小狐狸", "春天来了，", "Once upon a time"],
    hint: "Enter 发送 · Shift + Enter 换行",
    system: "系统提示词",
    systemHint: "模型应当是谁、遵守什么；用于此对话和新对话。",
    sampling: "采样",
    more: "更多",
    defaults: "恢复默认值",
    appearance: "此页面",
    fields: {
      temperature: ["温度", "越高越出人意料；0：总取最可能的词元。"],
      max_tokens: ["回答最长", "以词元计。"],
      top_p: ["Top p", "只在合计占这一概率份额的最少词元中选择。"],
      top_k: ["Top k", "只在这么多个最可能的词元中选择；0：全部。"],
      min_p: ["Min p", "去掉概率低于最可能词元这一比例的词元。"],
      repetition_penalty: ["重复惩罚", "大于 1：出现过的词元变得不那么可能。"],
      presence_penalty: ["存在惩罚", "回答里已有的词元减去一次。"],
      frequency_penalty: ["频率惩罚", "词元在回答里每出现一次就减去一次。"],
      seed: ["随机种子", "相同的种子给出相同的文字；留空：每次不同。"],
      top_logprobs: ["每个词元的备选数", "词元视图所知的备选；0：不请求。"],
    },
    keyHint: "仅用于需要密钥的服务器；保存在此浏览器中。",
    shortcuts: "键盘",
    keys: [
      ["Enter", "发送"],
      ["Shift + Enter", "换行"],
      ["Esc", "停止回答，关闭打开的窗口"],
      ["↑", "输入框为空时：编辑上一条消息"],
      ["Ctrl + Shift + Enter", "重新生成"],
      ["Ctrl + .", "最后回答的词元"],
      ["← →", "逐个词元移动"],
      ["Ctrl + Shift + O", "新对话"],
      ["Ctrl + /", "设置"],
    ],
    scoreLabel: (n, perplexity) => `写在五线谱上的回答：${n} 个词元，困惑度 ${perplexity}`,
    scoreHint: "一个音符是一个词元：越高越出人意料。",
    perplexity: (n) => `困惑度 ${n}`,
    tokenLabel: (text, share) => `${text}，${share}`,
    rank: (n) => (n === 1 ? "此处最可能" : n ? `此处排第 ${n}` : "不在最可能之列"),
    bits: (n) => `${n} 比特的意外`,
    partOf: (text) => `“${text}”的一部分`,
    bytes: "字节",
    instead: (text) => `改用 ${text} 继续`,
    untitled: "新对话",
    unknown: "这个回答的概率没有保存。",
    lens: "此处的备选词元",
    context: (n) => `上下文 ${n}`,
    code: "代码",
    you_said: (n) => `你的第 ${n} 条消息`,
    its_answer: (n) => `第 ${n} 个回答`,
  },
};

/* ---- 2. Building the page: no text ever becomes markup -------------------------------------- */

const $ = (id) => document.getElementById(id);

function dress(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(
    ...children.filter((child) => child !== undefined && child !== null && child !== false),
  );
  return element;
}

const h = (tag, properties = {}, ...children) =>
  dress(document.createElement(tag), properties, children);
const s = (tag, properties = {}, ...children) =>
  dress(document.createElementNS("http://www.w3.org/2000/svg", tag), properties, children);

const ICONS = {
  new: "M10 4v12M4 10h12",
  menu: "M3 6h14M3 10h14M3 14h9",
  close: "M5 5l10 10M15 5L5 15",
  settings:
    "M3 6h8m4 0h2M3 14h2m4 0h8M11 6a2 2 0 1 0 4 0a2 2 0 1 0-4 0M5 14a2 2 0 1 0 4 0a2 2 0 1 0-4 0",
  send: "M10 16V4M5 9l5-5 5 5",
  copy: "M7 7V4h9v9h-3M4 7h9v9H4z",
  edit: "M4 16l1-4 8-8 3 3-8 8zM11 6l3 3",
  again: "M15.5 8A6 6 0 1 0 16 11M16 4v4h-4",
  remove: "M4 6h12M8 6V4h4v2M6 6l1 10h6l1-10",
  export: "M10 3v9M6.5 8.5L10 12l3.5-3.5M4 16h12",
  import: "M10 12V3M6.5 6.5L10 3l3.5 3.5M4 16h12",
  left: "M12 5l-5 5 5 5",
  right: "M8 5l5 5-5 5",
  down: "M10 4v12M5 11l5 5 5-5",
  check: "M4 10.5l4 4 8-9",
  auto: "M10 3.5a6.5 6.5 0 1 0 0 13zM10 3.5a6.5 6.5 0 0 1 0 13",
  light:
    "M10 6.5a3.5 3.5 0 1 0 0 7a3.5 3.5 0 1 0 0-7" +
    "M10 2v1.5M10 16.5V18M2 10h1.5M16.5 10H18M4.3 4.3l1 1M14.7 14.7l1 1M4.3 15.7l1-1M14.7 5.3l1-1",
  dark: "M16 11.5A6.5 6.5 0 1 1 8.5 4a5.2 5.2 0 0 0 7.5 7.5z",
};

function icon(name) {
  const filled = { auto: "M10 3.5a6.5 6.5 0 0 1 0 13z", stop: "M5.5 5.5h9v9h-9z" }[name];
  return s(
    "svg",
    {
      viewBox: "0 0 20 20",
      width: 20,
      height: 20,
      "aria-hidden": "true",
      fill: "none",
      stroke: "currentColor",
      "stroke-width": 1.5,
      "stroke-linecap": "round",
      "stroke-linejoin": "round",
    },
    ICONS[name] && s("path", { d: ICONS[name] }),
    filled && s("path", { d: filled, fill: "currentColor", stroke: "none" }),
  );
}

function button(kind, name, label, press, text = "") {
  return h(
    "button",
    {
      type: "button",
      class: kind,
      title: label,
      "aria-label": text ? undefined : label,
      click: press,
    },
    icon(name),
    text && h("span", {}, text),
  );
}

/* ---- 3. What is kept in the browser --------------------------------------------------------- */

const SAMPLING = {
  // name: [default, least, most, step]; what the server says about its model comes before these.
  temperature: [0.7, 0, 2, 0.05],
  max_tokens: [512, 1, 4096, 1],
  top_p: [0.9, 0, 1, 0.01],
  top_k: [50, 0, 200, 1],
  min_p: [0, 0, 1, 0.01],
  repetition_penalty: [1, 0.5, 2, 0.01],
  presence_penalty: [0, -2, 2, 0.1],
  frequency_penalty: [0, -2, 2, 0.1],
  seed: [null, 0, 2 ** 53 - 1, 1],
  top_logprobs: [5, 0, 20, 1],
};

/** How answers are sampled where the person has not said. */
function defaults() {
  const own = Object.fromEntries(Object.entries(SAMPLING).map(([name, [value]]) => [name, value]));
  const told = state.model?.sampling ?? {};
  const known = Object.fromEntries(Object.entries(told).filter(([name]) => name in own));
  return { ...own, ...known, max_tokens: Math.min(own.max_tokens, told.max_tokens ?? Infinity) };
}

/** How answers are sampled; the server takes no more than its own max_tokens. */
function sampling() {
  const chosen = { ...defaults(), ...settings.sampling };
  const most = state.model?.sampling?.max_tokens ?? Infinity;
  return { ...chosen, max_tokens: Math.min(chosen.max_tokens, most) };
}

const PREFIX = "etude:";
const shelf = new Map();

function load(name, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(PREFIX + name)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

function keep(name, value) {
  try {
    localStorage.setItem(PREFIX + name, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

/** Keeps a conversation; where room is short, the probabilities of the oldest others go first. */
function keepConversation(conversation) {
  if (!shelf.has(conversation.id)) return; // it was deleted while an answer was made
  const name = `chat:${conversation.id}`;
  if (keep(name, conversation)) return;
  const others = [...shelf.values()]
    .filter((c) => c !== conversation)
    .sort((a, b) => a.updated - b.updated);
  for (const other of [...others, conversation]) {
    for (const message of Object.values(other.messages)) delete message.tokens;
    if (other !== conversation) keep(`chat:${other.id}`, other);
    if (keep(name, conversation)) return;
  }
  showToast(t("unkept"));
}

function isConversation(value) {
  return Boolean(
    value &&
    typeof value.id === "string" &&
    value.messages &&
    typeof value.messages === "object" &&
    Object.values(value.messages).every(
      (m) => m && typeof m.content === "string" && ["user", "assistant"].includes(m.role),
    ),
  );
}

function loadShelf() {
  let names = [];
  try {
    names = Object.keys(localStorage).filter((name) => name.startsWith(`${PREFIX}chat:`));
  } catch {
    /* no storage: nothing is kept, everything else works */
  }
  for (const name of names) {
    const conversation = load(name.slice(PREFIX.length), null);
    if (isConversation(conversation)) shelf.set(conversation.id, conversation);
  }
}

const newId = () => Date.now().toString(36) + Math.random().toString(36).slice(2, 8);

function newConversation() {
  return {
    id: newId(),
    title: "",
    system: settings.system,
    updated: Date.now(),
    messages: {},
    leaf: null,
  };
}

/* A conversation is a tree: an edit or another answer is a new branch beside the old one. */

function path(conversation, leaf = conversation.leaf) {
  const found = [];
  for (let id = leaf; id && conversation.messages[id]; id = conversation.messages[id].parent) {
    found.unshift(conversation.messages[id]);
    if (found.length > 100_000) break; // an imported file may go in circles
  }
  return found;
}

const children = (conversation, id) =>
  Object.values(conversation.messages).filter((m) => m.parent === id);

function newestLeaf(conversation, id) {
  for (let next = id; next; next = children(conversation, next).at(-1)?.id) id = next;
  return id;
}

function addMessage(conversation, role, content, parent) {
  const message = { id: newId(), role, content, parent };
  conversation.messages[message.id] = message;
  conversation.leaf = message.id;
  conversation.updated = Date.now();
  shelf.set(conversation.id, conversation);
  return message;
}

const settings = {
  system: "",
  theme: "auto",
  language: null,
  sampling: {},
  ...load("settings", {}),
};
const keepSettings = () => keep("settings", settings);

const state = {
  current: null, // the conversation on the sheet
  model: null, // {name, chat, context, sampling}
  runs: new Map(), // conversation id: the answer that is being made
  opened: new Set(), // ids of answers whose tokens are shown
  editing: null, // id of the message that is being edited
  trouble: null,
};

const language = () => settings.language ?? (navigator.language.startsWith("zh") ? "zh" : "en");

function t(name, ...values) {
  const found = TEXTS[language()][name];
  return typeof found === "function" ? found(...values) : found;
}

/* ---- 4. The server -------------------------------------------------------------------------- */

class Refusal extends Error {
  constructor(status, problem, retryAfter) {
    super(problem?.message ?? `HTTP ${status}`);
    this.status = status;
    this.code = problem?.code;
    this.retryAfter = retryAfter;
  }
}

async function ask(address, body, signal) {
  const headers = { "Content-Type": "application/json" };
  const key = load("key", "");
  // Another key could not be sent, nor be right; without one, the server asks for it.
  if (/^[\x20-\x7e]+$/.test(key)) headers.Authorization = `Bearer ${key}`;
  const response = await fetch(address, {
    method: body ? "POST" : "GET",
    headers,
    signal,
    body: body && JSON.stringify(body),
    cache: "no-store",
  });
  if (response.ok) return response;
  const problem = await response.json().catch(() => null);
  throw new Refusal(response.status, problem?.error, response.headers.get("Retry-After"));
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
    const { data } = await (await ask("v1/models")).json();
    const model = data[0];
    state.model = {
      name: model.id,
      chat: model.kind !== "completion",
      context: model.context_length,
      sampling: model.sampling,
    };
    if (state.trouble?.retry === findModel) setTrouble(null);
  } catch (error) {
    setTrouble(error, findModel);
  }
  draw();
}

/** Consecutive messages of one person as one: the roles must alternate. */
function dialogue(messages, system) {
  const turns = system.trim() ? [{ role: "system", content: system }] : [];
  for (const { role, content } of messages) {
    const last = turns.at(-1);
    if (!content.trim()) continue;
    if (last?.role === role) last.content += `\n\n${content}`;
    else turns.push({ role, content });
  }
  return turns;
}

function requestFor(conversation, message, dropped) {
  const messages = path(conversation, message.parent);
  const { top_logprobs: alternatives, ...chosen } = sampling();
  const body = {
    model: state.model.name,
    stream: true,
    stream_options: { include_usage: true },
    ...chosen,
  };
  if (body.seed === null) delete body.seed;
  if (state.model.chat) {
    if (alternatives) Object.assign(body, { logprobs: true, top_logprobs: alternatives });
    // An answer that came first would not do: what is dropped is dropped in pairs.
    return [
      "v1/chat/completions",
      { ...body, messages: dialogue(messages.slice(dropped), conversation.system) },
    ];
  }
  if (alternatives) body.logprobs = alternatives;
  const text = messages.map((m) => m.content).join("") + message.content;
  return ["v1/completions", { ...body, prompt: text.slice(dropped) }];
}

/** How much of a conversation that is too long to leave out next: the oldest exchange, or the
 * first quarter of a text; null when nothing is left that could go. */
function dropMore(conversation, message, dropped) {
  const messages = path(conversation, message.parent);
  if (state.model.chat) return messages.length - dropped > 2 ? dropped + 2 : null;
  const length = messages.reduce((sum, m) => sum + m.content.length, 0) + message.content.length;
  return length - dropped > 8 ? dropped + Math.ceil((length - dropped) / 4) : null;
}

/** A token as it is kept: [text or bytes, log-probability, alternatives of that form too]. */
function compact({ token, bytes, logprob, top_logprobs: alternatives = [] }) {
  const round = (value) => Math.round(value * 1e4) / 1e4;
  const piece = (entry) => (entry.bytes?.length ? textOrBytes(entry.bytes) : entry.token);
  return [
    piece({ token, bytes }),
    round(logprob),
    alternatives.map((a) => [piece(a), round(a.logprob)]),
  ];
}

function textOrBytes(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(new Uint8Array(bytes));
  } catch {
    return bytes;
  }
}

/** The bytes of a token that is no whole character: "bytes:\\xe4\\xbd". */
function spelled(name) {
  if (!/^bytes:.*\\x[0-9a-f]{2}/s.test(name)) return null;
  return [...name.slice(6).matchAll(/\\x([0-9a-f]{2})|./gs)].map(([one, code]) =>
    code ? parseInt(code, 16) : one.charCodeAt(0),
  );
}

/** The tokens of a piece of a stream; /v1/completions may tell them in its own older form. */
function tokensOf(choice) {
  const told = choice.logprobs;
  if (told?.content) return told.content.map(compact);
  if (!told?.tokens) return [];
  return told.tokens.map((token, i) =>
    compact({
      token,
      bytes: told.bytes?.[i],
      logprob: told.token_logprobs[i] ?? 0,
      top_logprobs: Object.entries(told.top_logprobs?.[i] ?? {}).map(([name, logprob]) => ({
        token: name,
        bytes: spelled(name),
        logprob,
      })),
    }),
  );
}

/** Lets the model answer below a message; `beginning` is text that the answer goes on from. */
async function answer(conversation, parent, beginning = "") {
  if (!state.model || state.runs.has(conversation.id)) return;
  const message = addMessage(conversation, "assistant", beginning, parent);
  if (beginning) message.beginning = beginning;
  const begun = performance.now();
  const run = {
    conversation,
    message,
    controller: new AbortController(),
    begun,
    last: begun,
    count: 0,
    speed: 0,
  };
  state.runs.set(conversation.id, run);
  setTrouble(null);
  say(t("answering"));
  draw();
  scrollToEnd();
  try {
    await converse(conversation, run);
  } catch (error) {
    if (error.name === "AbortError") message.end = "stopped";
    else setTrouble(error, () => again(conversation, message), message.content !== beginning);
  }
  finish(conversation, run, beginning);
}

async function converse(conversation, run) {
  const { message } = run;
  const before = path(conversation, message.parent).findLast((m) => m.role === "assistant");
  let dropped = state.model.chat ? (before?.dropped ?? 0) : 0;
  // A quarter of the context is left for the answer, as in the terminal.
  const used = before?.usage ? before.usage[0] + before.usage[1] : 0;
  if (state.model.chat && used > 0.75 * state.model.context)
    dropped = dropMore(conversation, message, dropped) ?? dropped;
  for (;;) {
    try {
      const [address, body] = requestFor(conversation, message, dropped);
      const response = await ask(address, body, run.controller.signal);
      if (dropped) message.dropped = dropped;
      for await (const event of events(response)) take(conversation, run, event);
      return;
    } catch (error) {
      if (error.code !== "context_length_exceeded") throw error;
      dropped = dropMore(conversation, message, dropped);
      if (dropped === null) throw error;
    }
  }
}

function take(conversation, run, event) {
  if (event.error) throw new Refusal(event.error.status ?? 500, event.error);
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
  repaint(conversation);
}

/** Tokens a second, from the question on, as the terminal counts them too. */
const speedOf = (run, count) => Math.round((count * 1e3) / Math.max(1, run.last - run.begun));

function finish(conversation, run, beginning) {
  const { message } = run;
  state.runs.delete(conversation.id);
  const count = message.usage?.[1] ?? run.count;
  if (count) message.speed = speedOf(run, count);
  if (!message.end && message.content === beginning) forget(conversation, message);
  else if (message.end === "stopped" && !message.content) forget(conversation, message);
  keepConversation(conversation);
  if (message.content) say(t("answered", message.content));
  draw();
}

function forget(conversation, message) {
  delete conversation.messages[message.id];
  conversation.leaf = message.parent ?? null;
}

/** Another answer in the place of one. */
function again(conversation, message) {
  return answer(conversation, message.role === "assistant" ? message.parent : message.id);
}

/** Sends what was written; without a text, a pretrained model goes on where it is. */
function submit(text) {
  const conversation = state.current;
  if (!state.model) return findModel();
  if (state.runs.has(conversation.id)) return undefined;
  const empty = !Object.keys(conversation.messages).length;
  if (!text.trim() && (state.model.chat || empty)) return undefined;
  conversation.title ||= text.trim().split("\n")[0].slice(0, 60);
  const parent = text
    ? addMessage(conversation, "user", text, conversation.leaf).id
    : conversation.leaf;
  keepConversation(conversation);
  keep("current", conversation.id);
  $("text").value = "";
  fitText($("text"));
  return answer(conversation, parent);
}

function stop(conversation = state.current) {
  state.runs.get(conversation.id)?.controller.abort();
}

/* ---- 5. Markdown: blocks, then what is inside a line ---------------------------------------- */

const DEEPEST = 8; // of lists and quotations inside one another: a text may consist of ">"

const FENCE = /^ {0,3}(`{3,}|~{3,}) *([\w+#.-]*)/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)]) +(?=\S)/;
const RULE = /^ {0,3}([-*_])(?: *\1){2,} *$/;
const HEADING = /^ {0,3}(#{1,6}) +(.*)$/;
const DASHES = /^ *\|?(?: *:?-+:? *\|)+(?: *:?-+:? *)?$/;

/** The blocks of a text: [source, a function that builds the block]. */
function blocks(lines, depth = 0) {
  const found = [];
  let at = 0;
  while (at < lines.length) {
    if (!lines[at].trim()) {
      at += 1;
      continue;
    }
    const [length, build] = block(lines, at, depth);
    found.push([lines.slice(at, at + length).join("\n"), build]);
    at += length;
  }
  return found;
}

/** The block that begins at a line: how many lines it has, and how it is built. */
function block(lines, at, depth) {
  const line = lines[at];
  const fence = FENCE.exec(line);
  if (fence) return codeBlock(lines, at, fence);
  if (RULE.test(line)) return [1, () => h("hr")];
  const heading = HEADING.exec(line);
  if (heading) return [1, () => inline(h(`h${Math.min(6, heading[1].length + 2)}`), heading[2])];
  if (depth < DEEPEST && /^ {0,3}>/.test(line)) return quotation(lines, at, depth);
  if (depth < DEEPEST && ITEM.test(line)) return list(lines, at, depth);
  if (line.includes("|") && DASHES.test(lines[at + 1] ?? "")) return table(lines, at);
  let end = at + 1;
  while (end < lines.length && lines[end].trim() && !opens(lines[end])) end += 1;
  return [
    end - at,
    () =>
      inline(
        h("p"),
        lines
          .slice(at, end)
          .map((l) => l.trim())
          .join("\n"),
      ),
  ];
}

const opens = (line) =>
  FENCE.test(line) ||
  HEADING.test(line) ||
  RULE.test(line) ||
  /^ {0,3}>/.test(line) ||
  ITEM.test(line);

function codeBlock(lines, at, [, marks, name]) {
  let end = at + 1;
  while (
    end < lines.length &&
    !(lines[end].trim().startsWith(marks) && !lines[end].trim().replaceAll(marks[0], ""))
  )
    end += 1;
  const code = lines.slice(at + 1, end).join("\n");
  const build = () =>
    h(
      "div",
      { class: "code" },
      h(
        "header",
        {},
        name || t("code"),
        copyButton(() => code),
      ),
      h("pre", { tabindex: 0 }, h("code", {}, code)),
    );
  return [Math.min(end + 1, lines.length) - at, build];
}

function quotation(lines, at, depth) {
  let end = at;
  while (end < lines.length && /^ {0,3}>/.test(lines[end])) end += 1;
  const inner = lines.slice(at, end).map((l) => l.replace(/^ {0,3}> ?/, ""));
  return [end - at, () => h("blockquote", {}, ...built(inner, depth + 1))];
}

function list(lines, at, depth) {
  const [, , mark] = ITEM.exec(lines[at]);
  const numbered = /\d/.test(mark);
  const items = [];
  let end = at;
  let indent = 0;
  for (; end < lines.length; end += 1) {
    const item = ITEM.exec(lines[end]);
    const space = lines[end].search(/\S/);
    if (item && (!items.length || space < indent)) {
      if (/\d/.test(item[2]) !== numbered) break;
      indent = item[0].length;
      items.push([lines[end].slice(indent)]);
    } else if (space < 0) {
      if (!(lines[end + 1]?.search(/\S/) >= indent) && !ITEM.test(lines[end + 1] ?? "")) break;
      items.at(-1).push("");
    } else if (space >= indent) items.at(-1).push(lines[end].slice(indent));
    else if (!lines[end - 1].trim() || opens(lines[end])) break;
    else items.at(-1).push(lines[end].trim());
  }
  const build = () =>
    h(
      numbered ? "ol" : "ul",
      { start: numbered && parseInt(mark, 10) },
      ...items.map((item) => h("li", {}, ...itemContent(item, depth + 1))),
    );
  return [end - at, build];
}

/** A list's item; its first paragraph stands beside the mark. */
function itemContent(lines, depth) {
  const content = built(lines, depth);
  if (content[0]?.tagName === "P") content.splice(0, 1, ...content[0].childNodes);
  return content;
}

function table(lines, at) {
  const cells = (line) =>
    line
      .trim()
      .replace(/^\||\|$/g, "")
      .split("|")
      .map((cell) => cell.trim());
  let end = at + 2;
  while (end < lines.length && lines[end].includes("|")) end += 1;
  const row = (tag, line) => h("tr", {}, ...cells(line).map((cell) => inline(h(tag), cell)));
  const build = () =>
    h(
      "div",
      { class: "wide", tabindex: 0 },
      h(
        "table",
        {},
        h("thead", {}, row("th", lines[at])),
        h("tbody", {}, ...lines.slice(at + 2, end).map((line) => row("td", line))),
      ),
    );
  return [end - at, build];
}

const built = (lines, depth) => blocks(lines, depth).map(([, build]) => build());

const MARKS = [
  ["**", "strong"],
  ["__", "strong"],
  ["~~", "del"],
  ["*", "em"],
  ["_", "em"],
];
const LINK = /!?\[([^[\]\n]{0,400})\]\(([^\s()<>]{1,800})\)/y;
const ADDRESS = /https?:\/\/[^\s<>"'`]{2,800}[^\s<>"'`.,;:!?)\]}，。；：！？）]/y;

/** Fills an element with a line's text: code, emphasis, links; all else is text. */
function inline(element, text, depth = 0) {
  let plain = "";
  let at = 0;
  const missing = new Set(); // marks without a partner further on: looked for once, not each time
  const put = (node, length) => {
    element.append(plain, node);
    plain = "";
    at += length;
  };
  while (at < text.length) {
    const found = span(text, at, depth, missing);
    if (found) put(...found);
    else if (text[at] === "\\" && /[\\`*_{}[\]()#+\-.!|~>]/.test(text[at + 1] ?? "")) {
      plain += text[at + 1];
      at += 2;
    } else {
      plain += text[at];
      at += 1;
    }
  }
  element.append(plain);
  return element;
}

/** What begins at a place in a line: [node, length], or null. */
function span(text, at, depth, missing) {
  const sign = text[at];
  if (sign === "\n") return [h("br"), 1];
  if (sign === "`") return codeSpan(text, at);
  if (sign === "[" || sign === "!") {
    LINK.lastIndex = at;
    const link = LINK.exec(text);
    return link && [anchor(link[2], link[1] || link[2]), link[0].length];
  }
  if (sign === "h" && !/\w/.test(text[at - 1] ?? "")) {
    ADDRESS.lastIndex = at;
    const address = ADDRESS.exec(text);
    return address && [anchor(address[0], address[0]), address[0].length];
  }
  if (depth < DEEPEST && "*_~".includes(sign)) return emphasis(text, at, depth, missing);
  return null;
}

function codeSpan(text, at) {
  const marks = /`+/y;
  marks.lastIndex = at;
  const run = marks.exec(text)[0];
  let end = text.indexOf(run, at + run.length);
  while (end >= 0 && text[end + run.length] === "`") {
    while (text[end] === "`") end += 1;
    end = text.indexOf(run, end);
  }
  if (end < 0) return [document.createTextNode(run), run.length];
  return [h("code", {}, text.slice(at + run.length, end).trim()), end + run.length - at];
}

function emphasis(text, at, depth, missing) {
  for (const [mark, tag] of MARKS) {
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
  return null;
}

/** A link, where its address is of the web or of mail; else the words alone. Pictures are links
 * too: nothing is fetched without a click. */
function anchor(address, words) {
  if (!/^(https?:\/\/|mailto:)/i.test(address)) return document.createTextNode(words);
  return h(
    "a",
    { href: address, title: address, target: "_blank", rel: "noopener noreferrer nofollow" },
    words,
  );
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

/* ---- 6. The window on the model ------------------------------------------------------------- */

const bits = (logprob) => -logprob / Math.LN2;
const percent = (logprob) => {
  const share = 100 * Math.exp(logprob);
  if (share < 0.095) return "<0.1 %";
  return `${share.toFixed(share < 9.95 ? 1 : 0)} %`;
};
const hex = (bytes) => bytes.map((b) => b.toString(16).toUpperCase().padStart(2, "0")).join(" ");
const isPiece = (value) => typeof value !== "string";

/** Blanks and line breaks made visible, for a token that is shown alone. */
const visible = (piece) =>
  (isPiece(piece)
    ? `‹${hex(piece)}›`
    : piece.replaceAll(" ", "␣").replaceAll("\n", "↵").replaceAll("\t", "⇥")) || "∅";

/** What each token shows: the characters it completes, or its bytes while a character is not yet
 * whole, and the character that they will be part of. */
function showings(tokens) {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  const encoder = new TextEncoder();
  const shown = tokens.map(([piece]) => {
    const bytes = isPiece(piece) ? new Uint8Array(piece) : encoder.encode(piece);
    return { text: decoder.decode(bytes, { stream: true }), whole: "" };
  });
  for (let i = shown.length - 1, next = ""; i >= 0; i -= 1) {
    if (shown[i].text) next = [...shown[i].text][0];
    if (isPiece(tokens[i][0])) shown[i].whole = next;
  }
  return shown;
}

function tokenElement(token, { text }, number) {
  const [piece, logprob] = token;
  const element = h("span", {
    class: "token",
    role: "button",
    tabindex: number ? -1 : 0,
    "data-token": number,
    "aria-haspopup": "dialog",
    "aria-label": t("tokenLabel", visible(piece), percent(logprob)),
  });
  element.style.setProperty("--heat", `${Math.min(62, Math.round(bits(logprob) * 9))}%`);
  if (!text) element.append(h("span", { class: "hex" }, isPiece(piece) ? hex(piece) : "∅"));
  else {
    const lines = text.split("\n");
    lines.forEach((line, i) =>
      element.append(...(i ? [h("span", { class: "mark" }, "↵"), "\n"] : []), line),
    );
  }
  return element;
}

function paintTokens(element, message) {
  const tokens = message.tokens ?? [];
  if (!tokens.length) {
    element.replaceChildren(h("p", { class: "nothing" }, t("unknown")));
    return;
  }
  if (!element.querySelector(":scope > .tokens")) {
    element.sources = null;
    element.replaceChildren(
      staff(),
      h("div", { class: "tokens", role: "group", "aria-label": t("tokens") }),
    );
  }
  growStaff(element.querySelector(".staffwrap"), tokens);
  growTokens(element.querySelector(".tokens"), tokens);
}

/** Adds the tokens that came since: those that are there stay under the mouse and the focus. */
function growTokens(home, tokens) {
  const shown = showings(tokens);
  const known = home.querySelectorAll(".token").length;
  home.append(
    ...tokens.slice(known).map((token, i) => tokenElement(token, shown[known + i], known + i)),
  );
}

/** The answer as notes on a staff: one a token, as high as it is surprising; a line is 2 bits. */
const STAFF = { gap: 10, step: 15, bottom: 52 };

function staff() {
  const lines = [0, 1, 2, 3, 4].map((i) => STAFF.bottom - i * STAFF.gap);
  return h(
    "div",
    { class: "staffwrap" },
    h(
      "div",
      { class: "staffscroll", role: "img", tabindex: 0 },
      s(
        "svg",
        { height: STAFF.bottom + STAFF.gap, "aria-hidden": "true" },
        ...lines.map((y) => s("line", { x1: 0, x2: "100%", y1: y, y2: y, stroke: "var(--line)" })),
      ),
    ),
    h("div", { class: "caption" }, h("span", {}, t("scoreHint")), h("span")),
  );
}

function growStaff(wrap, tokens) {
  const notes = wrap.querySelector("svg");
  const known = notes.querySelectorAll("[data-note]").length;
  notes.setAttribute("width", tokens.length * STAFF.step + 8);
  notes.append(...tokens.slice(known).map(([, logprob], i) => note(bits(logprob), known + i)));
  const surprise = tokens.reduce((sum, [, logprob]) => sum - logprob, 0) / tokens.length;
  const perplexity = Math.exp(surprise).toFixed(surprise > 2.3 ? 0 : 1);
  const label = t("scoreLabel", tokens.length, perplexity);
  wrap.firstElementChild.setAttribute("aria-label", label);
  wrap.lastElementChild.lastElementChild.textContent = t("perplexity", perplexity);
}

function note(surprise, number) {
  const { gap, step, bottom } = STAFF;
  const y = bottom - Math.min(surprise / 2, 4.9) * gap;
  const x = number * step + 8;
  const side = y < bottom - 2 * gap ? -1 : 1; // high notes have their stems on the left, downwards
  return s(
    "g",
    { "data-note": number, color: surprise > 4 ? "var(--surprise)" : "var(--ink)" },
    s("rect", { x: x - step / 2, y: 0, width: step, height: bottom + gap, fill: "transparent" }),
    s("ellipse", {
      ...{ cx: x, cy: y, rx: 4.5, ry: 3.3, fill: "currentColor" },
      transform: `rotate(-22 ${x} ${y})`,
    }),
    s("line", {
      ...{ x1: x + 4 * side, x2: x + 4 * side, y1: y, y2: y - 22 * side },
      ...{ stroke: "currentColor", "stroke-width": 1.1 },
    }),
  );
}

let lensHome = null; // the token that the lens looks at
let lensPinned = false;

/** Shows the alternatives at a token's place. */
function openLens(element, pin) {
  const message = messageOf(element);
  const number = Number(element.dataset.token);
  const token = message?.tokens?.[number];
  if (!token) return;
  lensHome?.classList.remove("chosen");
  lensHome = element;
  lensPinned = pin;
  element.classList.add("chosen");
  const lens = $("lens");
  lens.setAttribute("aria-label", t("lens"));
  lens.replaceChildren(...lensContent(message, number));
  lens.hidden = false;
  place(lens, element.getClientRects()[0]);
}

function lensContent(message, number) {
  const [piece, logprob, alternatives] = message.tokens[number];
  const same = (other) => JSON.stringify(other) === JSON.stringify(piece);
  const rank = alternatives.findIndex(([other]) => same(other)) + 1;
  const { whole } = showings(message.tokens)[number];
  const facts = [t("rank", rank), t("bits", bits(logprob).toFixed(1))];
  if (isPiece(piece))
    facts.unshift(`${t("bytes")} ${hex(piece)}${whole ? `, ${t("partOf", whole)}` : ""}`);
  const rows = rank || !alternatives.length ? alternatives : [...alternatives, [piece, logprob]];
  return [
    h(
      "div",
      { class: "top" },
      h("span", { class: "piece" }, visible(piece)),
      h("span", { class: "share" }, percent(logprob)),
    ),
    h("p", { class: "how" }, facts.join(" · ")),
    h(
      "ol",
      {},
      ...rows.map(([other, value]) => alternativeRow(message, number, other, value, same(other))),
    ),
  ];
}

function alternativeRow(message, number, piece, logprob, taken) {
  const bar = h("i");
  bar.style.width = `${100 * Math.exp(logprob)}%`;
  const cells = [
    h("span", { class: "piece-small" }, visible(piece)),
    h("span", { class: "track", "aria-hidden": "true" }, bar),
    h("span", { class: "value" }, percent(logprob)),
  ];
  const turnable = !taken && !state.model?.chat && !isPiece(piece) && !/^<\|.*\|>$/.test(piece);
  if (!turnable) return h("li", { class: taken && "taken" }, ...cells);
  return h(
    "li",
    {},
    h(
      "button",
      {
        type: "button",
        class: "alternative",
        "aria-label": t("instead", visible(piece)),
        click: () => takeOtherWay(message, number, piece),
      },
      ...cells,
    ),
  );
}

/** A pretrained model's text, from one of its tokens on, with another one in its place. */
function takeOtherWay(message, number, piece) {
  const conversation = state.current;
  const before = showings(message.tokens)
    .slice(0, number)
    .map(({ text }) => text)
    .join("");
  closeLens();
  answer(conversation, message.parent, (message.beginning ?? "") + before + piece);
}

function closeLens() {
  if ($("lens").hidden) return;
  $("lens").hidden = true;
  lensHome?.classList.remove("chosen");
  lensHome = null;
  lensPinned = false;
}

function place(box, target) {
  const margin = 8;
  const { offsetWidth: width, offsetHeight: height } = box;
  const left = Math.max(margin, Math.min(target.left, innerWidth - width - margin));
  const below = target.bottom + margin;
  const above = target.top - height - margin;
  box.style.left = `${left}px`;
  const lowest = Math.max(margin, innerHeight - height - margin);
  const fits = below <= lowest || above < margin;
  box.style.top = `${fits ? Math.min(below, lowest) : above}px`;
}

function messageOf(element) {
  const id = element.closest("[data-message]")?.dataset.message;
  return id && state.current.messages[id];
}

/* ---- 7. Drawing ----------------------------------------------------------------------------- */

function draw() {
  const { model, current } = state;
  document.documentElement.lang = language() === "zh" ? "zh-CN" : "en";
  document.documentElement.dataset.theme = settings.theme;
  document.title = current.title ? `${current.title} · Étude` : "Étude";
  for (const element of document.querySelectorAll("[data-text]"))
    element.textContent = t(element.dataset.text);
  for (const element of document.querySelectorAll("[data-label]"))
    element.setAttribute("aria-label", t(element.dataset.label));
  $("title").textContent = current.title || t("untitled");
  $("title").classList.toggle("upright", /\p{Script=Han}/u.test($("title").textContent));
  $("model").replaceChildren(
    ...(model
      ? [
          h("b", { title: model.name }, model.name),
          model.context && h("span", { class: "context" }, t("context", model.context)),
        ].filter(Boolean)
      : []),
  );
  dressButton($("open-settings"), "settings", t("settings"));
  dressButton($("menu"), "menu", t("menu"));
  dressButton($("theme"), settings.theme, t("themes")[settings.theme]);
  dressButton($("import"), "import", t("import"));
  dressButton($("down"), "down", t("toEnd"));
  $("language").textContent = t("language");
  $("language").setAttribute("aria-label", t("languageLabel"));
  $("new").replaceChildren(icon("new"), t(model && !model.chat ? "freshText" : "fresh"));
  drawList();
  drawScore();
  drawComposer();
  drawTrouble();
}

function dressButton(element, name, label) {
  element.replaceChildren(icon(name));
  element.title = label;
  element.setAttribute("aria-label", label);
}

function drawComposer() {
  const chat = state.model?.chat !== false;
  const running = state.runs.has(state.current.id);
  const text = $("text");
  text.placeholder = t(chat ? "placeholder" : "textPlaceholder");
  $("text-label").textContent = text.placeholder;
  const name = running ? "stop" : chat ? "send" : "go";
  dressButton($("send"), running ? "stop" : "send", t(name));
  $("send").classList.toggle("stop", running);
  const canGoOn = !chat && Object.keys(state.current.messages).length;
  $("send").disabled = !running && !text.value.trim() && !canGoOn;
  $("hint").firstElementChild.textContent = t("hint");
  const last = path(state.current).findLast((m) => m.usage);
  $("room").textContent =
    last && state.model?.context
      ? t("room", last.usage[0] + last.usage[1], state.model.context)
      : "";
}

function drawList() {
  const all = [...shelf.values()].sort((a, b) => b.updated - a.updated);
  $("conversations").replaceChildren(
    ...all.map((c) =>
      h(
        "li",
        { class: c === state.current && "current" },
        h(
          "button",
          {
            type: "button",
            class: "open",
            "aria-current": c === state.current && "true",
            click: () => show(c),
          },
          c.title || t("untitled"),
        ),
        button("icon", "edit", t("rename"), (event) =>
          rename(c, event.currentTarget.closest("li")),
        ),
        button("icon", "export", t("export"), () => exportConversation(c)),
        button("icon", "remove", t("remove"), () => remove(c)),
      ),
    ),
  );
}

function drawScore() {
  const score = $("score");
  const spot = focusSpot();
  closeLens();
  const messages = path(state.current);
  if (!messages.length) score.replaceChildren(overture());
  else if (state.model?.chat === false) score.replaceChildren(manuscript(messages));
  else {
    let number = 0;
    score.replaceChildren(
      ...messages.map((m) =>
        m.role === "user" ? userTurn(m, (number += 1)) : answerTurn(m, number),
      ),
    );
  }
  if (spot) document.querySelector(spot)?.focus();
}

/** Where the focus is in the conversation, for when that has been drawn again. */
function focusSpot() {
  const focused = document.activeElement;
  const home = focused?.closest?.("#score [data-message]");
  if (!home) return null;
  const name = ["data-token", "aria-pressed", "title"].find((n) => focused.hasAttribute(n));
  if (!name) return null;
  const value = name === "aria-pressed" ? "" : `="${CSS.escape(focused.getAttribute(name))}"`;
  return `[data-message="${home.dataset.message}"] [${name}${value}]`;
}

function overture() {
  const chat = state.model?.chat !== false;
  return h(
    "section",
    { class: "overture" },
    ornament(),
    h("h2", {}, t(chat ? "hello" : "helloText")),
    h("p", {}, t(chat ? "intro" : "introText")),
    h(
      "ul",
      { class: "starts" },
      ...t(chat ? "starts" : "startsText").map((text) =>
        h(
          "li",
          {},
          h("button", { type: "button", click: () => submit(text) }, text, icon("right")),
        ),
      ),
    ),
  );
}

/** A bar of an étude: sixteenth notes on a staff. */
function ornament() {
  const gap = 9;
  const top = 34;
  const melody = [
    [0, 2, 4, 6],
    [7, 5, 6, 4],
    [5, 3, 4, 2],
    [3, 4, 5, 7],
  ];
  const y = (pitch) => top + 4 * gap - (pitch * gap) / 2;
  const parts = [0, 1, 2, 3, 4].map((i) =>
    s("line", {
      x1: 0,
      x2: 432,
      y1: top + i * gap,
      y2: top + i * gap,
      stroke: "var(--edge)",
      "stroke-opacity": 0.55,
    }),
  );
  melody.forEach((group, g) => {
    const x = (i) => 26 + g * 102 + i * 24;
    const beam = (i) =>
      Math.min(...group.map(y)) - 25 + (i / 3) * (y(group[3]) - y(group[0])) * 0.3;
    group.forEach((pitch, i) =>
      parts.push(
        s("ellipse", {
          cx: x(i),
          cy: y(pitch),
          rx: 5.4,
          ry: 3.9,
          transform: `rotate(-22 ${x(i)} ${y(pitch)})`,
          fill: "currentColor",
        }),
        s("line", {
          x1: x(i) + 4.8,
          x2: x(i) + 4.8,
          y1: y(pitch) - 1,
          y2: beam(i),
          stroke: "currentColor",
          "stroke-width": 1.2,
        }),
      ),
    );
    for (const lower of [0, 6.5]) {
      parts.push(
        s("path", {
          fill: "currentColor",
          d:
            `M${x(0) + 4.2} ${beam(0) + lower}L${x(3) + 5.4} ${beam(3) + lower}v3.6` +
            `L${x(0) + 4.2} ${beam(0) + lower + 3.6}z`,
        }),
      );
    }
  });
  for (const [x, width] of [
    [424, 1.2],
    [429, 4],
  ])
    parts.push(s("rect", { x, y: top, width, height: 4 * gap, fill: "currentColor" }));
  return s("svg", { class: "staff", viewBox: "0 0 434 80", "aria-hidden": "true" }, ...parts);
}

function userTurn(message, number) {
  const turn = h(
    "article",
    { class: "turn user", "data-message": message.id, "aria-label": t("you_said", number) },
    h("span", { class: "bar", "aria-hidden": "true" }, number),
  );
  if (state.editing === message.id) turn.append(editor(message));
  else {
    turn.append(
      h("div", { class: "said" }, message.content),
      h(
        "div",
        { class: "tools" },
        branches(message),
        copyButton(() => message.content),
        button("tool", "edit", t("edit"), () => edit(message)),
      ),
    );
  }
  return turn;
}

function answerTurn(message, number) {
  const running = runOf(message);
  const turn = h("article", {
    class: "turn assistant",
    "data-message": message.id,
    "aria-label": t("its_answer", number),
    "aria-busy": running && "true",
  });
  const body = h("div", { class: "answer" });
  turn.append(body, h("div", { class: "tools" }));
  paintAnswer(turn, message);
  return turn;
}

const runOf = (message) => [...state.runs.values()].find((run) => run.message === message);

function paintAnswer(turn, message) {
  const running = runOf(message);
  const body = turn.querySelector(".answer");
  turn.querySelectorAll(".caret, .note").forEach((old) => old.remove());
  if (state.opened.has(message.id)) paintTokens(body, message);
  else if (!message.content.trim() && !running)
    body.replaceChildren(h("p", { class: "nothing" }, t("nothing")));
  else paintMarkdown(body, message.content);
  if (running) caretHome(body).append(h("span", { class: "caret", "aria-hidden": "true" }));
  if (message.dropped) body.after(h("p", { class: "note" }, t("forgotten", message.dropped)));
  paintTools(turn.querySelector(".tools"), message, running);
}

/** While an answer grows, what one may be about to click stays where it is. */
function paintTools(tools, message, running) {
  const told = tools.querySelector(".facts");
  const toggle = tools.querySelector("[aria-pressed]");
  if (!running || !told || Boolean(toggle) !== Boolean(message.tokens?.length))
    tools.replaceChildren(...answerTools(message, running));
  else {
    toggle?.setAttribute("aria-pressed", String(state.opened.has(message.id)));
    told.replaceWith(facts(message, running));
  }
}

/** The last line of a text, where what comes next will stand. */
function caretHome(element) {
  let home = element;
  while (
    home.lastElementChild &&
    ["P", "LI", "UL", "OL", "BLOCKQUOTE", "H3", "H4", "H5", "H6"].includes(
      home.lastElementChild.tagName,
    )
  )
    home = home.lastElementChild;
  if (element.lastElementChild?.classList.contains("tokens")) home = element.lastElementChild;
  return home;
}

function answerTools(message, running) {
  const tools = [];
  if (!running) {
    tools.push(
      branches(message),
      copyButton(() => message.content),
      button("tool", "again", t("regenerate"), () => again(state.current, message)),
    );
  }
  if (message.tokens?.length) tools.push(tokensButton(message));
  tools.push(facts(message, running));
  return tools.filter(Boolean);
}

function tokensButton(message) {
  const toggle = h(
    "button",
    {
      type: "button",
      class: "tool",
      title: t("tokensLabel"),
      "aria-pressed": String(state.opened.has(message.id)),
      click: () => toggleTokens(message),
    },
    noteIcon(),
    h("span", {}, t("tokens")),
  );
  return toggle;
}

function toggleTokens(message) {
  if (!state.opened.delete(message.id)) state.opened.add(message.id);
  closeLens();
  refresh(message);
  document.querySelector(`[data-message="${message.id}"] [aria-pressed]`)?.focus();
}

function noteIcon() {
  return s(
    "svg",
    { viewBox: "0 0 12 20", width: 10, height: 17, "aria-hidden": "true", fill: "currentColor" },
    s("ellipse", { cx: 4.6, cy: 15.5, rx: 4, ry: 2.9, transform: "rotate(-22 4.6 15.5)" }),
    s("rect", { x: 7.8, y: 2, width: 1.2, height: 13 }),
  );
}

function facts(message, running) {
  const speed = running ? running.speed : message.speed;
  const count = running ? running.count : message.usage?.[1];
  const end = { stopped: t("stopped"), length: t("cut"), full: t("full") }[message.end];
  return h(
    "span",
    { class: "facts" },
    end && h("span", {}, end),
    count ? h("span", {}, t("count", count)) : null,
    speed ? h("span", { class: "tempo" }, noteIcon(), `= ${t("speed", speed)}`) : null,
  );
}

/** Steps through the versions of a message. */
function branches(message) {
  const all = children(state.current, message.parent).filter((m) => m.role === message.role);
  if (all.length < 2) return null;
  const at = all.indexOf(message);
  const turnTo = (next) => {
    state.current.leaf = newestLeaf(state.current, all[next].id);
    keepConversation(state.current);
    draw();
    document
      .querySelector(`[data-message="${all[next].id}"] .branches button:not(:disabled)`)
      ?.focus();
  };
  const arrow = (name, label, next) => {
    const made = button("tool", name, t(label), () => turnTo(next));
    made.disabled = !all[next] || state.runs.has(state.current.id);
    return made;
  };
  return h(
    "span",
    { class: "branches", role: "group", "aria-label": t("version", at + 1, all.length) },
    arrow("left", "previous", at - 1),
    `${at + 1}/${all.length}`,
    arrow("right", "next", at + 1),
  );
}

function edit(message) {
  state.editing = message.id;
  draw();
  const field = document.querySelector(".edit textarea");
  fitText(field);
  field.focus();
  field.setSelectionRange(field.value.length, field.value.length);
}

/** A field in the place of a message; what is sent is a new branch beside it. */
function editor(message) {
  const field = h("textarea", { "aria-label": t("edit"), rows: 1, input: () => fitText(field) });
  field.value = message.content;
  const leave = () => {
    state.editing = null;
    draw();
    $("text").focus();
  };
  const send = () => {
    const text = field.value;
    if (!text.trim() || state.runs.has(state.current.id)) return;
    state.editing = null;
    const { id } = addMessage(state.current, "user", text, message.parent);
    answer(state.current, id);
    $("text").focus();
  };
  field.addEventListener("keydown", (event) => {
    if (event.key === "Escape") leave();
    else if (isSend(event)) send();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  return h(
    "div",
    { class: "edit" },
    field,
    h(
      "div",
      { class: "row" },
      h("button", { type: "button", class: "plain strong", click: send }, t("save")),
      h("button", { type: "button", class: "plain", click: leave }, t("cancel")),
    ),
  );
}

/** A pretrained model's conversation is one text: what was written and what followed. */
function manuscript(messages) {
  const last = messages.at(-1);
  const mine = messages.findLast((m) => m.role === "user");
  const section = h("article", {
    class: "turn assistant",
    "data-message": last.id,
    "aria-label": t("its_answer", 1),
  });
  const text = h("div", { class: "manuscript" });
  for (const message of messages) {
    if (state.editing === message.id) text.append(editor(message));
    else
      text.append(
        h("span", { class: message.role === "user" ? "mine" : "its", "data-message": message.id }),
      );
  }
  section.append(text, h("div", { class: "tools" }));
  paintManuscript(section, messages, mine);
  return section;
}

function paintManuscript(section, messages, mine) {
  const last = messages.at(-1);
  const running = runOf(last);
  section.querySelectorAll(".caret, .note").forEach((old) => old.remove());
  const opened = state.opened.has(last.id) && last.tokens?.length;
  const wrap = section.querySelector(".staffwrap");
  if (!opened) wrap?.remove();
  else if (!wrap) section.prepend(staff());
  if (opened) growStaff(section.querySelector(".staffwrap"), last.tokens);
  for (const message of messages) {
    const span = section.querySelector(`span[data-message="${message.id}"]`);
    if (!span) continue;
    if (!opened || !message.tokens?.length) {
      span.textContent = message.content;
      continue;
    }
    if (!span.querySelector(".token")) span.replaceChildren(message.beginning ?? "");
    growTokens(span, message.tokens);
  }
  if (running)
    section
      .querySelector(".manuscript")
      .append(h("span", { class: "caret", "aria-hidden": "true" }));
  if (last.dropped) section.append(h("p", { class: "note" }, t("beheaded")));
  const tools = section.querySelector(".tools");
  if (last.role === "assistant") paintTools(tools, last, running);
  if (!running && mine) tools.prepend(button("tool", "edit", t("edit"), () => edit(mine)));
}

/** Draws one answer again, as it was or as it grew. */
function refresh(message) {
  const messages = path(state.current);
  if (state.model?.chat === false) {
    const section = $("score").firstElementChild;
    if (section)
      paintManuscript(
        section,
        messages,
        messages.findLast((m) => m.role === "user"),
      );
    return;
  }
  const turn = document.querySelector(`article[data-message="${message.id}"]`);
  if (turn) paintAnswer(turn, message);
}

let painting = false;

/** Draws the growing answer with the next frame, however many tokens came until then. */
function repaint(conversation) {
  if (painting) return;
  painting = true;
  requestAnimationFrame(() => {
    painting = false;
    const run = state.runs.get(conversation.id);
    if (!run || conversation !== state.current) return;
    const now = performance.now();
    if (now - (run.told ?? run.begun) > 400) {
      run.speed = speedOf(run, run.count);
      run.told = now;
    }
    const atEnd = isAtEnd();
    refresh(run.message);
    if (atEnd) scrollToEnd();
  });
}

const isAtEnd = () =>
  $("scroller").scrollHeight - $("scroller").scrollTop - $("scroller").clientHeight < 80;

function scrollToEnd() {
  $("scroller").scrollTop = $("scroller").scrollHeight;
}

function copyButton(text) {
  return button("tool", "copy", t("copy"), async (event) => {
    const pressed = event.currentTarget;
    await copy(text());
    dressButton(pressed, "check", t("copied"));
    say(t("copied"));
    setTimeout(() => dressButton(pressed, "copy", t("copy")), 1500);
  });
}

/** Copies a text; in the old way where the page came over http from another machine. */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const field = h("textarea", { class: "unseen", readonly: true });
    field.value = text;
    const before = document.activeElement;
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
    before?.focus();
  }
}

const say = (text) => {
  $("spoken").textContent = text;
};

let toastTimer = 0;

function showToast(text, action, label) {
  $("toast").replaceChildren(
    h("span", {}, text),
    action
      ? h(
          "button",
          {
            type: "button",
            click: () => {
              $("toast").hidden = true;
              action();
            },
          },
          label,
        )
      : "",
  );
  $("toast").hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => {
    $("toast").hidden = true;
  }, 7000);
}

/* What went wrong: one line, with the way on. */

function setTrouble(error, retry, midway = false) {
  state.trouble = error && { error, retry, midway };
  drawTrouble();
}

function troubleText({ error, midway }) {
  if (!(error instanceof Refusal)) return t(midway ? "broken" : "gone");
  if (error.status === 401) return t("keyNeeded");
  if (error.status === 503 || error.status === 429)
    return error.retryAfter ? t("busyFor", error.retryAfter) : t("busy");
  if (error.code === "context_length_exceeded") return t("tooLong");
  return t("refused", error.message);
}

function drawTrouble() {
  const { trouble } = state;
  const box = $("trouble");
  // Else an alert would be told twice.
  if (box.trouble === trouble && box.language === language()) return;
  box.trouble = trouble;
  box.language = language();
  box.hidden = !trouble;
  box.replaceChildren();
  if (!trouble) return;
  const retry = () => {
    setTrouble(null);
    trouble.retry();
  };
  box.append(h("span", {}, troubleText(trouble)));
  if (trouble.error.status === 401) {
    const field = h("input", {
      type: "password",
      "aria-label": t("keyLabel"),
      placeholder: t("keyLabel"),
      autocomplete: "off",
    });
    const use = () => {
      keep("key", field.value.trim());
      retry();
    };
    field.addEventListener("keydown", (event) => {
      if (event.key === "Enter") {
        event.preventDefault();
        use();
      }
    });
    box.append(field, h("button", { type: "button", class: "plain", click: use }, t("useKey")));
    field.focus();
  } else if (trouble.error.code !== "context_length_exceeded")
    box.append(h("button", { type: "button", class: "plain", click: retry }, t("retry")));
  const close = button("icon", "close", t("close"), () => {
    setTrouble(null);
    $("text").focus();
  });
  box.append(close);
}

/* ---- 8. Conversations ----------------------------------------------------------------------- */

function show(conversation) {
  state.current = conversation;
  state.editing = null;
  keep("current", conversation.id);
  if (state.trouble?.retry !== findModel) setTrouble(null);
  closeContents();
  draw();
  scrollToEnd();
  $("text").focus();
}

function startAnew() {
  show(newConversation());
}

function rename(conversation, row) {
  const field = h("input", { type: "text", "aria-label": t("rename"), maxlength: 120 });
  field.value = conversation.title;
  let over = false;
  const end = (kept) => {
    if (over) return;
    over = true;
    if (kept && field.value.trim()) conversation.title = field.value.trim();
    keepConversation(conversation);
    draw();
  };
  field.addEventListener("keydown", (event) => {
    if (event.isComposing || !["Enter", "Escape"].includes(event.key)) return;
    event.preventDefault();
    event.stopPropagation();
    end(event.key === "Enter");
    $("conversations").querySelector(".current .open")?.focus();
  });
  field.addEventListener("blur", () => end(true));
  row.replaceChildren(field);
  field.select();
}

function remove(conversation) {
  stop(conversation);
  shelf.delete(conversation.id);
  try {
    localStorage.removeItem(`${PREFIX}chat:${conversation.id}`);
  } catch {
    /* then it was not kept either */
  }
  if (state.current === conversation) state.current = newConversation();
  draw();
  $("new").focus();
  showToast(
    t("deleted"),
    () => {
      shelf.set(conversation.id, conversation);
      keepConversation(conversation);
      show(conversation);
    },
    t("undo"),
  );
}

/** Saves a conversation as the terminal's /save does, in the form of training data. */
function exportConversation(conversation) {
  const turns = path(conversation).map(({ role, content }) => ({ role, content }));
  // Where an answer failed, two messages stand side by side: the model reads them as one.
  const told = state.model?.chat === false ? turns : dialogue(turns, conversation.system);
  const text = JSON.stringify({ conversations: told }, null, 2);
  const name = conversation.title || "etude";
  const link = h("a", {
    href: URL.createObjectURL(new Blob([`${text}\n`], { type: "application/json" })),
    download: `${name.replace(/[^\p{L}\p{N}]+/gu, "_").slice(0, 40)}.json`,
  });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

async function importConversation(file) {
  let turns;
  try {
    turns = JSON.parse(await file.text()).conversations;
    if (
      !turns.length ||
      !turns.every(
        (m) => typeof m.content === "string" && ["system", "user", "assistant"].includes(m.role),
      )
    )
      throw new Error();
  } catch {
    showToast(t("importFailed"));
    return;
  }
  const conversation = newConversation();
  conversation.system = turns
    .filter((m) => m.role === "system")
    .map((m) => m.content)
    .join("\n\n");
  for (const { role, content } of turns.filter((m) => m.role !== "system"))
    addMessage(conversation, role, content, conversation.leaf);
  conversation.title = file.name
    .replace(/\.json$/i, "")
    .replaceAll("_", " ")
    .trim();
  keepConversation(conversation);
  show(conversation);
}

function openContents() {
  $("contents").classList.add("open");
  $("menu").setAttribute("aria-expanded", "true");
  $("sheet").inert = true;
  $("new").focus();
}

function closeContents() {
  if (!$("contents").classList.contains("open")) return;
  $("contents").classList.remove("open");
  $("menu").setAttribute("aria-expanded", "false");
  $("sheet").inert = false;
  $("menu").focus();
}

/* ---- 9. Settings ---------------------------------------------------------------------------- */

function openSettings() {
  drawSettings();
  if (!$("settings").open) $("settings").showModal();
}

function drawSettings() {
  const field = (name) => samplingField(name);
  const system = h("textarea", {
    id: "set-system",
    rows: 3,
    input: () => {
      settings.system = system.value;
      state.current.system = system.value;
      keepSettings();
      if (shelf.has(state.current.id)) keepConversation(state.current);
    },
  });
  system.value = state.current.system;
  const key = h("input", {
    type: "password",
    id: "set-key",
    autocomplete: "off",
    change: () => {
      keep("key", key.value.trim());
      findModel();
    },
  });
  key.value = load("key", "");
  const close = () => $("settings").close();
  const reset = () => {
    settings.sampling = {};
    keepSettings();
    drawSettings();
  };
  $("settings").replaceChildren(
    h(
      "form",
      { method: "dialog" },
      h(
        "div",
        { class: "top" },
        h("h2", { id: "settings-title" }, t("settings")),
        button("icon", "close", t("close"), close),
      ),
      state.model?.chat === false
        ? null
        : h(
            "div",
            { class: "field full" },
            h("label", { for: "set-system" }, t("system")),
            system,
            h("small", {}, t("systemHint")),
          ),
      h("h3", {}, t("sampling")),
      ...["temperature", "max_tokens", "seed"].map(field),
      h(
        "details",
        {},
        h("summary", {}, t("more")),
        ...[
          "top_p",
          "top_k",
          "min_p",
          "repetition_penalty",
          "presence_penalty",
          "frequency_penalty",
          "top_logprobs",
        ].map(field),
      ),
      h("button", { type: "button", class: "plain", click: reset }, t("defaults")),
      h("h3", {}, t("keyLabel")),
      h(
        "div",
        { class: "field full" },
        h("label", { for: "set-key", class: "unseen" }, t("keyLabel")),
        key,
        h("small", {}, t("keyHint")),
      ),
      h("h3", {}, t("shortcuts")),
      h(
        "dl",
        { class: "keys" },
        ...t("keys").flatMap(([keys, what]) => [
          h("dt", {}, ...keys.split(" + ").flatMap((k, i) => [i ? " + " : "", h("kbd", {}, k)])),
          h("dd", {}, what),
        ]),
      ),
    ),
  );
}

function samplingField(name) {
  const [, least, most, step] = SAMPLING[name];
  const [label, hint] = t("fields")[name];
  const attributes = { min: least, max: most, step };
  const set = (value, other) => {
    const chosen = Math.min(most, Math.max(least, Number(value)));
    if (value === "") delete settings.sampling[name];
    else settings.sampling[name] = step === 1 ? Math.round(chosen) : chosen;
    if (other) other.value = sampling()[name] ?? "";
    keepSettings();
  };
  const number = h("input", {
    type: "number",
    id: `set-${name}`,
    ...attributes,
    step: step === 1 ? 1 : "any",
    inputmode: "decimal",
    "aria-describedby": `hint-${name}`,
    input: () => set(number.value, slider),
    change: () => {
      number.value = sampling()[name] ?? "";
    },
  });
  const slider =
    name === "seed" || name === "max_tokens"
      ? null
      : h("input", {
          type: "range",
          ...attributes,
          "aria-label": label,
          input: () => set(slider.value, number),
        });
  number.value = sampling()[name] ?? "";
  if (slider) slider.value = number.value;
  return h(
    "div",
    { class: "field" },
    h("label", { for: `set-${name}` }, label),
    number,
    slider,
    h("small", { id: `hint-${name}` }, hint),
  );
}

/* ---- 10. Hands: keys, mouse, finger --------------------------------------------------------- */

function fitText(field) {
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight + field.offsetHeight - field.clientHeight}px`;
}

/** Enter sends; with Shift, while an input method composes, and on a touch keyboard it does not. */
function isSend(event) {
  return (
    event.key === "Enter" &&
    !event.shiftKey &&
    !event.isComposing &&
    event.keyCode !== 229 &&
    !matchMedia("(hover: none) and (pointer: coarse)").matches
  );
}

function pressInText(event) {
  if (isSend(event)) {
    event.preventDefault();
    submit($("text").value);
  } else if (
    event.key === "ArrowUp" &&
    !$("text").value &&
    !event.isComposing &&
    !state.runs.has(state.current.id)
  ) {
    const last = path(state.current).findLast((m) => m.role === "user");
    if (!last) return;
    event.preventDefault();
    edit(last);
  }
}

function pressAnywhere(event) {
  if (event.isComposing) return;
  const control = event.ctrlKey || event.metaKey;
  const last = path(state.current).findLast((m) => m.role === "assistant");
  if (event.key === "Escape") escape();
  else if (control && event.shiftKey && event.code === "KeyO") startAnew();
  else if (control && event.code === "Slash") openSettings();
  else if (control && event.code === "Period" && last?.tokens) toggleTokens(last);
  else if (control && event.shiftKey && event.key === "Enter" && last) again(state.current, last);
  else return;
  event.preventDefault();
}

function escape() {
  if ($("settings").open) $("settings").close();
  else if (!$("lens").hidden) {
    const home = lensHome;
    closeLens();
    home?.focus();
  } else if ($("contents").classList.contains("open")) closeContents();
  else stop();
}

/** From token to token, and into the alternatives. */
function pressOnToken(event) {
  const token = event.target.closest(".token");
  if (!token) return;
  const all = [...$("score").querySelectorAll(".token")];
  const at = all.indexOf(token);
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[event.key];
  if (to !== undefined && all[to]) {
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

function tokenUnder(event) {
  const note = event.target.closest("[data-note]");
  if (!note) return event.target.closest(".token");
  const home = note.closest("[data-message]");
  return (
    home.querySelector(
      `[data-message="${home.dataset.message}"] [data-token="${note.dataset.note}"]`,
    ) ?? home.querySelector(`[data-token="${note.dataset.note}"]`)
  );
}

function listenToTokens() {
  const score = $("score");
  score.addEventListener("pointerover", (event) => {
    const token = event.pointerType === "mouse" && !lensPinned && tokenUnder(event);
    if (token) openLens(token, false);
  });
  score.addEventListener("pointerout", (event) => {
    if (event.pointerType === "mouse" && !lensPinned && tokenUnder(event)) closeLens();
  });
  score.addEventListener("click", (event) => {
    const token = tokenUnder(event);
    if (!token) return;
    const wasHere = lensPinned && lensHome === token;
    if (wasHere) closeLens();
    else openLens(token, true);
  });
  score.addEventListener("focusin", (event) => {
    if (event.target.matches(".token:focus-visible")) openLens(event.target, true);
  });
  score.addEventListener("keydown", pressOnToken);
  document.addEventListener("pointerdown", (event) => {
    if (!event.target.closest("#lens, .token, [data-note]")) closeLens();
  });
  $("scroller").addEventListener("scroll", () => {
    closeLens();
    $("down").hidden = isAtEnd();
  });
}

function listen() {
  $("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    if (state.runs.has(state.current.id)) stop();
    else submit($("text").value);
  });
  $("text").addEventListener("keydown", pressInText);
  $("text").addEventListener("input", () => {
    fitText($("text"));
    drawComposer();
  });
  $("new").addEventListener("click", startAnew);
  $("menu").addEventListener("click", openContents);
  $("veil").addEventListener("click", closeContents);
  $("down").addEventListener("click", scrollToEnd);
  $("open-settings").addEventListener("click", openSettings);
  $("settings").addEventListener("click", (event) => {
    if (event.target === $("settings")) $("settings").close();
  });
  $("theme").addEventListener("click", () =>
    choose("theme", { auto: "light", light: "dark", dark: "auto" }[settings.theme]),
  );
  $("language").addEventListener("click", () =>
    choose("language", language() === "en" ? "zh" : "en"),
  );
  $("import").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", () => {
    if ($("file").files[0]) importConversation($("file").files[0]);
    $("file").value = "";
  });
  document.addEventListener("keydown", pressAnywhere);
  addEventListener("resize", closeLens);
  addEventListener("pagehide", () => {
    for (const { conversation } of state.runs.values()) keepConversation(conversation);
  });
  addEventListener("storage", followOtherTab);
}

function choose(name, value) {
  settings[name] = value;
  keepSettings();
  draw();
}

/** Takes over what another tab of this page has kept. */
function followOtherTab({ key, newValue }) {
  if (!key?.startsWith(`${PREFIX}chat:`)) return;
  const id = key.slice(`${PREFIX}chat:`.length);
  if (state.runs.has(id)) return;
  const conversation = newValue && load(`chat:${id}`, null);
  if (isConversation(conversation)) {
    shelf.set(id, conversation);
    if (state.current.id === id && !state.editing) state.current = conversation;
  } else shelf.delete(id);
  if (!state.editing) draw();
}

function begin() {
  loadShelf();
  state.current = shelf.get(load("current", "")) ?? newConversation();
  listen();
  listenToTokens();
  draw();
  scrollToEnd();
  findModel();
  if (!matchMedia("(pointer: coarse)").matches) $("text").focus();
}

begin();
