/* Drawing: a conversation, its answers, what went wrong. */
"use strict";

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
