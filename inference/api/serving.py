"""What the routes share: the model that is served, and by what rules."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import cast

from fastapi import Request

from inference.api.metrics import RequestMetrics
from inference.api.service import Service
from inference.api.settings import ServeConfig
from inference.engine.loading import LoadedModel
from inference.engine.token_bytes import TokenBytes


@dataclass
class Serving:
    """A model at work."""

    config: ServeConfig
    model: LoadedModel
    service: Service
    requests: RequestMetrics = field(default_factory=RequestMetrics)
    created: int = field(default_factory=lambda: int(time.time()))
    """When it began, in seconds since 1970."""

    @property
    def name(self) -> str:
        """What clients call the model."""
        return self.config.model_name or self.model.name

    @cached_property
    def token_bytes(self) -> TokenBytes:
        """The bytes of its tokens."""
        return TokenBytes(self.model.tokenizer)


def serving_of(request: Request) -> Serving:
    """The model that an app serves."""
    return cast(Serving, request.app.state.serving)
