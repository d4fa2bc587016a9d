"""The splits that series are adjusted for: what sources told, and what an operator knows better."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest

from prices.models import StockSplit

BY_HAND = "by hand"

if TYPE_CHECKING:
    _Splits = admin.ModelAdmin[StockSplit]
    _Form = forms.ModelForm[StockSplit]
else:
    # Generic for the type checker only.
    _Splits, _Form = admin.ModelAdmin, forms.ModelForm


class SplitForm(_Form):
    """A split, whose ratio has to be one."""

    def clean_ratio(self) -> float:
        ratio: float = self.cleaned_data["ratio"]
        if not 0 < ratio < 10_000 or ratio == 1:
            raise forms.ValidationError("New shares for one old: above 0, and not 1.")
        return ratio


@admin.register(StockSplit)
class SplitAdmin(_Splits):
    """Splits can be added, corrected and taken away; what is in the cache lives its time."""

    form = SplitForm
    list_display = ("asset", "day", "ratio", "source")
    list_filter = ("source",)
    list_select_related = ("asset",)
    list_per_page = 50
    search_fields = ("asset__ticker", "asset__name", "asset__ref")
    fields = ("asset", "day", "ratio")
    raw_id_fields = ("asset",)

    def save_model(self, request: HttpRequest, obj: StockSplit, form: Any, change: bool) -> None:
        obj.source = BY_HAND
        super().save_model(request, obj, form, change)
