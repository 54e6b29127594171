"""What `import ostinato` gives, in a process of its own: parts come when they are first named."""

import subprocess
import sys

CODE = """
import sys
import ostinato
assert "torch" not in sys.modules
named = [getattr(ostinato, name) for name in ostinato.__all__]
assert set(ostinato.__all__) <= set(dir(ostinato))
print(ostinato.nn.LSTM.__name__, ostinato.cells.GRU.__name__, ostinato.stream.Session.__name__, len(named))
try:
    ostinato.absent
except AttributeError as error:
    print(error)
"""


def test_parts_are_found_after_import_and_torch_waits() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:2] == ["LSTM GRU Session 18", "module 'ostinato' has no attribute 'absent'"]
