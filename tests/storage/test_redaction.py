"""Secrets in URLs and command lines."""

import pytest

from tuner.storage.redaction import redact, redact_command


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("s3://key:secret@bucket/runs", "s3://***@bucket/runs"),
        ("'https://token@host/a'", "'https://***@host/a'"),
        ("https://host/a?sig=abc&se=3", "https://host/a?sig=***&se=3"),
        ("a?AWSAccessKeyId=A&Signature=z%3D&Expires=1", "a?AWSAccessKeyId=***&Signature=***&Expires=1"),
        ("a?X-Amz-Credential=A&X-Amz-Security-Token=B", "a?X-Amz-Credential=***&X-Amz-Security-Token=***"),
        ("AWS_SECRET_ACCESS_KEY=abc", "AWS_SECRET_ACCESS_KEY=***"),
        ("db_password=abc", "db_password=***"),
    ],
)
def test_redact_hides_secrets(text: str, redacted: str) -> None:
    assert redact(text) == redacted


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/runs/a@b",
        "http://127.0.0.1:8265",
        "git@host:path",
        "space.patch_tokens=4 design=3 training.weight_decay=1e-3",
        "search.trials=4",
    ],
)
def test_redact_keeps_everything_else(text: str) -> None:
    assert redact(text) == text


def test_redact_command_hides_values_of_options() -> None:
    words = ["tuner", "--token", "abc", "--results", "s3://a:b@c/d", "--api-key=abc"]
    assert redact_command(words) == ["tuner", "--token", "***", "--results", "s3://***@c/d", "--api-key=***"]
