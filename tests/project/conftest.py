from support.environment import no_settings

__all__ = ["no_settings"]
