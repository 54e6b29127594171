"""Speed and quality, measured: `python -m benchmarks` and `python -m benchmarks.quality --data FOLDER`."""
