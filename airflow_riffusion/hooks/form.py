"""The connection form's own fields as Airflow before 3.2 wants them: widgets instead of data."""

from __future__ import annotations

from typing import Any


def widgets(fields: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return a widget for each of the fields in the provider's metadata."""
    return {name: _widget(field) for name, field in fields.items()}


def _widget(field: dict[str, Any]) -> Any:
    # Airflow before 3.2 has these packages, or stand-ins for them.
    from flask_appbuilder.fieldwidgets import BS3TextFieldWidget
    from wtforms import BooleanField, IntegerField, StringField
    from wtforms.validators import NumberRange, Optional, any_of

    label, schema = field["label"], field["schema"]
    options = {"description": field["description"], "default": schema.get("default")}
    kind = schema["type"][0]
    if kind == "boolean":
        return BooleanField(label, **options)
    if kind == "integer":
        bounds = NumberRange(min=schema["minimum"], max=schema["maximum"])
        return IntegerField(label, widget=BS3TextFieldWidget(), validators=[Optional(), bounds], **options)
    return StringField(
        label, widget=BS3TextFieldWidget(), validators=[Optional(), any_of(schema["enum"])], **options
    )
