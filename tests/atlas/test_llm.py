"""LanguageModel against a local server that speaks, or fails to speak, the chat completions format."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from local_server import Reply, Script, serve

from atlas.errors import UpstreamError
from atlas.llm import LanguageModel, read_prompt
from atlas.settings import load_settings

PATH = "/v1/chat/completions"


def chat(content: Any) -> str:
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    return json.dumps({"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]})


@contextmanager
def talking(*replies: Reply, **options: Any) -> Iterator[tuple[LanguageModel, Script]]:
    with serve({PATH: list(replies)}) as script:
        model = LanguageModel(f"{script.url}/v1", model="m", api_key="secret", **{"max_retries": 0, **options})
        try:
            yield model, script
        finally:
            model.close()


def test_reply_and_request_are_what_the_format_says() -> None:
    with talking(Reply(chat(" Failing heart\n"))) as (model, script):
        assert model.complete("terms", system="be short", max_tokens=20, seed=7) == " Failing heart\n"
    sent = json.loads(script.asked[0][1])
    assert sent["messages"] == [{"role": "system", "content": "be short"}, {"role": "user", "content": "terms"}]
    assert (sent["model"], sent["max_tokens"], sent["temperature"], sent["seed"]) == ("m", 20, 0.0, 7)


def test_server_errors_are_retried_then_answered() -> None:
    with talking(Reply("{}", 500), Reply(chat("ok")), max_retries=2) as (model, script):
        assert model.complete("terms") == "ok"
    assert len(script.asked) == 2


@pytest.mark.parametrize(
    "reply",
    [
        Reply('{"error": {"message": "boom"}}', 500),
        Reply('{"error": {"message": "no such model"}}', 404),
        Reply("<html>challenge</html>", content_type="text/html"),
        Reply("not json at all"),
        Reply("{}"),
        Reply('{"choices": []}'),
        Reply(chat(None)),
        Reply("", drop=True),
    ],
    ids=["500", "404", "html", "garbage", "empty", "no-choices", "null", "dropped"],
)
def test_failures_and_garbage_are_upstream_errors(reply: Reply) -> None:
    with talking(reply) as (model, _), pytest.raises(UpstreamError, match="language model") as caught:
        model.complete("terms")
    assert "secret" not in str(caught.value)


def test_slow_endpoint_is_given_up() -> None:
    with (
        talking(Reply(chat("late"), delay_s=1.0), timeout_s=0.1) as (model, _),
        pytest.raises(UpstreamError, match="Timeout"),
    ):
        model.complete("terms")


def test_closed_port_is_an_upstream_error() -> None:
    with serve({}) as script:
        url = script.url
    model = LanguageModel(f"{url}/v1", model="m", max_retries=0)
    with pytest.raises(UpstreamError, match="Connection"):
        model.complete("terms")
    model.close()


def test_nothing_configured_means_no_model() -> None:
    assert LanguageModel.from_settings(load_settings()) is None
    assert LanguageModel.from_settings(load_settings(llm_base_url="http://127.0.0.1:1/v1")) is None
    model = LanguageModel.from_settings(
        load_settings(llm_base_url="http://127.0.0.1:1/v1", llm_model="m", llm_api_key="k")
    )
    assert model is not None
    assert model.model == "m"
    model.close()


def test_label_prompt_has_a_place_for_keywords() -> None:
    assert "{keywords}" in read_prompt("label_cluster")
