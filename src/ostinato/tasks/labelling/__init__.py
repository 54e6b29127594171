"""Classification, tagging, and several of them at once: heads over one encoder."""

from ...registry import tasks
from .codec import Codec
from .examples import Examples
from .job import LabellingJob
from .recipe import LabellingRecipe
from .task import LabellingTask

for _name in ("classification", "tagging", "multitask"):
    tasks[_name] = LabellingJob()

__all__ = ["Codec", "Examples", "LabellingJob", "LabellingRecipe", "LabellingTask"]
