"""The generation engine: requests in, tokens out, many at a time.

    engine = Engine(model, tokenizer)
    answer = engine.submit(Request(prompt, sampling, stop_ids))
    while engine.busy:
        engine.step()                # one pass through the network for everybody
    answer.text, answer.finish_reason

Each request gets a slot of the key/value cache. A step runs the next token of every answer and a
piece of the prompts that are still to be read, so requests of different lengths come and go at any
time (continuous batching, Orca, OSDI 2022). A slot remembers what it holds: a later prompt that
begins alike (the next turn of a chat) reads on from there.

An answer ends with a stop token or a stop text (reason "stop"), after max_tokens or at the edge of
the context ("length"), or because it was cancelled.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from config import SamplingConfig, UserError
from inference.engine.answers import Answer, Request, Token
from inference.engine.drafting import draft
from inference.engine.native import LIBRARY, NativeForward
from inference.engine.quantization import QuantizedWeights
from inference.engine.sampler import make_generators, sample
from inference.engine.slots import Slot, common_prefix, stack
from inference.engine.work import Forward, TorchForward, Work
from model.kv_cache import KVCache
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude

PREFILL_TOKENS = 256
"""Prompt tokens that are read in one step: answers that are under way wait for no more."""


class Engine:
    """Makes answers. One thread at a time may use it."""

    def __init__(
        self,
        model: Etude,
        tokenizer: EtudeTokenizer | None = None,
        slots: int = 8,
        max_length: int | None = None,
        native: bool = True,
        quantized: QuantizedWeights | None = None,
        drafts: bool = True,
    ) -> None:
        """Room for `slots` answers at once.

        Args:
            model: the network, on its device. Its weights must not change while this lives.
            tokenizer: makes text of tokens; None: answers have tokens only.
            slots: rows of the cache; further requests wait.
            max_length: tokens of prompt and answer together; None: the model's context.
            native: use the C++ forward pass where it is ready (float32 on a CPU).
            quantized: its int8 weights, from `quantize_model`, which has rounded the model too.
            drafts: guess ahead where that cannot change the answer (see `drafting.py`).
        """
        weight = model.lm_head.weight
        self.model, self.tokenizer = model, tokenizer
        self.context = max_length or model.config.max_position_embeddings
        self.cache = KVCache(model.config, slots, self.context, weight.device, weight.dtype)
        self.slots = [Slot(number) for number in range(slots)]
        self.queue: deque[Answer] = deque()
        self.forward: Forward = TorchForward(model, self.cache)
        self.native = native and weight.device.type == "cpu" and weight.dtype == torch.float32
        self.quantized, self.may_draft = quantized, drafts
        self.clock = 0

    @property
    def running(self) -> int:
        """Answers that have a slot."""
        return sum(slot.answer is not None for slot in self.slots)

    @property
    def waiting(self) -> int:
        """Requests that have none yet."""
        return len(self.queue)

    @property
    def busy(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.queue) or self.running > 0

    def submit(self, request: Request) -> Answer:
        """Takes a request; it is answered while the engine steps.

        Raises:
            UserError: the prompt leaves no room in the context.
        """
        check_prompt(request.prompt, self.context)
        answer = Answer(request, self.tokenizer)
        self.queue.append(answer)
        return answer

    @torch.inference_mode()
    def step(self) -> list[Answer]:
        """Runs everything one token further; the answers that grew or ended."""
        changed = self.drop_cancelled()
        self.admit()
        works = self.plan()
        if not works:
            return changed
        self.cache.lengths = [len(slot.held) for slot in self.slots]
        logits = self.best_forward()(works)
        row = 0
        choosing: list[tuple[Slot, Tensor, list[int]]] = []
        for work in works:
            slot = self.slots[work.slot]
            slot.held += work.ids
            if work.outputs:
                drafted = list(work.ids[len(work.ids) - work.outputs + 1 :])
                choosing.append((slot, logits[row : row + work.outputs], drafted))
                row += work.outputs
        self.choose(choosing)
        for slot, _, _ in choosing:
            assert slot.answer
            changed.append(slot.answer)
            if slot.answer.finish_reason:
                self.release(slot)
        return changed

    def best_forward(self) -> Forward:
        """The native forward pass from the moment it is compiled, else torch's."""
        if self.native and LIBRARY.function and not isinstance(self.forward, NativeForward):
            self.forward = NativeForward(self.model, self.cache, self.quantized)
        return self.forward

    def drop_cancelled(self) -> list[Answer]:
        """Ends what was cancelled."""
        dropped = [answer for answer in self.queue if answer.cancelled]
        self.queue = deque(answer for answer in self.queue if not answer.cancelled)
        for slot in self.slots:
            if slot.answer and slot.answer.cancelled:
                dropped.append(slot.answer)
                self.release(slot)
        for answer in dropped:
            answer.finish("cancelled")
        return dropped

    def admit(self) -> None:
        """Gives free slots to the requests that have waited longest."""
        while self.queue:
            prompt = list(self.queue[0].request.prompt)
            free = [slot for slot in self.slots if slot.answer is None]
            # The same prompt is being read in another slot: its cache can be had when that is done.
            if not free or any(s.todo[1:] and s.held + s.todo == prompt for s in self.slots):
                return
            self.begin(self.queue.popleft(), free)

    def begin(self, answer: Answer, free: Sequence[Slot]) -> None:
        """Starts an answer in the free slot that holds most of its prompt, with what another slot
        holds of it where that is more."""
        request = answer.request
        prompt = list(request.prompt)
        most = len(prompt) - 1  # the last token must be read, to know what follows
        shared = {s.number: min(most, common_prefix(s.held, prompt)) for s in self.slots}
        slot = max(free, key=lambda s: (shared[s.number], -s.used))
        if shared[slot.number] < min(most, 16):  # little is lost: take the one unused for longest
            slot = min(free, key=lambda s: s.used)
        source = max(self.slots, key=lambda s: shared[s.number])
        if shared[source.number] > shared[slot.number]:
            self.cache.copy(source.number, slot.number, shared[source.number])
        answer.reused = shared[source.number]
        self.clock += 1
        slot.used, slot.answer = self.clock, answer
        slot.held, slot.todo = prompt[: answer.reused], prompt[answer.reused :]
        slot.limit = min(request.sampling.max_tokens, self.context - len(prompt))
        (slot.generator,) = make_generators(request.sampling.seed, 1)
        self.prepare_penalties(slot)

    def prepare_penalties(self, slot: Slot) -> None:
        """Makes the memory that an answer's penalties need."""
        assert slot.answer
        sampling, weight = slot.answer.request.sampling, self.model.lm_head.weight
        slot.seen = slot.counts = None
        if sampling.repetition_penalty != 1:
            slot.seen = torch.zeros(weight.shape[0], dtype=torch.bool, device=weight.device)
            slot.seen[list(slot.answer.request.prompt)] = True
        if sampling.presence_penalty or sampling.frequency_penalty:
            slot.counts = torch.zeros(weight.shape[0], device=weight.device)

    def plan(self) -> list[Work]:
        """What each slot does in this step."""
        works, room = [], PREFILL_TOKENS
        for slot in sorted(self.slots, key=lambda s: s.used):
            if slot.answer is None:
                continue
            if len(slot.todo) == 1:
                ids = slot.todo + self.drafts(slot)
                works.append(Work(slot.number, len(slot.held), ids, outputs=len(ids)))
                slot.todo = []
            elif room:
                ids, slot.todo = slot.todo[:room], slot.todo[room:]
                room -= len(ids)
                outputs = 0 if slot.todo else 1
                works.append(Work(slot.number, len(slot.held), ids, outputs))
        return works

    def drafts(self, slot: Slot) -> list[int]:
        """Tokens that probably follow, to be checked in the same pass; for greedy answers on the
        native forward pass, where a checked token is the same to the bit."""
        assert slot.answer
        answer, sampling = slot.answer, slot.answer.request.sampling
        penalised = slot.seen is not None or slot.counts is not None
        exact = isinstance(self.forward, NativeForward)
        if sampling.temperature or penalised or not (exact and self.may_draft):
            return []
        if answer.request.top_logprobs is not None or self.running > 1:
            return []
        left = slot.limit - len(answer.tokens) - 1
        return draft([*answer.request.prompt, *answer.ids], left)

    def choose(self, choosing: Sequence[tuple[Slot, Tensor, list[int]]]) -> None:
        """Chooses the next tokens; slots with the same settings together."""
        groups: dict[SamplingConfig, list[tuple[Slot, Tensor]]] = {}
        for slot, logits, drafted in choosing:
            assert slot.answer
            if drafted:
                self.check_drafts(slot, logits, drafted)
                continue
            settings = replace(slot.answer.request.sampling, seed=None, max_tokens=1)
            groups.setdefault(settings, []).append((slot, logits))
        for sampling, members in groups.items():
            slots = [slot for slot, _ in members]
            logits = torch.cat([rows for _, rows in members]).float()
            seen = stack([slot.seen for slot in slots])
            counts = stack([slot.counts for slot in slots])
            generators = [slot.generator for slot in slots]
            tokens = sample(logits, sampling, generators, seen, counts).tolist()
            for slot, row, token in zip(slots, logits, tokens, strict=True):
                self.take(slot, row, token)

    def check_drafts(self, slot: Slot, logits: Tensor, drafted: Sequence[int]) -> None:
        """Takes the drafted tokens as far as they are the likeliest ones, and the likeliest after
        them; forgets the rest."""
        assert slot.answer
        chosen = logits.argmax(dim=-1).tolist()
        taken = 0
        for row, token, expected in zip(logits, chosen, [*drafted, None], strict=True):
            taken += 1
            self.take(slot, row, token)
            if slot.answer.finish_reason or token != expected:
                break
        del slot.held[len(slot.held) - (len(chosen) - taken) :]
        slot.todo = slot.todo[-1:]

    def take(self, slot: Slot, logits: Tensor, token: int) -> None:
        """Adds a token to an answer, or ends the answer with it.

        Args:
            slot: where the answer is made.
            logits: (vocab,), what the token was chosen by.
            token: its id.
        """
        answer = slot.answer
        assert answer
        if token in answer.request.stop_ids:
            answer.finish("stop")
            return
        answer.take(described(token, logits, answer.request.top_logprobs))
        slot.todo = [token]
        if slot.seen is not None:
            slot.seen[token] = True
        if slot.counts is not None:
            slot.counts[token] += 1
        if not answer.finish_reason and len(answer.tokens) >= slot.limit:
            answer.finish("length")

    def release(self, slot: Slot) -> None:
        """Frees a slot; what it holds stays for prompts that begin alike."""
        slot.answer, slot.todo = None, []
        # Torch computes on idle slots too, at the place after what they hold.
        del slot.held[self.context - 1 :]


def described(token: int, logits: Tensor, top: int | None) -> Token:
    """A token with its log-probabilities, where they are wanted; its text comes later."""
    if top is None:
        return Token(token, "")
    logprobs = logits.log_softmax(dim=-1)
    best = logprobs.topk(min(top, len(logprobs)))
    alternatives = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return Token(token, "", float(logprobs[token]), tuple(alternatives))


def check_prompt(prompt: Sequence[int], context: int) -> None:
    """Raises UserError when a prompt leaves no room in the context; an empty one is a fault of
    ours."""
    assert len(prompt) > 0, "a prompt needs a token to start from"
    if len(prompt) >= context:
        raise UserError(
            f"the prompt has {len(prompt)} tokens, but the model's context is {context}: shorten it"
        )
