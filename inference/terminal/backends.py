"""What generates the answers of a chat: Etude's own engine, or transformers.

`TransformersBackend` is what anyone does with a converted Etude, and the part to copy into your own
program: nothing of Etude's network or engine is used in it, and nothing is ever downloaded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from config import SamplingConfig, TransformersSampling
from inference.engine.answers import CutBy, FinishReason, GenerationRequest, GenerationResult, Token
from inference.engine.loading import LoadedModel, load_model, require_model
from inference.settings import ChatConfig, TransformersChatConfig
from model.chat import render_prompt
from model.conversation import Conversation, Message, Tool, with_texts
from model.device import pick_device

OnText = Callable[[str], object]
"""Takes the pieces of an answer as they come."""

CONVERT = (
    "convert one with `python tool/convert_hf.py` and name the result with --model_dir, or run "
    "`make demo`, which does both, and use `--model_dir weight/demo/etude_grpo_model_hf`"
)


class EtudeBackend:
    """A model directory, run by Etude's engine. When a conversation goes on, the turns before are
    still in the engine's cache."""

    def __init__(
        self, model: LoadedModel, sampling: SamplingConfig, top_logprobs: int | None = None
    ) -> None:
        self.model, self.engine = model, model.engine
        self.is_chat, self.title, self.context = model.is_chat, model.title, model.engine.context
        self.sampling = sampling
        """May be replaced between answers."""
        self.top_logprobs = top_logprobs
        """Give each token's log-probability, and those of this many of the likeliest at its place;
        None: no log-probabilities."""
        self.render_text, self.token_bytes = model.render_text, model.token_bytes

    @classmethod
    def load(cls, config: ChatConfig) -> EtudeBackend:
        """Loads the model of a chat.

        Raises:
            UserError: there is no such device or model.
        """
        model = load_model(
            config.model_dir, config.device, quantize=config.quantize, adapter=config.adapter
        )
        return cls(model, config.sampling, config.logprobs)

    @property
    def template(self) -> str:
        """The chat template."""
        return self.model.tokenizer.chat_format.template

    def render_chat(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool] = (),
        options: Mapping[str, Any] = {},  # never changed
    ) -> list[int]:
        """The ids of a conversation, up to where the answer begins; see `render_prompt`."""
        return render_prompt(self.model.tokenizer, messages, tools, options)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, control tokens included."""
        return self.model.tokenizer.decode(ids, skip_special_tokens=False)

    def generate(self, prompt: list[int], on_text: OnText) -> GenerationResult:
        """Continues a prompt until the end or Ctrl-C; `on_text` gets the text as it comes, never
        half a character."""
        request = GenerationRequest(
            prompt, self.sampling, self.model.stop_ids, top_logprobs=self.top_logprobs
        )
        output = self.engine.submit(request)
        shown = 0
        try:
            while output.finish_reason is None:
                self.engine.step()
                on_text("".join(token.text for token in output.tokens[shown:]))
                shown = len(output.tokens)
            on_text(output.tail)
        except KeyboardInterrupt:
            output.cancel()
            self.engine.step()  # frees its slot
            output.finish_reason, output.cut_by = "cancelled", None
        return output.result()


class TransformersBackend:
    """A converted model directory, run by transformers; it gives no log-probabilities."""

    top_logprobs: int | None = None

    def __init__(self, config: TransformersChatConfig) -> None:
        # Importing transformers takes seconds, which a chat through Etude's engine need not wait.
        from transformers import AutoModelForCausalLM, AutoTokenizer

        device = pick_device(config.device)
        require_model(config.model_dir, CONVERT)
        self.tokenizer: Any = AutoTokenizer.from_pretrained(config.model_dir, local_files_only=True)
        model = AutoModelForCausalLM.from_pretrained(config.model_dir, local_files_only=True)
        self.model: Any = model.to(device).eval()  # type: ignore[arg-type]  # a decorator hides it
        self.sampling = config.sampling
        self.context = self.model.config.max_position_embeddings
        self.template: str = self.tokenizer.chat_template or ""
        self.is_chat = bool(self.template) and self.ends_turns()
        self.title = f"{config.model_dir.resolve().name}, through transformers, on {device}"

    def ends_turns(self) -> bool:
        """Whether the model was trained on conversations: a token that ends what it generates ends
        an answer by its chat template."""
        turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "answer"}]
        text = self.tokenizer.apply_chat_template(turns, tokenize=False)
        after = self.tokenizer.encode(text.rpartition("answer")[2], add_special_tokens=False)
        return not self.end_ids.isdisjoint(after)

    @property
    def end_ids(self) -> set[int]:
        """The tokens that end what the model generates."""
        found = self.model.generation_config.eos_token_id
        return {found} if isinstance(found, int) else set(found or ())

    def render_chat(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool] = (),
        options: Mapping[str, Any] = {},  # never changed
    ) -> list[int]:
        """The ids of a conversation, up to where the answer begins."""
        safe, safe_tools = with_texts(
            Conversation(messages, tools), lambda leaf: self.without_control_tokens(leaf.text)
        )
        return self.tokenizer.apply_chat_template(
            safe, tools=safe_tools, add_generation_prompt=True, return_dict=False, **options
        )

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, control tokens included."""
        return str(self.tokenizer.decode(ids))

    def render_text(self, text: str) -> list[int]:
        """The ids of a text; <|endoftext|> comes first, as before every document in training."""
        ids = self.tokenizer.encode(self.without_control_tokens(text), add_special_tokens=False)
        return [self.tokenizer.pad_token_id, *ids]

    def without_control_tokens(self, text: str) -> str:
        """A text that cannot forge a turn: transformers would read a written <|im_end|> as the
        control token."""
        tokens = [token for token in self.tokenizer.get_added_vocab() if token.strip()]
        while any(token in text for token in tokens):
            for token in tokens:
                text = text.replace(token, "")
        return text

    def generate(self, prompt: list[int], on_text: OnText) -> GenerationResult:
        """Continues a prompt until the end or Ctrl-C; see EtudeBackend."""
        start = time.perf_counter()
        if self.sampling.seed is not None:
            torch.manual_seed(self.sampling.seed)
        input_ids = torch.tensor([prompt], device=self.model.device)  # (1, prompt)
        most, room = self.sampling.max_tokens, self.context - len(prompt)
        ids: list[int] = []
        pieces: list[str] = []
        reason: FinishReason = "cancelled"
        try:
            self.model.generate(
                input_ids,
                attention_mask=torch.ones_like(input_ids),
                streamer=self.make_streamer(ids, pieces, on_text),
                max_new_tokens=min(most, room),
                **generation_flags(self.sampling),
            )
            ended = ids[-1] in self.end_ids
            reason = "stop" if ended else "length"
        except KeyboardInterrupt:
            pass
        cut_by: CutBy | None = None
        if reason == "length":
            cut_by = "max_tokens" if most <= room else "context"
        tokens = tuple(Token(token, "") for token in ids[: len(ids) - (reason == "stop")])
        seconds = time.perf_counter() - start
        text = "".join(pieces)
        return GenerationResult(text, tokens, reason, cut_by, len(prompt), seconds=seconds)

    def make_streamer(self, ids: list[int], pieces: list[str], on_text: OnText) -> Any:
        """A streamer of transformers' that collects tokens and text, and passes the text on."""
        from transformers import TextStreamer

        class Streamer(TextStreamer):
            def put(self, value: torch.Tensor) -> None:
                if value.dim() == 1:  # (1,): a new token; the prompt comes first, as (1, prompt)
                    ids.append(int(value))
                super().put(value)  # type: ignore[no-untyped-call]

            def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
                pieces.append(text)
                on_text(text)

        return Streamer(self.tokenizer, skip_prompt=True, skip_special_tokens=True)

    def token_bytes(self, token: int) -> bytes:
        """The bytes of a token, as text; a piece of a character is lost."""
        return self.tokenizer.decode([token]).encode("utf-8")


Backend = EtudeBackend | TransformersBackend
"""A model with its tokenizer, however it is run."""


def generation_flags(sampling: TransformersSampling) -> dict[str, Any]:
    """The arguments of transformers' generate."""
    flags: dict[str, Any] = {"repetition_penalty": sampling.repetition_penalty}
    if sampling.temperature == 0:
        return {**flags, "do_sample": False}
    names = ("temperature", "top_k", "top_p", "min_p")
    return {**flags, "do_sample": True, **{name: getattr(sampling, name) for name in names}}
