"""The commands of an example's README, by the heading that they are under."""

import os
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = ("go", "java", "python", "rust", "typescript")


def commands(example, heading):
    """The `sh` blocks under `## heading` of the example's README, as they are written."""
    text = (ROOT / "examples" / example / "README.md").read_text()
    (section,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    return re.findall(r"^```sh\n(.*?)^```$", section, re.M | re.S)


def follow(example, heading, **environment):
    """Runs the commands under `## heading` in the example's folder. Raises an error that shows what a failed one said."""
    for block in commands(example, heading):
        result = subprocess.run(
            ["sh", "-ec", block],
            cwd=ROOT / "examples" / example,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=1_200,
        )
        if result.returncode:
            raise AssertionError(f"examples/{example}: `{block}` failed:\n{result.stdout}{result.stderr}")
