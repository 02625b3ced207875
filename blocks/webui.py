"""The block that says which WebUI server renders, and with what credentials."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from prefect.blocks.core import Block
from pydantic import Field, SecretStr, ValidationError

from stableflows.errors import InputError, Where
from stableflows.webui.server import ServerConfig, StallLimits

__all__ = ["WebUIServer"]


class WebUIServer(Block):
    """A Stable Diffusion WebUI server (AUTOMATIC1111, Forge, reForge, SD.Next) that was started with --api.

    Example:
        ```python
        WebUIServer(base_url="http://127.0.0.1:7860").save("default")
        ```
    """

    _block_type_name: ClassVar[str] = "WebUI Server"
    _block_type_slug: ClassVar[str] = "webui-server"
    _description: ClassVar[str] = "A Stable Diffusion WebUI server that answers /sdapi/v1."

    base_url: str = Field(
        title="Base URL", description="Such as http://127.0.0.1:7860; without credentials and without /sdapi."
    )
    username: str | None = Field(None, title="User name", description="Of --api-auth, if the server has it.")
    password: SecretStr | None = Field(None, title="Password", description="Of --api-auth.")
    verify_tls: bool = Field(
        True, title="Verify TLS", description="Off: any certificate is accepted. For https only."
    )
    ca_file: Path | None = Field(
        None, title="CA file", description="The certificate, or authority, to trust in place of the system's."
    )
    megapixel_limit: float | None = Field(
        None, title="Megapixel limit", description="A plan warns when a stage makes larger images."
    )
    depth: int = Field(
        2,
        title="Depth",
        ge=1,
        le=8,
        description="Requests at the server at once: one renders, the others wait.",
    )
    sampling_stall: float = Field(
        StallLimits().sampling,
        title="Sampling stall (s)",
        description="Sampling without progress for so long is interrupted.",
    )
    loading_stall: float = Field(
        StallLimits().loading,
        title="Loading stall (s)",
        description="Loading a checkpoint for so long is interrupted.",
    )
    other_stall: float = Field(
        StallLimits().other,
        title="Other stall (s)",
        description="Extras, ADetailer and VAE, which report no steps, for so long are interrupted.",
    )

    def server_config(self, name: str) -> ServerConfig:
        """The block as the client takes it.

        Args:
            name: what the block is called, for messages.

        Raises:
            InputError: a field of it has a value that makes no sense.
        """
        try:
            return ServerConfig(
                base_url=self.base_url,
                username=self.username,
                password=self.password,
                name=name,
                verify_tls=self.ca_file if self.ca_file and self.verify_tls else self.verify_tls,
                megapixel_limit=self.megapixel_limit,
                depth=self.depth,
                stall=StallLimits(
                    sampling=self.sampling_stall, loading=self.loading_stall, other=self.other_stall
                ),
            )
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            where = Where(field=f"block webui-server/{name}: {field or 'base_url'}")
            raise InputError(f"{first['msg'].removeprefix('Value error, ')}.", where=where) from None
