/* Turns: questions, answers with their thoughts and calls, results; how they are edited. */
"use strict";

const editButton = (message) => iconButton("tool", "edit", t("edit"), () => edit(message));
const tokenGroup = () => h("div.tokens", { role: "group", "aria-label": t("tokens") });
const isEdited = ({ id }) => state.editing?.edited === id;
const caret = () => h("span.caret", { "aria-hidden": true });

function userTurn(message, number) {
  const properties = { "data-message": message.id, "aria-label": t("yourMessage", number) };
  const bar = h("span.bar", { "aria-hidden": true }, number);
  if (isEdited(message)) return h("article.turn.user", properties, bar, editor());
  const tools = [versions(message), copyButton(message.content), editButton(message)];
  const said = h("div.said", message.content);
  return h("article.turn.user", properties, bar, said, h("div.tools", ...tools));
}

/** The result of a call. */
function toolTurn(message) {
  const name = message.name || t("tool");
  const properties = { "data-message": message.id, "aria-label": t("resultOf", name) };
  if (isEdited(message)) return h("article.turn.result", properties, editor());
  const details = fold(message.id, t("resultOf", name), false);
  const isJson = /^\s*[{[]/.test(message.content);
  details.lastElementChild.append(codeBox(isJson ? "json" : "", prettyJson(message.content)));
  const edit = !isRunning() && editButton(message);
  const tools = h("div.tools", versions(message), copyButton(message.content), edit);
  return h("article.turn.result", properties, details, tools);
}

/** A part that opens and closes; what a person chose holds when it is drawn again. */
function fold(key, title, isOpen) {
  const choose = () => state.folds.set(key, !details.open);
  const summary = h("summary", { "data-fold": key, click: choose }, title);
  const details = h("details.fold", summary, h("div"));
  details.open = state.folds.get(key) ?? isOpen;
  return details;
}

/** Fields for the results of an answer's calls, all sent together. */
function resultFields(message) {
  const calls = message.tool_calls;
  const submit = (event) => {
    event.preventDefault();
    const results = calls.map(({ id, function: { name } }) =>
      ({ tool_call_id: id, name, content: state.results.get(id) ?? "" }));
    for (const { id } of calls) state.results.delete(id);
    sendResults(state.current, results, message.id);
  };
  const send = h("button.plain.strong", t("sendResults"));
  send.type = "submit";
  return h("form.results.edit", { submit }, ...calls.map(resultField), h("div.row", send));
}

/** The field for the result of a call; Enter goes to the next one, or sends. */
function resultField({ id, function: { name } }) {
  const input = () => {
    state.results.set(id, box.value);
    fitText(box);
  };
  const keydown = (event) => {
    if (!isSend(event)) return;
    event.preventDefault();
    const next = [...box.form.querySelectorAll("textarea")].find((one) => !one.value);
    if (next && next !== box) next.focus();
    else box.form.requestSubmit();
  };
  const box = h("textarea", { id: `result-${id}`, rows: 1, input, keydown });
  box.value = state.results.get(id) ?? "";
  return h("label", t("resultFor", name), box);
}

/** An answer; a pretrained model's whole conversation is one: what was written, what followed. */
function answerTurn(messages, number) {
  const { id } = messages.at(-1);
  const isOpen = isChat() && isEdited(messages.at(-1));
  const shown = isChat() ? h("div.answer") : h("div.manuscript", ...messages.map(manuscriptPart));
  const body = isOpen ? editor() : shown;
  const properties = { "data-message": id, "aria-label": t("itsAnswer", number) };
  const turn = h("article.turn.assistant", properties, body, h("div.tools"));
  if (!isOpen) paintAnswer(turn, messages);
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
  const body = turn.querySelector(".answer, .manuscript");
  if (!body) return; // it is being edited
  paintThoughts(turn, last, running);
  paintStaff(turn, isOpen ? last.tokens : null);
  paintCalls(turn, last);
  for (const message of messages) paintContent(body, message, isOpen, running);
  if (running) lastLine(body).append(caret());
  if (last.dropped) body.after(h("p.note", tKind("forgotten", last.dropped)));
  paintTools(turn.querySelector(".tools"), messages, running);
}

/** Draws what a model thought before its answer: open while it thinks. */
function paintThoughts(turn, message, running) {
  const { id, reasoning_content: thoughts, content, tool_calls: calls, thinking } = message;
  if (!thoughts) return;
  const key = `${id}:thoughts`;
  const isThinking = Boolean(running && !content && !calls);
  const details = turn.querySelector(".thoughts") ?? fold(key, "", isThinking);
  if (!details.parentElement) turn.querySelector(".answer")?.before(details);
  details.classList.add("thoughts");
  details.open = state.folds.get(key) ?? isThinking;
  const [seconds, count] = thinking ?? [];
  const length = thinking ? t("count", count) : t("letters", thoughts.length);
  const end = thinking ? t("thought", seconds.toFixed(seconds < 9.95 ? 1 : 0)) : t("thoughts");
  details.firstElementChild.textContent = `${isThinking ? t("thinkingNow") : end} · ${length}`;
  const body = details.lastElementChild;
  if (body.textContent !== thoughts) body.textContent = thoughts;
}

/** Draws the tools that an answer calls; each comes whole. */
function paintCalls(turn, { tool_calls: calls = [] }) {
  const shown = turn.querySelectorAll(".call").length;
  for (const { id, function: { name, arguments: given } } of calls.slice(shown)) {
    const details = fold(id, t("called", name), false);
    details.classList.add("call");
    details.firstElementChild.append(" ", h("code", given.slice(0, 200)));
    details.lastElementChild.append(codeBox("json", prettyJson(given)));
    turn.querySelector(".tools").before(details);
  }
}

/** Draws a message as text, as Markdown, as JSON or as tokens. */
function paintContent(body, message, isOpen, running) {
  const { id, content, tokens, beginning = "" } = message;
  const home = isChat() ? body : body.querySelector(`span[data-message="${id}"]`);
  if (!home) return; // it is being edited
  if (isOpen && tokens?.length) {
    const begin = isChat() ? [beginning, tokenGroup()] : [beginning];
    if (!home.querySelector(".token")) home.replaceChildren(...begin);
    home.sources = null;
    growTokens(home.querySelector(".tokens") ?? home, tokens);
  } else if (!isChat()) home.textContent = content;
  else if (content.trim() && message.format === "json") paintJson(home, content);
  else if (sizeOf(message) || running) paintMarkdown(home, content);
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
  const isPlain = isChat() && !running && message.content && !message.tool_calls;
  return [
    edit,
    isChat() && isCut(message) && !running && continueButton(message),
    !running && versions(message),
    !running && copyButton(message.content),
    isPlain && editButton(message),
    !running && iconButton("tool", "again", t("regenerate"), again),
    message.tokens?.length && tokensButton(message),
    facts(message, running),
  ];
}

function continueButton(message) {
  const click = () => goOn(state.current, message);
  return h("button.tool.go", { title: t("goHint"), click }, icon("right"), h("span", t("go")));
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
  const isShort = message.end && CUT.includes(message.end);
  return h("span.facts",
    isShort && h("span", t(`end_${message.end}`)),
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

/** Sends what stands in the editor, as a new branch beside the message that is edited: a question
 * and results are answered, an answer goes on. */
function sendEdit() {
  const { edited, text } = state.editing;
  const { current } = state;
  const { role, parent, ...message } = current.messages[edited];
  if (!modelOf(current)) return findModel();
  if (isRunning() || (!text.trim() && role !== "tool")) return undefined;
  const later = shownPath().slice(shownPath().findIndex(({ id }) => id === edited) + 1);
  leaveEditor();
  if (role === "assistant") {
    const options = { beginning: text.trimEnd(), more: besideText(message) };
    return answer(current, parent, { ...options, sent: { text, edited } });
  }
  if (role === "user") return send(current, text, parent, edited);
  const others = later.slice(0, endOf(later, 0, (one) => one.role === "tool"));
  const results = [{ ...message, content: text }, ...others];
  const said = results.map(({ content, ...one }) => ({ content, ...extrasOf(one) }));
  return sendResults(current, said, parent);
}

/** What stays when the text of an answer is another one. */
const besideText = ({ format, ...message }) => ({ ...extrasOf(message), ...(format && { format }) });

/** Keeps an answer as it was edited, as a new version. */
function keepEdit() {
  const { edited, text } = state.editing;
  const { current } = state;
  const message = current.messages[edited];
  if (!text.trim() || isRunning()) return;
  addMessage(current, "assistant", text, message.parent, { ...besideText(message), end: "stop" });
  keepConversation(current);
  leaveEditor();
}

/** A field in the place of a message. */
function editor() {
  const input = () => {
    state.editing.text = field.value;
    fitText(field);
  };
  const isAnswer = state.current.messages[state.editing.edited].role === "assistant";
  const field = h("textarea", { "aria-label": t("edit"), rows: 1, input });
  field.value = state.editing.text;
  field.addEventListener("keydown", (event) => {
    if (event.key === "Escape") leaveEditor();
    else if (isSend(event) && !isAnswer) sendEdit();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  const save = h("button.plain.strong", { click: sendEdit }, t(isAnswer ? "goFrom" : "save"));
  const keep = isAnswer && h("button.plain", { click: keepEdit }, t("keepEdit"));
  const cancel = h("button.plain", { click: leaveEditor }, t("cancel"));
  return h("div.edit", field, h("div.row", save, keep, cancel));
}

function refresh(message) {
  const turn = document.querySelector(`#score > article[data-message="${message.id}"]`);
  if (turn) paintAnswer(turn, isChat() ? [message] : shownPath());
}
