"""Boards without Python: models timed by a native program (``benchmark_model``) that is sent over a transport.

Phones reached by adb mostly have no Python, so no agent can run there. What the agent does is done here through the
board's shell: the board's description and conditions, a lease, the transfer by hash and the timing rule.
"""

from __future__ import annotations

from edgenas.lab.native.client import NativeClient, connect_native
from edgenas.lab.native.runtime import NativeRuntime, find_runtime, is_native
from edgenas.lab.native.session import NativeSession

__all__ = ["NativeClient", "NativeRuntime", "NativeSession", "connect_native", "find_runtime", "is_native"]
