"""Every route of vLLM's own app, walked without a token; and the options of its parser."""

from __future__ import annotations

import asyncio
import re
from importlib.util import find_spec
from pathlib import Path

import httpx2
import pytest

from matrix_runtime.engines.port import HEALTH_PATH, OFFERED_PATHS
from matrix_runtime.engines.vllm_options import options
from matrix_runtime.serving.servers import guarded
from matrix_runtime.tokens import TokenFile

pytestmark = [pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed"), pytest.mark.timeout(300)]


def test_no_route_of_vllms_app_is_reached_without_the_token_but_health(tmp_path: Path) -> None:
    from vllm.entrypoints.launchers.app import build_app
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    (tmp_path / "token").write_text("secret")
    app = build_app(make_arg_parser(FlexibleArgumentParser()).parse_args([]), ("generate", "embed", "classify", "transcription"), None)
    routes = [(re.sub(r"{[^}]*}", "x", route.path), getattr(route, "methods", None) or {"GET"}) for route in app.routes]
    assert len(routes) > 20

    async def walk() -> None:
        transport = httpx2.ASGITransport(app=guarded(app, TokenFile(tmp_path / "token")))
        async with httpx2.AsyncClient(transport=transport, base_url="http://replica") as http:
            for path, methods in routes:
                for method in methods if path != HEALTH_PATH else ():
                    assert (await http.request(method, path)).status_code == 401, path
                    if path not in OFFERED_PATHS:
                        answer = await http.request(method, path, headers={"Authorization": "Bearer secret"})
                        assert answer.status_code == 404, path

    asyncio.run(walk())
    assert {"/v1/chat/completions", "/v1/completions", "/v1/models", "/tokenize"} <= {path for path, _ in routes}


def test_the_list_of_options_is_that_of_vllms_parser() -> None:
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    actions = make_arg_parser(FlexibleArgumentParser())._actions
    assert {name for action in actions for name in action.option_strings if name.startswith("--")} == set(options())
