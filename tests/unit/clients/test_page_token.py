"""How the page shows who it is, and what it does when its token expires."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("page_token.mjs")

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")


def run_page(*, status: int) -> dict[str, Any]:
    """Two connections of the page, the first of which ends with its token."""
    done = subprocess.run(
        ["node", str(SCRIPT), str(status)], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_the_page_asks_for_what_it_does_and_comes_again_with_a_new_token() -> None:
    seen = run_page(status=200)
    assert [asked["scopes"] for asked in seen["asked"]] == [["read", "ask", "push", "watch"]] * 2
    assert seen["opened"] == [
        ["realtime", "onlooker-token.token-1"],
        ["realtime", "onlooker-token.token-2"],
    ]


def test_a_key_that_may_make_no_tokens_is_used_itself() -> None:
    opened = run_page(status=403)["opened"]
    assert opened[0] == ["realtime", "openai-insecure-api-key.the-key-1"]
