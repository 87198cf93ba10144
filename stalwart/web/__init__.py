"""What is served over HTTP, one module per surface; `stalwart.http` says how."""

from __future__ import annotations

from stalwart.web.root import build_root

__all__ = ["build_root"]
