/* The tokens of an answer: what else might have come. */
"use strict";

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
