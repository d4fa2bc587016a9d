"""One coin a pair: those that copies of a coin hold are looked at again at their next use."""

from __future__ import annotations

from typing import Any

from django.db import migrations, models


def let_go(apps: Any, schema_editor: Any) -> None:
    """Delete settled pairs of coins that are not the first of their ticker, and second holders."""
    pairs = apps.get_model("prices", "ExchangePair").objects
    held: set[tuple[str, str]] = set()
    for row in pairs.filter(is_settled=True).select_related("asset").order_by("pk"):
        place = (row.source, row.symbol)
        if place in held or _first(apps, row.asset) != row.asset.pk:
            row.delete()
        else:
            held.add(place)


def _first(apps: Any, asset: Any) -> int | None:
    coins = apps.get_model("prices", "Asset").objects.filter(
        ticker=asset.ticker, kind=asset.kind, is_active=True
    )
    first = min(coins, key=_order, default=None)
    return first and first.pk


def _order(coin: Any) -> tuple[object, ...]:
    rank = coin.market_cap_rank if coin.market_cap_rank is not None else 2**31
    size = (-(coin.market_cap or 0.0), -(coin.volume or 0.0))
    return (not coin.pinned, coin.is_derivative, rank, *size, coin.ref)


class Migration(migrations.Migration):
    dependencies = [
        ("prices", "0004_pair_refusals"),
    ]

    operations = [
        migrations.RunPython(let_go, migrations.RunPython.noop),
        migrations.AddConstraint(
            model_name="exchangepair",
            constraint=models.UniqueConstraint(
                condition=models.Q(("is_settled", True)),
                fields=("source", "symbol"),
                name="one_coin_per_pair",
            ),
        ),
    ]
