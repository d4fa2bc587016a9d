"""The sandbox itself, without sockets: takes a request, says what to send and how."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from prices.sandbox.faults import TRANSPORT_KINDS, Fault, FaultError, fault_from, replaced
from prices.sandbox.limits import ALLOWANCES, Limiter
from prices.sandbox.recorder import Record, Recorder
from prices.sandbox.sources import SOURCES, Source, source_of
from prices.sandbox.spoiling import spoiled
from prices.sandbox.wire import Call, Plan, Reply, json_reply, key_of

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
        self.recorder = Recorder(SOURCES)
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
        source = source_of(path)
        if source is None:
            return Answer(json_reply(404, {"error": "The sandbox has no such path."}))
        return self._source(request, source, path, query)

    def _source(self, request: Request, source: Source, path: str, query: dict[str, str]) -> Answer:
        key, now = key_of(query, request.headers), self.now()
        record = Record(now, source.name, request.method, path, query, key)
        self.recorder.add(record)
        faults = self._faults_for("finnhub" if source.name == "files" else source.name, path)
        record.faults = [fault.kind for fault in faults]
        frozen = next((fault for fault in faults if fault.kind == "frozen"), None)
        call = Call(
            path=path.removeprefix(source.prefix),
            query=query,
            headers=request.headers,
            # The clock may have been moved since: stand still where the fault began.
            now=math.floor(now if frozen is None else frozen.market_time),
            plan=self.plan,
            origin=f"http://{request.headers.get('host', '127.0.0.1')}",
        )
        reply = self._reply(call, source, faults, now, request.target)
        self.limiter.spend(source.name, key, reply.status, now)
        told = self.limiter.headers(source.name, key)
        reply = Reply(reply.status, reply.body, {**reply.headers, **told})
        transport = [fault for fault in faults if fault.kind in TRANSPORT_KINDS]
        is_reset = any(fault.kind == "reset" for fault in transport)
        self.recorder.answered(record, 0 if is_reset else reply.status)
        return Answer(reply, transport)

    def _reply(
        self, call: Call, source: Source, faults: list[Fault], now: float, target: str
    ) -> Reply:
        key, weight = key_of(call.query, call.headers), source.weight(call.path, call.query)
        if refusal := self.limiter.refusal(source.name, key, now, weight):
            return refusal
        for fault in faults:
            instead = replaced(fault, source.name, f"{call.origin}{target}", now)
            if instead is not None:
                return instead
        reply = self._right_reply(call, source)
        for fault in faults:
            reply = spoiled(
                reply,
                fault.kind,
                only=fault.only,
                names=fault.names,
                asked=(*call.path.split("/"), *call.query.values()),
                writes_text=source.writes_text,
                factor=fault.factor,
                value=fault.value,
            )
        return reply

    def _right_reply(self, call: Call, source: Source) -> Reply:
        """Return what the source answers; the same question in one second is worked out once.

        Many ask for the same page at once, and it follows from the question alone.
        """
        question: tuple[Hashable, ...] = (
            source.name,
            call.path,
            tuple(call.query.items()),
            call.now,
            call.plan,
            call.origin,
        )
        question += (key_of({}, call.headers), "x-cg-pro-api-key" in call.headers)
        reply = self._replies.get(question)
        if reply is None:
            reply = self._replies[question] = source.respond(call)
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
        self.recorder = Recorder(SOURCES)
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
