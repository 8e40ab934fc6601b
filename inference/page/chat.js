/* Settings, and what keys, mouse and fingers do; the last script: it begins. */
"use strict";

/* ---- 1. Settings --------------------------------------------------------------------------- */
function openSettings() {
  $("set-key").value = store.get("key") ?? "";
  drawOptions();
  drawSampling();
  if (!$("settings").open) $("settings").showModal();
}

/** The fields for what the shown conversation is asked with. */
function drawOptions() {
  const { current } = state;
  const { tools: knowsTools, thinks } = modelOf(current) ?? {};
  $("chat-fields").hidden = !isChat();
  for (const name of ["system", "format", "schema", "tools"])
    $(`set-${name}`).value = current[name];
  $("set-thinking").checked = current.thinking;
  $("thinking-field").hidden = !thinks;
  $("schema-field").hidden = current.format !== "json_schema";
  $("hint-tools").textContent = t(knowsTools || !modelOf(current) ? "toolsHint" : "toolsNone");
  showProblem("tools", () => readTools(current.tools));
  showProblem("schema", () => current.schema && readSchema(current.schema));
}

/** Says below a field what is wrong with it. */
function showProblem(name, read) {
  let problem = "";
  try {
    read();
  } catch (error) {
    problem = error.message;
  }
  $(`problem-${name}`).textContent = problem;
  $(`set-${name}`).setAttribute("aria-invalid", problem !== "");
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

/** Sets what this conversation, and new ones, are asked with. */
function setOption(name, value) {
  settings[name] = value;
  state.current[name] = value;
  keepSettings();
  keepConversation(state.current);
  drawOptions();
  if (name === "model") draw();
  else drawComposer();
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

/* ---- 2. Keys, mouse, fingers, other tabs --------------------------------------------------- */
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
  else if (control && !event.shiftKey && event.code === "KeyK") openSearch();
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
  else if ($("export").open) $("export").close();
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
/** When the page is left, answers end where they are; they can go on later. */
function keepRunning() {
  for (const { conversation, message } of state.runs.values()) {
    if (sizeOf(message)) message.end = "stopped";
    keepConversation(conversation);
  }
}
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
  "export-all": () => openExport(newestFirst()),
  "export-data": () => saveExport("jsonl"),
  "export-text": () => saveExport("md"),
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
  for (const name of ["system", "schema", "tools", "format"])
    listen($(`set-${name}`), { input: ({ target }) => setOption(name, target.value) });
  listen($("set-thinking"), { change: ({ target }) => setOption("thinking", target.checked) });
  // The button that opened it is hidden by now, unless something in its row has the focus.
  listen($("export"), { close: () => exporting.back.focus() });
  listen($("search"), { input: search });
  listen($("contents"), { keydown: pressInContents });
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
