"""The REST API under `/api`: JSON, with problem documents for refusals."""

from __future__ import annotations

from stalwart.web.api.account import account_api

__all__ = ["account_api"]
