/* Answers: how one is asked for, grows and ends; what was sent without one goes back. */
"use strict";

const canContinue = () => !isChat() && Object.keys(state.current.messages).length > 0;
const stop = (conversation) => state.runs.get(conversation.id)?.controller.abort();
/** Generates another answer beside one, or to a message. */
const regenerate = (conversation, { role, id, parent }) =>
  answer(conversation, role === "assistant" ? parent : id);
/** Tokens a second, from the question on, as the terminal counts them too. */
const speedOf = (run, count) => Math.round((count * 1e3) / Math.max(1, run.last - run.begun));

/** Generates an answer below a message; `beginning` is text that the answer goes on from, `leaf`
 * what is shown again when nothing comes, `sent` the text (and what it edits) that was sent. */
async function answer(conversation, parent, options = {}) {
  if (!state.model) return findModel();
  if (state.runs.has(conversation.id)) return undefined;
  const { beginning = "", leaf = conversation.leaf, sent = null } = options;
  const message = addMessage(conversation, "assistant", beginning, parent);
  if (beginning) message.beginning = beginning;
  const now = performance.now();
  const controller = new AbortController();
  const run = { conversation, message, controller, begun: now, last: now, count: 0, speed: 0 };
  state.runs.set(conversation.id, run);
  setTrouble(null);
  announce(t("answering"));
  draw();
  scrollToEnd();
  const problem = await generate(run).catch((error) => error);
  if (problem?.name === "AbortError") message.end = "stopped";
  const isNothing = message.content === beginning && (!message.end || message.end === "stopped");
  const retry = () =>
    isNothing && sent ? resend(conversation) : answer(conversation, parent, { beginning });
  if (problem && message.end !== "stopped") setTrouble(problem, retry, !isNothing);
  if (problem?.status === 404) findModel(); // another model may be served by now
  return finish(run, isNothing && { leaf, sent });
}

/** Asks for an answer; while the server says that the context is too small, for one to less. */
async function generate(run) {
  const { conversation, message, controller } = run;
  const before = path(conversation, message.parent).findLast((m) => m.role === "assistant");
  let dropped = state.model.chat ? (before?.dropped ?? 0) : 0;
  // A quarter of the context is left for the answer, as in the terminal.
  const used = before?.usage ? before.usage[0] + before.usage[1] : 0;
  if (state.model.chat && used > 0.75 * state.model.context)
    dropped = dropMore(conversation, message, dropped) ?? dropped;
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
  repaint();
}

/** Ends a run; where nothing came, it is as if nothing had been asked. */
function finish({ conversation, message, ...run }, undone) {
  state.runs.delete(conversation.id);
  const count = message.usage?.[1] ?? run.count;
  if (count) message.speed = speedOf(run, count);
  if (undone) {
    delete conversation.messages[message.id];
    if (undone.sent) delete conversation.messages[message.parent];
    Object.assign(conversation, { leaf: undone.leaf, draft: undone.sent });
  }
  keepConversation(conversation);
  if (conversation === state.current) takeDraft();
  if (message.content && !undone) announce(t("answered", message.content));
  draw();
  if (conversation === state.current && state.follows) scrollToEnd();
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
  return answer(conversation, id, { leaf, sent: { text, edited } });
}

/** Sends what was written; without a text, a pretrained model goes on where it is. */
function submit(text) {
  const conversation = state.current;
  if (!state.model) return findModel();
  if (isRunning() || (!text.trim() && !canContinue())) return undefined;
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
