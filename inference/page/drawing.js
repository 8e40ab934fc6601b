/* Drawing: the page as a whole; what went wrong, and where one has scrolled to. */
"use strict";

const announce = (text) => $("spoken").replaceChildren(text); // by a screen reader

function draw() {
  const { current } = state;
  document.documentElement.lang = language() === "zh" ? "zh-CN" : "en";
  document.documentElement.dataset.theme = settings.theme;
  document.title = current.title ? `${current.title} · Étude` : "Étude";
  for (const element of document.querySelectorAll("[data-text]"))
    element.textContent = t(element.dataset.text);
  for (const element of document.querySelectorAll("[data-label]"))
    nameElement(element, t(element.dataset.label));
  $("title").textContent = current.title || t("fresh");
  $("title").classList.toggle("upright", /\p{Script=Han}/u.test($("title").textContent));
  $("search").placeholder = t("search");
  drawModel();
  dressButton($("theme"), settings.theme, t(`theme_${settings.theme}`));
  $("new").lastElementChild.textContent = tKind("fresh");
  drawList();
  drawScore();
  drawComposer();
  drawTrouble();
}

/** The name of the model; where there are several, one is picked. */
function drawModel() {
  const model = modelOf(state.current);
  const hadFocus = document.activeElement?.id === "pick";
  const context = model?.context && h("span.context", t("context", model.context));
  const name = model && (state.models.length > 1 ? picker(model) : h("b", model.name));
  if (name) name.title = model.name;
  $("model").replaceChildren(...[name, context].filter(Boolean));
  if (hadFocus) $("pick")?.focus();
}

function picker(model) {
  const change = () => setOption("model", field.value);
  const options = state.models.map(({ name }) => h("option", { value: name }, name));
  const field = h("select", { id: "pick", "aria-label": t("model"), change }, ...options);
  field.value = model.name;
  return field;
}

/** What answers are held to, in short: tools and JSON. */
function modes({ tools, format }) {
  const count = modelOf(state.current)?.tools ? (quietly(() => readTools(tools))?.length ?? 0) : 0;
  const known = [count && t("toolCount", count), format !== "text" && "JSON"];
  return isChat() ? known.filter(Boolean).join(" · ") : "";
}

function drawComposer() {
  const running = isRunning();
  const text = $("text");
  fitText(text);
  const due = callsDue().length > 0;
  text.placeholder = due ? t("resultsDue") : tKind("placeholder");
  $("text-label").textContent = text.placeholder;
  dressButton($("send"), running ? "stop" : "send", t(running ? "stop" : isChat() ? "send" : "go"));
  $("send").classList.toggle("stop", running);
  quietly(() => sessionStorage.setItem(`${PREFIX}draft`, text.value)); // for a reload
  $("send").disabled = !running && (due || (!text.value.trim() && !canContinue()));
  $("modes").textContent = modes(state.current);
  const { usage } = shownPath().findLast((message) => message.usage) ?? {};
  const context = modelOf(state.current)?.context;
  $("room").textContent = usage && context ? t("room", usage[0] + usage[1], context) : "";
}

function drawScore() {
  const messages = shownPath();
  const spot = focusSpot();
  closeLens();
  let number = 0;
  const turn = (message) => {
    if (message.role === "user") number += 1;
    if (message.role === "tool") return toolTurn(message);
    return message.role === "user" ? userTurn(message, number) : answerTurn([message], number);
  };
  if (!messages.length) $("score").replaceChildren(overture());
  else if (!isChat()) $("score").replaceChildren(answerTurn(messages, 1));
  else $("score").replaceChildren(...messages.map(turn));
  const last = messages.at(-1);
  const again = h("button.plain", { click: () => regenerate(state.current, last) }, t("retry"));
  const isAsked = ["user", "tool"].includes(last?.role);
  if (isAsked && !isRunning() && !state.editing) $("score").append(h("div.row", again));
  if (callsDue().length && !state.editing) $("score").append(resultFields(last));
  markHits($("score"));
  if (spot) document.querySelector(spot)?.focus();
}

/** Where the focus is in the conversation, for when that has been drawn again. */
function focusSpot() {
  const focused = document.activeElement;
  if (focused?.closest(".results") && focused.id) return `#${CSS.escape(focused.id)}`;
  const home = focused?.closest?.("#score [data-message]");
  const names = ["data-token", "data-fold", "aria-pressed", "title"];
  const name = names.find((n) => focused?.hasAttribute(n));
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
  if (error instanceof Mistake) return error.message;
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
  const label = needsKey ? "useKey" : trouble?.midway ? "go" : "retry";
  Object.assign(retry, { hidden: isHopeless, textContent: t(label) });
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
