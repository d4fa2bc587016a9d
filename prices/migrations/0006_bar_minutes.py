"""Recorded hours and days that outlive their minutes say of how many they are made."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("prices", "0005_one_coin_per_pair"),
    ]

    operations = [
        migrations.AddField(
            model_name="bar", name="minutes", field=models.SmallIntegerField(null=True)
        ),
    ]
