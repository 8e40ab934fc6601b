/* Conversations in files: exported, and brought in from other programs. */
"use strict";

/** What is asked about, and where the focus was. */
const exporting = { conversations: [], back: null };

/** Asks in which form conversations are to be saved. */
function openExport(conversations) {
  const row = document.activeElement?.closest("li");
  Object.assign(exporting, { conversations, back: row?.querySelector(".open") ?? $("export-all") });
  $("export-title").textContent = t(conversations.length === 1 ? "export" : "exportAll");
  $("export").showModal();
}

/** Saves them: as lines of training data, which the terminal reads too, or to be read. */
function saveExport(kind) {
  const { conversations } = exporting;
  const title = conversations.length === 1 ? conversations[0].title : "";
  const name = (title || "etude").replace(/[^\p{L}\p{N}]+/gu, "_").slice(0, 40);
  const written = conversations.map(kind === "md" ? markdownOf : recordOf);
  const type = kind === "md" ? "text/markdown" : "application/jsonl";
  const href = URL.createObjectURL(new Blob([written.join("")], { type }));
  $("export").close();
  h("a", { href, download: `${name}.${kind}` }).click();
  setTimeout(() => URL.revokeObjectURL(href), 1000);
}

/** The turns of the branch that is shown. Where an answer failed, two messages stand side by side:
 * the model reads them as one. */
function exportedTurns(conversation) {
  const messages = path(conversation);
  if (isChat(conversation)) return turnsOf(messages, conversation.system);
  return messages.map(({ role, content }) => ({ role, content }));
}

/** A conversation in the form of training data, as a line. */
function recordOf(conversation) {
  const read = (text) => quietly(() => JSON.parse(text)) ?? text;
  const plain = ({ function: f, ...call }) =>
    ({ ...call, function: { name: f.name, arguments: read(f.arguments) } });
  const conversations = exportedTurns(conversation).map(({ tool_calls: calls, ...turn }) =>
    calls ? { ...turn, tool_calls: calls.map(plain) } : turn);
  const tools = quietly(() => readTools(conversation.tools)) ?? [];
  const { title } = conversation;
  const record = { ...(title && { title }), conversations, ...(tools.length && { tools }) };
  return `${JSON.stringify(record)}\n`;
}

