"""The pages that come with the product."""

from __future__ import annotations

from django.apps import AppConfig


class DashboardConfig(AppConfig):
    name = "lokifi.dashboard"
    verbose_name = "Dashboard"
