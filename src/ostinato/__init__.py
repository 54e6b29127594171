"""Ostinato: recurrent sequence models in PyTorch."""