/** A text between fences that it cannot end. */
function fenced(text, name = "") {
  const runs = [...text.matchAll(/`+/g)].map(([marks]) => marks.length);
  const fence = "`".repeat(runs.reduce((most, length) => Math.max(most, length + 1), 3));
  return `${fence}${name}\n${text}\n${fence}`;
}

/** A conversation to be read. */
function markdownOf(conversation) {
  const call = ({ function: f }) =>
    [t("called", `\`${f.name}\``), fenced(prettyJson(f.arguments), "json")];
  const turn = ({ role, content, reasoning_content: thoughts, tool_calls: calls = [], name }) => [
    `## ${role === "tool" ? t("resultOf", name || t("tool")) : t(`role_${role}`)}`,
    thoughts?.replace(/^/gm, "> "),
    role === "tool" ? fenced(content) : content,
    ...calls.flatMap(call),
  ];
  const turns = exportedTurns(conversation).flatMap(turn);
  return `${[`# ${conversation.title || t("fresh")}`, ...turns].filter(Boolean).join("\n\n")}\n\n`;
}

const ROLES = { // of other programs
  developer: "system", human: "user", prompter: "user", gpt: "assistant", chatgpt: "assistant",
  model: "assistant", bot: "assistant", ai: "assistant", function: "tool", observation: "tool",
  function_response: "tool", tool_response: "tool", function_call: "call", tool_call: "call",
};

/** Calls of any program, objects or their JSON, in the form of the API; null when they are none. */
function callsOf(given) {
  const read = isText(given) && given ? quietly(() => JSON.parse(given)) : given || [];
  const isKnown = (call) =>
    isCall(call) && isObject(quietly(() => JSON.parse(call.function.arguments)));
  const calls = [read].flat().map((call) => {
    const { name, arguments: what = {} } = call?.function ?? call ?? {};
    const id = isText(call?.id) && call.id ? call.id : newId().slice(-9);
    const text = isText(what) ? what : JSON.stringify(what);
    return { id, type: "function", function: { name, arguments: text } };
  });
  return read && calls.every(isKnown) ? calls : null;
}

/** A message of any program in our form; null when it is none, or holds more than text. */
function turnOf(message) {
  const name = String(message?.role ?? message?.from ?? message?.author?.role).toLowerCase();
  const known = ROLES[name] ?? name;
  const isCalling = known === "call"; // ShareGPT's: the call is the content
  const role = isCalling ? "assistant" : known;
  const content = message?.content?.parts ?? message?.content ?? message?.value ?? "";
  const said = role === "tool" && isObject(content) ? JSON.stringify(content) : content;
  const texts = isCalling ? [] : [said].flat().map((part) => part?.text ?? part);
  const made = message?.tool_calls ?? message?.function_call;
  const calls = role === "assistant" ? callsOf(isCalling ? content : made) : [];
  const isTurn = ["system", "user", "assistant", "tool"].includes(role) && texts.every(isText);
  if (!isTurn || !calls) return null;
  const names = { assistant: ["reasoning_content"], tool: ["tool_call_id", "name"] }[role] ?? [];
  const more = names.filter((n) => isText(message[n]) && message[n]).map((n) => [n, message[n]]);
  const turn = { role, content: texts.join("\n"), ...Object.fromEntries(more) };
  return calls.length ? { ...turn, tool_calls: calls } : turn;
}

/** Says of each result whose it is, where a program only has them in order. */
function nameResults(turns) {
  let due = [];
  for (const turn of turns) {
    if (turn.tool_calls) due = [...turn.tool_calls];
    if (turn.role !== "tool") continue;
    const at = due.findIndex(({ id }) => id === turn.tool_call_id);
    const [call] = due.splice(Math.max(0, at), 1);
    turn.tool_call_id ??= call?.id ?? newId().slice(-9);
    turn.name ??= call?.function.name ?? "";
  }
  return turns;
}

/** The messages of a conversation of ours, of OpenAI, ShareGPT, open-webui or ChatGPT's export. */
function messagesOf(value) {
  if (value?.mapping)
    return ancestors(value.mapping, value.current_node).flatMap(({ message }) => message ?? []);
  const all = value?.chat?.messages ?? value?.conversations ?? value?.messages ?? value;
  return Array.isArray(all) ? all : [];
}

/** The values of a file: JSON, or JSON lines. */
function valuesOf(text) {
  const read = (line, at) => quietly(() => [JSON.parse(line)]) ?? fail("importLine", at + 1);
  const lines = () => text.split("\n").flatMap((line, at) => (line.trim() ? read(line, at) : []));
  return quietly(() => [JSON.parse(text)].flat()) ?? lines();
}

const MOST = 1000; // conversations in a file

/** The conversations of a file, which may also hold the messages of one. */
function readConversations(text, fileName) {
  const values = valuesOf(text);
  const all = values.length && turnOf(values[0]) ? [values] : values;
  if (all.length > MOST) fail("importMany", all.length, MOST);
  const found = all.map((value) => readConversation(value, all.length > 1 ? null : fileName));
  const isEmpty = !found.length || found.some(([, messages]) => !messages.length);
  return isEmpty ? fail("importFailed") : found;
}

/** A conversation with its title, system prompt and tools; and its messages. */
function readConversation(value, fileName) {
  const isSystem = ({ role }) => role === "system";
  const given = messagesOf(value);
  const turns = given.map(turnOf);
  if (turns.includes(null)) fail("importTurn", turns.indexOf(null) + 1);
  const messages = turnsOf(nameResults(turns.filter((turn) => !isSystem(turn))), "");
  const beside = isText(value?.system) ? [{ role: "system", content: value.system }] : [];
  const system = textOf(turnsOf([...beside, ...turns.filter(isSystem)], ""));
  const named = (value?.tools || given[0]?.tools) ?? "";
  const described = readTools(isText(named) ? named : JSON.stringify(named));
  const tools = described.length ? JSON.stringify(described, null, 2) : "";
  const first = fileName ?? titleOf(messages[0]?.content);
  const title = isText(value?.title) && value.title ? value.title : first;
  return [Object.assign(newConversation(), { ...OPTIONS, system, title, tools }), messages];
}

/** Shows the conversations of a file. */
async function importConversations({ target: input }) {
  const [file] = input.files;
  input.value = "";
  try {
    const name = file.name.replace(/\.jsonl?$/i, "").replaceAll("_", " ").trim();
    const found = readConversations(await file.text(), name).reverse();
    for (const [conversation, messages] of found) {
      for (const { role, content, ...more } of messages) {
        const end = role === "assistant" && { end: "stop" };
        addMessage(conversation, role, content, conversation.leaf, { ...more, ...end });
      }
      keepConversation(conversation);
    }
    show(found.at(-1)[0]);
  } catch (error) {
    showToast(`${file.name}: ${error.message}`);
  }
}
