"""From the loop IR to the text of a language: a target is one file."""
