"""The network's forward pass on a CPU in C++: weights for `native.cpp`, building it, calling it.

One new token needs every weight once, 2 operations for 4 bytes, so decoding is as fast as memory:
the C++ code reads weights in one stream, without torch's overhead of some 10 us an operation.
Weights that bfloat16 holds, as those of most published models, are kept in it: half the bytes, and
no bit of the result is another. Weights of 8 and 4 bits are multiplied as integers. The code is
compiled once per machine (some seconds), in the background, into the user's cache, also when this
process ends first; until then, and where there is no compiler, the engine runs on torch.
"""

from __future__ import annotations

import copy
import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from config import ModelConfig, QuantizeName
from inference.engine.cache import Work
from inference.engine.rounding import BLOCK, ROUTER, bits_of
from model.adapters import adapted_layers
from model.kv_cache import KVCache
from model.transformer import Etude

SOURCE = Path(__file__).with_name("native.cpp")
COMPILERS = ("g++", "clang++", "c++")
FLAGS = ("-O3", "-march=native", "-std=c++17", "-fPIC", "-shared", "-fno-math-errno")


SIZES = (
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "head_size", "vocab_size"),
    *("num_experts", "num_experts_per_tok", "expert_size"),
)
"""The sizes of a ModelConfig, in the order of native.cpp's Network."""


class Matrix(ctypes.Structure):
    """native.cpp's Matrix."""

    _fields_ = (
        ("panels", ctypes.c_void_p),
        ("scales", ctypes.c_void_p),
        *((name, ctypes.c_int) for name in ("rows", "columns", "bits")),
    )


class Expert(ctypes.Structure):
    """native.cpp's Expert."""

    _fields_ = tuple((name, Matrix) for name in ("gate", "up", "down"))


class Layer(ctypes.Structure):
    """native.cpp's Layer."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("input_norm", "attention_norm")),
        *((name, ctypes.c_void_p) for name in ("q_norm", "k_norm", "q_bias", "k_bias", "v_bias")),
        *((name, Matrix) for name in ("q", "k", "v", "o", "gate", "up", "down", "router")),
        ("experts", ctypes.POINTER(Expert)),
        ("has_rope", ctypes.c_int),
    )


class Network(ctypes.Structure):
    """native.cpp's Network."""

    _fields_ = (
        *((name, ctypes.c_int) for name in (*SIZES, "slots", "max_length", "threads")),
        *((name, ctypes.c_int) for name in ("window", "norm_shares")),
        ("epsilon", ctypes.c_float),
        ("embedding", Matrix),
        *((name, ctypes.c_void_p) for name in ("cosine", "sine", "norm")),
        ("layer", ctypes.POINTER(Layer)),
        ("head", Matrix),
        ("keys", ctypes.c_void_p),
        ("values", ctypes.c_void_p),
    )


class Library:
    """native.cpp, compiled for this machine."""

    def __init__(self) -> None:
        self.code: ctypes.CDLL | None = None
        self.lanes = 0
        """Rows of a panel."""
        self.thread: threading.Thread | None = None
        self.begun = threading.Event()
        """The compiler runs: it goes on when this process ends."""

    def prepare(self) -> None:
        """Loads the compiled code, or begins to compile it in the background."""
        if self.code or self.thread:
            return
        path = library_path()
        if path is None:
            return
        if path.exists() and self.load(path):
            return
        self.thread = threading.Thread(target=self.build, args=(path,), daemon=True)
        self.thread.start()
        self.begun.wait()

    def build(self, path: Path) -> None:
        """Compiles and loads; if the compiler fails, the engine stays on torch."""
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                self.wait_for_turn(folder)
                if not (path.exists() and self.load(path)):
                    process = compile_detached(path, folder)
                    self.begun.set()
                    process.wait()
                    self.load(path)
            finally:
                os.close(folder)
        self.begun.set()

    def wait_for_turn(self, folder: int) -> None:
        """Locks the library's folder, when a build that another process began has ended."""
        import fcntl  # not on Windows, where there is no library to build

        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.begun.set()
            fcntl.flock(folder, fcntl.LOCK_EX)
        except OSError:  # of a file system without locks, where two builds do no harm
            return

    def load(self, path: Path) -> bool:
        """Loads compiled code; False when the file holds none."""
        # A thread that waits for the others must not keep a core from them that is busy with other
        # things: libgomp would spin for milliseconds (on a busy machine 20 against 90 tokens/s).
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
        try:
            code = ctypes.CDLL(str(path))
        except OSError:
            return False
        self.lanes = code.etude_lanes()
        self.code = code
        return True

    def wait(self) -> bool:
        """Waits for a running build; returns whether the code is loaded."""
        if self.thread:
            self.thread.join()
        return self.code is not None


LIBRARY = Library()

BUILD = 'new="$0.$$.tmp"; "$@" -o "$new" && mv -f "$new" "$0" || rm -f "$new"'
"""For sh: compiles beside the library's place and gives it its name."""


