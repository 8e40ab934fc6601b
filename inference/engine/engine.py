"""The generation engine: requests in, tokens out, many at a time.

    engine = Engine(model, tokenizer)
    output = engine.submit(GenerationRequest(prompt, sampling, stop_ids))
    while engine.busy:
        engine.step()                # one pass through the network for all requests
    output.text, output.finish_reason

Each request gets a slot of the key/value cache. A step runs the next token of every output and a
piece of the prompts that are still to be read, so requests of different lengths come and go at any
time (continuous batching, Orca, OSDI 2022; chunked prefill, Sarathi-Serve, arXiv 2403.02310). A
slot remembers what it holds: a later prompt with the same beginning (the next turn of a chat)
continues from there (prefix caching).

An output ends with a stop token or a stop text (finish reason "stop"), after max_tokens or at the
edge of the context ("length"), or because it was cancelled.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from config import QuantizeName, SamplingConfig, UserError
from inference.engine.answers import (
    CutBy,
    FinishReason,
    GenerationOutput,
    GenerationRequest,
    GenerationResult,
    Token,
)
from inference.engine.cache import Forward, Slot, TorchForward, Work, common_prefix
from inference.engine.constraint import Grammar
from inference.engine.native import LIBRARY, NativeForward
from inference.engine.rounding import quantize_model
from inference.engine.sampler import make_generator, sample, with_seed
from model.frozen import saved_bytes
from model.kv_cache import KVCache
from model.tokenizer import EtudeTokenizer
from model.transformer import Etude

PREFILL_TOKENS = 256
"""Prompt tokens that are read in one step: a long prompt delays running outputs by no more. A step
reads every weight once, however many tokens it runs: for a few tokens that is what takes the time,
for hundreds the arithmetic does, 2 operations a weight and token, so larger pieces gain nothing."""
LEAST_PREFIX = 16
"""A slot is chosen for what it holds of a prompt from this many tokens on."""
NGRAMS = (4, 3, 2)
"""Lengths of the endings that drafts are looked up by, the longest first."""
DRAFT_TOKENS = 6
"""Most drafted tokens in a step. Each costs arithmetic alone, since the weights are read anyway,
but the chance that all before it were right falls with every token."""


class Engine:
    """Generates. One thread at a time may use it."""

    def __init__(
        self,
        model: Etude,
        tokenizer: EtudeTokenizer | None = None,
        slots: int = 8,
        max_length: int | None = None,
        native: bool = True,
        quantize: QuantizeName = "none",
        drafts: bool = True,
        adapted: Mapping[str, Etude] | None = None,
        keep_weights: bool = True,
    ) -> None:
        """Room for `slots` outputs at once.

        Args:
            model: the network, on its device. Its weights must not change while this lives.
            tokenizer: decodes tokens to text; None: outputs have tokens only.
            slots: rows of the cache; further requests wait.
            max_length: tokens of prompt and output together; None: the model's context.
            native: use the C++ forward pass once it is compiled (on a CPU).
            quantize: weights are rounded, as those of a rounded model always are; waits for the C++
                forward pass, and where there is none, the model itself is rounded.
            drafts: decode speculatively where that cannot change the output (see `draft`).
            adapted: for the name of an adapter, the model with it, on the same weights
                (`model.adapters.sharing_copy`).
            keep_weights: False: the models are let go of, weight by weight, when the C++ forward
                pass takes over, and cannot be used by others then.
        """
        norm = model.model.norm.weight  # (hidden,); matrices may be stored in other formats
        self.model, self.tokenizer = model, tokenizer
        self.device = norm.device
        self.context = max_length or model.config.max_position_embeddings
        self.cache = KVCache(model.config, slots, self.context, self.device)
        self.slots = [Slot(number) for number in range(slots)]
        self.queue: deque[GenerationOutput] = deque()
        """Outputs that have no slot yet."""
        self.models: dict[str | None, Etude] = {None: model}
        self.models.update(adapted or {})
        self.forwards: dict[str | None, Forward] = {
            name: TorchForward(each, self.cache) for name, each in self.models.items()
        }
        self.native = native and self.device.type == "cpu"
        self.quantize = quantize if model.rounded == "none" else model.rounded
        self.may_draft, self.keep_weights = drafts, keep_weights
        self.clock = 0
        if self.quantize != "none":
            self.native = self.native and LIBRARY.wait()
            if not self.native and model.rounded == "none":
                quantize_model(model, quantize)

    @property
    def running(self) -> int:
        """Outputs that have a slot."""
        return sum(slot.output is not None for slot in self.slots)

    @property
    def busy(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.queue) or self.running > 0

    def submit(self, request: GenerationRequest) -> GenerationOutput:
        """Queues a request; its output grows while the engine steps.

        Raises:
            UserError: the prompt leaves no room in the context.
        """
        output = self.prepare(request)
        self.queue.append(output)
        return output

    def prepare(self, request: GenerationRequest) -> GenerationOutput:
        """The output of a request that is not queued yet (a server queues it in another thread).

        Raises:
            UserError: the prompt leaves no room in the context.
        """
        length = len(request.prompt)
        assert length > 0, "a prompt needs a token to start from"
        if length >= self.context:
            raise UserError(
                f"the prompt has {length} tokens, but this model's maximum context length is "
                f"{self.context} tokens: shorten it"
            )
        return GenerationOutput(request, self.tokenizer)

    @torch.inference_mode()
    def step(self) -> list[GenerationOutput]:
        """Runs every output one token further; returns those that grew or ended."""
        changed = self.drop_cancelled()
        self.admit()
        works = self.schedule()
        if not works:
            return changed
        due: list[tuple[Slot, Tensor, list[int]]] = []
        for adapter in dict.fromkeys(self.slots[work.slot].adapter for work in works):
            its = [work for work in works if self.slots[work.slot].adapter == adapter]
            due += self.run_works(its, adapter)
        self.choose(due)
        for slot, _, _ in due:
            assert slot.output
            changed.append(slot.output)
            if slot.output.finish_reason:
                self.release(slot)
        return changed

    @torch.inference_mode()
    def embed(self, ids: Sequence[int], adapter: str | None = None) -> Tensor:
        """(hidden,) the mean of a text's last hidden states, of length 1.

        Raises:
            UserError: the text is longer than the context.
        """
        if len(ids) > self.context:
            raise UserError(
                f"the text has {len(ids)} tokens, but this model's maximum context length is "
                f"{self.context} tokens: shorten it"
            )
        hidden = self.hidden_states(ids, adapter)  # (ids, hidden)
        return F.normalize(hidden.float().mean(dim=0), dim=0)  # (hidden,)

    def run_works(
        self, works: Sequence[Work], adapter: str | None
    ) -> list[tuple[Slot, Tensor, list[int]]]:
        """One pass through the network for all works of an adapter; what is due, see `choose`."""
        # Also behind what another adapter has appended in this step: torch computes on the slots
        # between as well, and writes after what they hold.
        self.cache.lengths = [len(slot.cached) for slot in self.slots]
        logits = self.best_forward(adapter)(works)  # (all outputs, vocab)
        due: list[tuple[Slot, Tensor, list[int]]] = []
        pieces = logits.split_with_sizes([work.outputs for work in works])  # (outputs, vocab) each
        for work, rows in zip(works, pieces, strict=True):
            slot = self.slots[work.slot]
            slot.cached += work.ids
            assert slot.output
            if reads_prompt(slot.output, work):
                rows = add_prompt_logprobs(slot.output, work, rows)
                due += [(slot, rows, [])] if len(rows) else []
            elif work.outputs:
                # Of 1 + k checked tokens, the k last ones are drafts.
                due.append((slot, rows, work.ids[len(work.ids) - work.outputs + 1 :]))
        return due

    def best_forward(self, adapter: str | None = None) -> Forward:
        """The native forward pass from the moment it is compiled, else torch's."""
        if self.native and LIBRARY.code and not self.is_native(None):
            self.go_native()
        return self.forwards[adapter]

    def go_native(self) -> None:
        """Moves base and adapters to the native forward pass."""
        keep = self.keep_weights or len(self.models) > 1  # adapters are merged into base weights
        base = NativeForward(self.model, self.cache, self.quantize, keep_weights=keep)
        for name, model in self.models.items():
            adapted = NativeForward(model, self.cache, self.quantize, base) if name else base
            self.forwards[name] = adapted
        if not self.keep_weights:
            for parameter in (p for model in self.models.values() for p in model.parameters()):
                parameter.data = torch.empty(0)

    def is_native(self, adapter: str | None) -> bool:
        """Whether an adapter, or the base, runs on the native forward pass."""
        return isinstance(self.forwards[adapter], NativeForward)

    def hidden_states(self, ids: Sequence[int], adapter: str | None = None) -> Tensor:
        """(ids, hidden) the last hidden states of a text, which no other is computed with."""
        forward, config = self.best_forward(adapter), self.model.config
        if not isinstance(forward, NativeForward):
            return self.models[adapter].model(torch.tensor([list(ids)], device=self.device))[0]
        alone = forward.for_hidden_states(KVCache(config, 1, len(ids)))
        found = []
        for start in range(0, len(ids), PREFILL_TOKENS):
            piece = list(ids[start : start + PREFILL_TOKENS])
            found.append(alone([Work(0, start, piece, len(piece))]))  # (piece, hidden)
        return torch.cat(found)

    def drop_cancelled(self) -> list[GenerationOutput]:
        """Ends what was cancelled, in the queue and in slots."""
        dropped = [output for output in self.queue if output.cancelled]
        self.queue = deque(output for output in self.queue if not output.cancelled)
        for slot in self.slots:
            if slot.output and slot.output.cancelled:
                dropped.append(slot.output)
                self.release(slot)
        for output in dropped:
            output.finish("length" if output.cut_by else "cancelled", output.cut_by)
        return dropped

    def admit(self) -> None:
        """Gives free slots to the requests that have waited longest."""
        while self.queue:
            prompt = list(self.queue[0].request.prompt)
            free = [slot for slot in self.slots if slot.output is None]
            # While another slot reads the same prompt, waiting is cheaper than reading it twice:
            # when it is done, its keys and values can be copied.
            if not free or any(
                s.pending[1:]
                and s.cached + s.pending == prompt
                and s.adapter == self.queue[0].request.adapter
                for s in self.slots
            ):
                return
            self.assign(self.queue.popleft(), free)

    def assign(self, output: GenerationOutput, free: Sequence[Slot]) -> None:
        """Starts an output in the free slot that holds most of its prompt, with a copy of what
        another slot holds of it where that is more."""
        request = output.request
        prompt = list(request.prompt)
        # The last token is always run: its logits choose the first new one.
        most = len(prompt) - 1 if request.prompt_logprobs is None else 0
        shared = {
            s.number: min(most, common_prefix(s.cached, prompt))
            if s.cached and s.adapter == request.adapter
            else 0
            for s in self.slots
        }
        slot = max(free, key=lambda s: (shared[s.number], -s.used))
        if shared[slot.number] < min(most, LEAST_PREFIX):  # evict the least recently used
            slot = min(free, key=lambda s: s.used)
        source = max(self.slots, key=lambda s: shared[s.number])
        if shared[source.number] > shared[slot.number]:
            self.cache.copy(source.number, slot.number, shared[source.number])
        output.cached_tokens = shared[source.number]
        self.clock += 1
        slot.used, slot.output, slot.adapter = self.clock, output, request.adapter
        slot.cached, slot.pending = prompt[: output.cached_tokens], prompt[output.cached_tokens :]
        slot.limit = min(request.sampling.max_tokens, self.context - len(prompt))
        slot.generator = make_generator(request.sampling.seed)
        slot.settings = replace(request.sampling, seed=None, max_tokens=1)
        slot.constraint = request.grammar.start(slot.limit) if request.grammar else None
        self.prepare_penalties(slot, request)

    def prepare_penalties(self, slot: Slot, request: GenerationRequest) -> None:
        """Allocates the tensors (vocab,) that a request's penalties need."""
        sampling, size = request.sampling, self.model.config.vocab_size
        slot.seen = slot.counts = None
        if sampling.repetition_penalty != 1:
            slot.seen = torch.zeros(size, dtype=torch.bool, device=self.device)
            slot.seen[list(request.prompt)] = True
        if sampling.presence_penalty or sampling.frequency_penalty:
            slot.counts = torch.zeros(size, device=self.device)

    def schedule(self) -> list[Work]:
        """What each slot runs in this step: a token of each output, and prompts in pieces, oldest
        first, of PREFILL_TOKENS together."""
        works, room = [], PREFILL_TOKENS
        for slot in sorted(self.slots, key=lambda s: s.used):
            if slot.output is None:
                continue
            request = slot.output.request
            if len(slot.pending) == 1:
                ids = slot.pending + self.draft_for(slot)
                works.append(Work(slot.number, len(slot.cached), ids, outputs=len(ids)))
                slot.pending = []
            elif room:
                ids, slot.pending = slot.pending[:room], slot.pending[room:]
                room -= len(ids)
                outputs = 0 if slot.pending else 1
                outputs = outputs if request.prompt_logprobs is None else len(ids)
                works.append(Work(slot.number, len(slot.cached), ids, outputs))
        return works

    def draft_for(self, slot: Slot) -> list[int]:
        """Tokens that probably follow, to be verified in the same pass (speculative decoding, arXiv
        2211.17192). Only for a greedy output on its own, on the native forward pass, where logits
        are the same to the bit however many tokens run together: there the output is exact."""
        assert slot.output
        output, sampling = slot.output, slot.output.request.sampling
        penalised = slot.seen is not None or slot.counts is not None
        penalised = penalised or slot.constraint is not None
        exact = self.is_native(output.request.adapter)
        if sampling.temperature or penalised or not (exact and self.may_draft):
            return []
        request = output.request
        if request.top_logprobs is not None or request.prompt_logprobs is not None:
            return []
        if self.running > 1:
            return []
        left = slot.limit - len(output.tokens) - 1
        return draft([*output.request.prompt, *output.ids], left)

    def choose(self, due: Sequence[tuple[Slot, Tensor, list[int]]]) -> None:
        """Samples the next tokens; slots with the same settings together.

        Args:
            due: slots with their logits (1 + drafts, vocab) and drafts.
        """
        groups: dict[SamplingConfig, list[tuple[Slot, Tensor]]] = {}
        for slot, logits, drafted in due:
            assert slot.output
            if drafted:
                self.verify_drafts(slot, logits, drafted)
                continue
            groups.setdefault(slot.settings, []).append((slot, logits))
        for sampling, members in groups.items():
            slots = [slot for slot, _ in members]
            logits = torch.cat([rows for _, rows in members]).float()  # (members, vocab)
            seen = stack([slot.seen for slot in slots])  # (members, vocab) or None
            counts = stack([slot.counts for slot in slots])  # (members, vocab) or None
            generators = [slot.generator for slot in slots]
            allowed = allowed_logits(logits, slots)
            tokens = sample(allowed, sampling, generators, seen, counts).tolist()
            for slot, row, token in zip(slots, logits, tokens, strict=True):
                chosen = slot.constraint.choose(token) if slot.constraint else token
                self.append(slot, row, chosen)

    def verify_drafts(self, slot: Slot, logits: Tensor, drafted: Sequence[int]) -> None:
        """Accepts drafts as long as each is the likeliest token, and the likeliest after them: 1 to
        1 + len(drafted) tokens by one pass. What was rejected leaves the cache."""
        assert slot.output
        # Row i is what follows the newest token and i drafts. Sampling would accept a draft with
        # the probability min(1, p / q) (arXiv 2211.17192); in a greedy output p and q are 0 or 1:
        # accepted is what is equal, and the first row that differs has the right token.
        chosen = logits.argmax(dim=-1).tolist()  # (1 + drafts,)
        accepted = 0
        for row, token, expected in zip(logits, chosen, [*drafted, None], strict=True):
            accepted += 1
            self.append(slot, row, token)
            if slot.output.finish_reason or token != expected:
                break
        del slot.cached[len(slot.cached) - (len(chosen) - accepted) :]
        slot.pending = slot.pending[-1:]

    def append(self, slot: Slot, logits: Tensor, token: int) -> None:
        """Appends a token to an output, or ends the output by it.

        Args:
            slot: where the output is generated.
            logits: (vocab,), what the token was chosen by.
            token: its id.
        """
        output = slot.output
        assert output
        made = with_logprobs(token, logits, output.request.top_logprobs)
        if token in output.request.stop_ids:
            output.stop_token = made
            cut = slot.constraint is not None and slot.constraint.cut
            output.finish(*(self.limit_of(slot) if cut else ("stop", None)))
            return
        output.append(made)
        if slot.constraint:
            slot.constraint.accept(token)
        slot.pending = [token]
        if slot.seen is not None:
            slot.seen[token] = True
        if slot.counts is not None:
            slot.counts[token] += 1
        if not output.finish_reason and len(output.tokens) >= slot.limit:
            output.finish(*self.limit_of(slot))

    def limit_of(self, slot: Slot) -> tuple[FinishReason, CutBy]:
        """The ending of an output that may not become longer."""
        assert slot.output
        full = slot.limit == slot.output.request.sampling.max_tokens
        return "length", "max_tokens" if full else "context"

    def release(self, slot: Slot) -> None:
        """Frees a slot; what it holds stays for prompts with the same beginning."""
        slot.output, slot.pending = None, []
        # Torch computes on idle slots too, at the place after what they hold: leave it one.
        del slot.cached[self.context - 1 :]


