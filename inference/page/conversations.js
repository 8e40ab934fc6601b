/* Conversations: shown, renamed, deleted, exported, brought in. */
"use strict";

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