def compile_detached(path: Path, lock: int) -> subprocess.Popen[bytes]:
    """Starts the compiler so that it outlives this process: one answer is given before it ends.

    Args:
        path: the library to make.
        lock: the descriptor of a lock, which is held until the compiler has ended.
    """
    with_threads = ("-fopenmp",) if platform.system() != "Darwin" else ()
    compiler = [str(find_compiler()), *FLAGS, *with_threads, str(SOURCE)]
    return subprocess.Popen(
        ["sh", "-c", BUILD, str(path), *compiler],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=[lock],
        start_new_session=True,
    )


def find_compiler() -> str | None:
    """The C++ compiler, or None."""
    named = os.environ.get("CXX")
    return shutil.which(named) if named else next(filter(None, map(shutil.which, COMPILERS)), None)


def library_path() -> Path | None:
    """Where the code compiled for this machine by this compiler from this source lies; None where
    there is no compiler."""
    compiler = find_compiler()
    if compiler is None or platform.system() == "Windows":
        return None
    facts = [SOURCE.read_text(encoding="utf-8"), compiler, *FLAGS, platform.machine()]
    facts.append(str(os.stat(compiler).st_mtime_ns))
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
        facts += [line for line in lines if line.startswith(("flags", "Features"))][:1]
    digest = hashlib.sha256("\n".join(facts).encode("utf-8")).hexdigest()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "etude" / f"native-{digest[:16]}.so"


def smallest_format(weight: Tensor) -> torch.dtype:
    """The format in which a weight, float32 or bfloat16, loses nothing."""
    assert LIBRARY.code is not None
    address = ctypes.c_void_p(weight.data_ptr())
    half = weight.dtype == torch.bfloat16
    half = half or bool(LIBRARY.code.etude_is_half(address, ctypes.c_long(weight.numel())))
    return torch.bfloat16 if half else torch.float32


