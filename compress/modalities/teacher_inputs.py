"""In which form a teacher that is taken as it is reads its inputs: as the files beside its weights say, where the recipe does not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from compress.errors import RecipeError
from compress.modalities.modality import modality
from compress.models.hub import fetch
from compress.recipe.grammar import LoadedRecipe
from compress.store.earlier import open_earlier
from compress.tables import load_plugins


def with_teacher_inputs(loaded: LoadedRecipe) -> LoadedRecipe:
    """The recipe with teacher.inputs filled in, before any stage reads it: the data stage stores what the teacher will see.

    Words that the recipe sets stay. Raises: RecipeError for a model whose processor cannot be followed, DependencyError without network.
    """
    if several := loaded.recipe.teachers:
        ones = (replace(loaded, recipe=loaded.recipe.taught_by(number + 1)) for number in range(len(several)))
        filled = [with_teacher_inputs(one).recipe.teacher for one in ones]
        return replace(loaded, recipe=loaded.recipe.model_copy(update={"teacher": filled[0], "teachers": filled}))
    recipe, teacher = loaded.recipe, loaded.recipe.teacher
    if teacher.source == "run":
        earlier = open_earlier(loaded.base / str(teacher.path), teacher.arm, place="teacher.path")
        words = {name: given for name, given in earlier.config["data"]["inputs"].items() if name in recipe.modalities}
        inputs = type(recipe.data.inputs).model_validate(
            {**words, **(teacher.inputs.model_dump(exclude_unset=True) if teacher.inputs else {})}
        )
        return replace(loaded, recipe=recipe.model_copy(update={"teacher": teacher.model_copy(update={"inputs": inputs})}))
    if teacher.source not in ("folder", "hub", "zero_shot"):
        return loaded
    load_plugins(loaded.plugins)  # a modality may be one of theirs
    readers = [name for name in recipe.modalities if modality(name).processor_files]
    if teacher.path is not None:
        folder = loaded.base / str(teacher.path)
    elif readers:
        folder = fetch(str(teacher.id), str(teacher.revision), files=[file for name in readers for file in modality(name).processor_files])
    own: dict[str, Any] = {name: teacher.inputs.get(name) for name in teacher.inputs.modalities} if teacher.inputs else {}
    for name in readers:
        given = own[name].model_dump(exclude_unset=True) if name in own else {}
        words = modality(name).processor_words(folder, given)
        try:
            own |= (
                {name: type(recipe.data.inputs.get(name)).model_validate({**recipe.data.inputs.get(name).model_dump(), **words, **given})}
                if words
                else {}
            )
        except ValidationError as error:
            fault = error.errors()[0]
            raise RecipeError(
                f"teacher: {folder} reads {name} with {fault['loc'][0]} {fault['input']}: {fault['msg']}; set teacher.inputs.{name}"
            ) from error
    if not own:
        return loaded
    inputs = type(recipe.data.inputs)(**own)
    return replace(loaded, recipe=recipe.model_copy(update={"teacher": teacher.model_copy(update={"inputs": inputs})}))
