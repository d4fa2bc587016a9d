"""Celery, and the schedule that keeps ticks on the clock."""

from __future__ import annotations

import math
import os
import sys
from datetime import datetime, timedelta
from typing import Any

from celery import Celery, signals
from celery.schedules import schedstate, schedule
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lokifi.settings")

app = Celery("lokifi", amqp="lokifi.broker:Broker")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


def _demand_right_settings() -> None:
    """End in a sentence where Celery's own command line is first to load wrong settings."""
    if "lokifi.settings" in sys.modules:
        return
    try:
        settings.DEBUG  # noqa: B018 (loads them)
    except ImproperlyConfigured as exc:
        sys.exit(f"{exc} (docs/settings.md lists the settings.)")


@signals.worker_init.connect
@signals.beat_init.connect
def _keep_out_of_the_other_mode(**_: Any) -> None:
    # Here, since what it needs has settings, and these need this file.
    from prices.mode import claim_or_exit

    claim_or_exit()


@signals.beat_init.connect
def _tell_outages_once(**_: Any) -> None:
    from lokifi.logs import tell_outages_of_the_broker_once

    tell_outages_of_the_broker_once()


class AlignedSchedule(schedule):
    """Due once in every interval of the wall clock, as soon as that interval begins.

    With 30 s that is at :00 and :30. Celery's own interval counts from the last
    run, so each run comes a little later than the one before, until one drifts
    over a boundary and an interval goes without a tick.
    """

    run_every: timedelta

    def is_due(self, last_run_at: datetime) -> schedstate:
        """Return whether to run now, and in how many seconds to look again."""
        interval = self.run_every.total_seconds()
        now = self.now().timestamp()
        this_interval = math.floor(now / interval)
        # Not "later than": a clock set back must not stop the ticks until it catches up.
        is_new = this_interval != math.floor(
            self.maybe_make_aware(last_run_at).timestamp() / interval
        )
        return schedstate(is_due=is_new, next=(this_interval + 1) * interval - now)

    def __repr__(self) -> str:
        return f"<every {self.run_every.total_seconds():g} s of the clock>"

    def __reduce__(self) -> tuple[type[AlignedSchedule], tuple[float]]:
        return type(self), (self.run_every.total_seconds(),)


# Last: they import the schedule from here.
_demand_right_settings()
