from __future__ import annotations

import time

import pytest

from aimlib.records.redaction import HIDDEN, without_login, without_secrets

SECRET = "sEcReT-" + "x9" * 8
WEB = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"
AWS = "AKIA" + "IOSFODNN7EXAMPLE"


@pytest.mark.parametrize(
    "name",
    [
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "HF_TOKEN",
        "WANDB_API_KEY",
        "MLFLOW_TRACKING_PASSWORD",
        "DB_PASS",
        "RAY_AUTH_TOKEN",
        "my_credentials",
        "PGPASSWORD_SECRET",
    ],
)
def test_the_value_of_a_variable_named_like_a_secret_is_hidden(name: str) -> None:
    text = f"401 for {SECRET} at step 3"
    assert without_secrets(text, {name: SECRET}) == f"401 for {HIDDEN} at step 3"


@pytest.mark.parametrize(
    "name", ["PATH", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH", "SSH_AUTH_SOCK", "TOKENIZERS", "MONKEY"]
)
def test_other_variables_are_shown(name: str) -> None:
    assert SECRET in without_secrets(SECRET, {name: SECRET})


def test_short_values_are_not_hidden() -> None:
    assert without_secrets("step 1 of 12", {"X_TOKEN": "1", "Y_TOKEN": ""}) == "step 1 of 12"


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://user:{SECRET}@db.host/x",
        f"https://bucket/x?X-Amz-Signature={SECRET}&x=1",
        f"https://x.blob/x?sv=1&sig={SECRET}",
        f"GET /x?token={SECRET}",
        f"Authorization: Bearer {SECRET}",
        f"password={SECRET}",
        f'{{"api_key": "{SECRET}"}}',
        f"aws_secret_access_key = {SECRET}",
        "-----BEGIN RSA PRIVATE KEY-----\nsEcReT\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_text_that_looks_like_a_secret_is_hidden(text: str) -> None:
    assert "sEcReT" not in without_secrets(text, {})


@pytest.mark.parametrize(
    "token",
    [AWS, "hf_" + "a" * 34, "ghp_" + "b" * 36, "sk-" + "c" * 40, WEB],
)
def test_tokens_are_recognized_by_their_format(token: str) -> None:
    assert without_secrets(f"bad {token}!", {}) == f"bad {HIDDEN}!"


def test_the_password_from_a_url_in_a_variable_is_hidden_in_other_text() -> None:
    variables = {"OPTUNA_STORAGE": f"mysql://root:{SECRET}@db/x"}
    assert SECRET not in without_secrets(f"Access denied (using {SECRET})", variables)


@pytest.mark.parametrize(
    "text",
    [
        "RuntimeError: shape '[2, 3]' is invalid for input of size 5",
        "KeyError: 'token_embedding.weight'",
        '  File "/home/ann/x.py", line 3, in train',
        "https://example.org/a?page=2",
        "the key of the pack is 0f81b93d0af233912428",
    ],
)
def test_ordinary_messages_are_unchanged(text: str) -> None:
    assert without_secrets(text, {}) == text


def test_user_names_and_passwords_are_removed_from_urls() -> None:
    assert without_login("s3://a:b@host/x") == "s3://host/x"


def test_redacting_megabytes_of_text_is_fast() -> None:
    began = time.process_time()
    for text in ("a" * 2**20, "://" * 2**18, "-----BEGIN " * 2**16, "password=" * 2**16, "eyJ" * 2**18):
        without_secrets(text, {"X_TOKEN": SECRET})
    assert time.process_time() - began < 5