def generate_batch(
    model: Etude,
    prompts: Sequence[Sequence[int]],
    sampling: SamplingConfig,
    stop_ids: Collection[int],
    batch_size: int = 64,
    native: bool = True,
    stopped: Callable[[], bool] = lambda: False,
    top_logprobs: int | None = None,
    grammar: Grammar | None = None,
) -> list[GenerationResult]:
    """Continues many prompts, batch_size at a time, by an engine of their own; results in the
    prompts' order, or none when it was stopped before its end.

    With a seed, prompt i is continued with the seed seed + i. See GenerationRequest for
    top_logprobs and grammar.

    Raises:
        UserError: a prompt fills the context.
    """
    if not prompts:
        return []
    longest = max(map(len, prompts)) + sampling.max_tokens
    length = min(longest, model.config.max_position_embeddings)
    native = native and not saved_bytes(model)  # it would copy them in float32
    engine = Engine(model, slots=min(batch_size, len(prompts)), max_length=length, native=native)
    outputs = [
        engine.submit(
            GenerationRequest(
                prompt,
                with_seed(sampling, number),
                stop_ids,
                top_logprobs=top_logprobs,
                grammar=grammar,
            )
        )
        for number, prompt in enumerate(prompts)
    ]
    while engine.busy:
        if stopped():
            return []
        engine.step()
    return [output.result() for output in outputs]