class NativeForward:
    """A model's forward pass in C++, on a key/value cache."""

    def __init__(
        self,
        model: Etude,
        cache: KVCache,
        quantize: QuantizeName = "none",
        base: NativeForward | None = None,
        keep_weights: bool = True,
    ) -> None:
        """The weights are copied into native.cpp's layout, each layer's with its adapter's as one.

        Args:
            model: the network, on the CPU.
            cache: what tokens attend to, and are appended to.
            quantize: weights are rounded, as by `quantize_model`; but those of layers with an
                adapter.
            base: that of the model without the adapter: what is the same there is shared.
            keep_weights: False: a matrix of the model is let go of once it is copied.
        """
        self.kept: list[object] = []  # keeps alive what the C pointers refer to
        self.quantize, self.keep_weights = quantize, keep_weights
        self.weights = dict(model.named_parameters())
        self.layers = adapted_layers(model)
        self.matrices: dict[tuple[str, int | None], Matrix] = base.matrices if base else {}
        """Those without an adapter, by name and expert."""
        self.width = model.config.vocab_size
        """Of a row of the result."""
        self.network = self.describe(model, cache)

    def describe(self, model: Etude, cache: KVCache) -> Network:
        """The network as native.cpp's struct."""
        config = model.config
        rotary = model.model.rotary_emb
        # The largest first: while a matrix is copied, it is in memory twice.
        embedding = self.matrix("model.embed_tokens.weight")
        head = self.matrix(self.head_name(config))
        layers = (Layer * config.num_hidden_layers)()
        for number in range(config.num_hidden_layers):
            layers[number] = self.layer(f"model.layers.{number}", config.has_rope(number))
        self.kept.append(layers)
        return Network(
            **{name: getattr(config, name) for name in SIZES},
            slots=cache.keys.shape[1],
            max_length=cache.keys.shape[3],
            threads=torch.get_num_threads(),  # as many as torch: OMP_NUM_THREADS decides both
            window=config.sliding_window or 0,
            norm_shares=config.norm_topk_prob,
            epsilon=config.rms_norm_eps,
            embedding=embedding,
            cosine=self.pointer(rotary.cos),
            sine=self.pointer(rotary.sin),
            norm=self.vector("model.norm.weight"),
            layer=layers,
            head=head,
            keys=self.pointer(cache.keys),
            values=self.pointer(cache.values),
        )

    def for_hidden_states(self, cache: KVCache) -> NativeForward:
        """The same network on another cache, whose results are (outputs, hidden): what the output
        layer would get."""
        other = copy.copy(self)
        other.width, other.network = (
            self.network.hidden_size,
            Network.from_buffer_copy(self.network),
        )
        other.network.head = Matrix()
        other.kept = [self, cache]
        other.network.slots, other.network.max_length = cache.keys.shape[1], cache.keys.shape[3]
        other.network.keys, other.network.values = map(other.pointer, (cache.keys, cache.values))
        return other

    def head_name(self, config: ModelConfig) -> str:
        """Under which name the output layer's weight is; a tied one is the embedding's, unless it
        has an adapter of its own."""
        tied = config.tie_word_embeddings and "lm_head" not in self.layers
        return "model.embed_tokens.weight" if tied else "lm_head.weight"

    def layer(self, prefix: str, has_rope: bool) -> Layer:
        """One layer's weights; what a network does not have is null."""
        attention, norm = f"{prefix}.self_attn", f"{prefix}.post_attention_layernorm.weight"
        parts: dict[str, Any] = {
            name: self.matrix(f"{attention}.{name}_proj.weight") for name in "qkvo"
        }
        vectors = {f"{name}_bias": f"{attention}.{name}_proj.bias" for name in "qkv"}
        vectors |= {f"{name}_norm": f"{attention}.{name}_norm.weight" for name in "qk"}
        vectors |= {"input_norm": f"{prefix}.input_layernorm.weight", "attention_norm": norm}
        for part, name in vectors.items():
            parts[part] = self.vector(name) if name in self.weights else None
        if f"{prefix}{ROUTER}" in self.weights:
            parts["router"] = self.matrix(f"{prefix}{ROUTER}")
            parts["experts"] = self.experts(f"{prefix}.mlp.experts")
        else:
            for name in ("gate", "up", "down"):
                parts[name] = self.matrix(f"{prefix}.mlp.{name}_proj.weight")
        return Layer(has_rope=has_rope, **parts)

    def experts(self, prefix: str) -> ctypes.Array[Expert]:
        """The experts of a layer."""
        count = len(self.weights[f"{prefix}.gate_proj"])
        found = (Expert * count)()
        for name in ("gate", "up", "down"):
            for number in range(count):
                setattr(found[number], name, self.matrix(f"{prefix}.{name}_proj", number))
        self.kept.append(found)
        return found

    def matrix(self, name: str, expert: int | None = None) -> Matrix:
        """A matrix, or that of one expert, in panels."""
        adapted = self.layers.get(name.removesuffix(".weight"))
        if adapted:
            return self.packed(adapted.merged(), None)
        place = (name, expert)
        if place not in self.matrices:
            weight = self.weights[name].detach()
            last = expert is None or expert == len(weight) - 1
            weight = weight if expert is None else weight[expert]
            self.matrices[place] = self.packed(weight, bits_of(name, self.quantize))
            if last:
                self.let_go(name)
        return self.matrices[place]

    def vector(self, name: str) -> int:
        """The address of a copy of a bias or of a norm's weight, in float32."""
        address = self.pointer(self.weights[name].detach().to(torch.float32, copy=True))
        self.let_go(name)
        return address

    def let_go(self, name: str) -> None:
        """Lets go of a weight of the model, unless it is to be kept; a part of a file leaves memory
        with the last weight in it."""
        if not self.keep_weights:
            self.weights[name].data = torch.empty(0)

    def packed(self, weight: Tensor, bits: int | None) -> Matrix:
        """A weight (rows, columns) in native.cpp's layout, (rows / lanes, columns, lanes): one
        vector load then brings one column of `lanes` rows, and as many dot products grow at once.
        Rows that the last panel is short of are zero. bits: 8 or 4, in blocks of columns; None: as
        it is."""
        assert LIBRARY.code is not None
        is_half = weight.dtype == torch.bfloat16
        weight = (weight if is_half else weight.float()).contiguous()
        rows, columns = weight.shape
        lanes, panels = LIBRARY.lanes, -(-rows // LIBRARY.lanes)
        found = Matrix(rows=rows, columns=columns)
        if bits:
            blocks = -(-columns // BLOCK)
            content = torch.empty(panels, blocks, BLOCK * lanes * bits // 8, dtype=torch.uint8)
            found.scales = self.pointer(torch.empty(panels, blocks, lanes, dtype=torch.float16))
        else:
            content = torch.empty(panels, columns, lanes, dtype=smallest_format(weight))
        found.bits = bits or 8 * content.dtype.itemsize
        found.panels = self.pointer(content)
        address = ctypes.c_void_p(weight.data_ptr())
        LIBRARY.code.etude_pack(address, is_half, ctypes.byref(found), torch.get_num_threads())
        return found

    def pointer(self, tensor: Tensor) -> int:
        """The address of a tensor's data, which lives as long as this object."""
        tensor = tensor.detach().contiguous()
        self.kept.append(tensor)
        return tensor.data_ptr()

    def __call__(self, works: Sequence[Work]) -> Tensor:
        """See inference.engine.cache.Forward."""
        rows = sum(work.outputs for work in works)
        result = torch.empty(rows, self.width)  # (all outputs, vocab), filled by the C++ code
        # Four ints a token: id, slot, position, and the row of the result that it fills, or -1.
        tokens: list[int] = []
        output = 0
        for work in works:
            first = len(work.ids) - work.outputs
            for place, token in enumerate(work.ids):
                wanted = place >= first
                tokens += (token, work.slot, work.start + place, output if wanted else -1)
                output += wanted
        packed = (ctypes.c_int * len(tokens))(*tokens)
        assert LIBRARY.code is not None
        LIBRARY.code.etude_forward(
            ctypes.byref(self.network),
            packed,
            len(tokens) // 4,
            ctypes.c_void_p(result.data_ptr()),
            rows,
        )
        return result
