"""What is used of W&B beyond its documented interface; a new minor version that changes any of it fails here."""

from urllib.parse import urlsplit

import pytest

from aiotwin_nb.tracking import wandb_log, wandb_writer
from aiotwin_nb.tracking.credentials import DEFAULT_HOSTS

wandb = pytest.importorskip("wandb")


def test_minor_version():
    assert wandb.__version__.startswith("0.31."), "read the release notes, then raise the pin in pyproject.toml"


@pytest.mark.parametrize("name", wandb_writer.SETTINGS)
def test_settings_exist(name: str):
    assert name in wandb.Settings.model_fields


def test_settings_are_taken():
    settings = wandb_writer.settings("offline")
    assert {name: getattr(settings, name) for name in wandb_writer.SETTINGS} == wandb_writer.SETTINGS
    assert settings.mode == "offline"


def test_schema_is_part_of_wandbs():
    from google.protobuf import timestamp_pb2
    from wandb.proto import wandb_internal_pb2

    kinds = {"int32": "TYPE_INT32", "int64": "TYPE_INT64", "string": "TYPE_STRING"}
    for message, fields in wandb_log.SCHEMA.items():
        module = timestamp_pb2 if message == "Timestamp" else wandb_internal_pb2
        theirs = getattr(module, message).DESCRIPTOR.fields_by_name
        for name, (number, kind, repeated) in fields.items():
            field = theirs[name]
            assert field.number == number
            assert field.label == (field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL)
            if kind in kinds:
                assert field.type == getattr(field, kinds[kind])
            else:
                assert field.message_type.name == kind


def test_environment_names():
    from wandb import env

    assert env.ERROR_REPORTING == "WANDB_ERROR_REPORTING"
    assert (env.DIR, env.CACHE_DIR, env.DATA_DIR) == ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR")
    assert (env.CONFIG_DIR, env.ARTIFACT_DIR) == ("WANDB_CONFIG_DIR", "WANDB_ARTIFACT_DIR")


def test_default_hosts():
    from wandb.sdk.lib import urls

    assert urlsplit(urls.DEFAULT_BASE_URL).netloc in DEFAULT_HOSTS
    assert urlsplit(urls.forge_upstream_url(urls.DEFAULT_BASE_URL)).netloc in DEFAULT_HOSTS


def test_names_of_the_client():
    assert isinstance(wandb.Run.step, property)
    assert isinstance(wandb.Run.url, property)
    assert callable(wandb.teardown)
    assert callable(wandb.Api.flush)
