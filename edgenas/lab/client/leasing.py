"""Holding and reserving a board."""

from __future__ import annotations

import time

from edgenas.errors import BoardBusy
from edgenas.lab import answers
from edgenas.lab.client.conversation import Conversation
from edgenas.lab.holders import Holder, Holders
from edgenas.lab.lease import MAX_TEXT, TTL_S, Lease, Reservation, owner
from edgenas.lab.text import clean

#: A board that is busy is asked again after so long.
POLL_S = 2.0


class Leasing(Conversation):
    """Takes and gives back boards."""

    _lease: Lease | None = None

    def lease(
        self, purpose: str, wait_s: float = 0.0, *, ttl_s: float = TTL_S, priority: int = 0, reservation: str = ""
    ) -> Lease:
        """Hold the board: until the lease ends, nobody else measures or deploys there.

        Without a lease each measurement takes one for itself alone.

        Args:
            purpose: What for, as others are told.
            wait_s: How long to try again where somebody else holds the board.
            ttl_s: The board is free again when it has heard nothing from here for so long; 0.5 to 3600.
            priority: As others are told.
            reservation: Token of the reservation that the board is under, if it is this user's.

        Raises:
            BoardBusy: Somebody else holds or has reserved the board; the message says who, since and until when.
            DeviceError, LinkError: As for every request.
        """
        fields = {
            "owner": owner(), "purpose": clean(purpose, MAX_TEXT), "ttl_s": ttl_s, "priority": priority,
            "reservation": reservation,
        }  # fmt: skip
        deadline = time.monotonic() + wait_s
        while True:
            try:
                granted = self._session.parse(answers.LeaseReply, self._ask("lease", fields, "lease").header)
                break
            except BoardBusy:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise
                time.sleep(min(left_s, POLL_S))
        self._lease = Lease(self._session, self.target.name, granted, ttl_s)
        return self._lease

    def holders(self) -> Holders:
        """Who holds the board and who has reserved it."""
        said = self._session.parse(answers.LeaseStatusReply, self._ask("lease_status", {}, "lease").header)
        lease, reservation = said.lease, said.reservation
        return Holders(Holder.of(lease) if lease else None, Holder.of(reservation) if reservation else None)

    def reserve(self, purpose: str, for_s: float, *, priority: int = 0) -> Reservation:
        """Keep the board for those who have the reservation's token, also after this process has ended.

        A restart of the board ends it.

        Args:
            purpose: What for, as others are told.
            for_s: How long, from now; at most 30 days.
            priority: As others are told.

        Raises:
            BoardBusy: Somebody else holds or has reserved the board.
        """
        fields = {"owner": owner(), "purpose": clean(purpose, MAX_TEXT), "ttl_s": for_s, "priority": priority}
        frame = self._ask("reserve", fields, "reservation")
        return Reservation.of(self.target.name, self._session.parse(answers.LeaseReply, frame.header))

    def unreserve(self, token: str = "", *, number: int = 0) -> None:
        """End a reservation: one's own by its token, anybody's by its fencing number.

        Raises:
            LeaseLost: There is no such reservation (any more).
        """
        self._ask("unreserve", {"token": token, "number": number}, "reservation")
