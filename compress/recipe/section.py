"""What every section of a recipe is, and one that has a key for each modality."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

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
