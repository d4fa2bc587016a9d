"""Fill the catalogues of coins and stocks from their sources."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from prices.models import Catalogue
from prices.services import catalogue, symbols
from prices.types import AssetKind


class Command(BaseCommand):
    help = "Fill the catalogues of coins and stocks, and track TRACKED_SYMBOLS on first start."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--if-empty", action="store_true", help="do nothing for a kind that was filled before"
        )
        parser.add_argument("--kind", choices=[k.value for k in AssetKind], help="only this kind")

    def handle(self, *args: Any, **options: Any) -> None:
        kinds = [AssetKind(options["kind"])] if options["kind"] else list(AssetKind)
        if options["if_empty"]:
            filled = set(Catalogue.objects.values_list("kind", flat=True))
            kinds = [kind for kind in kinds if kind not in filled]
        outcomes = symbols.fill(kinds)
        for kind, outcome in outcomes.items():
            if isinstance(outcome, catalogue.Filled):
                self.stdout.write(f"{kind}: {outcome.rows} listed, {outcome.retired} retired")
            else:
                self.stderr.write(f"{kind}: {outcome}")
        if any(isinstance(o, catalogue.Filled) and o.is_first for o in outcomes.values()):
            self.stdout.write(f"tracking {', '.join(symbols.tracked()) or 'nothing'}")
        if outcomes and not any(isinstance(o, catalogue.Filled) for o in outcomes.values()):
            raise CommandError("No catalogue could be filled.")