def reads_prompt(output: GenerationOutput, work: Work) -> bool:
    """Whether a work reads tokens of a prompt whose log-probabilities are requested."""
    request = output.request
    return request.prompt_logprobs is not None and work.start < len(request.prompt)


def add_prompt_logprobs(output: GenerationOutput, work: Work, logits: Tensor) -> Tensor:
    """Adds the tokens of a prompt that a work has shown the logits (ids, vocab) of.

    Returns:
        (1, vocab), what follows the prompt; (0, vocab) while there is more of it.
    """
    request, end = output.request, work.start + len(work.ids)
    if work.start == 0:
        output.append_prompt(Token(request.prompt[0], ""))
    for row, token in zip(logits, request.prompt[work.start + 1 : end + 1], strict=False):
        output.append_prompt(with_logprobs(token, row, request.prompt_logprobs))
    return logits[-1:] if end == len(request.prompt) else logits[:0]


def allowed_logits(logits: Tensor, slots: Sequence[Slot]) -> Tensor:
    """Logits (slots, vocab) with -inf for what the grammar of a slot does not allow."""
    if not any(slot.constraint for slot in slots):
        return logits
    pairs = zip(slots, logits, strict=True)
    return torch.stack([s.constraint.mask(row) if s.constraint else row for s, row in pairs])


