"""The ledger in plain Python, in a hundred lines: what must be true, without a store, leases or processes."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime

Moment = datetime | None
Lots = dict[Moment, int]
GUARDED = ("budget:", "points:")


@dataclass
class Line:
    """A transfer: its legs, what it took of which lots, and what was given back of it."""

    legs: list[tuple[str, str, int]]
    took: dict[str, list[tuple[Moment, int]]] = field(default_factory=dict)
    expires: Moment = None
    refunds: dict[str, int] = field(default_factory=dict)


@dataclass
class Hold:
    line: Line
    until: datetime
    end: str = ""
    posted: int = 0


class Reference:
    """Balances and lots of every account; `left` has what is posted, `aside` what holds have set aside."""

    def __init__(self) -> None:
        self.balances: dict[str, int] = defaultdict(int)
        self.left: dict[str, Lots] = defaultdict(lambda: defaultdict(int))
        self.aside: dict[str, Lots] = defaultdict(lambda: defaultdict(int))
        self.lines: dict[str, Line] = {}
        self.holds: dict[str, Hold] = {}

    def free(self, account: str, now: datetime) -> list[tuple[Moment, int]]:
        """What may be taken, soonest to expire first."""
        lots = [(at, n - self.aside[account][at]) for at, n in self.left[account].items()]
        alive = [(at, n) for at, n in lots if n > 0 and (at is None or at > now)]
        return sorted(alive, key=lambda lot: (lot[0] is None, lot[0] or now))

    def pick(self, account: str, amount: int, now: datetime) -> list[tuple[Moment, int]] | None:
        picked = []
        for at, n in self.free(account, now):
            taken = min(n, amount)
            amount -= taken
            picked.append((at, taken))
        return None if amount else [(at, n) for at, n in picked if n]

    def post(self, key: str, legs: list[tuple[str, str, int]], now: datetime, expires: Moment = None) -> str:
        """`posted`, `replayed`, or why not."""
        if key in self.lines:
            same = (self.lines[key].legs, self.lines[key].expires) == (legs, expires)
            return "replayed" if same else "idempotency_key_reused"
        line = self._take(legs, now, expires)
        if line is None:
            return "insufficient"
        self.lines[key] = line
        self._move(line)
        return "posted"

    def _take(self, legs: list[tuple[str, str, int]], now: datetime, expires: Moment) -> Line | None:
        took = {}
        for debit, _, amount in legs:
            if debit.startswith(GUARDED):
                picked = self.pick(debit, amount, now)
                if picked is None:
                    return None
                took[debit] = picked
        return Line(legs, took, expires)

    def _move(self, line: Line) -> None:
        for debit, lots in line.took.items():
            for at, n in lots:
                self.left[debit][at] -= n
        for debit, credit, amount in line.legs:
            self.balances[debit] -= amount
            self.balances[credit] += amount
            if credit.startswith(GUARDED):
                self.left[credit][line.expires] += amount

    def hold(self, key: str, legs: list[tuple[str, str, int]], now: datetime, until: datetime) -> str:
        if key in self.holds:
            return "replayed"
        line = self._take(legs, now, None)
        if line is None:
            return "insufficient"
        for debit, lots in line.took.items():
            for at, n in lots:
                self.aside[debit][at] += n
        self.holds[key] = Hold(line, until)
        return "posted"

    def end(self, key: str, how: str, now: datetime, amount: int | None = None) -> str:
        hold = self.holds[key]
        whole = hold.line.legs[0][2]
        wanted = whole if amount is None else amount
        if how == "confirm" and wanted > whole:
            return "hold_exceeded"
        if not hold.end and now >= hold.until:
            self._end(hold, "expire", 0)
        if hold.end:
            return "replayed" if (hold.end, hold.posted) == (how, wanted if how == "confirm" else 0) else "hold_ended"
        self._end(hold, how, wanted if how == "confirm" else 0)
        return "posted"

    def _end(self, hold: Hold, how: str, amount: int) -> None:
        hold.end, hold.posted = how, amount
        (debit, credit, _) = hold.line.legs[0]
        for at, n in hold.line.took[debit]:
            self.aside[debit][at] -= n
        if not amount:
            return
        used, rest = [], amount
        for at, n in hold.line.took[debit]:
            used.append((at, min(n, rest)))
            rest -= used[-1][1]
        self._move(Line([(debit, credit, amount)], {debit: used}))

    def refund(self, key: str, amount: int, number: str) -> str:
        line = self.lines[key]
        debit, credit, whole = line.legs[0]
        if number in line.refunds:
            return "replayed" if line.refunds[number] == amount else "idempotency_key_reused"
        before = sum(line.refunds.values())
        if len(line.legs) > 1 and amount != whole or before + amount > whole:
            return "refund_exceeded"
        line.refunds[number] = amount
        back = [at for at, n in reversed(line.took[debit]) for _ in range(n)][before : before + amount]
        for at in back:
            self.left[debit][at] += 1
        for one, other, n in [(debit, credit, amount), *line.legs[1:]]:
            self.balances[one] += n
            self.balances[other] -= n
        for one, _, _n in line.legs[1:]:
            for at, some in line.took.get(one, []):
                self.left[one][at] += some
        return "posted"

    def held(self, account: str) -> int:
        return sum(self.aside[account].values())

    def lots(self, account: str) -> dict[Moment, tuple[int, int]]:
        found = {at: (n, self.aside[account][at]) for at, n in self.left[account].items()}
        return {at: pair for at, pair in found.items() if pair != (0, 0)}
