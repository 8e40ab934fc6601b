/* Answers: how one is asked for, grows and ends; what was sent without one goes back. */
"use strict";

const canContinue = () => !isChat() && Object.keys(state.current.messages).length > 0;
const stop = (conversation) => state.runs.get(conversation.id)?.controller.abort();
/** Generates another answer beside one, or to a message. */
const regenerate = (conversation, { role, id, parent }) =>
  answer(conversation, role === "assistant" ? parent : id);
/** Tokens a second, from the question on, as the terminal counts them too. */
const speedOf = (run, count) => Math.round((count * 1e3) / Math.max(1, run.last - run.begun));

/** Why answers end that could go on; those that were broken off say nothing. */
const CUT = ["stopped", "length", "full", "time", "shutdown", "broken", undefined];
const ENDS = { context: "full", time: "time", shutdown: "shutdown" };

/** Whether the shown answer was cut and can go on: not JSON that is whole all the same. */
function isCut(message) {
  const { current } = state;
  if (message.id !== current.leaf || !sizeOf(message) || message.tool_calls) return false;
  if (message.end === "full" && dropMore(current, message, message.dropped ?? 0) === null)
    return false;
  const isWhole = message.format && quietly(() => [JSON.parse(message.content)]);
  return CUT.includes(message.end) && !isWhole;
}

/** Makes a cut answer ready to go on: the server reads no white space at its end, and half a
 * character is none. */
function reopen(conversation, message) {
  const trimmed = (text = "") => text.trimEnd().replace(/\uFFFD+$/, "").trimEnd();
  delete message.end;
  if (!isChat(conversation)) return message;
  const part = message.content.trim() ? "content" : "reasoning_content";
  message[part] = trimmed(message[part]);
  const isBlank = ([piece]) => !isText(piece) || !piece.trim();
  const kept = (message.tokens ?? []).findLastIndex((token) => !isBlank(token)) + 1;
  if (kept) message.tokens = message.tokens.slice(0, kept);
  return message;
}

const goOn = (conversation, message) => answer(conversation, message.parent, { cut: message });

/** Generates an answer below a message; `beginning` is text that the answer goes on from, `more`
 * what is kept beside it, `cut` an answer that goes on instead, `leaf` what is shown again when
 * nothing comes, `sent` the text (and what it edits or asks) that was sent. */
async function answer(conversation, parent, options = {}) {
  if (!modelOf(conversation)) return findModel();
  if (state.runs.has(conversation.id)) return undefined;
  const { beginning = "", leaf = conversation.leaf, sent = null, cut, more } = options;
  const before = { ...cut };
  const message = cut
    ? reopen(conversation, cut)
    : addMessage(conversation, "assistant", beginning, parent, more);
  if (beginning) message.beginning = beginning;
  if (!cut && isChat(conversation) && conversation.format !== "text") message.format = "json";
  const size = sizeOf(message);
  const run = beginRun(conversation, message);
  const problem = await generate(run).catch((error) => error);
  if (problem?.name === "AbortError") message.end = "stopped";
  const isNothing = sizeOf(message) === size && (!message.end || message.end === "stopped");
  const midway = !isNothing && sizeOf(message) > 0;
  const retry = () =>
    isNothing && sent ? resend(conversation)
      : midway ? goOn(conversation, message) : answer(conversation, parent, options);
  if (problem && message.end !== "stopped") {
    if (midway) message.end = "broken";
    setTrouble(problem, retry, midway);
  }
  if (problem?.status === 404) findModel(); // another model may be served by now
  if (cut && isNothing) Object.assign(message, before);
  return finish(run, isNothing && !cut && { leaf, sent });
}

function beginRun(conversation, message) {
  const now = performance.now();
  const controller = new AbortController();
  const known = message.usage?.[1] ?? message.tokens?.length ?? 0; // of an answer that goes on
  const times = { begun: now, last: now, speed: 0 };
  const run = { conversation, message, controller, ...times, count: 0, known };
  state.runs.set(conversation.id, run);
  setTrouble(null);
  announce(t("answering"));
  draw();
  scrollToEnd();
  return run;
}

