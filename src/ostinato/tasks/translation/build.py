"""From a recipe and a codec to a model."""

from ...initialise import initialise
from ...models.seq2seq import Seq2Seq, decoder_width
from ...recurrent import Recurrent
from .. import body
from .codec import Codec
from .recipe import TranslationRecipe


def build(recipe: TranslationRecipe, codec: Codec) -> Seq2Seq:
    """The model.

    Raises:
        RecipeError, ValueError: parts that do not fit each other.
    """
    model = recipe.model
    encoder = body.build(model.encoder, model.width)
    d_in = decoder_width(model.width, encoder.d_out, feeding=model.feeding, context=model.context, d_out=model.d_out)
    decoder = body.build(model.decoder, d_in)
    assert isinstance(decoder.body, Recurrent)
    made = Seq2Seq(
        codec.sources,
        codec.targets,
        model.width,
        encoder.body,
        encoder.d_out,
        decoder.body,
        decoder.d_out,
        attention=model.attention,
        feeding=model.feeding,
        context=model.context,
        d_out=model.d_out,
        tied=model.tied,
        shared=model.shared,
        dropout=model.dropout,
        locked=model.locked,
        smoothing=model.smoothing,
    )
    initialise(made, **{kind: how for kind, how in model.initial.model_dump().items() if how is not None})
    body.begin(model.encoder, made.encoder)
    body.begin(model.decoder, made.decoder.body)
    return made


def title(recipe: TranslationRecipe) -> str:
    """'bi-lstm 1 x 256 to lstm 1 x 512, general attention'"""
    model = recipe.model
    looks = f"{model.attention} attention" if model.attends else "one fixed vector"
    return f"{body.title(model.encoder)} to {body.title(model.decoder)}, {looks}"
