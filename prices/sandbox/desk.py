"""The sandbox itself, without sockets: takes a request, says what to send and how."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from prices.sandbox import coingecko, finnhub
from prices.sandbox.faults import TRANSPORT_KINDS, Fault, FaultError, fault_from, replaced, spoiled
from prices.sandbox.limits import ALLOWANCES, Limiter
from prices.sandbox.recorder import Record, Recorder
from prices.sandbox.wire import Call, Plan, Reply, json_reply, key_of

COINGECKO = "/coingecko/api/v3"
FINNHUB = "/finnhub/api/v1"
_CONTROLS = "/_sandbox/"
_KEPT_REPLIES = 32


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. Header names are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply, and the faults to commit while sending it."""

    reply: Reply
    faults: list[Fault] = field(default_factory=list)


class Desk:
    """One sandbox: its plan, clock, limits, faults and counts. Not for several threads."""

    def __init__(self, plan: Plan = Plan.ALL) -> None:
        self.plan = plan
        self.shift_s = 0.0
        self.limiter = Limiter(ALLOWANCES[plan])
        self.recorder = Recorder()
        self.faults: list[Fault] = []
        self._replies: dict[Hashable, Reply] = {}

    def now(self) -> float:
        return time.time() + self.shift_s

    def answer(self, request: Request) -> Answer:
        target = urlsplit(request.target)
        path = unquote(target.path)
        query = dict(parse_qsl(target.query, keep_blank_values=True))
        if path.startswith(_CONTROLS):
            return Answer(self._control(request, path.removeprefix(_CONTROLS), query))
        for source, prefix, respond in (
            ("coingecko", COINGECKO, coingecko.respond),
            ("finnhub", FINNHUB, finnhub.respond),
            ("files", finnhub.FILES, finnhub.respond_file),
        ):
            if path.startswith(prefix):
                return self._source(request, source, path, query, (prefix, respond))
        return Answer(json_reply(404, {"error": "The sandbox has no such path."}))

    def _source(
        self,
        request: Request,
        source: str,
        path: str,
        query: dict[str, str],
        route: tuple[str, Callable[[Call], Reply]],
    ) -> Answer:
        key, now = key_of(query, request.headers), self.now()
        record = Record(now, source, request.method, path, query, key)
        self.recorder.add(record)
        faults = self._faults_for("finnhub" if source == "files" else source, path)
        record.faults = [fault.kind for fault in faults]
        frozen = next((fault for fault in faults if fault.kind == "frozen"), None)
        prefix, respond = route
        call = Call(
            path=path.removeprefix(prefix),
            query=query,
            headers=request.headers,
            # The clock may have been moved since: stand still where the fault began.
            now=math.floor(now if frozen is None else frozen.market_time),
            plan=self.plan,
            origin=f"http://{request.headers.get('host', '127.0.0.1')}",
        )
        reply = self._reply(call, source, key, faults, respond, now, request.target)
        self.limiter.spend(source, key, reply.status, now)
        transport = [fault for fault in faults if fault.kind in TRANSPORT_KINDS]
        is_reset = any(fault.kind == "reset" for fault in transport)
        self.recorder.answered(record, 0 if is_reset else reply.status)
        return Answer(reply, transport)

    def _reply(
        self,
        call: Call,
        source: str,
        key: str,
        faults: list[Fault],
        respond: Callable[[Call], Reply],
        now: float,
        target: str,
    ) -> Reply:
        if source != "files" and (refusal := self.limiter.refusal(source, key, now)):
            return refusal
        for fault in faults:
            if (instead := replaced(fault, source, f"{call.origin}{target}", now)) is not None:
                return instead
        reply = self._right_reply(call, source, respond)
        for fault in faults:
            reply = spoiled(fault, reply)
        return reply

    def _right_reply(self, call: Call, source: str, respond: Callable[[Call], Reply]) -> Reply:
        """Return what the source answers; the same question in one second is worked out once.

        Many ask for the same page at once, and it follows from the question alone.
        """
        question: tuple[Hashable, ...] = (
            source,
            call.path,
            tuple(call.query.items()),
            call.now,
            call.plan,
            call.origin,
        )
        question += (key_of({}, call.headers), "x-cg-pro-api-key" in call.headers)
        reply = self._replies.get(question)
        if reply is None:
            reply = self._replies[question] = respond(call)
            if len(self._replies) > _KEPT_REPLIES:
                self._replies.pop(next(iter(self._replies)))
        return reply

    def _faults_for(self, source: str, path: str) -> list[Fault]:
        """Return the faults that hit this call, each one call older now."""
        clock = time.monotonic()
        self.faults = [fault for fault in self.faults if not fault.is_over(clock)]
        hit = [fault for fault in self.faults if fault.hits(source, path)]
        for fault in hit:
            fault.seen += 1
        return hit

    def _control(self, request: Request, name: str, query: Mapping[str, str]) -> Reply:
        controls: dict[tuple[str, str], Callable[[Any], Any]] = {
            ("GET", "calls"): lambda _: self.recorder.shown(query.get("path", "")),
            ("GET", "faults"): lambda _: self._shown_faults(),
            ("POST", "faults"): self._add_fault,
            ("DELETE", "faults"): lambda _: self._remove_faults(query.get("number")),
            ("POST", "reset"): lambda _: self._reset(),
            ("POST", "clock"): self._move_clock,
            ("GET", "state"): lambda _: self._state(),
            ("POST", "plan"): self._set_plan,
        }
        control = controls.get((request.method, name))
        if control is None:
            known = ", ".join(f"{method} {path}" for method, path in controls)
            return json_reply(404, {"error": f"The controls are: {known}."})
        try:
            return json_reply(200, control(json.loads(request.body or b"{}")))
        except (FaultError, ValueError, TypeError, KeyError, AttributeError) as exc:
            return json_reply(400, {"error": f"{type(exc).__name__}: {exc}"})

    def _shown_faults(self) -> dict[str, Any]:
        clock = time.monotonic()
        return {"faults": [fault.shown() for fault in self.faults if not fault.is_over(clock)]}

    def _add_fault(self, content: Any) -> dict[str, Any]:
        fault = fault_from(content, began=time.monotonic(), market_time=self.now())
        self.faults.append(fault)
        return fault.shown()

    def _remove_faults(self, number: str | None) -> dict[str, Any]:
        self.faults = [fault for fault in self.faults if number and str(fault.number) != number]
        return self._shown_faults()

    def _reset(self) -> dict[str, Any]:
        """Forget counts, faults and what was spent of the limits; plan and clock stay."""
        self.recorder = Recorder()
        self.faults = []
        self.limiter = Limiter(self.limiter.allowance)
        return self._state()

    def _move_clock(self, content: Any) -> dict[str, Any]:
        """Set the shift in seconds (`shift_s`), move it on (`by_s`) or aim it (`now`)."""
        if "now" in content:
            self.shift_s = float(content["now"]) - time.time()
        else:
            self.shift_s = float(content.get("shift_s", self.shift_s))
            self.shift_s += float(content.get("by_s", 0.0))
        self.limiter = Limiter(self.limiter.allowance)
        return self._state()

    def _set_plan(self, content: Any) -> dict[str, Any]:
        """Take a plan, whole, and change single limits of it."""
        plan = Plan(content.get("plan", self.plan))
        limiter = Limiter(ALLOWANCES[plan])
        limiter.allow(**content.get("limits", {}))
        self.plan, self.limiter = plan, limiter
        return self._state()

    def _state(self) -> dict[str, Any]:
        return {
            "plan": self.plan.value,
            "limits": self.limiter.allowance.shown(),
            "shift_s": self.shift_s,
            "now": self.now(),
        }
