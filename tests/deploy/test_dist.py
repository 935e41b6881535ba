"""What the package is built of. `make dist` builds it and tries it out."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_an_sdist_is_made_of_the_real_folders_and_not_of_the_links_to_them() -> None:
    """hatchling follows links, and visits each folder once. Folders that come behind ``src`` would
    be found by their links only, where the wheel does not look for them."""
    hatch = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert any(path.is_symlink() for path in (ROOT / "src" / "onlooker").iterdir())
    assert hatch["targets"]["sdist"] == {
        "exclude": ["/src/onlooker/*/"],
        "skip-excluded-dirs": True,  # else it has been there, whatever is left out
    }


def test_the_wheel_is_tried_out_and_not_the_checkout() -> None:
    script = (ROOT / "deploy" / "dist.sh").read_text()
    assert "unset PYTHONPATH" in script
    assert 'onlooker" demo --seconds' in script
