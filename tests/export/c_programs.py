"""Models in C, compiled into one program, which reads the steps of each from a file and writes what comes out."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ostinato.export import CSource

GCC = shutil.which("gcc")
FLAGS = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O3")
SANITIZED = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")

# The state is full of NaN before it begins, and a step's own arrays are so before each step.
_RUN = """
static int run_{name}(FILE *in, FILE *out)
{{
    static {name}_state state;
    {kind} x[{inputs}];
    float y[{outputs}];
    spoil(&state, sizeof state);
    {name}_init(&state);
    for (int t = 0; t < {steps}; t++) {{
        spoil((char *)&state + {kept} * sizeof(float), sizeof state - {kept} * sizeof(float));
        if (fread(x, sizeof x, 1, in) != 1) {{
            return 1;
        }}
        {name}_step(&state, {x}, y);
        if (fwrite(y, sizeof y, 1, out) != 1) {{
            return 1;
        }}
    }}
    return 0;
}}
"""


def compiled(sources: Sequence[CSource], folder: Path, flags: Sequence[str]) -> list[Path]:
    """Their objects."""
    assert GCC is not None
    for source in sources:
        source.write(folder)
    names, count = [f"{source.name}.c" for source in sources], os.cpu_count() or 1
    parts = [names[i::count] for i in range(min(count, len(names)))]
    jobs = [subprocess.Popen([GCC, *flags, "-c", *part], cwd=folder) for part in parts]
    assert [job.wait() for job in jobs] == [0] * len(jobs)
    return [folder / f"{source.name}.o" for source in sources]


def run(
    sources: Mapping[CSource, np.ndarray], folder: Path, flags: Sequence[str], kept: Mapping[CSource, int]
) -> dict[str, np.ndarray]:
    """What each gives, [steps, outputs], for x [steps, D] float32 or [steps] int32.

    Args:
        kept: how many numbers a state keeps from step to step.
    """
    assert GCC is not None
    objects = compiled([*sources], folder, flags)
    names = [source.name for source in sources]
    main = [f'#include "{name}.h"' for name in names] + ["#include <stdio.h>"]
    main += ["static void spoil(void *at, size_t size)", "{", "    unsigned char *bytes = at;"]
    main += ["    while (size--) {", "        *bytes++ = 0xff;", "    }", "}"]
    for source, x in sources.items():
        ids, name = x.ndim == 1, source.name
        main.append(_RUN.format(
            name=name, kind="int32_t" if ids else "float", inputs=1 if ids else f"{name.upper()}_INPUTS",
            outputs=f"{name.upper()}_OUTPUTS", steps=len(x), x="x[0]" if ids else "x", kept=kept[source],
        ))  # fmt: skip
        x.tofile(folder / f"{name}.in")
    main += ["int main(void)", "{", "    FILE *in, *out;", "    int wrong = 0;"]
    for name in names:
        main += [f'    in = fopen("{name}.in", "rb");', f'    out = fopen("{name}.out", "wb");']
        main += [f"    wrong += run_{name}(in, out);", "    fclose(in);", "    fclose(out);"]
    main += ["    return wrong;", "}", ""]
    (folder / "main.c").write_text("\n".join(main))
    program = folder / "steps"
    subprocess.run([GCC, *flags, "main.c", *map(str, objects), "-lm", "-o", str(program)], cwd=folder, check=True)
    done = subprocess.run([program], cwd=folder, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return {source.name: np.fromfile(folder / f"{source.name}.out", np.float32).reshape(len(x), -1)
            for source, x in sources.items()}  # fmt: skip
