"""What sections of a recipe are made of: no unknown keys; settings by modality; an entry of a table, by its name alone or with options."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A part of the recipe: no unknown keys, frozen, defaults checked like given values."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


class ByModality(Section):
    """Settings by modality: one key for each that the program or a plugin knows. `recipe_type` adds the keys."""

    @property
    def modalities(self) -> tuple[str, ...]:
        """Those that are set, in the order of the table."""
        return tuple(name for name in type(self).model_fields if isinstance(getattr(self, name), Section))

    def get(self, modality: str) -> Any:
        """The settings of one; None where they are not set."""
        return getattr(self, modality, None)


def _by_name_too(schema: dict[str, Any]) -> None:
    section = dict(schema)
    schema.clear()
    schema |= {"anyOf": [{"type": "string"}, section]}


class Named(Section):
    """An entry of a table: its name alone, or name and options."""

    model_config = ConfigDict(json_schema_extra=_by_name_too)

    name: str = Field(description="Name in the table.")
    options: dict[str, Any] = Field({}, description="Options of that entry.")

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, given: Any) -> Any:
        return {"name": given} if isinstance(given, str) else given
