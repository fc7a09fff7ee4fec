"""What a student costs at least, told from its recipe alone, before there are data that say how many tokens and labels there are."""

from __future__ import annotations

from compress.io_spec import IOSpec
from compress.modalities.teacher_starts import bare_encoder, port_of
from compress.recipe.grammar import LoadedRecipe
from compress.tables import load_plugins


def least_cost(loaded: LoadedRecipe) -> dict[str, int]:
    """{"parameters", "multiply_adds"} of the student's encoders; its vocabulary and head come on top."""
    from torch import nn

    from compress.models.classifier import Classifier
    from compress.models.cost import multiply_adds
    from compress.models.saved import count_parameters

    load_plugins(loaded.plugins)
    ports = {m: port_of(loaded.recipe, m) for m in loaded.recipe.modalities}
    encoders = {m: bare_encoder(port, loaded.recipe.student.encoders.get(m), loaded.base) for m, port in ports.items()}
    model = Classifier(encoders, nn.Identity())
    return {"parameters": count_parameters(model), "multiply_adds": multiply_adds(model, IOSpec(tuple(ports.values()), ()))}
