"""From scheduled stages to the loop IR: loops over rows, steps and features. No text is made here."""
