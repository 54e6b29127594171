"""The report of a training run, and diagrams, figures and tables of any model."""

from .diagram import (
    Part,
    ascii_chain,
    drawing,
    mermaid_bidirectional,
    mermaid_chain,
    mermaid_model,
    mermaid_unrolled,
    parts,
)
from .figures import activation_gradients, baseline_bars, gradient_norms, learning_curves, save
from .html import write_report
from .shapes import ParameterRow, parameter_table, total_parameters

__all__ = [
    "ParameterRow",
    "Part",
    "activation_gradients",
    "ascii_chain",
    "baseline_bars",
    "drawing",
    "gradient_norms",
    "learning_curves",
    "mermaid_bidirectional",
    "mermaid_chain",
    "mermaid_model",
    "mermaid_unrolled",
    "parameter_table",
    "parts",
    "save",
    "total_parameters",
    "write_report",
]
