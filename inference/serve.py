"""Serves a model: the OpenAI API, and a web page to chat with it.

python inference/serve.py                                      at http://127.0.0.1:8000
python inference/serve.py --quantize int8 --port 9000          faster, somewhere else
python inference/serve.py --model_dir BASE --adapter A B       two adapters of a model, and it
ETUDE_API_KEY=... python inference/serve.py --host 0.0.0.0     for other machines, with a key

Any client of OpenAI's works: OpenAI(base_url="http://127.0.0.1:8000/v1", api_key="-").
docs/serving_api.md lists what is supported, what is refused, and what is measured.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli import parse_flags, run_script
from inference.settings import LOOPBACK, ServeConfig, choose_key


def main() -> int:
    """Takes the address, loads the model, serves until it is stopped."""
    config = parse_flags(ServeConfig(), "Serves a model: the OpenAI API and a web page.")
    key = choose_key(config, os.environ)
    # These import torch and FastAPI, which takes seconds: not for --help.
    from inference.api.app import make_app
    from inference.api.listener import Listener, address_of, listen
    from inference.api.service import Service
    from inference.engine.loading import load_adapters

    listening = listen(config.host, config.port)
    model, *others = load_adapters(
        config.model_dir, config.adapter, config.device, config.slots, config.quantize
    )
    service = Service(config, model, others)
    address = address_of(listening)

    def print_address() -> None:
        if config.host not in LOOPBACK and not key:
            print("warning: everyone who reaches this machine may use the model", file=sys.stderr)
        print(f"{model.title}; web page at {address}, API at {address}/v1 (Ctrl-C stops)")

    Listener(make_app(service, key), service, print_address).run([listening])
    return 1 if service.failed else 0


if __name__ == "__main__":
    run_script(main)
