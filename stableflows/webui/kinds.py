"""The kinds of name a WebUI server knows things by.

Nothing is imported here but ``enum``, so that a configuration model can say "this field is the name of a
sampler" without loading the HTTP client.
"""

from enum import StrEnum


class NameKind(StrEnum):
    """What a name in a request is the name of; ``ServerNames.find`` looks it up on the server by this
    kind.
    """

    SAMPLER = "sampler"
    SCHEDULER = "scheduler"
    CHECKPOINT = "checkpoint"
    VAE = "vae"
    UPSCALER = "upscaler"
    HIRES_UPSCALER = "hires_upscaler"
    """An upscaler of the second (hires) pass: the upscalers and the latent upscale modes together."""
    LORA = "lora"
    EMBEDDING = "embedding"
    AD_MODEL = "ad_model"
    """A detection model of the ADetailer extension, or the word ``None``."""
    STYLE = "style"
    SCRIPT = "script"
    FACE_RESTORER = "face_restorer"
