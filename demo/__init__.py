"""A sample world and sample inputs, loaded through the public verbs."""

from demo.configuration import settings_toml

__all__ = ["settings_toml"]
