"""What must be there before the first request: tables, somebody for the admin, assets."""

from __future__ import annotations

import json
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import BaseCommand, CommandError, call_command

from prices.mode import OtherModeError, claim
from prices.models import Asset
from prices.redis_clients import RedisAwayError


class Command(BaseCommand):
    help = "Migrate, make the admin's first user, fill an empty catalogue."

    def handle(self, *args: Any, **options: Any) -> None:
        self._keep_out_of_the_other_mode()
        call_command("migrate", verbosity=0, interactive=False)
        made_superuser = self._make_superuser()
        self._fill_catalogue()
        facts = {"made_superuser": made_superuser, "assets": Asset.objects.count()}
        self.stdout.write(json.dumps(facts))

    def _keep_out_of_the_other_mode(self) -> None:
        try:
            claim()
        except OtherModeError as exc:
            raise CommandError(str(exc)) from exc
        except RedisAwayError:
            # Tables need no Redis; whoever serves asks again.
            self.stderr.write("Redis does not answer; whose data it holds is looked up later.")

    def _make_superuser(self) -> bool:
        """Make `admin` where a password is given and no superuser is there; return whether."""
        users = get_user_model()._default_manager
        if not settings.ADMIN_PASSWORD or users.filter(is_superuser=True).exists():
            return False
        users.create_superuser("admin", "", settings.ADMIN_PASSWORD)
        return True

    def _fill_catalogue(self) -> None:
        try:
            call_command("catalogue", if_empty=True)
        except CommandError as exc:
            # The daily task fills it later; a symbol that is asked for is looked up before.
            self.stderr.write(str(exc))
