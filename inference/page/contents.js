/* The list of conversations: shown, searched, renamed, deleted. */
"use strict";

/** What finds a text, upper and lower case alike, in any script; null where nothing is searched. */
function finder() {
  const escaped = state.query.trim().replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
  return escaped ? new RegExp(escaped, "giu") : null;
}

const searched = ({ content, reasoning_content: thoughts = "", tool_calls: calls = [] }) =>
  [content, thoughts, ...calls.map(({ function: f }) => `${f.name} ${f.arguments}`)];

/** Where a conversation has what is searched for: {text, message}; null when nowhere. */
function hitIn({ title, messages }, wanted) {
  for (const message of Object.values(messages)) {
    const text = searched(message).find((one) => one.search(wanted) >= 0);
    if (text) return { text, message };
  }
  return title.search(wanted) >= 0 ? {} : null;
}

/** Fills an element with a text whose hits are marked. */
function marked(element, text, wanted) {
  let at = 0;
  for (const { 0: hit, index } of wanted ? text.matchAll(wanted) : []) {
    element.append(text.slice(at, index), h("mark", hit));
    at = index + hit.length;
  }
  element.append(text.slice(at));
  return element;
}

/** A text about its first hit. */
function snippet(text, wanted) {
  const at = text.search(wanted);
  const start = at > 24 ? at - 20 : 0;
  const piece = text.slice(start, at + 90).replace(/\s+/g, " ");
  return marked(h("small"), (start ? "…" : "") + piece, wanted);
}

function drawList() {
  const wanted = finder();
  const row = (conversation) => {
    const hit = wanted && hitIn(conversation, wanted);
    if (wanted && !hit) return [];
    const isCurrent = conversation === state.current;
    const click = () => show(conversation, hit?.message);
    const title = marked(h("span"), conversation.title || t("fresh"), wanted);
    const text = hit?.text && snippet(hit.text, wanted);
    return h(isCurrent ? "li.current" : "li",
      h("button.open", { "aria-current": isCurrent, click }, title, text),
      iconButton("icon", "edit", t("rename"), (event) => rename(conversation, event)),
      iconButton("icon", "export", t("export"), () => openExport([conversation])),
      iconButton("icon", "remove", t("remove"), () => removeConversation(conversation)),
    );
  };
  const rows = newestFirst().flatMap(row);
  $("conversations").replaceChildren(...rows);
  $("found").textContent = wanted ? t("found", rows.length) : "";
}

function search() {
  state.query = $("search").value;
  drawList();
  markHits($("score"));
}

/** Marks what is searched for in an element, without a change of its texts. */
function markHits(element) {
  const wanted = finder();
  CSS.highlights?.delete("hits");
  if (!wanted || !CSS.highlights) return;
  const texts = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  const hits = new Highlight();
  for (let node = texts.nextNode(); node; node = texts.nextNode())
    for (const { 0: hit, index } of node.data.matchAll(wanted)) {
      const place = { startContainer: node, endContainer: node };
      hits.add(new StaticRange({ ...place, startOffset: index, endOffset: index + hit.length }));
    }
  CSS.highlights.set("hits", hits);
}

/** Shows the message of a hit, on its branch and with its parts open. */
function reveal(message) {
  const calls = (message.tool_calls ?? []).map((call) => call.id);
  if (message.content.search(finder()) < 0)
    for (const key of [`${message.id}:thoughts`, ...calls]) state.folds.set(key, true);
  if (message.role === "tool") state.folds.set(message.id, true);
  if (shownPath().includes(message)) draw();
  else showVersion(message);
  document.querySelector(`[data-message="${message.id}"]`)?.scrollIntoView({ block: "center" });
  state.follows = state.current.leaf === message.id;
}

/** From the field of the search into the list, and from one conversation to the next. */
function pressInContents(event) {
  const all = [...$("conversations").querySelectorAll(".open")];
  const isField = event.target === $("search");
  const at = all.indexOf(event.target);
  if (event.isComposing || (!isField && at < 0)) return;
  const next = { ArrowDown: at + 1, ArrowUp: at - 1 }[event.key];
  if (next >= 0) all[next]?.focus();
  else if (next === -1) $("search").focus();
  else if (isField && event.key === "Enter") all[0]?.click();
  else if (isField && event.key === "Escape" && state.query) {
    $("search").value = "";
    search();
  } else return;
  event.preventDefault();
  event.stopPropagation();
}

function openSearch() {
  if (matchMedia("(max-width: 48rem)").matches) toggleContents(true);
  $("search").focus();
  $("search").select();
}

/** Shows a conversation, at one of its messages or at its end. */
function show(conversation, message = null) {
  if (state.editing) state.current.draft = state.editing;
  Object.assign(state, { current: conversation, editing: null });
  store.set("current", conversation.id);
  if (state.trouble?.retry !== findModel) setTrouble(null);
  toggleContents(false);
  $("text").focus();
  takeDraft();
  checkModel();
  draw();
  scrollToEnd();
  if (message) reveal(message);
}

/** A field in the place of a conversation's title. */
function rename(conversation, { target }) {
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
  const row = target.closest("li");
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

/** Opens or closes the list of conversations, which a narrow window has no room for. */
function toggleContents(isOpen) {
  if ($("contents").classList.contains("open") === isOpen) return;
  $("contents").classList.toggle("open", isOpen);
  $("menu").setAttribute("aria-expanded", isOpen);
  $("sheet").inert = isOpen;
  $(isOpen ? "new" : "menu").focus();
}
