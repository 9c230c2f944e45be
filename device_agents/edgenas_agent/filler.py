"""An artifact that is filled in on the board, piece by piece where there is other work in between."""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterator, Optional, Tuple

from . import filling
from .cache import Cache, check_hash
from .fields import field
from .inbox import Request
from .refusal import Refusal

_DONE: Any = object()


class Filler:
    """Carries out a request to fill an artifact in.

    Args:
        cache: Where it comes to lie.
        request: Has the recipe.
        stopped: Whether the host has cancelled the request, or gone.
    """

    def __init__(self, cache: Cache, request: Request, stopped: Callable[[], bool]) -> None:
        self._cache = cache
        self._request = request
        self._stopped = stopped
        self._error: Optional[Exception] = None
        self._pieces = self._fill()

    def steps(self) -> Iterator[None]:
        """Gets further with each step; an error is kept for :meth:`result`. May be left and gone on with."""
        try:
            while next(self._pieces, _DONE) is not _DONE:
                yield
        except Exception as error:
            self._error = error

    def result(self) -> Tuple[Dict[str, Any], bytes]:
        """The answer to the request, after all steps that are left.

        Raises:
            Refusal: ``bad_request``, ``disk_full``, ``digest_mismatch`` or ``cancelled``.
        """
        for _ in self.steps():
            pass
        if self._error is not None:
            raise self._error
        return {"sha256": self._request.header["sha256"]}, b""

    def _fill(self) -> Iterator[None]:
        request = self._request
        sha256, size = check_hash(request.header.get("sha256")), field(request, "size", int)
        if not self._cache.missing([sha256]):
            return
        upload = self._cache.upload(sha256, field(request, "suffix", str), size)
        try:
            for piece in filling.fill(request.body, size):
                if self._stopped():
                    raise Refusal("cancelled", "the host cancelled this request")
                upload.write(piece)
                yield
            # What a power cut leaves of it is noticed at its next use, and filled in again.
            upload.finish(durable=False)
        except filling.RecipeError as error:
            raise Refusal("bad_request", f"artifact {sha256} cannot be filled: {error}") from error
        finally:
            upload.close()