/** Asks for an answer; while the server says that the context is too small, for one to less. */
async function generate(run) {
  const { conversation, message, controller } = run;
  const { chat, context } = modelOf(conversation);
  const earlier = path(conversation, message.parent).findLast((m) => m.role === "assistant");
  const before = message.usage ? message : earlier;
  let dropped = chat ? (before?.dropped ?? 0) : 0;
  // A quarter of the context is left for the answer, as in the terminal.
  const used = before?.usage ? before.usage[0] + before.usage[1] : 0;
  if (chat && used > 0.75 * context) dropped = dropMore(conversation, message, dropped) ?? dropped;
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
  const { message, known } = run;
  if (event.usage) {
    message.usage = [event.usage.prompt_tokens - known, event.usage.completion_tokens + known];
    run.isCounted = true;
  }
  const choice = event.choices?.[0];
  if (!choice) return;
  const tokens = tokensOf(choice);
  if (tokens.length) (message.tokens ??= []).push(...tokens);
  const delta = choice.delta ?? {};
  const text = delta.content ?? choice.text ?? "";
  const count = tokens.length || Number(Boolean(text || delta.reasoning_content));
  const now = performance.now();
  if (delta.reasoning_content) {
    const [seconds, length] = message.thinking ?? [0, 0];
    message.thinking = [seconds + (now - run.last) / 1e3, length + count];
    message.reasoning_content = (message.reasoning_content ?? "") + delta.reasoning_content;
  }
  for (const { id, type, function: called } of delta.tool_calls ?? [])
    (message.tool_calls ??= []).push({ id, type, function: called });
  run.count += count;
  message.content += text;
  if (choice.finish_reason) message.end = ENDS[choice.cut_by] ?? choice.finish_reason;
  run.last = now;
  repaint();
}

/** Ends a run; where nothing came, it is as if nothing had been asked. */
function finish({ conversation, message, ...run }, undone) {
  state.runs.delete(conversation.id);
  if (message.usage && !run.isCounted) message.usage = [message.usage[0], run.known + run.count];
  const count = message.usage ? message.usage[1] - run.known : run.count;
  if (count > 0) message.speed = speedOf(run, count);
  if (undone) {
    delete conversation.messages[message.id];
    if (undone.sent) delete conversation.messages[undone.sent.asked];
    Object.assign(conversation, { leaf: undone.leaf, draft: undone.sent });
  }
  keepConversation(conversation);
  if (conversation === state.current) takeDraft();
  if (!undone) announceAnswer(message);
  draw();
  if (conversation !== state.current) return;
  if (state.follows) scrollToEnd();
  if (document.activeElement === $("text") && !$("text").value)
    document.querySelector(".results textarea")?.focus();
}

function announceAnswer({ content, tool_calls: calls = [] }) {
  const names = calls.map((call) => call.function.name).join(", ");
  const said = [content && t("answered", content), names && t("called", names)];
  if (content || names) announce(said.filter(Boolean).join(" "));
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
  return answer(conversation, id, { leaf, sent: { text, edited, asked: id } });
}

/** Sends the results of an answer's calls as messages below it, or below another one. */
function sendResults(conversation, results, parent) {
  let last = parent;
  for (const { content, ...more } of results)
    last = addMessage(conversation, "tool", content, last, more).id;
  keepConversation(conversation);
  return answer(conversation, last);
}

/** The calls of the last message: their results must come before anything else is said. */
const callsDue = () => (!isRunning() && isChat() && shownPath().at(-1)?.tool_calls) || [];

/** Sends what was written; without a text, a pretrained model goes on where it is. */
function submit(text) {
  const conversation = state.current;
  if (!modelOf(conversation)) return findModel();
  if (isRunning() || callsDue().length || (!text.trim() && !canContinue())) return undefined;
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