def draft(ids: Sequence[int], most: int) -> list[int]:
    """The tokens that followed the last time the text ended as it does now (prompt lookup decoding,
    github.com/apoorvumang/prompt-lookup-decoding): a draft without a draft model.

    Args:
        ids: prompt and output so far.
        most: no more tokens than this.
    """
    most = min(most, DRAFT_TOKENS)
    if most < 1:
        return []
    for length in NGRAMS:
        ending = list(ids[-length:])
        for at in range(len(ids) - length - 1, -1, -1):
            if ids[at + length - 1] == ending[-1] and list(ids[at : at + length]) == ending:
                return list(ids[at + length : at + length + most])
    return []


def with_logprobs(token: int, logits: Tensor, top: int | None) -> Token:
    """A token with its log-probabilities, where they are requested; its text comes later."""
    if top is None:
        return Token(token, "")
    logprobs = logits.log_softmax(dim=-1)  # (vocab,)
    best = logprobs.topk(min(top, len(logprobs)))  # (top,) each: values and indices
    alternatives = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return Token(token, "", float(logprobs[token]), tuple(alternatives))


def stack(rows: Sequence[Tensor | None]) -> Tensor | None:
    """Tensors (vocab,) as one (rows, vocab); None without any."""
    present = [row for row in rows if row is not None]
    return torch.stack(present) if present else None
